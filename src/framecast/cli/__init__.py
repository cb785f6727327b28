"""The `framecast` command: one module a subcommand, imported when it is called.

Every module has `main(argv)`. A UserError, a full disk and Ctrl-C end in one line; a bug keeps
its traceback.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys

from framecast import __version__
from framecast.allocator import keep_freed_memory
from framecast.errors import UserError, did_you_mean

COMMANDS = {
    "record": "record episodes in a Gymnasium environment (the built-in pusher, or your own)",
    "import": "turn recordings (BAIR, LeRobot, RLDS, videos, ...) into a dataset",
    "inspect": "say what a recording or a dataset holds, and whether it is sound",
    "export-data": "write a dataset in a format that other software reads",
    "digits": "make the stochastic moving digits of the SVG paper",
    "train": "train a model from a recipe on a dataset",
    "sweep": "train many variations of a recipe and compare them",
    "evaluate": "score a trained model on the test split, beside its baselines",
    "report": "write a trained model's figures and films into one HTML file",
    "compare": "compare evaluated models on the same clips, with intervals of the differences",
    "results": "print all scores of evaluated models as one page",
    "steer": "steer a model by hand in a browser",
    "export": "write a trained model into a small folder to hand on",
    "plan": "act toward a goal by imagining futures, in an environment or on a clip",
    "plan-bench": "measure planning: seeded tasks, beside the simulator and a script",
    "bench": "measure framecast's own speed, against the same written plainly",
}
MODULES = {name: f"framecast.cli.{name}" for name in COMMANDS} | {
    "import": "framecast.cli.import_command",
    "export-data": "framecast.cli.export_data",
    "plan-bench": "framecast.cli.plan_bench",
}
# Large blocks come and go all the time in these, and they end.
BUSY = ("train", "sweep", "evaluate", "plan", "plan-bench", "bench")
HELP = """usage: framecast COMMAND [options]

Imagine the futures of a robot's actions, as video.

commands:
{commands}

examples:
  framecast record framecast/Pusher-v0 --episodes 600 --out data/pusher
  framecast train course --data data/pusher --out runs/first
  framecast evaluate runs/first
  framecast report runs/first
  framecast steer runs/first

`framecast COMMAND --help` explains a command; `framecast --version` prints the version."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 for a UserError, 2 for wrong usage."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        commands = "\n".join(f"  {name:<12}{summary}" for name, summary in COMMANDS.items())
        print(HELP.format(commands=commands))
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"framecast {__version__}")
        return 0
    command = arguments[0]
    if command not in COMMANDS:
        hint = did_you_mean(command, COMMANDS) or f" The commands are: {', '.join(COMMANDS)}."
        print(f"framecast: there is no command {command!r}.{hint}", file=sys.stderr)
        return 2
    # Read by OpenMP when torch is loaded: threads that wait sleep instead of spinning. Where other
    # work shares the cores, spinning makes two threads seven times slower than sleeping does.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if command in BUSY:
        keep_freed_memory()
    return _run(command, arguments[1:])


def _run(command: str, argv: list[str]) -> int:
    try:
        importlib.import_module(MODULES[command]).main(argv)
    except UserError as error:
        print(f"framecast {command}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        if not _disk_is_full(error):
            raise
        print(
            f"framecast {command}: the disk is full ({error.filename or error}). "
            "What was unfinished has been removed; free some space and run the command again.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"framecast {command}: interrupted; nothing unfinished is left.", file=sys.stderr)
        return 130
    return 0


def _disk_is_full(error: OSError) -> bool:
    # HDF5 reports the number in its message only.
    return error.errno in FULL_DISK or f"errno = {errno.ENOSPC}" in str(error)
