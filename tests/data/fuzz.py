"""Coverage-guided fuzzing of the parsers, by hand: it wants Atheris, which the suite does not.

    pip install atheris
    python tests/data/fuzz.py example -runs=200000
    python tests/data/fuzz.py bair -runs=50000

Whatever the bytes, a parser may only return or raise our own errors: anything else, a hang of ten
seconds or more than 1 GiB of memory ends the run with a report. docs/data.md has the last results.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["framecast"]):
    import numpy as np

    from framecast.data.formats.bair import BairReader
    from framecast.data.formats.base import Keys
    from framecast.data.formats.example import MalformedError, encode_example, parse_example
    from framecast.data.formats.rlds import RldsReader
    from framecast.data.formats.tfrecord import write_record
    from framecast.errors import UserError

FOLDER = Path(tempfile.mkdtemp())
SEED = encode_example({"0/action": np.ones(4, np.float32), "0/image_aux1/encoded": bytes(12)})


def example(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        parse_example(data)


def bair(data: bytes) -> None:
    """Half of the inputs are records with right checksums, half are files as they are."""
    _read(BairReader, data)


def rlds(data: bytes) -> None:
    _read(RldsReader, data)


def npz(data: bytes) -> None:
    from framecast.data.formats.npz import NpzReader

    _read(NpzReader, data, ".npz", framed=False)


def _read(reader: type, data: bytes, suffix: str = ".tfrecords", framed: bool = True) -> None:
    file = FOLDER / f"fuzz{suffix}"
    content = io.BytesIO()
    if framed and data[:1] < b"\x80":
        write_record(content, SEED)
        write_record(content, data[1:])
    else:
        content.write(data[1:])
    file.write_bytes(content.getvalue())
    try:
        found = reader(file, Keys())
    except UserError:
        return
    for index in range(len(found)):
        with contextlib.suppress(UserError):
            list(found.read(index, 1).frames)


TARGETS = {target.__name__: target for target in (example, bair, rlds, npz)}

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup([*sys.argv, "-timeout=10", "-rss_limit_mb=1024"], target)
    atheris.Fuzz()
