"""Figure of a stealth study: detection, tracking cost, leakage and price of stealth against the hiding factor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperexec_env.evaluation.page import COLOURS, plain_label
from hyperexec_env.evaluation.plotting import picture_of
from hyperexec_env.extras import need

if TYPE_CHECKING:
    from .stealth import Estimate, Row, Study

__all__ = ["picture"]


def _draw(found: Study) -> Any:
    """Draw AUC and tracking cost in the first column, then leakage and price of stealth with one row per case."""
    figure = need("matplotlib.figure", "plot").Figure(figsize=(13.0, 8.2), layout="constrained")
    axes = figure.subplots(2, 3)
    predator, liquidity = f"predator {found.predator:g}", f"liquidity {found.liquidity:g}"
    bps = "bps of the arrival notional"
    panels: tuple[tuple[str, str, Callable[[Row], Estimate]], ...] = (
        ("Detection", "AUC of the detector", lambda row: row.auc),
        (f"Leakage, {predator}", bps, lambda row: row.predator.leakage),
        (f"Leakage + tracking cost, {predator}", bps, lambda row: row.predator.price),
        ("Tracking cost: deviation from the plan", bps, lambda row: row.tracking_cost),
        (f"Leakage, {liquidity}", bps, lambda row: row.liquidity.leakage),
        (f"Leakage + tracking cost, {liquidity}", bps, lambda row: row.liquidity.price),
    )
    for axis, (title, label, value) in zip(axes.flat, panels, strict=True):
        for place, algorithm in enumerate(found.algorithms):
            rows = [row for row in found.rows if row.algorithm == algorithm]
            _curve(axis, rows, [value(row) for row in rows], place, algorithm)
        axis.set_title(title, fontsize=11)
        axis.set(xlabel="hiding factor", ylabel=label)
        axis.axhline(0.0 if label == bps else 0.5, color="#888", linewidth=1, linestyle=":")
        axis.grid(color="#eee")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0, 0].annotate("chance", (0.0, 0.5), xytext=(0, -11), textcoords="offset points", fontsize=9, color="#666")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    figure.suptitle(
        f"{plain_label(found.scenario.name)}: value of hiding ({found.episodes:,} episodes, 95 % intervals)", fontsize=12
    )
    return figure


def _curve(axis: Any, rows: list[Row], estimates: list[Estimate], place: int, label: str) -> None:
    """Draw the curve of one algorithm, shifted sideways so that coinciding curves remain visible."""
    middle = np.array([estimate.value for estimate in estimates])
    below, above = (np.array([getattr(estimate, end) for estimate in estimates]) for end in ("low", "high"))
    axis.errorbar(
        [row.factor + 0.012 * (place - 2.5) for row in rows],
        middle,
        np.maximum([middle - below, above - middle], 0.0),
        color=COLOURS[place % len(COLOURS)],
        marker="o",
        markersize=3.5,
        linewidth=1.4,
        elinewidth=1.0,
        label=label,
    )


def picture(found: Study, path: str) -> bytes:
    """Return the figure as the bytes of a file; see :func:`~hyperexec_env.evaluation.plotting.picture_of`."""
    return picture_of(_draw(found), path)
