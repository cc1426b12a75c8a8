"""Leaderboards as one self-contained HTML page with tables and figures.

:func:`page` renders boards. The building blocks serve other pages of the package too: :func:`document`, :func:`table`,
:func:`figure` and :func:`svg`.
"""

from __future__ import annotations

import html
import io
import itertools
from collections.abc import Sequence
from typing import Any, Final, Protocol

import numpy as np

from hyperexec_env.checks import printable
from hyperexec_env.evaluation.board import Board, Row
from hyperexec_env.evaluation.rollout import Outcome
from hyperexec_env.evaluation.summary import summary
from hyperexec_env.extras import need
from hyperexec_env.market.account import Components
from hyperexec_env.market.basket_scenario import BasketScenario

__all__ = ["COLOURS", "Sheet", "document", "figure", "page", "plain_label", "svg", "table"]

COLOURS: Final = ("#1f5fa8", "#d9730d", "#2e7d4f", "#8a4fa3", "#7a6a58", "#c2a200", "#3b8ea5", "#c25a7c")
"""Distinguishable colours of series."""
_TRAINED: Final = "#b8322a"
_OPTIMUM: Final = "#222222"
_PARTS: Final = {
    "spread": "#9aa5b1",
    "temporary": "#1f5fa8",
    "transient": "#d9730d",
    "drift": "#2e7d4f",
    "opportunity": "#8a4fa3",
    "risk": "#e3a6a0",
    "permanent": "#ddd2c0",
}
"""Cost components of the figure in stacking order, and their colours."""
_STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; padding-bottom: .3rem; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }
th { border-bottom: 2px solid #bbb; } .overview { font-size: .8rem; } .overview :is(td, th) { padding: .22rem .38rem; }
.board { font-size: .82rem; } .board :is(td, th) { padding: .22rem .45rem; }
.board :is(td, th):nth-child(2), .sheet :is(td, th):first-child { text-align: left; }
.glossary :is(td, th):is(:first-child, :last-child) { text-align: left; }
tr.trained td:nth-child(2) { color: #b8322a; font-weight: 600; } tr.sanity { color: #888; }
tr.optimum { background: #f4f4f4; } tr.optimum td:nth-child(2) { font-weight: 600; }
figure { margin: 1.5rem 0; } figcaption, .caption { color: #555; font-size: .87rem; } svg { max-width: 100%; height: auto; }
.warning { background: #b8322a; color: #fff; padding: .6rem .9rem; border-radius: 4px; font-weight: 600; }
code { background: #f4f4f4; padding: .1rem .3rem; }
"""


class Sheet(Protocol):
    """A board of a kind of scenario that has one table: a child order at the touch, an order over venues."""

    scenario: Any
    rows: Sequence[Any]
    """Rows with `policy`, `sanity` and `training_seed`, in the order of the table."""

    @property
    def warnings(self) -> list[str]:
        """What no sound board shows, one sentence each."""

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return the header and the cells of the table."""

    def notes(self) -> list[str]:
        """Return the lines below the table."""


def page(boards: Sequence[Board | Sheet], command: str) -> str:
    """Return the HTML page of the given boards.

    Args:
        boards: One board for each scenario.
        command: The command that computed the boards, shown on the page.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    need("matplotlib", "plot")
    body = (
        f"<p>Made by <code>{html.escape(command)}</code>. Every policy runs on the same episodes; brackets are 95 % bootstrap "
        "intervals, paired for differences and gaps. Costs are in bps of the arrival notional unless a board names another; "
        "positive is a cost.</p>"
    )
    sections = (_section(board) if isinstance(board, Board) else _sheet(board) for board in boards)
    return document(
        "HyperExec leaderboard",
        body + _overview([board for board in boards if isinstance(board, Board)]) + "".join(sections),
    )


def _overview(boards: Sequence[Board]) -> str:
    """Return the summary table; "" for a single board, or where no board has an optimum."""
    if len(boards) < 2 or all(board.optimum is None for board in boards):
        return ""
    header, cells, caption = summary(boards)
    rows = table(header[1:], [line[1:] for line in cells], "sheet overview")
    return f"<h2>All scenarios</h2>{rows}<p class='caption'>{html.escape(caption)}</p>"


def document(title: str, body: str, head: str = "") -> str:
    """Return a complete HTML document that loads no external resources.

    Args:
        title: Title, plain text.
        body: Content below the title, HTML.
        head: Further content of the head, HTML.
    """
    title = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style>{head}</head><body><h1>{title}</h1>{body}</body></html>\n"
    )


def table(header: Sequence[str], cells: Sequence[Sequence[str]], kind: str = "sheet", classes: Sequence[str] = ()) -> str:
    """Return a table of plain texts as HTML.

    Args:
        header: Names of the columns.
        cells: Texts of each line.
        kind: CSS classes of the table. They name the left-aligned columns: "sheet" the first, "board" the second, "glossary"
            the first and the last. A second class "overview" makes the table narrower.
        classes: CSS class of each line; empty for none.
    """
    head = "".join(f"<th>{html.escape(text)}</th>" for text in header)
    lines = "".join(
        f'<tr class="{name}">' + "".join(f"<td>{html.escape(text)}</td>" for text in line) + "</tr>"
        for name, line in zip(classes or [""] * len(cells), cells, strict=True)
    )
    return f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'


def _section(board: Board) -> str:
    """Return the section of one scenario: warnings, tables and figures."""
    classes = [_css_class(row) for row in board.rows]
    failed = ["sanity"] * len(board.failed)
    warnings = "".join(f'<p class="warning">{html.escape(text)}</p>' for text in board.warnings)
    pictures = _pictures(board) if _figure_rows(board) else []
    findings = "".join(f"<li>{html.escape(text)}.</li>" for text in board.findings)
    figures = "".join(f"<figure>{picture}<figcaption>{text}</figcaption></figure>" for picture, text in pictures)
    return (
        f"<h2>{html.escape(board.scenario.name)}</h2><p>{html.escape(printable(board.scenario.description))}</p>{warnings}"
        f"{table(*board.table(), 'board', [*classes, *failed])}"
        f'<p class="caption">{html.escape(board.caption())}</p><ul>{findings}</ul>'
        f"{table(*board.details(), 'board', classes)}"
        f'<p class="caption">{html.escape(board.details_caption())}</p>{figures}'
    )


def _sheet(board: Sheet) -> str:
    """Return the section of a scenario whose board has one table."""
    rows = ["optimum" if row.policy == "optimum" else _shade(row) for row in board.rows]
    warnings = "".join(f'<p class="warning">{html.escape(text)}</p>' for text in board.warnings)
    notes = "".join(f'<p class="caption">{html.escape(text)}</p>' for text in board.notes())
    description = html.escape(printable(board.scenario.description))
    title = f"<h2>{html.escape(board.scenario.name)}</h2><p>{description}</p>{warnings}"
    return f"{title}{table(*board.table(), 'board', rows)}{notes}"


def _pictures(board: Board) -> list[tuple[str, str]]:
    """Return the figures of a board with their captions."""
    return [
        _distributions(board),
        (_inventories(board), "Mean remaining fraction of the order, by the regime of the first slice."),
        (_components(board), "Mean cost by component, with the risk term. Timing has mean zero and is not shown."),
    ]


def _css_class(row: Row) -> str:
    return "optimum" if row.optimum else _shade(row)


def _shade(row: Any) -> str:
    """Return the CSS class of a row that is not the optimum's."""
    return "sanity" if row.sanity else "trained" if row.training_seed is not None else ""


def _figure_rows(board: Board) -> list[tuple[Row, Outcome, str]]:
    """Return the rows of the figures with outcomes and colours: all but sanity policies; trained policies share a colour."""
    colours = itertools.cycle(COLOURS)
    return [
        (row, outcome, _OPTIMUM if row.optimum else _TRAINED if row.training_seed is not None else next(colours))
        for row, outcome in zip(board.rows, board.outcomes, strict=True)
        if not row.sanity
    ]


def _distributions(board: Board) -> tuple[str, str]:
    """Return the figure of the cost distribution and its caption; no figure where the board stores group means only."""
    stored = len(board.outcomes[0].forced)
    if stored < board.episodes:
        groups = f"only the means of {stored:,} groups of the {board.episodes:,} episodes are stored"
        return "", f"The cost of an episode is not drawn: {groups}."
    return _box_plots(board), "Cost of an episode. Box: quartiles; whiskers: 5 % and 95 %; line: median; dot: mean."


def _box_plots(board: Board) -> str:
    """Draw the distributions of the realised shortfall and of the objective over episodes."""
    shown = _figure_rows(board)
    drawing, axes = figure(1, 2, 10.5, 0.9 + 0.34 * len(shown))
    for axis, key, title in zip(
        axes, ("shortfall", "objective"), ("implementation shortfall (realised)", "objective J"), strict=True
    ):
        for place, (_, outcome, colour) in enumerate(shown):
            values = getattr(outcome.statement, key)
            low, first, median, third, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
            axis.plot([low, high], [place, place], color=colour, linewidth=1)
            axis.barh(place, third - first, left=first, height=0.5, color=colour, alpha=0.35, edgecolor=colour)
            axis.plot([median, median], [place - 0.25, place + 0.25], color=colour, linewidth=2)
            axis.plot(values.mean(), place, "o", color=colour, markersize=4)
        axis.set(title=title, xlabel="bps of the arrival notional", yticks=range(len(shown)))
        axis.set_yticklabels([plain_label(row.label) for row, _, _ in shown] if axis is axes[0] else [])
        axis.invert_yaxis()
        axis.grid(axis="x", color="#eee")
    return svg(drawing)


def _inventories(board: Board) -> str:
    """Draw the mean inventory against time, one panel for each start regime."""
    scenario, shown = board.scenario, _figure_rows(board)
    counts, named = shown[0][1].inventory[:, 0], dict[str, Any]()
    panels = [index for index in range(len(counts)) if counts[index] > 0.0]
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    drawing, axes = figure(rows, columns, 10.5 if columns > 1 else 6.0, 0.9 + 2.3 * rows)
    asset = scenario.assets[0] if isinstance(scenario, BasketScenario) else scenario
    minutes = asset.horizon_minutes * np.arange(scenario.slices + 1) / scenario.slices
    for panel, axis in enumerate(axes):
        axis.set_visible(panel < len(panels))
        if panel >= len(panels):
            continue
        index = panels[panel]
        for row, outcome, colour in reversed(shown):
            trained = row.training_seed is not None
            share = 100.0 * outcome.inventory[index] / counts[index]
            (line,) = axis.plot(minutes, share, color=colour, linewidth=2.0 if trained else 1.2, alpha=0.9)
            named.setdefault(plain_label(row.policy), line)
        axis.set(title=f"{scenario.regimes.names[index]} ({counts[index]:,.0f} episodes)", ylim=(-2, 102))
        axis.grid(color="#eee")
        if panel % columns == 0:
            axis.set_ylabel("remaining [%]")
        if panel + columns >= len(panels):
            axis.set_xlabel("minutes since the start")
    drawing.legend(list(named.values())[::-1], list(named)[::-1], loc="outside lower center", ncols=8, frameon=False)
    return svg(drawing)


def _components(board: Board) -> str:
    """Draw the mean cost by component, with the risk term, as stacked bars."""
    shown = _figure_rows(board)
    drawing, (axis,) = figure(1, 1, 10.5, 1.3 + 0.34 * len(shown))
    above, below = np.zeros(len(shown)), np.zeros(len(shown))
    for part, colour in _part_colours().items():
        values = np.array([row.risk_bps if part == "risk" else row.components_bps[part] for row, _, _ in shown])
        if np.abs(values).max() < 1e-3:
            continue
        left = np.where(values >= 0.0, above, below)
        axis.barh(range(len(shown)), values, left=left, height=0.62, color=colour, label=part)
        above, below = above + np.maximum(values, 0.0), below + np.minimum(values, 0.0)
    axis.set(xlabel="bps of the arrival notional", yticks=range(len(shown)))
    axis.set_yticklabels([plain_label(row.label) for row, _, _ in shown])
    axis.invert_yaxis()
    axis.grid(axis="x", color="#eee")
    axis.set_axisbelow(True)
    drawing.legend(loc="outside lower center", ncols=7, frameon=False)
    return svg(drawing)


def _part_colours() -> dict[str, str]:
    """Return the colours of the components in the figure; a component that :data:`_PARTS` lacks takes a spare colour."""
    others = [name for name in Components._fields if name not in (*_PARTS, "timing")]
    return _PARTS | dict(zip(others, itertools.cycle(COLOURS[4:]), strict=False))


def plain_label(text: str) -> str:
    """Return a text that matplotlib shows as it is: neither as a formula ($), nor hidden from the legend (a leading _)."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def figure(rows: int, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """Return a figure that needs no display, and its axes in reading order; width and height are in inches."""
    drawing = need("matplotlib.figure", "plot").Figure(figsize=(width, height), layout="constrained")
    axes = list(drawing.subplots(rows, columns, squeeze=False, sharey=rows * columns > 2).flat)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    return drawing, axes


def svg(drawing: Any) -> str:
    """Return a figure as inline SVG; equal figures yield equal bytes."""
    target = io.StringIO()
    with need("matplotlib", "plot").rc_context({"svg.hashsalt": "hyperexec", "svg.fonttype": "path"}):
        drawing.savefig(target, format="svg", metadata={"Date": None})
    text = target.getvalue()
    return text[text.index("<svg") :]
