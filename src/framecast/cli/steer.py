"""`framecast steer`: a model in the browser, moved by hand."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from framecast.cli.console import command_parser, console

DEFAULT_PORT = 8420
EXAMPLES = """  framecast steer                             # the model that comes with framecast
  framecast steer runs/first
  framecast steer runs/g1 --data data/g1 --split validation
  framecast steer runs/first --port 0 --no-browser
  framecast steer runs/first --host 0.0.0.0   # others may come; prints a link with a token"""


def main(argv: list[str]) -> None:
    options = _options(argv)
    with console.status("Loading PyTorch ..."):
        from framecast.steering import serving
    with serving.bind(options.host, options.port) as listener:
        with console.status("Opening the model ..."):
            steering = serving.prepare(
                options.run,
                options.checkpoint,
                options.data,
                options.split,
                options.drag,
                max_sessions=options.sessions,
                threads=options.threads,
                announce=_say,
            )
        names = tuple(options.name)
        serving.serve(steering, listener, options.host, names, not options.no_browser, _say)


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False)


def _options(argv: list[str]) -> Namespace:
    parser = command_parser(
        "steer",
        "Steer a model in the browser: drag the arm and see its futures, beside what happens.",
        EXAMPLES,
    )
    parser.add_argument(
        "run",
        type=Path,
        nargs="?",
        help="run folder, or a folder made by export; default: the model that comes with framecast",
    )
    parser.add_argument("--data", type=Path, help="recordings to start from; default: the run's")
    parser.add_argument("--split", choices=("train", "validation", "test"), default="test")
    parser.add_argument("--checkpoint", help="default: best if there is one")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind to (127.0.0.1)")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help=f"0 picks a free one ({DEFAULT_PORT})"
    )
    parser.add_argument(
        "--name", action="append", default=[], help="a further host name of this server; repeatable"
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument(
        "--drag",
        metavar="ACTIONS",
        help="the two actions that move things in the picture, such as dx,dy, or none; "
        "default: found in the recordings",
    )
    parser.add_argument("--sessions", type=int, default=20, help="at the same time (20)")
    parser.add_argument(
        "--threads", type=int, default=min(4, os.cpu_count() or 1), help="that run the model"
    )
    return parser.parse_args(argv)
