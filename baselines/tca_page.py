"""The TCA report as a self-contained HTML page: tables, inventory and price charts, and a cost waterfall."""

from __future__ import annotations

import html
from typing import Any, Final

import numpy as np

from hyperexec_env.evaluation.page import COLOURS, document, figure, svg, table
from hyperexec_env.execution.report import MEANINGS, ExecutionReport, format_or_unknown
from hyperexec_env.execution.venue_report import VENUE_NOTES, venue_rows
from hyperexec_env.extras import need

__all__ = ["page"]

MAX_ROWS: Final = 50
"""Maximum number of fills in the table."""
MAX_DOTS: Final = 1000
"""Maximum number of dots in the price chart; beyond it, neighbouring fills are merged into one dot."""
BLUE, ORANGE, GREEN, GREY = COLOURS[0], COLOURS[1], COLOURS[2], "#8a8a8a"


def page(report: ExecutionReport, command: str = "") -> str:
    """Return the HTML page of a report.

    Args:
        report: The report.
        command: Command line shown on the page as the source of the report; empty: none.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    need("matplotlib", "plot")
    span = f"{report.date} {report.when(report.start)} to {report.when(report.end)}".strip()
    made = f"Made by <code>{html.escape(command)}</code>. " if command else ""
    pictures = (
        (_order(report), _order_caption(report)),
        (_costs(report), "Cost by component, bps of the paper notional: each bar starts at the end of the bar above."),
    )
    warnings = "".join(f'<p class="warning">{html.escape(text)}</p>' for text in report.remarks if text.startswith("WARNING"))
    body = (
        f"<p>{html.escape(report.headline)}; {html.escape(span)}.</p>{warnings}"
        + "".join(f"<figure>{picture}<figcaption>{html.escape(text)}</figcaption></figure>" for picture, text in pictures)
        + _tables(report)
        + f'<p class="caption">{made}Positive numbers are costs, for buys and sells.</p>'
    )
    return document(f"{report.parent.symbol}: cost of the order", body)


def _tables(report: ExecutionReport) -> str:
    """Return the tables of the report."""
    costs = [[name, f"{bps:,.2f}", f"{cash:,.2f}", MEANINGS.get(name, "")] for name, bps, cash in report.cost_table]
    prices = [
        [name, format_or_unknown(price, "{:,.4f}"), format_or_unknown(bps, "{:+,.2f}")]
        for name, price, bps in report.benchmark_table
    ]
    remarks = "".join(f"<li>{html.escape(text)}</li>" for text in report.remarks)
    return (
        "<h2>Cost by component</h2>"
        + table(["component", "bps", "currency", "meaning"], costs, "glossary")
        + "<h2>Average fill against benchmarks</h2>"
        + table(["benchmark", "price", "bps"], prices)
        + "<h2>Execution</h2>"
        + table(["", "value"], [list(pair) for pair in report.measures])
        + _venues(report)
        + f"<h2>Data and assumptions</h2><ul>{remarks}</ul><h2>Fills</h2>"
        + _fills(report)
    )


def _venues(report: ExecutionReport) -> str:
    """Return the table by venue; empty without venues."""
    header, cells = venue_rows(report)
    caption = f'<p class="caption">{html.escape(" ".join(VENUE_NOTES))}</p>'
    return f"<h2>Venues</h2>{table(header, cells)}{caption}" if cells else ""


def _fills(report: ExecutionReport) -> str:
    """Return the table of the first fills."""
    shown = report.fills[:MAX_ROWS]
    mids = [report.mid_at(fill.time) if fill.mid is None else fill.mid for fill in shown]
    cells = [
        [
            report.when(fill.time),
            f"{fill.quantity:,}",
            f"{fill.price:,.4f}",
            f"{mid:,.4f}",
            f"{1e4 * report.parent.side * (fill.price - mid) / mid:+,.2f}",
        ]
        for fill, mid in zip(shown, mids, strict=True)
    ]
    rest = len(report.fills) - len(shown)
    more = f'<p class="caption">The first {len(shown)} of {len(report.fills):,} fills; the JSON has all.</p>' if rest else ""
    return table(["time", "shares", "price", "mid before", "against mid [bps]"], cells) + more


def _order_caption(report: ExecutionReport) -> str:
    merged = " Neighbouring fills are merged." if len(report.fills) > MAX_DOTS else ""
    return (
        "Top: remaining shares of the order and of the plan. Bottom: fills on the market price; the area of a dot is "
        f"proportional to its shares.{merged}"
    )


def _order(report: ExecutionReport) -> str:
    """Draw the inventory against the plan, and the fills on the price; return the SVG."""
    drawing, (above, below) = figure(2, 1, 10.5, 6.6)
    first = min([report.start, *(mark.time for mark in report.marks[:1])])
    last = max([report.end, *(time for time, _ in report.plan[-1:])])
    _inventory(report, above, first, last)
    _prices(report, below)
    for axis in (above, below):
        axis.set_xlim(first, last if last > first else first + 1.0)
        _time_axis(report, axis, last - first)
        axis.grid(color="#eee")
        axis.set_axisbelow(True)
        if report.start > first:
            axis.axvline(report.start, color="#444", linewidth=0.8, linestyle=":", label="start")
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
    return svg(drawing)


def _inventory(report: ExecutionReport, axis: Any, first: float, last: float) -> None:
    """Draw the remaining shares in percent of the order."""
    total = report.parent.quantity
    if report.plan:
        times, sums = np.array(report.plan).T
        before, style = (sums[0], "default") if report.plan_is_continuous else (0.0, "steps-post")
        axis.plot(
            [first, *times, last],
            100.0 - 100.0 * np.array([before, *sums, sums[-1]]) / total,
            color=GREY,
            linewidth=1.2,
            linestyle="--",
            drawstyle=style,
            label="plan",
        )
    done = np.cumsum([0, *(fill.quantity for fill in report.fills), 0])
    times = [first, *(fill.time for fill in report.fills), report.end]
    axis.plot(times, 100.0 - 100.0 * done / total, color=BLUE, linewidth=1.8, drawstyle="steps-post", label="order")
    axis.set(ylabel="remaining [%]", ylim=(-3.0, 103.0), title="inventory")


def _prices(report: ExecutionReport, axis: Any) -> None:
    """Draw mid, arrival price, market VWAP and average fill as lines, and the fills as dots."""
    if report.marks:
        axis.plot(*zip(*((mark.time, mark.mid) for mark in report.marks), strict=True), color=GREY, linewidth=1.0, label="mid")
    axis.axhline(report.parent.arrival_price, color=ORANGE, linewidth=1.0, linestyle="--", label="arrival price")
    if report.vwap == report.vwap:
        axis.axhline(report.vwap, color=GREEN, linewidth=1.0, linestyle=":", label="interval VWAP")
    times, shares, prices = _dots(report)
    if len(times):
        axis.scatter(
            times, prices, s=120.0 * shares / shares.max(), color=BLUE, alpha=0.5, linewidths=0, label="fills", zorder=3
        )
        axis.axhline(report.average_price, color=BLUE, linewidth=1.0, label="average fill")
    axis.ticklabel_format(axis="y", useOffset=False)
    axis.set(ylabel="price", title="fills on the price")


def _dots(report: ExecutionReport) -> tuple[Any, Any, Any]:
    """Return the volume-weighted time, the shares and the volume-weighted price of each dot."""
    values = np.array([fill[:3] for fill in report.fills], dtype=float).reshape(-1, 3)
    groups = np.array_split(values, min(len(values), MAX_DOTS)) if len(values) else []
    shares = np.array([group[:, 1].sum() for group in groups])
    times, prices = (np.array([group[:, 1] @ group[:, column] for group in groups]) / shares for column in (0, 2))
    return times, shares, prices


def _time_axis(report: ExecutionReport, axis: Any, span: float) -> None:
    """Label the time axis with times of day."""
    ticker = need("matplotlib.ticker", "plot")
    steps = (1, 5, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 14400, 43200)
    axis.xaxis.set_major_locator(ticker.MultipleLocator(next((step for step in steps if span / step <= 9.0), span / 8.0)))
    axis.xaxis.set_major_formatter(ticker.FuncFormatter(lambda time, _: report.when(time)[: 5 if span >= 600.0 else None]))


def _costs(report: ExecutionReport) -> str:
    """Draw the components as a waterfall that ends at the shortfall; return the SVG."""
    parts = report.decomposition._asdict()
    values = np.array([*parts.values(), report.shortfall])
    starts = np.array([0.0, *np.cumsum(values[:-2]), 0.0])
    colours = ["#b8322a" if value > 0.0 else GREEN for value in values[:-1]] + [BLUE]
    drawing, (axis,) = figure(1, 1, 10.5, 3.4)
    axis.barh(range(len(values)), values, left=starts, height=0.62, color=colours)
    edges = np.concatenate([starts, starts + values])
    margin = 0.02 * (edges.max() - edges.min()) or 1.0
    for place, (start, value) in enumerate(zip(starts, values, strict=True)):
        axis.text(max(start, start + value) + margin, place, f"{value:+,.2f}", va="center", fontsize=9)
    axis.axvline(0.0, color="#444", linewidth=0.8)
    axis.set(
        yticks=range(len(values)), xlabel="bps of the paper notional", xlim=(edges.min() - margin, edges.max() + 6.0 * margin)
    )
    axis.set_yticklabels([*parts, "shortfall"])
    axis.invert_yaxis()
    axis.grid(axis="x", color="#eee")
    axis.set_axisbelow(True)
    return svg(drawing)
