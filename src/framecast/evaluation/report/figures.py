"""The report's curves, as SVG text.

Backgrounds are transparent and lines are of middle brightness, so that a figure reads on light
and on dark paper.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#7d838c"
COLOURS = {
    "model": "#2f7fd1",
    "best": "#2a9d76",
    "worst": "#d9483b",
    "average": "#7a5cc4",
    "prior_mean": "#7a5cc4",
    "twin": "#c2559d",
    "shipped": "#2a9d76",
    "world": "#b08a1e",
    "copy_last": "#8a8f98",
    "linear_motion": "#8a8f98",
    "shuffled_actions": "#d9822b",
    "zero_actions": "#d9822b",
    "training": "#2f7fd1",
    "validation": "#d9483b",
    "kl": "#7a5cc4",
    "weight": "#2a9d76",
}
BASELINES = ("copy_last", "linear_motion", "zero_actions")
STYLE: Any = {
    "font.size": 10,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.2,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "framecast",
}


def training_curves(rows: list[dict[str, str]]) -> str:
    """Loss, KL and PSNR over the steps and, on the same axis, the annealed weights."""
    panels = (
        ("mean squared error", (("mse", "training"),), "log"),
        ("KL (nats a frame)", (("kl", "kl"),), "linear"),
        ("PSNR (dB)", (("psnr", "training"), ("validation_psnr", "validation")), "linear"),
        ("teacher forcing ratio", (("teacher_forcing", "weight"),), "linear"),
        ("KL weight", (("beta", "weight"),), "linear"),
    )
    labels = {"psnr": "next frame, true frames fed", "validation_psnr": "validation rollouts"}
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 9.5), layout="constrained")
        axes = figure.subplots(
            len(panels), sharex=True, gridspec_kw={"height_ratios": [2, 2, 2, 1, 1]}
        )
        for axis, (title, lines, scale) in zip(axes, panels, strict=True):
            for column, colour in lines:
                steps, values = _column(rows, column)
                marker = "o" if column == "validation_psnr" else None
                axis.plot(
                    steps,
                    values,
                    color=COLOURS[colour],
                    label=labels.get(column),
                    marker=marker,
                    markersize=3,
                    linewidth=1.4,
                )
            axis.set_title(title, loc="left", fontsize=10)
            axis.set_yscale(scale)
            if len(lines) > 1:
                axis.legend(loc="lower right")
        axes[-2].set_ylim(-0.05, 1.05)
        axes[-1].set_ylim(bottom=0)
        axes[-1].ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
        axes[-1].set_xlabel("step")
        return _svg(figure)


def scores_per_step(scores: dict[str, dict[str, Any]], labels: dict[str, str]) -> str:
    """PSNR and SSIM against the predicted step, a line a row of the table."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 4), layout="constrained")
        for axis, (metric, title) in zip(
            figure.subplots(1, 2), (("psnr", "PSNR (dB)"), ("ssim", "SSIM")), strict=True
        ):
            for row, score in scores.items():
                _line(axis, score[f"{metric}_per_step"], row, labels[row])
            axis.set_title(title, loc="left", fontsize=10)
            axis.set_xlabel("predicted frame")
        figure.legend(
            *figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4
        )
        return _svg(figure)


def over_samples(curves: dict[str, list[float]]) -> str:
    """The mean best of k samples against k, each metric by itself."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3), layout="constrained")
        for axis, (metric, title) in zip(
            figure.subplots(1, 2), (("psnr", "PSNR (dB)"), ("ssim", "SSIM")), strict=True
        ):
            best = curves[metric]
            axis.plot(range(1, len(best) + 1), best, color=COLOURS["best"], linewidth=1.6)
            axis.set_title(f"{title}, best of k", loc="left", fontsize=10)
            axis.set_xlabel("k, samples a clip")
        return _svg(figure)


def calibration(measured: dict[str, Any]) -> str:
    """Rank histograms, which are flat for a model that knows its uncertainty, and coverage."""
    with rc_context(STYLE):
        figure = Figure(figsize=(8, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
        for region, row in (("all", "copy_last"), ("expected_motion", "model")):
            shares = measured["rank_histogram"][region]
            label = region.replace("_", " ")
            if shares:
                ranks = range(len(shares))
                left.step(ranks, shares, where="mid", color=COLOURS[row], label=f"{label} pixels")
            covered = measured["coverage"][region]
            levels = [entry["nominal"] for entry in covered]
            values = [entry["covered"] for entry in covered]
            right.plot(levels, values, "o-", color=COLOURS[row], label=f"{label} pixels")
        left.axhline(1 / (measured["num_samples"] + 1), color=INK, linestyle=":", linewidth=1)
        left.set_ylim(bottom=0)
        left.set_title("share of true pixels at each rank", loc="left", fontsize=10)
        left.set_xlabel("samples below the truth")
        right.plot([0, 1], [0, 1], ":", color=INK, linewidth=1)
        right.set_title("intervals that hold the truth", loc="left", fontsize=10)
        right.set_xlabel("should hold it")
        left.legend()
        return _svg(figure)


def runs_per_step(curves: dict[str, list[float]], title: str) -> str:
    """A metric of several runs against the predicted step."""
    with rc_context(STYLE):
        figure = Figure(figsize=(6, 3.4), layout="constrained")
        axis = figure.subplots()
        colours = [colour for row, colour in COLOURS.items() if row not in BASELINES]
        for index, (name, values) in enumerate(curves.items()):
            colour = colours[index % len(colours)]
            axis.plot(range(1, len(values) + 1), values, "o-", color=colour, label=name, ms=3)
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_xlabel("predicted frame")
        axis.legend()
        return _svg(figure)


def _line(axis: Axes, values: Sequence[float], row: str, label: str) -> None:
    style = "--" if row == "copy_last" else ":" if row in BASELINES else "-"
    steps = range(1, len(values) + 1)
    axis.plot(steps, values, style, color=COLOURS[row], label=label, marker="o", markersize=3)


def _column(rows: list[dict[str, str]], column: str) -> tuple[list[int], list[float]]:
    measured = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
    return [step for step, _ in measured], [value for _, value in measured]


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
