"""The page of results: some runs, what each cost, and every score from their files of scores.

Runs that were scored by the same protocol on the same clips share a table. Nothing is computed
here but differences to the copied frame; the same files give the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framecast.errors import UserError
from framecast.evaluation.compare import named
from framecast.evaluation.documents import OF_THE_RUN, read_scores
from framecast.evaluation.summary import NEED_NO_MODEL, row_label
from framecast.evaluation.tables import Grid, metrics_of, number, title_of, with_interval
from framecast.training.runs import Run
from framecast.training.tables import read_table

Documents = Mapping[str, Mapping[str, Any]]
INTERVALS = ("psnr", "ssim")


def results_page(folders: Sequence[Path], command: str) -> str:
    """Markdown with a part for every protocol and data. Raises UserError where nothing was scored.

    Args:
        command: what makes the page, printed on it.
    """
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    runs = {name: Run.open(folder) for name, folder in named(folders).items()}
    for name, run in runs.items():
        files = sorted((run.folder / "evaluation").glob("*.json"))
        if not files:
            read_scores(run, "course")  # says what to do
        for file in files:
            document = read_scores(run, file.stem)
            found.setdefault(_key(document), {})[name] = document
    if not found:
        raise UserError("There are no runs to print. Name some run folders.")
    parts = [_part(documents) for documents in found.values()]
    head = (
        "# Results\n\nEvery number on this page is read from the runs' files of scores "
        f"(`evaluation/*.json`) by\n\n    {command}\n\n"
        "and every file holds the whole protocol of its numbers. Intervals are "
        f"{next(iter(next(iter(found.values())).values()))['protocol']['intervals']}. "
        "[protocols.md](protocols.md) explains every row and measure.\n"
    )
    return head + _overview(list(found.values()), runs) + "".join(parts)


def _overview(tables: Sequence[Documents], runs: Mapping[str, Run]) -> str:
    """For every dataset its runs: what they cost, and how one sample scores by each protocol."""
    by_data: dict[str, list[Documents]] = {}
    for documents in tables:
        by_data.setdefault(_data(next(iter(documents.values()))["protocol"]), []).append(documents)
    costs = {name: _costs(run) for name, run in runs.items()}
    text = ""
    for data, of_data in by_data.items():
        one_sample = [d for d in of_data if next(iter(d.values()))["protocol"]["num_samples"] == 1]
        text += f"\n## The runs: {data}\n\n{_overview_grid(costs, of_data, one_sample).markdown()}"
    return text


def _overview_grid(
    costs: Mapping[str, tuple[str, ...]], of_data: list[Documents], one_sample: list[Documents]
) -> Grid:
    headings = ["", "model", "told", "parameters", "steps", "minutes", "seconds a step"]
    columns = []
    for documents in one_sample:
        protocol = next(iter(documents.values()))["protocol"]
        for metric in INTERVALS:
            headings.append(f"{_short_title(protocol)}: {title_of(metric)}")
            scores = {name: d["scores"]["model"][metric] for name, d in documents.items()}
            columns.append(_best_in_bold({n: number(metric, v) for n, v in scores.items()}))
    lines = [
        (name, *cost, *(column.get(name, "") for column in columns))
        for name, cost in costs.items()
        if any(name in documents for documents in of_data)
    ]
    return Grid(tuple(headings), tuple(lines))


def _best_in_bold(column: Mapping[str, str]) -> dict[str, str]:
    best = max(column.values(), key=float) if len(column) > 1 else ""
    return {name: f"**{text}**" if text == best else text for name, text in column.items()}


def _costs(run: Run) -> tuple[str, ...]:
    model = run.recipe().model
    parameters = run.load_model(run.default_checkpoint()).parameters()
    last = read_table(run.metrics_file)[-1]
    steps, minutes = int(last["step"]), float(last["minutes"])
    return (
        model.kind,
        str(getattr(model, "condition", "")),
        f"{sum(numbers.numel() for numbers in parameters) / 1e6:.2f} M",
        str(steps),
        f"{minutes:.1f}",
        f"{60 * minutes / steps:.2f}",
    )


def _key(document: Mapping[str, Any]) -> str:
    """The same for documents that may stand in one table."""
    fields = document["protocol"]
    return repr(sorted((k, v) for k, v in fields.items() if k not in OF_THE_RUN))


def _part(documents: Documents) -> str:
    """One protocol on one set of clips."""
    protocol = next(iter(documents.values()))["protocol"]
    text = (
        f"\n## {_title(protocol)}\n\n{_protocol_text(protocol)}\n\n{_scores(documents).markdown()}"
    )
    for title, grid in (
        ("Does it believe its own uncertainty?", _calibration(documents)),
        ("Against the true futures", _true_futures(documents)),
    ):
        if grid is not None:
            text += f"\n### {title}\n\n{grid.markdown()}"
    dates = ", ".join(f"{name} {document['written'][:10]}" for name, document in documents.items())
    return f"{text}\nEvaluated: {dates}.\n"


def _title(protocol: Mapping[str, Any]) -> str:
    title = f"{protocol['name']}: {protocol['context']} in, {protocol['horizon']} out"
    return f"{title}; {_data(protocol)}"


def _short_title(protocol: Mapping[str, Any]) -> str:
    return f"{protocol['name']}, {protocol['context']} -> {protocol['horizon']}"


def _data(protocol: Mapping[str, Any]) -> str:
    return str(protocol["data"]).split(",")[0]


def _protocol_text(protocol: Mapping[str, Any]) -> str:
    samples = protocol["num_samples"]
    text = (
        f"{protocol['num_clips']} clips of the {protocol['split']} split "
        f"(windows: {protocol['windows']}), {samples} sample{'s' if samples > 1 else ''} a clip, "
        f"seed {protocol['seed']}, {protocol['precision']}; future states {protocol['states']} to "
        "models that use states. "
        f"PSNR: {protocol['psnr']}. SSIM: {protocol['ssim']}."
    )
    if samples > 1:
        text += f" Best and worst are chosen by {protocol['best_by']}."
    return text


def _scores(documents: Documents) -> Grid:
    first = next(iter(documents.values()))
    metrics = metrics_of(first)
    whole_clips = [
        name
        for name, value in first["scores"]["model"].items()
        if isinstance(value, float) and name not in metrics
    ]
    headings = ("", *(title_of(name) for name in (*metrics, *whole_clips)))
    lines = []
    for name, document in documents.items():
        for row, score in document["scores"].items():
            if row not in NEED_NO_MODEL:
                label = f"{name}, {row_label(row, document['protocol'])}"
                lines.append((label, *_cells(score, metrics, whole_clips)))
    for row in NEED_NO_MODEL:
        if row in first["scores"]:
            label = row_label(row, first["protocol"])
            lines.append((label, *_cells(first["scores"][row], metrics, whole_clips)))
    return Grid(headings, tuple(lines))


def _cells(score: Mapping[str, Any], metrics: list[str], whole_clips: list[str]) -> list[str]:
    cells = [
        with_interval(metric, score[metric], score["interval"][metric])
        if metric in INTERVALS
        else number(metric, score[metric])
        for metric in metrics
    ]
    return cells + [number(name, score.get(name)) for name in whole_clips]


def _calibration(documents: Documents) -> Grid | None:
    measured = {name: d["calibration"] for name, d in documents.items() if "calibration" in d}
    if not measured:
        return None
    levels = [entry["nominal"] for entry in next(iter(measured.values()))["coverage"]["all"]]
    headings = (
        "",
        "energy score",
        "diversity",
        "spread over error",
        *(f"covered, should be {level:.0%}" for level in levels),
    )
    return Grid(headings, tuple((name, *_uncertainty(one)) for name, one in measured.items()))


def _uncertainty(measured: Mapping[str, Any]) -> list[str]:
    covered = measured["coverage"]["expected_motion"] or measured["coverage"]["all"]
    return [
        number("mae", measured["energy_score"]),
        number("mae", measured["diversity"]),
        "" if measured["spread_over_error"] is None else f"{measured['spread_over_error']:.2f}",
        *(f"{entry['covered']:.0%}" for entry in covered),
    ]


def _true_futures(documents: Documents) -> Grid | None:
    measured = {name: d["world"] for name, d in documents.items() if "world" in d}
    return true_futures_grid(measured) if measured else None


def true_futures_grid(measured: Mapping[str, Mapping[str, Any]]) -> Grid:
    """Runs against the simulator's own futures, beside what copying and the world itself reach."""
    headings = (
        "",
        "energy distance",
        "spread",
        "arm error, cm",
        "object error, cm",
    )
    lines = [
        (
            name,
            number("mae", one["energy_distance"]),
            number("mae", one["model_spread"]),
            _centimetres(one["arm_error"]),
            _centimetres(one["object_error"]),
        )
        for name, one in measured.items()
    ]
    world = next(iter(measured.values()))
    lines += [
        (
            "copy the last frame",
            number("mae", world["energy_distance_of_copying"]),
            number("mae", 0.0),
            "",
            _centimetres(world["object_still"]),
        ),
        (
            "true futures",
            number("mae", 0.0),
            number("mae", world["world_spread"]),
            _centimetres(world["arm_world"]),
            _centimetres(world["object_world"]),
        ),
        (
            "the detectors' own error",
            "",
            "",
            _centimetres(world["arm_detector_error"]),
            _centimetres(world["object_detector_error"]),
        ),
    ]
    return Grid(headings, tuple(lines))


def _centimetres(metres: float | None) -> str:
    return "" if metres is None else f"{100 * metres:.2f}"
