"""Print the card of a scenario: its parameters with units, where they came from, its optimum, and its certificate."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass, fields

from hyperexec_env.arguments import option
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.evaluation.certificate import certify
from hyperexec_env.files import check_target
from hyperexec_env.market.model import build_market
from hyperexec_env.market.scenario import Scenario, get_scenario

from .evaluate import show
from .policies import BASELINES, Schedule
from .solver import schedule_bps, solve

__all__ = ["Args", "card", "main"]

_TRIPS = 10_000
"""Round trips that a card tries; ``hyperexec certify`` tries many more."""


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec card``."""

    scenario: str = option("regime-day", "name of a scenario or path of a .toml file", positional=True)
    json: str | None = option(None, "write the scenario as JSON to this file (without a file: to standard output)")


def card(scenario: Scenario) -> str:
    """Return the card as text. It solves the scenario, where that was not done before, and tries some round trips."""
    lines = [f"{scenario.name} ({scenario.hash}): {scenario.description}", ""]
    for item in fields(Scenario):
        if not item.metadata or item.name in ("name", "description", "volume_curve"):
            continue
        value = getattr(scenario, item.name)
        text = "none" if value is None else f"{value:,.8g}" if isinstance(value, float) else str(value)
        unit = f" [{item.metadata['unit']}]" if item.metadata["unit"] else ""
        lines.append(f"  {item.name:<20} {text:>16}  {item.metadata['meaning']}{unit}")
    profile = scenario.profile()
    lines += ["", "expected volume by slice [% of the daily volume]"]
    lines += [
        "  " + " ".join(f"{100.0 * share:6.2f}" for share in profile[start : start + 13])
        for start in range(0, len(profile), 13)
    ]
    lines += ["", *_regimes(scenario)]
    if scenario.provenance:
        lines += ["", "where the parameters come from", *(f"  {key:<20} {text}" for key, text in scenario.provenance.items())]
    return "\n".join([*lines, "", *_optimum(scenario), "", certify(scenario, trips=_TRIPS).verdict])


def _optimum(scenario: Scenario) -> list[str]:
    """Return what the best policies can reach, and the fixed schedules among the baselines: all computed, nothing simulated."""
    solution = solve(scenario)
    best = solution.optimum_bps
    if best is None:
        return [f"objective: not solved exactly ({solution.reason}); J* is at least {solution.bound_bps:.4f} bps"]
    values = {"optimum J*": best, "regime known late": solution.regime_blind_bps, "best schedule": solution.open_loop_bps}
    for name, make in BASELINES.items():
        policy = make()
        if isinstance(policy, Schedule):
            values[name] = schedule_bps(scenario, policy.fractions(build_market(scenario))[:-1])
    scale = abs(best) or 1.0
    return [
        f"objective, computed ({solution.accuracy})",
        *(f"  {name:<20} {value:>16.4f}  bps, gap {100.0 * (value - best) / scale:.2f} %" for name, value in values.items()),
    ]


def _regimes(scenario: Scenario) -> list[str]:
    """Return the regimes as a table: what each scales, its stationary share and its mean stay."""
    regimes, law = scenario.regimes, scenario.regimes.stationary()
    header = [
        "",
        "regime",
        "share %",
        "stay [min]",
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
        scaled = (regimes.volatility, regimes.volume, regimes.spread, regimes.temporary, regimes.resilience, regimes.drift)
        stay = f"{scenario.day_minutes / rate:.1f}" if rate > 0.0 else "for ever"
        cells.append(["", name, f"{100.0 * law[index]:.1f}", stay, *(f"{values[index]:g}" for values in scaled)])
    return [f"regimes (start: {regimes.start})", text_table(header, cells)]


def main(args: Args) -> None:
    """Print the card."""
    check_target(args.json)
    scenario = get_scenario(args.scenario)
    content = {**scenario.to_dict(), "hash": scenario.hash}
    text = "" if args.json == "-" else card(scenario)  # the certificate takes its time
    show(text, json_format.dumps(content, indent=2) + "\n", args.json)
