"""The costs of a blotter as a self-contained HTML page: outliers first, then distributions by group, then definitions."""

from __future__ import annotations

import html
from typing import Any, Final

import numpy as np

from hyperexec_env.evaluation.page import COLOURS, document, figure, svg, table
from hyperexec_env.extras import need

from .blotter_report import GROUPS, BlotterReport
from .order_costs import HORIZONS, MEASURES
from .venue_costs import venue_table

__all__ = ["blotter_page"]

MOST_ROWS: Final = 40
"""Largest number of rows of a table."""
MOST_KEYS: Final = 12
"""Largest number of groups in a figure, those with the largest notional."""
BLUE, ORANGE, GREEN, GREY = COLOURS[0], COLOURS[1], COLOURS[2], "#8a8a8a"


def blotter_page(report: BlotterReport, command: str = "") -> str:
    """Return the HTML page of a report.

    Args:
        report: The report.
        command: Command line shown on the page as the source of the report; empty: none.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    need("matplotlib", "plot")
    made = f"Made by <code>{html.escape(command)}</code>. " if command else ""
    warnings = "".join(f'<p class="warning">{html.escape(text)}</p>' for text in report.remarks if text.startswith("WARNING"))
    body = (
        f"<p>{html.escape(report.headline)}.</p>{warnings}"
        + _outliers(report)
        + "<h2>Costs</h2>"
        + _figure(
            _costs(report),
            "Left: cost of the orders against each benchmark; right: price paid against the mid after the "
            "fills (markout), and return of the mid after the last fill (reversion). Means are weighted by notional; bars: two "
            "standard errors.",
        )
        + _means(report)
        + "".join(_group(report, group) for group in GROUPS if len(set(report.keys(group))) > 1)
        + _venues(report)
        + _definitions()
        + "<h2>Data and assumptions</h2><ul>"
        + "".join(f"<li>{html.escape(text)}</li>" for text in report.remarks)
        + f"</ul><p class='caption'>{made}Positive numbers are costs, for buys and sells. Means are weighted by paper "
        "notional, ± one standard error.</p>"
    )
    return document("Cost of the orders of a blotter", body)


def _figure(picture: str, caption: str) -> str:
    return f"<figure>{picture}<figcaption>{html.escape(caption)}</figcaption></figure>"


def _outliers(report: BlotterReport) -> str:
    """Return the table of the orders with a flag."""
    header, rows = report.outlier_table()
    if not rows:
        return "<h2>Outliers</h2><p>No order is unusual.</p>"
    more = (
        f'<p class="caption">The first {MOST_ROWS} of {len(rows):,}; the table of orders has all.</p>'
        if len(rows) > MOST_ROWS
        else ""
    )
    return f"<h2>Outliers: {len(rows):,} of {len(report):,} orders</h2>{table(header, rows[:MOST_ROWS], 'glossary')}{more}"


def _means(report: BlotterReport) -> str:
    """Return the table of means of all measures."""
    rows = []
    for name, measure in MEASURES.items():
        found = report.mean(name)
        if found.orders:
            rows.append([name, str(found), measure.unit, f"{found.orders:,}"])
    return table(["measure", "mean", "unit", "orders"], rows)


def _venues(report: BlotterReport) -> str:
    """Return the table by venue; empty if the blotter has no venues."""
    header, rows = venue_table(report.venues)
    note = "Means over the executions, weighted by notional, bps; fees in bps of the notional."
    return f"<h2>By venue</h2>{table(header, rows[:MOST_ROWS])}<p class='caption'>{note}</p>" if rows else ""


def _definitions() -> str:
    """Return the definitions of the measures as a list."""
    intro = (
        "s is 1 for a buy and -1 for a sale, q and p are shares and price of a fill at the time t, F the filled shares, X the "
        "size of the order (F where it is unknown), t0 the arrival, T the last fill and m(t) the mid."
    )
    items = "".join(f"<li><b>{name}</b> {html.escape(measure.text)}</li>" for name, measure in MEASURES.items())
    return f"<h2>Definitions</h2><p>{intro}</p><ul>{items}</ul>"


def _group(report: BlotterReport, group: str) -> str:
    """Return figure and table of the means by a group."""
    header, rows = report.group_table(group)
    shown = rows[:MOST_ROWS]
    more = f'<p class="caption">The first {MOST_ROWS} of {len(rows):,}.</p>' if len(rows) > MOST_ROWS else ""
    picture = _figure(
        _distribution(report, group),
        "Shortfall of each order. Box: quartiles; whiskers: 5 % and 95 %; line: median; dot: mean weighted by notional, with "
        "two standard errors. A group of less than 8 orders shows each of them.",
    )
    return f"<h2>By {html.escape(group)}</h2>{picture}{table(header, shown)}{more}"


def _distribution(report: BlotterReport, group: str) -> str:
    """Draw the distribution of the shortfall by a group."""
    keys, cost = np.array(report.keys(group)), report.values["shortfall_bps"]
    names = sorted(set(keys.tolist()), key=lambda key: -np.nansum(report.notional[keys == key]))[:MOST_KEYS]
    names = sorted(names) if group == "time of day" else names
    drawing, (axis,) = figure(1, 1, 10.5, 1.1 + 0.34 * len(names))
    for at, key in enumerate(names):
        chosen = keys == key
        values = cost[chosen & np.isfinite(cost)]
        if len(values) >= 8:
            low, first, middle, third, high = np.percentile(values, (5, 25, 50, 75, 95))
            axis.hlines(at, low, high, color=GREY, linewidth=1.0)
            axis.barh([at], [third - first], left=[first], height=0.55, color="#dfe8f3", edgecolor=GREY, linewidth=0.8)
            axis.vlines(middle, at - 0.27, at + 0.27, color="#444", linewidth=1.2)
        else:
            axis.plot(values, np.full(len(values), at), linestyle="", marker="|", markersize=11, color=GREY)
        found = report.mean("shortfall_bps", chosen)
        error = 2.0 * found.error if np.isfinite(found.error) else 0.0
        axis.errorbar([found.mean], [at], xerr=[error], fmt="o", color=BLUE, markersize=5, capsize=3, zorder=3)
    axis.axvline(0.0, color="#444", linewidth=0.8)
    axis.set(yticks=range(len(names)), xlabel="shortfall, bps (positive is a cost)", ylim=(len(names) - 0.4, -0.6))
    axis.set_yticklabels([f"{key[:30]} ({int((keys == key).sum()):,})".replace("$", r"\$") for key in names])
    axis.grid(axis="x", color="#eee")
    axis.set_axisbelow(True)
    return svg(drawing)


def _costs(report: BlotterReport) -> str:
    """Draw the mean costs against the benchmarks, and markout and reversion by horizon."""
    drawing, (left, right) = figure(1, 2, 10.5, 3.6)
    names = [
        name
        for name in ("shortfall_bps", "vwap_bps", "twap_bps", "close_bps", "pwp5_bps", "pwp10_bps", "pwp20_bps")
        if report.mean(name).orders
    ]
    names += [name for name in ("effective_spread_bps", "realised_spread_bps", "fees_bps") if report.mean(name).orders]
    means = [report.mean(name) for name in names]
    left.barh(
        range(len(names)),
        [item.mean for item in means],
        xerr=[2.0 * np.nan_to_num(item.error) for item in means],
        height=0.6,
        color=BLUE,
        ecolor="#444",
        capsize=3,
    )
    left.set(yticks=range(len(names)), xlabel="bps")
    left.set_yticklabels([name[:-4].replace("_", " ") for name in names])
    left.invert_yaxis()
    left.axvline(0.0, color="#444", linewidth=0.8)
    _horizons(report, right)
    for axis in (left, right):
        axis.grid(color="#eee")
        axis.set_axisbelow(True)
    return svg(drawing)


def _horizons(report: BlotterReport, axis: Any) -> None:
    """Draw markout and reversion by horizon."""
    known = [item.name for item in HORIZONS if report.mean(f"markout_{item.name}_bps").orders]
    for prefix, colour in (("markout", BLUE), ("reversion", ORANGE)):
        means = [report.mean(f"{prefix}_{name}_bps") for name in known]
        errors = [2.0 * np.nan_to_num(item.error) for item in means]
        axis.errorbar(
            range(len(known)), [item.mean for item in means], yerr=errors, color=colour, marker="o", capsize=3, label=prefix
        )
    axis.axhline(0.0, color="#444", linewidth=0.8)
    axis.set(xticks=range(len(known)), xlabel="after the fill", ylabel="bps")
    axis.set_xticklabels(known)
    if known:
        axis.legend(frameon=False, fontsize=9)
