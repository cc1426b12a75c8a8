"""Pages of a leaderboard site: one sortable table of all boards, and a page for each scenario. Everything is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
import shlex
from collections.abc import Sequence
from typing import Final

from hyperexec_env.checks import printable
from hyperexec_env.evaluation.board import Row
from hyperexec_env.evaluation.calibration_error import CalibrationRow
from hyperexec_env.evaluation.page import document, table
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.provenance import described_sources
from hyperexec_env.market.scenarios import AnyScenario
from hyperexec_env.sharing.site_content import Posted, scenarios_of

__all__ = ["index_page", "safe_head", "scenario_page", "text"]

_SCRIPT: Final = """
const table = document.querySelector("table.ranking"), body = table.tBodies[0];
const heads = [...table.querySelectorAll("th")];
function key(row, column) {
  const value = row.cells[column].dataset.v, number = parseFloat(value);
  return value === "" ? null : isNaN(number) ? value.toLowerCase() : number;
}
function sort(column, down) {
  const rows = [...body.rows].map((row, place) => [key(row, column), place, row]);
  rows.sort(([a, i], [b, j]) => {
    if (a === null || b === null) return (a === null) - (b === null) || i - j;
    const order = typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
    return (down ? -order : order) || i - j;
  });
  rows.forEach(([, , row]) => body.append(row));
  heads.forEach((head, place) => head.setAttribute("aria-sort", place !== column ? "none" : down ? "descending" : "ascending"));
}
heads.forEach((head, column) => head.querySelector("button").addEventListener("click",
  () => sort(column, head.getAttribute("aria-sort") === "ascending")));
const [scenario, find, sanity] = ["#scenario", "#find", "#sanity"].map(name => document.querySelector(name));
function filter() {
  let shown = 0;
  for (const row of body.rows) {
    const other = scenario.value !== "" && row.dataset.scenario !== scenario.value;
    const quiet = !sanity.checked && row.className === "sanity";
    row.hidden = other || quiet || !row.textContent.toLowerCase().includes(find.value.toLowerCase());
    shown += !row.hidden;
  }
  document.querySelector("#shown").textContent = shown + " rows";
}
for (const input of [scenario, find, sanity]) input.addEventListener("input", filter);
filter();
"""
_STYLE: Final = """
body { max-width: 1500px; } .controls { display: flex; gap: 1.2rem; flex-wrap: wrap; align-items: center; margin: 1rem 0; }
.controls input, .controls select { font: inherit; padding: .2rem .4rem; }
.ranking { font-size: .82rem; } .ranking :is(td, th) { padding: .25rem .5rem; }
.ranking :is(td, th):is(:nth-child(-n+2), :nth-child(10), :last-child) { text-align: left; }
.ranking td:is(:first-child, :last-child) { max-width: 15rem; overflow: hidden; text-overflow: ellipsis; }
.ranking td:first-child { font-weight: 600; } .ranking tr.trained td:first-child { color: #b8322a; }
.ranking tr:is(.trained, .optimum) td:nth-child(2) { color: inherit; font-weight: inherit; }
.ranking td:nth-child(10) { white-space: normal; min-width: 13rem; } .ranking tr.sanity td { color: #888; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid #1f5fa8; }
th[aria-sort=ascending] button::after { content: " \\25B2"; } th[aria-sort=descending] button::after { content: " \\25BC"; }
.tag { display: inline-block; background: #f3e3c8; border-radius: 3px; padding: 0 .35rem; margin: .05rem .2rem .05rem 0; }
.tag { font-size: .76rem; } .tag.bad { background: #b8322a; color: #fff; } .tag.good { background: #d7ecdd; }
tr[hidden] { display: none; } dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
"""
_COLUMNS: Final = (
    *("policy", "scenario", "J [95 %]", "gap % [95 %]", "vs TWAP [95 %]", "score", "seeds", "episodes", "kind"),
    *("what to know", "IS", "CVaR95", "authors"),
)


def text(value: str) -> str:
    """Return the text of a stranger as HTML: control characters and markup escaped."""
    return html.escape(printable(value))


def safe_head(script: str = "") -> str:
    """Return the head of a page: its style, and a policy that lets no other script and no outside content load."""
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    rule = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{allowed}'; form-action 'none'"
    return f'<meta http-equiv="Content-Security-Policy" content="{rule}"><style>{_STYLE}</style>'


def index_page(name: str, posted: Sequence[Posted], files: Sequence[str]) -> str:
    """Return the page with one sortable table of all rows.

    Args:
        name: Name of the site.
        posted: The boards.
        files: Names of the data files of the site, for links.
    """
    pages = scenarios_of(posted)
    names = {page: boards[0].board.plan.scenario.name for page, boards in pages.items()}
    choices = "".join(f'<option value="{text(page)}">{text(label)}</option>' for page, label in names.items())
    head = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{text(column)}</button></th>' for column in _COLUMNS
    )
    rows = "".join(_ranking_row(each, row) for each in posted for row in _sorted_rows(each))
    links = ", ".join(f'<a href="{text(file)}">{text(file)}</a>' for file in files)
    linked = "".join(
        f'<li><a href="scenario/{text(page)}">{text(label)}</a>: {_summary(pages[page])}</li>' for page, label in names.items()
    )
    body = (
        "<p>Policies for optimal execution, each judged on the same episodes as the others of its board. J is the "
        "objective in bps "
        "of the arrival notional (lower is better), brackets are 95 % bootstrap intervals, paired for gaps and differences. "
        "Compare numbers within a scenario only. Click on a column to sort.</p>"
        '<div class="controls"><label>scenario <select id="scenario"><option value="">all</option>'
        f'{choices}</select></label><label>find <input id="find" type="search"></label>'
        '<label><input id="sanity" type="checkbox"> sanity policies</label><span id="shown"></span></div>'
        f'<div class="scroll"><table class="ranking"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
        f"<h2>Scenarios</h2><ul>{linked}</ul>"
        f'<h2>Data</h2><p>{links}. <a href="datasheet.html">Datasheet</a>, <a href="croissant.json">croissant.json</a>.</p>'
        f"<p class='caption'>{_LEGEND}</p><script>{_SCRIPT}</script>"
    )
    return document(printable(name), body, safe_head(_SCRIPT))


_LEGEND: Final = (
    "verified: a second computation gave every byte of the bundle; verified to the last bits: it gave the same numbers up to "
    "rounding; unverified: nobody has computed the bundle again for this site. Seeds: trainings of the policy on the "
    "board. Other "
    "versions: the bundle was computed with other versions than the site. A win that is not larger than the calibration "
    "error may "
    "come from the numbers of the market rather than from the policy. Names, authors and methods are what their authors state."
)


def _summary(boards: Sequence[Posted]) -> str:
    rows = sum(len(each.board.rows) for each in boards)
    return f"{len(boards)} board{'s' * (len(boards) > 1)}, {rows} rows; {text(boards[0].board.plan.scenario.description)}"


def _sorted_rows(posted: Posted) -> list[Row]:
    """Return the rows of a board, sanity policies last."""
    return sorted(posted.board.rows, key=lambda row: row.sanity)


def _ranking_row(posted: Posted, row: Row) -> str:
    found = posted.submission(row)
    plan, seeds = posted.board.plan, posted.seeds(row)
    gap = None if row.gap_percent is None or row.optimum else row.gap_percent
    cells = [
        _cell(row.label + (" *" if row.sanity else ""), row.label),
        f'<td data-v="{text(plan.scenario.name)}"><a href="scenario/{text(posted.page)}">{text(plan.scenario.name)}</a></td>',
        _cell(f"{row.objective_bps:.2f} [{row.objective_low:.2f}, {row.objective_high:.2f}]", row.objective_bps),
        _cell("-" if gap is None else f"{gap:.1f} [{row.gap_percent_low:.1f}, {row.gap_percent_high:.1f}]", gap),
        _cell(_versus(row), row.diff_to_twap_bps),
        _cell("-" if row.score is None else f"{row.score:.2f}", row.score),
        _cell(str(seeds) if row.training_seed is not None else "-", seeds if row.training_seed is not None else None),
        _cell(f"{plan.episodes:,}", plan.episodes),
        _cell("optimum" if row.optimum else found.kind if found else "classical"),
        _tags(posted, row),
        _cell(f"{row.is_bps:.2f}", row.is_bps),
        _cell(f"{row.is_cvar95_bps:.1f}", row.is_cvar95_bps),
        _cell(", ".join(found.card.authors) if found else "the package"),
    ]
    return f'<tr class="{_kind(row)}" data-scenario="{text(posted.page)}">{"".join(cells)}</tr>'


def _kind(row: Row) -> str:
    """Return the CSS class of a row."""
    return "optimum" if row.optimum else "sanity" if row.sanity else "trained" if row.training_seed is not None else ""


def _versus(row: Row | CalibrationRow) -> str:
    """Return the difference to TWAP with its interval; "-" where there is none."""
    if max(abs(row.diff_to_twap_low), abs(row.diff_to_twap_high)) < 1e-9:
        return "-"
    return f"{row.diff_to_twap_bps:+.2f} [{row.diff_to_twap_low:+.2f}, {row.diff_to_twap_high:+.2f}]"


def _cell(shown: str, value: str | float | None = "") -> str:
    """Return a cell and the value that it is sorted by."""
    key = shown if value == "" else "" if value is None else value if isinstance(value, str) else repr(float(value))
    return f'<td data-v="{text(key)}">{text(shown)}</td>'


def _tags(posted: Posted, row: Row) -> str:
    warnings = posted.warnings(row)
    good = ["verified"] if posted.state == "verified" else []
    tags = [f'<span class="tag good">{text(each)}</span>' for each in good]
    for each in warnings:
        bad = each == "NOT VERIFIED" or each.startswith("warning")
        tags.append(f'<span class="tag{" bad" if bad else ""}">{text(each)}</span>')
    return f'<td data-v="{len(warnings)}">{"".join(tags)}</td>'


# --- the page of a scenario


def scenario_page(boards: Sequence[Posted], files: Sequence[Sequence[str]]) -> str:
    """Return the page of a scenario.

    Args:
        boards: The boards of the scenario.
        files: Names of the data files of each board, for links.
    """
    scenario = boards[0].board.plan.scenario
    solved = boards[0].board.optimum_bps
    facts = {
        "description": scenario.description,
        "hash": scenario.hash,
        "order": f"{_orders(scenario)} in {scenario.slices} slices",
        "numbers": described_sources(scenario),
        "J*": "unknown" if solved is None else f"{solved:.4f} bps",
    }
    parts = "".join(_board_part(each, names) for each, names in zip(boards, files, strict=True))
    body = f'<p><a href="../index.html">all scenarios</a></p>{_facts(facts)}{parts}'
    return document(printable(scenario.name), body, safe_head())


def _orders(scenario: AnyScenario) -> str:
    """Return what is traded, in words."""
    if isinstance(scenario, BasketScenario):
        orders = [f"{'buy' if each.side > 0 else 'sell'} {each.quantity:,.0f} {each.name}" for each in scenario.assets]
        return f"{len(orders)} orders ({', '.join(orders)})"
    return f"{'buy' if scenario.side > 0 else 'sell'} {scenario.quantity:,.0f} shares"


def _facts(facts: dict[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{text(key)}</dt><dd>{text(value)}</dd>' for key, value in facts.items())}</dl>"


def _board_part(posted: Posted, files: Sequence[str]) -> str:
    """Return the part of one board: its origin, warnings, tables, failures, cards and links."""
    board, plan, versions = posted.board, posted.board.plan, posted.bundle.versions
    facts = {
        "bundle": f"{posted.file}, sha256 {posted.bundle.sha256}",
        "verification": posted.state,
        "episodes": f"{plan.episodes:,} of seed {plan.seed}, backend {plan.backend}",
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
    }
    warnings = [*board.warnings, *(f"{failure.label} failed: {failure.reason}" for failure in board.failed)]
    alarm = "".join(f'<p class="warning">{text(line)}</p>' for line in warnings)
    links = ", ".join(f'<a href="../{text(name)}">{text(name)}</a>' for name in files)
    cards = "".join(_card(posted, row) for row in board.rows)
    return (
        f"<h2>{text(posted.file)}, board {posted.number + 1}</h2>{_facts(facts)}{alarm}{_results(posted)}"
        f"<p>Raw results: {links}. Compute them again: "
        f"<code>hyperexec verify {text(shlex.quote(posted.file))}</code></p>{cards}"
    )


def _results(posted: Posted) -> str:
    """Return the tables of a board."""
    board = posted.board
    header = ["rank", "policy", "J [95 %]", "gap % [95 %]", "vs TWAP [95 %]", "p", "expected", "risk", "IS", "sd", "CVaR95"]
    cells = [
        [
            "-" if row.optimum else str(row.rank),
            printable(row.label) + (" *" if row.sanity else ""),
            f"{row.objective_bps:.2f} [{row.objective_low:.2f}, {row.objective_high:.2f}]",
            "-"
            if row.gap_percent is None or row.optimum
            else f"{row.gap_percent:.1f} [{row.gap_percent_low:.1f}, {row.gap_percent_high:.1f}]",
            _versus(row),
            "<0.001" if row.p_twap < 0.001 else f"{row.p_twap:.3f}",
            *(f"{value:.2f}" for value in (row.expected_cost_bps, row.risk_bps, row.is_bps)),
            *(f"{value:.1f}" for value in (row.is_sd_bps, row.is_cvar95_bps)),
        ]
        for row in board.rows
    ]
    shares = [[f"{100.0 * row.win_rate:.1f}", f"{row.forced_percent:.1f}"] for row in board.rows]
    lines = [[*line, *more] for line, more in zip(cells, shares, strict=True)]
    found = table([*header, "win rate %", "forced %"], lines, "board", [_kind(row) for row in board.rows])
    if not board.calibration:
        return found
    unsure = [[printable(row.policy), _versus(row), row.verdict] for row in board.calibration]
    caption = "<p class='caption'>Over the draws of the posterior:</p>"
    return found + caption + table(["policy", "vs TWAP [95 %]", "verdict"], unsure)


def _card(posted: Posted, row: Row) -> str:
    """Return the card of a submitted policy; "" for a policy of the package."""
    found = posted.submission(row)
    if found is None:
        return ""
    card = found.card
    facts = {
        "authors": ", ".join(card.authors),
        "method": card.method,
        "training": "; ".join(filter(None, [", ".join(card.training_scenarios), card.training_budget])) or "none stated",
        "observes": found.observes,
        "kind": found.kind,
        "licence": card.licence,
        **({"description": card.description} if card.description else {}),
    }
    return f"<details><summary>{text(row.label)}</summary>{_facts(facts)}</details>"
