"""`framecast compare`: runs side by side on the same clips."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from framecast.cli.console import command_parser, console

EXAMPLES = """  framecast compare runs/course runs/svg
  framecast compare runs/course runs/svg runs/best --protocol svg --metrics psnr ssim ssim_svg
  framecast compare runs/course runs/best --out comparison   # tables, plots and films as files"""


def main(argv: list[str]) -> None:
    parser = command_parser(
        "compare",
        "Compare evaluated runs, clip by clip, with intervals of the differences to the first.",
        EXAMPLES,
    )
    parser.add_argument("runs", type=Path, nargs="+", help="run folders, evaluated before")
    parser.add_argument("--protocol", default="course", help="name of the scores (course)")
    parser.add_argument("--metrics", nargs="+", default=["psnr", "ssim"], help="psnr ssim ...")
    parser.add_argument("--out", type=Path, help="folder for Markdown, LaTeX, CSV, plots and films")
    parser.add_argument("--data", type=Path, help="the dataset, if not where the runs found it")
    options = parser.parse_args(argv)
    with console.status("Loading PyTorch ..."):
        from framecast.evaluation import compare
        from framecast.evaluation.comparison_files import write_comparison

    documents = compare.read_runs(options.runs, options.protocol)
    grid = compare.comparison(documents, options.metrics)
    table = Table()
    for index, heading in enumerate(grid.headings):
        table.add_column(heading, justify="right" if index else "left")
    for row in grid.rows:
        table.add_row(*row)
    console.print(table)
    for sentence in compare.verdicts(documents, options.metrics[0]):
        console.print(f"{sentence}.", soft_wrap=True, highlight=False)
    if options.out is not None:
        with console.status("Imagining futures ..."):
            written = write_comparison(options.runs, documents, grid, options.out, options.data)
        names = ", ".join(path.name for path in written)
        console.print(f"Written to {options.out}: {names}.", soft_wrap=True)
