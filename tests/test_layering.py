"""Data flows one way: a part of framecast knows only what stands before it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "framecast"
LEVELS = (
    {"errors", "allocator"},
    {"clip", "metrics", "pictures"},
    {"mirror"},
    {"data", "pusher", "models"},
    {"recording", "training"},
    {"evaluation"},
    {"planning"},
    {"steering", "speed"},
    {"cli"},
)
LEVEL_OF = {part: level for level, parts in enumerate(LEVELS) for part in parts}


def imported_parts(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "framecast":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("framecast."):
            names.add(str(node.module).split(".")[1])
        elif isinstance(node, ast.Import):
            found = (alias.name.split(".") for alias in node.names)
            names |= {parts[1] for parts in found if parts[0] == "framecast" and parts[1:]}
    return names - {"__version__"}


def test_every_part_imports_only_parts_below_it():
    for file in SOURCE.rglob("*.py"):
        part = file.relative_to(SOURCE).parts[0].removesuffix(".py")
        if part in ("__init__", "__main__"):
            continue
        for other in imported_parts(file) - {part}:
            assert LEVEL_OF[other] < LEVEL_OF[part], f"{file.name} imports {other}"


def test_help_and_the_recorder_do_not_import_torch():
    code = (
        "import sys; from framecast.cli import main; main(['--help']); import framecast.recording; "
        "import framecast.cli.train; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
