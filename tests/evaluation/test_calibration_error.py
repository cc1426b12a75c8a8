"""Calibration error of a board: the variance of a difference by source, its unbiased estimate, and what the board says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env import cli
from hyperexec_env.baselines.evaluate import evaluate
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.calibration_error import calibration_error, effects_of
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.draws import build_draws
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_number, draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

RNG = np.random.default_rng(11)
LINEAR = replace(get_scenario("regime-day"), slices=5, regimes={}, temp_impact_beta=1.0)
COLUMNS = {
    name: (getattr(LINEAR, name) * np.append(RNG.uniform(0.5, 1.8, 10), [0.5, 1.8])).tolist()
    for name in ("adv", "volatility", "half_spread_bps", "temp_impact_alpha", "resilience")
}
UNSURE = replace(LINEAR, posterior=COLUMNS)


def layout(rng, draws, episodes, a, b, e, mean=0.7):
    """Return differences of a two-way layout with given standard deviations of draws, episodes and the rest."""
    return (
        mean
        + a * rng.standard_normal((draws, 1))
        + b * rng.standard_normal((1, episodes))
        + e * rng.standard_normal((draws, episodes))
    )


@pytest.mark.parametrize("a", [0.0, 0.05, 0.4])
def test_the_variance_of_the_draws_is_unbiased(a):
    """The mean of 4,000 estimates is that of the layout, in which episodes and rest are far noisier than the draws."""
    rng, found = np.random.default_rng(1), []
    for _ in range(4000):
        y = layout(rng, 12, 30, a, 1.0, 0.8)
        by_draw, by_episode = y.mean(axis=1), y.mean(axis=0)
        rest = y - by_draw[:, None] - by_episode + y.mean()
        found.append(by_draw.var(ddof=1) - (rest**2).sum() / (11 * 29) / 30)
        assert effects_of(y).calibration_sd == pytest.approx(np.sqrt(max(found[-1], 0.0)), rel=1e-9, abs=1e-12)
    assert np.mean(found) == pytest.approx(a**2, abs=4.0 * np.std(found) / np.sqrt(4000))


def test_the_interval_covers_the_expected_difference_of_a_new_draw():
    rng, inside = np.random.default_rng(2), []
    for _ in range(400):
        found = effects_of(layout(rng, 40, 200, 0.5, 1.0, 0.5))
        inside.append(found.low <= 0.7 + 0.5 * rng.standard_normal() <= found.high)
    assert np.mean(inside) > 0.9


def test_a_difference_without_noise_has_the_variance_of_its_draws():
    a = np.array([1.0, 2.0, 4.0])
    found = effects_of(np.repeat(a[:, None], 6, axis=1))
    assert found.calibration_sd == pytest.approx(a.std(ddof=1))
    assert found.simulation_error == 0.0
    assert (found.low, found.high) == pytest.approx((1.0, 4.0))


class Watchful:
    """Trades on everything that a situation holds: a leak of the draw would change its trades."""

    name = "Watchful"

    def act(self, situation):
        scale = situation.market.scenario.arrival_price * 1e-3
        pressed = 1.0 + 0.5 * np.tanh((situation.transient + situation.permanent) / scale)
        moved = 1.0 + 0.5 * np.tanh(situation.side * (situation.last_price - situation.price) / scale)
        return situation.remaining * pressed * moved / (situation.market.slices - situation.k + 1)


def test_a_rollout_in_a_draw_is_the_episode_of_the_environment_that_meets_the_draw():
    """The same policy, on the situations of both, trades the same shares at the same costs."""
    draws, point = build_draws(UNSURE), build_market(UNSURE)
    keys = episode_keys(np.arange(3, 43), 0)
    numbers = draw_number(12, keys)
    env = HyperExecVectorEnv(40, "Disabled", "numpy", scenario=UNSURE, uncertainty=True)
    env.reset(seed=3)
    for _ in range(5):
        *_, info = env.trade(Watchful().act(env.situation))
    for number in np.unique(numbers):
        chosen = numbers == number
        market = draws.markets[number]
        outcome = roll(market, Watchful(), draw_path(market, keys[chosen], float(UNSURE.side)), point=point)
        assert outcome.statement.objective == pytest.approx(info["objective_bps"][chosen], rel=1e-12)


def test_a_rollout_whose_draw_is_the_point_estimate_is_that_of_the_market():
    market, keys = build_market(LINEAR), episode_keys(1, np.arange(20))
    path = draw_path(market, keys, 1.0)
    known, unsure = (roll(market, Watchful(), path, point=point) for point in (None, market))
    assert unsure.statement.objective == pytest.approx(known.statement.objective, rel=1e-12)


def test_a_policy_trades_the_same_shares_in_every_draw_unless_it_watches():
    """TWAP and the optimal policy of a martingale market know the point estimate only; costs differ, trades do not."""
    draws, point, keys = build_draws(UNSURE), build_market(UNSURE), episode_keys(5, np.arange(4))
    for policy in (get_policy("TWAP"), get_policy("optimum")):
        found = [roll(market, policy, draw_path(market, keys, 1.0), point=point) for market in draws.markets[:3]]
        assert np.allclose(found[0].inventory, found[1].inventory, rtol=1e-12)
        assert not np.allclose(found[0].statement.objective, found[1].statement.objective)


@pytest.fixture(scope="module")
def board():
    return evaluate(UNSURE, ["VWAP", "IS", "all-at-once"], episodes=200, backend="numpy")


def test_a_board_shows_the_rows_in_the_draws(board):
    found = board.calibration
    assert (found.draws, found.of, found.episodes) == (12, 12, 200)
    assert {row.policy for row in found.rows} == {"VWAP", "IS", "all-at-once"}
    for row in found.rows:
        total = row.calibration_sd_bps**2 + row.simulation_error_bps**2
        assert row.calibration_share == pytest.approx(row.calibration_sd_bps**2 / total)
        assert row.diff_to_twap_low < row.diff_to_twap_bps < row.diff_to_twap_high
        assert row.regret_bps > 0.0
    (worst,) = (row for row in found.rows if row.policy == "all-at-once")
    assert worst.verdict == "loss larger than the calibration error"
    assert worst.calibration_share > 0.9
    assert "loss larger than the calibration error" in str(board)
    assert "all-at-once" in found.finding
    plain = json.loads(board.to_json())["calibration"]
    assert plain["draws"] == 12
    assert plain["rows"][-1]["verdict"] == found.rows[-1].verdict
    assert found.caption in board.to_markdown()


def test_differences_of_a_schedule_are_those_of_the_exact_objectives(board):
    """A second way: the objectives of fixed schedules in each draw, computed without simulation."""
    from hyperexec_env.baselines.solver import schedule_bps
    from hyperexec_env.market.posterior import draws_of

    fractions = get_policy("VWAP").fractions(build_market(UNSURE))[:-1]
    even = [1.0 / (5 - k) for k in range(5)]
    pairs = [[schedule_bps(draw, fractions=each) for each in (fractions, even)] for draw in draws_of(UNSURE)]
    exact = np.array(pairs) @ [1.0, -1.0]
    (row,) = (row for row in board.calibration.rows if row.policy == "VWAP")
    assert row.calibration_sd_bps == pytest.approx(exact.std(ddof=1), rel=0.25, abs=1e-3)
    assert row.diff_to_twap_low <= exact.mean() <= row.diff_to_twap_high


def test_equal_draws_leave_no_calibration_error():
    sure = replace(LINEAR, posterior={name: [getattr(LINEAR, name)] * 3 for name in COLUMNS})
    (row,) = evaluate(sure, "IS", episodes=50, backend="numpy").calibration.rows
    assert row.calibration_sd_bps == pytest.approx(0.0, abs=1e-9)
    assert row.calibration_share == pytest.approx(0.0, abs=1e-9)


def test_a_board_without_draws_stays_as_it_is():
    plain = evaluate(LINEAR, ["VWAP"], episodes=20, optimum=False, backend="numpy")
    assert plain.calibration is None
    assert "calibration" not in plain.to_dict()
    assert "calibration" not in str(plain)
    with pytest.raises(ValueError, match="has no posterior"):
        calibration_error(plain, [], get_policy("TWAP"))


def test_the_command_prints_the_calibration_error(capsys, tmp_path):
    (tmp_path / "unsure.toml").write_text(UNSURE.to_toml(), encoding="utf-8")
    words = ["--scenario", str(tmp_path / "unsure.toml"), "--policy", "VWAP", "--episodes", "20", "--backend", "numpy"]
    assert cli.main(["evaluate", *words]) == 0
    out = capsys.readouterr().out
    assert "calibration %" in out
    assert "than the calibration error" in out
    assert "all 12 draws, 20 episodes of each" in out
