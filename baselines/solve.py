"""Solve a scenario: its exact optimum, the best fixed schedule, and what knowing the regime is worth."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.evaluation.board import text_table
from hyperexec_env.files import check_target
from hyperexec_env.market.scenario import get_scenario

from .evaluate import show
from .solver import Solution, solve

__all__ = ["Args", "main", "report"]


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec solve``."""

    scenario: str = option("regime-day", "name of a scenario or path of a .toml file", positional=True)
    cache: bool = option(True, "read and keep solutions (in HYPEREXEC_CACHE, or hyperexec in the user's cache folder)")
    json: str | None = option(None, "write the numbers as JSON to this file (without a file: to standard output)")


def report(solution: Solution) -> str:
    """Return the solution as text."""
    scenario = solution.scenario
    title = f"{scenario.name} ({scenario.hash}): "
    if solution.optimum_bps is None:
        return f"{title}not solved exactly: {solution.reason}. J* is at least {solution.bound_bps:.4f} bps"
    known = [
        ("TWAP", solution.twap_bps),
        ("best fixed schedule", solution.open_loop_bps),
        ("regime known one slice late", solution.regime_blind_bps),
        ("optimum J*", solution.optimum_bps),
    ]
    best = solution.optimum_bps
    cells = [
        ["", name, f"{value:.4f}", f"{value - best:.4f}", f"{100.0 * (value - best) / abs(best):.2f}" if best else "-"]
        for name, value in known
        if value is not None
    ]
    lines = [text_table(["", "objective J", "bps", "above J*", "%"], cells), ""]
    starts = [["", name, f"{value:.4f}"] for name, value in solution.by_regime.items()]
    starts.append(["", "stationary", f"{solution.stationary_bps:.4f}"])
    lines += [text_table(["", "order that starts in", "J* [bps]"], starts), ""]
    if solution.bound_bps is not None and solution.bound_bps < best - 1e-6 * abs(best):
        lines.append(f"An order that may trade both ways: {solution.bound_bps:.4f} bps.")
    lines.append(f"{title}{solution.accuracy}, {solution.seconds:.1f} s.")
    lines.append("Bps of the arrival notional; the permanent cost, which no schedule changes, is left out.")
    capped = scenario.max_participation is not None
    shares = " ".join(f"{100.0 * share:.2f}" for share in (solution.fractions if capped else solution.schedule))
    lines.append(f"best fixed schedule [% of {'what remains, up to the cap' if capped else 'the order'}]: {shares}")
    return "\n".join(lines)


def main(args: Args) -> Solution:
    """Solve, print, and return the solution."""
    check_target(args.json)
    solution = solve(get_scenario(args.scenario), cached=args.cache)
    show(report(solution), json_format.dumps(solution.to_dict(), indent=2, allow_nan=False) + "\n", args.json)
    return solution
