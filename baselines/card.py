"""The card of a scenario: parameters with units and sources, computed optimum, and certificate of the market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np

from hyperexec_env.evaluation.board import text_table
from hyperexec_env.evaluation.certificate import certify
from hyperexec_env.market.provenance import described_sources
from hyperexec_env.market.scenario import MULTIPLES, Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import build_market

from .policies import BASELINES, Schedule
from .realism import facts_on_card
from .solver import schedule_bps, solve

__all__ = ["Card", "card"]

_TRIPS: Final = 10_000
"""Number of round trips that the certificate of a card tries; ``hyperexec certify`` tries many more."""


@dataclass(frozen=True)
class Card:
    """The card of a scenario; `str` renders it as text."""

    scenario: Scenario

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the scenario, its impact in arrival prices (also where volatilities state it), and its hash."""
        impact = {name: getattr(self.scenario, name) for name in MULTIPLES}
        return {**self.scenario.to_dict(), **impact, "hash": self.scenario.hash}

    def __str__(self) -> str:
        """Return the card as text. The call solves the scenario, unless the solution is cached, and tries some round trips."""
        return _text(self.scenario)


def card(scenario: ScenarioLike) -> Card:
    """Return the card of a scenario, given as a name, a dict, a path or a scenario."""
    return Card(get_scenario(scenario))


def _text(scenario: Scenario) -> str:
    """Return the card as text."""
    lines = [f"{scenario.name} ({scenario.hash}): {scenario.description}", described_sources(scenario), ""]
    stated = scenario.to_dict()
    for item in fields(Scenario):
        if item.name not in stated and getattr(scenario, item.name) is None:
            continue
        if not item.metadata or item.name in ("name", "description", "volume_curve", "volatility_curve"):
            continue
        value = getattr(scenario, item.name)
        text = "none" if value is None else f"{value:,.8g}" if isinstance(value, float) else str(value)
        unit = f" [{item.metadata['unit']}]" if item.metadata["unit"] else ""
        derived = "" if item.name in stated else "; follows from the multiple"
        lines.append(f"  {item.name:<20} {text:>16}  {item.metadata['meaning']}{unit}{derived}")
    lines += _posterior(scenario)
    lines += ["", "expected volume by slice [% of the daily volume]", *_by_slice([100.0 * part for part in scenario.profile()])]
    if scenario.volatility_curve:
        lines += ["", "volatility by slice [x of the daily volatility]", *_by_slice(scenario.volatility_profile())]
    lines += ["", *_regimes(scenario)]
    facts, sources = facts_on_card(scenario)
    if sources:
        lines += ["", "where the parameters come from", *(f"  {key:<20} {text}" for key, text in sources.items())]
    if facts:
        lines += ["", *facts]
    return "\n".join([*lines, "", *_optimum(scenario), "", certify(scenario, trips=_TRIPS).verdict])


def _by_slice(values: Sequence[float]) -> list[str]:
    """Return one number for each slice as lines of thirteen."""
    return ["  " + " ".join(f"{value:6.2f}" for value in values[at : at + 13]) for at in range(0, len(values), 13)]


def _optimum(scenario: Scenario) -> list[str]:
    """Return the objectives of the optimal policies and of the scheduled baselines, all computed without simulation."""
    solution = solve(scenario)
    best = solution.optimum_bps
    if best is None:
        return [f"objective: {solution.bounds}"]
    values = {"optimum J*": best}
    late, schedule = solution.regime_blind_bps, solution.open_loop_bps
    values |= {
        name: value for name, value in (("regime one slice late", late), ("best schedule", schedule)) if value is not None
    }
    for name, make in BASELINES.items():
        policy = make()
        if isinstance(policy, Schedule):
            values[name] = schedule_bps(scenario, fractions=policy.fractions(build_market(scenario))[:-1])
    scale = abs(best) or 1.0
    return [
        f"objective, computed ({solution.accuracy})",
        *(f"  {name:<21} {value:>15.4f}  bps, gap {100.0 * (value - best) / scale:.2f} %" for name, value in values.items()),
    ]


def _posterior(scenario: Scenario) -> list[str]:
    """Return the number of draws of the posterior and the 95 % interval of each field; nothing for a scenario without one."""
    posterior = scenario.posterior
    if posterior is None:
        return []
    ends = [np.quantile(column, (0.025, 0.975)) for column in posterior.columns]
    rows = [f"  {name:<20} {low:>16,.8g}  to {high:,.8g}" for name, (low, high) in zip(posterior.names, ends, strict=True)]
    return ["", f"posterior: {len(posterior)} joint draws, 95 % interval of each field", *rows]


def _regimes(scenario: Scenario) -> list[str]:
    """Return the table of regimes (stationary probability, mean duration, multipliers) and the transition matrix of a slice."""
    regimes, law = scenario.regimes, scenario.regimes.stationary()
    header = [
        "",
        "regime",
        "share %",
        "duration [min]",
        "volatility x",
        "volume x",
        "spread x",
        "temporary x",
        "resilience x",
        "drift [/day]",
    ]
    cells = []
    for index, name in enumerate(regimes.names):
        rate = -regimes.rates[index][index]
        columns = (regimes.volatility, regimes.volume, regimes.spread, regimes.temporary, regimes.resilience, regimes.drift)
        duration = f"{scenario.day_minutes / rate:.1f}" if rate > 0.0 else "infinite"
        cells.append(["", name, f"{100.0 * law[index]:.1f}", duration, *(f"{values[index]:g}" for values in columns)])
    lines = [f"regimes (start: {regimes.start})", text_table(header, cells)]
    if len(regimes) > 1:
        moves = regimes.transition(scenario.tau)
        rows = [["", name, *(f"{100.0 * share:.2f}" for share in row)] for name, row in zip(regimes.names, moves, strict=True)]
        minutes = scenario.tau * scenario.day_minutes
        lines += ["", f"regime one slice ({minutes:g} minutes) later, by the regime of the row [%]"]
        lines.append(text_table(["", "from", *regimes.names], rows))
    return lines
