"""`framecast report`: a run's figures and films in one HTML file."""

from __future__ import annotations

from pathlib import Path

from framecast.cli.console import command_parser, console

EXAMPLES = """  framecast report runs/first
  framecast report runs/first --protocol svg
  framecast report runs/first --films films   # GIFs and strips for a talk or a README
  framecast report runs/first --data /elsewhere/pusher   # the dataset has moved"""


def main(argv: list[str]) -> None:
    parser = command_parser(
        "report",
        "Write report.html into a run folder: what it imagines, scores, curves and the recipe.",
        EXAMPLES,
    )
    parser.add_argument("run", type=Path, help="run folder, evaluated before")
    parser.add_argument("--data", type=Path, help="the dataset, if not where the run found it")
    parser.add_argument("--protocol", default="course", help="name of the scores (course)")
    parser.add_argument("--films", type=Path, help="folder for its films and strips as files, too")
    options = parser.parse_args(argv)
    with console.status("Loading PyTorch ...") as status:
        from framecast.evaluation.report.write import write_report
        from framecast.training.runs import Run

        path = write_report(
            Run.open(options.run),
            options.data,
            options.protocol,
            lambda stage: status.update(f"{stage} ..."),
            options.films,
        )
    megabytes = path.stat().st_size / 1e6
    console.print(f"Written to {path} ({megabytes:.1f} MB). Open it in a browser.", soft_wrap=True)
