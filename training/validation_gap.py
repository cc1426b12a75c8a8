"""The gap of a policy to the optimum on validation episodes, which neither a training nor a board meets."""

from __future__ import annotations

import math
import statistics
from functools import lru_cache
from typing import Any, Final

from hyperexec_env.baselines.distribution import MarketDistribution
from hyperexec_env.baselines.evaluate import entrants, known_optimum, reference_of
from hyperexec_env.baselines.kinds import evaluate
from hyperexec_env.evaluation.comparison import judge
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.scenario import Scenario

__all__ = ["MARKETS", "VALIDATION_SEED", "markets_of", "optimum_of", "validation_gap"]

VALIDATION_SEED: Final = 2**42
"""Seed of the episodes, in the stream of boards, which no training meets; seeds of boards lie below 2^32."""
MARKETS: Final = 16
"""Markets, drawn with that seed, that judge a policy for many markets."""


def markets_of(problem: Any) -> list[Any]:
    """Return the markets in which the policies of a problem are judged: its own, or those drawn from a distribution."""
    if isinstance(problem, MarketDistribution):
        return [problem.draw(VALIDATION_SEED, number) for number in range(MARKETS)]
    return [problem]


@lru_cache(maxsize=MARKETS)
def optimum_of(market: Any) -> Any:
    """Return the optimum of a scenario of one asset or of a basket; None for the other kinds, whose boards solve it."""
    return known_optimum(market) if isinstance(market, (Scenario, BasketScenario)) else None


def validation_gap(policy: NetworkPolicy, problem: Any, episodes: int) -> tuple[float, str]:
    """Return the mean gap of a policy and its unit: percent of J*, or where J* is not known its mean objective.

    Args:
        policy: The policy.
        problem: The scenario, or the distribution of markets.
        episodes: Number of episodes, over all markets.

    Raises:
        ValueError: The policy fails.
    """
    markets = markets_of(problem)
    found = [_in_market(policy, market, episodes // len(markets)) for market in markets]
    return statistics.fmean(value for value, _ in found), found[0][1]


def _in_market(policy: NetworkPolicy, market: Any, episodes: int) -> tuple[float, str]:
    """Return the value of a policy in a market, and its unit."""
    optimum = optimum_of(market)
    if optimum is None:
        board = evaluate(market, [policy], episodes=episodes, seed=VALIDATION_SEED)
    else:
        options: dict[str, Any] = {"episodes": episodes, "seed": VALIDATION_SEED, "optimum": optimum, "backend": "numpy"}
        board = judge(market, entrants([policy], market), reference_of(market), **options)
        for failure in board.failed:
            raise ValueError(f"the policy of training seed {policy.training_seed} failed: {failure.reason}")
    row = next(row for row in board.rows if row.training_seed is not None)
    if row.gap_percent is None or math.isnan(row.gap_percent):
        return row.objective_bps, "J, bps"
    return row.gap_percent, "gap, % of J*"
