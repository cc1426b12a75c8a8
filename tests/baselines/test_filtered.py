"""The filter of the hidden regimes: equal to a sum over all regime paths, calibrated, and a policy between two bounds."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.evaluate import evaluate
from hyperexec_env.baselines.filtered import Filtered, RegimeFilter
from hyperexec_env.baselines.solver import solve
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

from ..calibration import tenths_that_hold

DAY = get_scenario("regime-day")
THREE = Regimes(
    names=("SIDEWAYS_LOW", "CRISIS", "RECOVERY"),
    volatility=(0.8, 2.0, 1.2),
    volume=(1.2, 0.4, 0.8),
    resilience=(1.0, 0.3, 0.6),
    drift=(0.01, -0.02, 0.0),
    rates=((-6.0, 4.0, 2.0), (6.0, -9.0, 3.0), (2.0, 2.0, -4.0)),
)


class Watching:
    """TWAP that records what the filter says before each slice."""

    name = "watching"

    def __init__(self, market):
        self.filter, self.said, self.displaced = RegimeFilter(market), [], []

    def act(self, situation):
        self.filter.see(situation)
        self.said.append(self.filter.probabilities)
        self.displaced.append((self.filter.last * self.filter.displaced).sum(axis=1))
        return situation.remaining / (situation.market.slices - situation.k)


def watched(scenario, episodes, seed=3):
    market = build_market(scenario)
    path = draw_path(market, episode_keys(seed, np.arange(episodes)), 1.0)
    policy = Watching(market)
    roll(market, policy, path, hidden=True)
    return market, path, policy


@pytest.mark.parametrize("changes", [{}, {"flow_persistence": 0.4}, {"price_model": "gbm"}])
def test_the_filter_is_the_sum_over_all_regime_paths(changes):
    """Four slices of three regimes, 81 paths: the probabilities, and the mean displacement by our own trades."""
    scenario = replace(DAY, slices=5, regimes=THREE, **changes)
    market, path, policy = watched(scenario, 6)
    transition, law = scenario.regimes.transition(market.tau), scenario.regimes.start_law()
    shares, share = scenario.quantity / 5, scenario.flow_share
    for episode in range(6):
        price, flow, volume = path.world.price[:, episode], path.world.flow[:, episode], path.slices.volume[:, episode]
        total, displaced = np.zeros(3), 0.0
        for regimes in itertools.product(range(3), repeat=5):
            weight, moved = law[regimes[0]], 0.0
            for k, regime in enumerate(regimes[:4]):
                weight *= transition[regime, regimes[k + 1]]
                step = market.step_volatility[k, regime]
                earned = (price[k + 1] - price[k]) / 100.0
                if scenario.price_model == "gbm":
                    earned = math.log(price[k + 1] / price[k]) + 0.5 * step**2
                news = earned - market.step_drift[regime] - math.sqrt(share) * step * flow[k + 1]
                noise = math.log(volume[k] / market.mean_volume[k, regime]) + 0.5 * scenario.volume_noise**2
                for error, variance in ((news, (1.0 - share) * step**2), (noise, scenario.volume_noise**2)):
                    weight *= math.exp(-0.5 * error**2 / variance) / math.sqrt(variance)
                moved = (moved + market.impact.transient_slope * shares) * market.transient_decay[regime]
            total[regimes[4]] += weight
            displaced += weight * moved
        assert policy.said[4][episode] == pytest.approx(total / total.sum(), rel=1e-9)
        assert policy.displaced[4][episode] == pytest.approx(displaced / total.sum(), rel=1e-9)


def test_where_the_filter_says_seven_tenths_the_regime_is_that_in_seven_tenths():
    """Calibration in every tenth of every regime's probability, within the 99.9 % interval of independent episodes."""
    _, path, policy = watched(DAY, 8_000)
    counted = 0
    for k in (1, 6, 14, 25):
        for regime in range(6):
            counted += tenths_that_hold(policy.said[k][:, regime], path.world.regime[k] == regime)
    assert counted > 60


def test_a_volume_without_noise_tells_the_regime():
    scenario = replace(DAY, slices=4, regimes=THREE, volume_noise=0.0)
    _, path, policy = watched(scenario, 50)
    known = scenario.regimes.transition(scenario.tau)[path.world.regime[2]]
    assert policy.said[3] == pytest.approx(known, abs=1e-9)


def test_the_filtered_policy_lies_between_the_best_schedule_and_the_regime_observed_one_slice_late():
    market, solution = build_market(DAY), solve(DAY)
    path = draw_path(market, episode_keys(0, np.arange(8_192)), 1.0)
    optimal, filtered = (
        roll(market, policy, path, hidden=hidden).statement.objective
        for policy, hidden in ((solution.policy, False), (Filtered(), True))
    )
    gap = filtered - optimal
    error = 4.0 * gap.std(ddof=1) / math.sqrt(len(gap))
    reached = solution.optimum_bps + gap.mean()
    assert reached > solution.regime_blind_bps - error
    assert (solution.open_loop_bps - reached) / (solution.open_loop_bps - solution.regime_blind_bps) > 0.9


def test_the_board_says_what_the_filter_saves():
    board = evaluate(DAY, ["filtered"], episodes=256, backend="numpy")
    assert "filtered, from which the regime is hidden, saves" in str(board)
    assert "(95 %)" in board.filter_share
    assert "--hidden" not in board.filter_share
    trending = evaluate("trending-day", ["filtered"], episodes=256, backend="numpy")
    assert trending.filter_share.endswith("(95 %); `hyperexec solve SCENARIO --hidden` bounds it closer")
    assert evaluate(DAY, ["VWAP"], episodes=256, backend="numpy").filter_share == ""


@pytest.mark.parametrize("name", ["unknown-drift", "unknown-volume"])
def test_the_filter_refuses_what_it_cannot_filter_exactly(name):
    with pytest.raises(ValueError, match=f"needs a scenario without unknowns and without persistent volume, got {name}"):
        RegimeFilter(build_market(get_scenario(name)))
