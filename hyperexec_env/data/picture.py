"""The picture of data: price, volume by session and minute, and the mean volume curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hyperexec_env.extras import need
from hyperexec_env.files import check_figure, write_figure

from .inspection import Inspection

__all__ = ["draw_data"]


def draw_data(found: Inspection, path: str) -> None:
    """Draw the price of each session, the volume by session and minute, and the mean volume curve, to a png, svg or pdf file.

    Args:
        found: The inspection.
        path: The file.

    Raises:
        ValueError: The end of the name is none of these, or the file cannot be written.
        MissingExtra: matplotlib is not installed.
    """
    check_figure(path)
    figure = need("matplotlib.figure", "plot").Figure(figsize=(11, 8), layout="constrained")
    if found.sessions is None:
        _draw_lines(found, figure)
    else:
        _draw_sessions(found, figure)
    write_figure(figure, path)


def _draw_lines(found: Inspection, figure: Any) -> None:
    """Draw the price of each session alone (quotes, and data that cannot be used)."""
    axes = figure.subplots()
    at = np.arange(len(found.lines))
    axes.vlines(at, [line.low for line in found.lines], [line.high for line in found.lines], color="#9aa7b5", lw=3)
    axes.plot(at, [line.close for line in found.lines], "o-", color="#1f5f99", ms=3, lw=1)
    _date_ticks(axes, [line.date for line in found.lines])
    axes.set_ylabel("price")
    axes.set_title(found.fault or f"{found.kind}: low to high, and last price of each session", fontsize=9, wrap=True)


def _draw_sessions(found: Inspection, figure: Any) -> None:
    """Draw price, volume by session and minute, and the volume curve."""
    sessions = found.sessions
    if sessions is None:
        return
    top, middle, bottom = figure.subplots(3, 1, height_ratios=(3, 4, 2))
    days, bars = sessions.close.shape
    top.plot(np.arange(days * bars) / bars, sessions.close.ravel(), color="#1f5f99", lw=0.7)
    top.set_xlim(0, days)
    _date_ticks(top, list(sessions.dates))
    top.set_ylabel("price")
    report = sessions.report
    name = found.table.symbol or Path(report.files[0]).name
    top.set_title(f"{name}: {report.used} sessions used, {len(report.left_out)} left out", fontsize=10)
    usual = np.median(sessions.volume[sessions.volume > 0.0]) if (sessions.volume > 0.0).any() else 1.0
    shown = np.log10(np.maximum(sessions.volume, 1e-3 * usual) / usual)
    extent = (0.0, float(sessions.day_minutes), float(days), 0.0)
    image = middle.imshow(shown, aspect="auto", cmap="viridis", vmin=-1.5, vmax=1.5, extent=extent, interpolation="nearest")
    figure.colorbar(image, ax=middle, label="volume of a bar over the median, log10")
    middle.set_ylabel("session")
    ticks = np.linspace(0, days - 1, min(days, 8)).astype(int)
    middle.set_yticks(ticks + 0.5, [sessions.dates[tick] for tick in ticks], fontsize=7)
    share = sessions.volume / np.maximum(sessions.volume.sum(axis=1, keepdims=True), 1e-300)
    bottom.stairs(100.0 * share.mean(axis=0), sessions.edges, color="#1f5f99", fill=True, alpha=0.6)
    bottom.set_xlim(0.0, sessions.day_minutes)
    bottom.set_ylabel("% of the day")
    bottom.set_xlabel(f"minutes from the open, {sessions.calendar.clock(sessions.hours[0].open)} {sessions.calendar.zone}")


def _date_ticks(axes: Any, dates: list[str]) -> None:
    """Label some of the sessions by their dates."""
    ticks = np.linspace(0, len(dates) - 1, min(len(dates), 8)).astype(int) if dates else np.zeros(0, int)
    axes.set_xticks(ticks, [dates[tick] for tick in ticks], fontsize=7)
