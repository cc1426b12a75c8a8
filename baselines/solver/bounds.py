"""Bounds on J* of a market that is not solved exactly."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.policy import Policy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import UNKNOWNS, Scenario
from hyperexec_env.market.tables import Market, build_market

from ..replan import Replan
from .belief import memory_matters, told_markets
from .best import best_of
from .dynamic import evaluate_fractions
from .objectives import bps_of, solve_to_tolerance, told_bps
from .problem import build_problem, unsolved

__all__ = [
    *("ignoring_bps", "learning_one", "learning_some_bps", "lower_bound", "partly_told", "replanned_bps", "unknowns_alone"),
    "volume_alone",
]

Floats = NDArray[np.float64]

_BOUND_PATHS: Final = 20_000
"""Number of simulated paths for a bound."""
_ERRORS: Final = 4.0
"""Standard errors that a simulated bound keeps from its mean."""


def unknowns_alone(market: Market, **changes: Any) -> bool:
    """Return whether the market has unknowns, and could be solved if they were told (and `changes` set back)."""
    if not market.scenario.unknown:
        return False
    told = told_markets(market)[0][1].scenario
    return not unsolved(build_market(replace(told, **changes)))


def volume_alone(market: Market) -> bool:
    """Return whether the objective of a policy that ignores what past slices tell can be computed: an upper bound on J*.

    Volume level, drift or temporary impact are unknown, or the volume is persistent, and the market could be solved without
    them. With a cap, the persistence ties the traded shares of a slice to those of the slices before. A geometric price grows
    with the exponential of its drift, so that the mean drift has not the mean cost.
    """
    scenario = market.scenario
    known = dict.fromkeys(UNKNOWNS, 0.0)
    plain = build_market(replace(scenario, **known, volume_persistence=0.0))  # type: ignore[arg-type]
    moves = bool(scenario.unknown) or memory_matters(market)
    tied = market.numbers.spec.capped and memory_matters(market)
    curved = market.numbers.spec.geometric and market.numbers.spec.unknown_drift
    return moves and not (tied or curved) and not unsolved(plain)


def ignoring_bps(market: Market) -> float:
    """Return the objective of a policy that ignores past volumes, prices and fills, plus its error, bps: an upper bound on J*.

    The policy is the optimum if volume level and noise were drawn anew in each slice, and at the mean of drift and temporary
    impact, in which its cost is linear. Without a cap, it is the best policy that ignores them, because the state after a trade
    does not depend on the volume.
    """
    law = market.scenario.regimes.start_law()
    values, error, problem, table, grid = solve_to_tolerance(market, learn=False)
    if market.numbers.spec.capped and market.numbers.spec.varying_level:
        values = np.zeros_like(values)
        for weight, told in told_markets(market):
            one = build_problem(told, grid.signal)
            values += weight * bps_of(market) * (evaluate_fractions(one, table.fractions, grid) @ problem.signal_law)
    value = float(values @ law)
    return value + error * abs(value)


def learning_some_bps(market: Market) -> float:
    """Return the least objective of the optimal policies that learn some unknowns and take the mean of the others, bps.

    The cost of a policy that ignores the evidence on drift or temporary impact is linear in them: its mean is that at their
    mean. The result is an upper bound on J*; infinity where no such market is solved.
    """
    scenario, least = market.scenario, math.inf
    for known in ({"temp_impact_sd": 0.0}, {"temp_impact_sd": 0.0, "drift_sd": 0.0, "kyle_sd": 0.0}):
        part = build_market(replace(scenario, **known))  # type: ignore[arg-type]
        if part.scenario.unknown and part.scenario.unknown != scenario.unknown and not unsolved(part):
            best = best_of(part)
            least = min(least, best.value + best.error * abs(best.value))
    return least


def replanned_bps(market: Market, schedule: Policy, schedule_bps: float) -> float:
    """Return an upper confidence bound on the objective of the policy `replan`, bps: an upper bound on J*.

    The mean is that of the difference to a fixed schedule on the same paths, which varies less, plus the objective of the
    schedule. The bound is infinity where the policy cannot trade.
    """
    policy = Replan()
    if policy.unfit(market):
        return math.inf
    path = draw_path(market, episode_keys(0, np.arange(_BOUND_PATHS)), float(market.scenario.side))
    own, other = (np.asarray(roll(market, each, path).statement.objective) for each in (policy, schedule))
    saved = other - own
    return schedule_bps - float(saved.mean() - _ERRORS * saved.std(ddof=1) / math.sqrt(_BOUND_PATHS))


def partly_told(market: Market) -> dict[str, list[tuple[float, Market]]]:
    """Return the markets in which one unknown is learned and the others are told, with their weights, by the field of the one.

    Kyle's lambda moves no cost, and markets that are not solved exactly are left out.
    """
    unknown = market.scenario.unknown
    learned = [name for name in unknown if len(unknown) > 1 and name != "kyle_sd"]
    made = {name: told_markets(market, name) for name in learned}
    return {name: markets for name, markets in made.items() if not unsolved(markets[0][1])}


def learning_one(partly: dict[str, list[tuple[float, Market]]], tick: Callable[[], None]) -> tuple[float, str]:
    """Return the largest J* of the policies that learn one unknown and are told the others, minus its error; and its field.

    It is a lower bound on J*, bps: minus infinity where no such market is solved.

    Args:
        partly: The markets, see :func:`partly_told`.
        tick: Called after each market, to report progress.
    """
    largest, learned = -math.inf, ""
    for name, markets in partly.items():
        value = 0.0
        for weight, one in markets:
            best = best_of(one)
            value += weight * (best.value - best.error * abs(best.value))
            tick()
        if value > largest:
            largest, learned = value, name
    return largest, learned


def lower_bound(market: Market) -> float:
    """Return a lower bound on J* of a market that is not solved exactly, bps."""
    scenario = market.scenario
    if scenario.transient_exponent != 1.0:  # a one-sided order never earns from its own transient displacement
        return _lower_bound(replace(scenario, transient_exponent=1.0, perm_impact_gamma=scenario.kyle_lambda))
    if scenario.predator > 0.0:  # a predator only raises the cost of child orders
        return _lower_bound(replace(scenario, predator=0.0))
    if unknowns_alone(market, predator=0.0):  # also with predator < 0, for which fewer told levels than beliefs are solved
        return told_bps(market)
    # with predator < 0 every child order gets the full benefit of the liquidity
    if not unsolved(build_market(replace(scenario, predator=0.0))):
        return _dynamic_bps(market)
    if memory_matters(market) and market.numbers.spec.capped:  # a cap only raises J*
        return _lower_bound(replace(scenario, max_participation=None))
    keys = episode_keys(0, np.arange(_BOUND_PATHS))
    driftless = replace(scenario.regimes, drift=())
    without_drift = replace(scenario, flow_persistence=0.0, price_risk=0.0, drift_sd=0.0, regimes=driftless)
    slices = draw_path(market, keys, float(scenario.side)).slices
    # largest gain per share from waiting, with perfect foresight
    gains = np.minimum(slices.drift + slices.holding, 0.0).sum(axis=0)
    hindsight = float(gains.mean() - _ERRORS * gains.std(ddof=1) / math.sqrt(_BOUND_PATHS))
    return _lower_bound(without_drift) + 1e4 * hindsight / scenario.arrival_price


def _lower_bound(scenario: Scenario) -> float:
    """Return J* of a scenario minus its error, or a lower bound if the scenario is not solved exactly, bps."""
    market = build_market(scenario)
    return lower_bound(market) if unsolved(market) else _dynamic_bps(market)


def _dynamic_bps(market: Market) -> float:
    """Return the value of the dynamic programme minus its error, bps."""
    values, error, *_ = solve_to_tolerance(market)
    value = float(values @ market.scenario.regimes.start_law())
    return value - error * abs(value)
