# From a bare clone with Python >= 3.11, pip and make:
#   make demo      record, train, evaluate and report into runs/demo_samples (12 to 28 minutes)
#   make test      the test suite
#   make bench     framecast's own speed (docs/performance.md)
# Options for pip go into PIP_ARGS, such as an index with the CPU build of torch:
#   make install PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: install demo test lint bench clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "framecast needs Python 3.11 or newer; name one with PYTHON=...")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	touch $@

demo: $(INSTALLED)
	test -e data/pusher || $(BIN)/framecast record framecast/Pusher-v0 --episodes 600 --seed 0 --workers 2 --out data/pusher
	$(BIN)/framecast train demo --data data/pusher --out runs/demo --model.mirror dx,x --clips.mirror dx,x $$(test ! -e runs/demo/recipe.yaml || echo --resume)
	$(BIN)/framecast train demo_latent --data data/pusher --out runs/demo_samples --training.start_from runs/demo --model.mirror dx,x --clips.mirror dx,x $$(test ! -e runs/demo_samples/recipe.yaml || echo --resume)
	$(BIN)/framecast evaluate runs/demo_samples --samples 10 --best-by psnr --twin runs/demo --shipped
	$(BIN)/framecast report runs/demo_samples

test: $(INSTALLED)
	$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(INSTALLED)
	$(BIN)/framecast bench

clean:
	rm -rf .venv
