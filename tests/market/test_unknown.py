"""What an episode draws once and never shows: it moves nothing else, never leaks, and the filters are exact in the market."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from hyperexec_env.baselines.solver import solve
from hyperexec_env.envs.feature import Feature, belief_names
from hyperexec_env.envs.features import Known, observation_names
from hyperexec_env.envs.lanes import lane_program
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.task import build_task
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market import noise, path, unknown
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import UNKNOWNS, Scenario, get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

DAY = get_scenario("regime-day")
BOTH = {"volume_level_sd": 0.4, "drift_sd": 0.02}
ALL = {**BOTH, "temp_impact_sd": 0.6, "kyle_sd": 0.5}
LINEAR = get_scenario("almgren-chriss")
EPISODES = 20_000


def paths(scenario, episodes=EPISODES, seed=5):
    return draw_path(build_market(scenario), episode_keys(seed, np.arange(episodes)), 1.0)


# --- the table


def test_the_table_of_unknowns_is_another_way_to_write_their_fields():
    tabled = Scenario.from_dict({"base": "regime-day", "unknown": BOTH})
    assert tabled == replace(DAY, name="regime-day*", **BOTH)
    assert tabled.unknown == BOTH
    assert Scenario.from_toml(tabled.to_toml()) == tabled
    assert Scenario.from_toml('base = "regime-day"\n[unknown]\ndrift_sd = 0.02\nvolume_level_sd = 0.4\n') == tabled
    assert DAY.unknown == {}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"unknown": {"drift": 0.1}}, r"unknown may hold .*got drift; did you mean 'drift_sd'"),
        ({"unknown": {"drift_sd": -0.1}}, r"drift_sd must be .*-0\.1"),
        ({"unknown": {"drift_sd": 0.1}, "drift_sd": 0.1}, "drift_sd must be given once"),
        ({"unknown": 0.1}, r"unknown must be a table of volume_level_sd, drift_sd, temp_impact_sd, kyle_sd, got 0\.1"),
    ],
)
def test_a_wrong_table_is_refused_by_name_value_and_range(values, message):
    with pytest.raises(ValueError, match=message):
        Scenario.from_dict(values)


def test_a_market_without_unknowns_is_the_market_before_the_fields():
    for name in scenario_names():
        scenario = get_scenario(name)
        for unknown_field in UNKNOWNS:
            if not getattr(scenario, unknown_field):
                if unknown_field == "kyle_sd" and (scenario.flow_persistence or scenario.price_model == "gbm"):
                    continue
                assert replace(scenario, **{unknown_field: 0.0}).hash == scenario.hash
                assert replace(scenario, **{unknown_field: 0.1}).hash != scenario.hash


# --- the draw


def test_an_unknown_drift_moves_the_price_by_itself_and_nothing_else():
    plain, drifting = paths(DAY, 300), paths(replace(DAY, drift_sd=0.02), 300)
    drift = drifting.world.drift[0]
    assert (drifting.world.drift == drift).all()
    for field, values in plain.slices._asdict().items():
        if field != "drift":
            assert np.array_equal(values, getattr(drifting.slices, field)), field
    assert drifting.slices.drift == pytest.approx(np.broadcast_to(100.0 * drift * DAY.tau, drifting.slices.drift.shape))
    for field in ("regime", "flow", "volume_level"):
        assert np.array_equal(getattr(plain.world, field), getattr(drifting.world, field)), field
    moved = drifting.world.price - plain.world.price
    assert moved == pytest.approx(100.0 * DAY.tau * drift * np.arange(27)[:, None], abs=1e-9)


def test_the_drift_has_a_word_of_its_own():
    key = episode_keys(3, np.arange(50))
    used = {int(word) for k in range(30) for words in noise.words(key, (0, 1, 2), k) for word in words}
    offsets = (path._ORDER_WORD, path._SIDE, path._SIZE, path._LEVEL, path._DRAW, path._RATIO)
    used |= {int(word) for offset in offsets for word in noise.word(key, offset)}
    assert not used & {int(word) for word in noise.word(key, unknown._DRIFT)}


def test_two_drifts_with_one_past_have_one_observation():
    """Before the first slice nothing shows the drift; afterwards the price does, through its own move alone."""
    shown = []
    for deviation in (1e-6, 0.02):
        env = HyperExecEnv(replace(DAY, drift_sd=deviation), info="full")
        first, info = env.reset(seed=4)
        second, _, _, _, running = env.step(np.zeros(1, np.float32))
        assert math.isnan(running["objective_bps"])
        assert info.keys() == running.keys()
        shown.append((first, second))
    (first, second), (other, later) = shown
    assert np.array_equal(first, other)
    moved = {name for name, ours, theirs in zip(observation_names(), second, later, strict=True) if ours != theirs}
    assert moved == {"price_move"}


def test_an_unknown_lambda_moves_the_price_with_the_flow_alone():
    plain, other = paths(DAY, 300), paths(replace(DAY, kyle_sd=0.5), 300)
    kyle, flow = other.world.kyle[0], plain.world.flow[1:]
    assert kyle.std() == pytest.approx(0.5, abs=0.08)
    for field, values in plain.slices._asdict().items():
        if field != "innovation":
            assert np.array_equal(values, getattr(other.slices, field)), field
    step = build_market(DAY).step_volatility[np.arange(26)[:, None], plain.world.regime[:-1]]
    moved = 100.0 * step * math.sqrt(DAY.flow_share) * (kyle - 1.0) * flow
    assert other.slices.innovation - plain.slices.innovation == pytest.approx(moved, abs=1e-9)


def test_an_unknown_lambda_moves_no_cost_and_no_optimum():
    """J leaves zero-mean moves of the price out, and the permanent cost is that of every plan."""
    ours, other = solve(LINEAR), solve(replace(LINEAR, kyle_sd=0.5))
    assert other.optimum_bps == other.told_bps == ours.optimum_bps
    assert other.open_loop_bps == ours.open_loop_bps


@pytest.mark.parametrize("changes", [{"flow_persistence": 0.2}, {"price_model": "gbm"}])
def test_an_unknown_lambda_is_refused_where_it_would_move_the_cost(changes):
    with pytest.raises(ValueError, match="kyle_sd must be 0 unless flow_persistence is 0 and price_model is 'abm'"):
        replace(DAY, kyle_sd=0.5, **changes)


# --- the filters


@pytest.mark.parametrize("changes", [{}, {"volume_persistence": 0.5}, {"flow_persistence": 0.4}, {"price_model": "gbm"}])
def test_the_beliefs_are_calibrated_and_forget_nothing(changes):
    """(theta - m) / sqrt(P) is a standard normal that the belief itself tells nothing about."""
    world = paths(replace(DAY, **BOTH, **changes)).world
    truths = {"level": np.log(world.volume_level[0]) + 0.5 * 0.16, "drift": world.drift[0]}
    for name, truth in truths.items():
        means, variances = getattr(world, f"{name}_mean"), getattr(world, f"{name}_variance")
        for k in (0, 1, 7, 26):
            error = (truth - means[k]) / np.sqrt(variances[k])
            assert abs(error.mean()) < 4.0 / math.sqrt(EPISODES), (name, k)
            assert abs((error**2).mean() - 1.0) < 4.0 * math.sqrt(2.0 / EPISODES), (name, k)
            size = max(means[k].std(), 1e-12)
            assert abs((error * means[k] / size).mean()) < 4.0 / math.sqrt(EPISODES), (name, k)
            for level in (1.0, 1.6449):  # 68 and 90 % intervals hold as often
                inside = (np.abs(error) < level).mean()
                assert inside == pytest.approx(math.erf(level / math.sqrt(2.0)), abs=0.014), (name, k)
        assert (np.diff(variances, axis=0) < 0.0).all()


def test_the_belief_about_the_drift_is_a_regression_on_all_moves():
    """m_N and P_N against the posterior of one regression of the moves, less their flow, on time."""
    scenario = replace(DAY, drift_sd=0.02)
    market, found = build_market(scenario), paths(scenario, 40).world
    price, row = found.price / 100.0, market.step_volatility[np.arange(26)[:, None], found.regime[:-1]]
    moves = np.diff(price, axis=0) - row * math.sqrt(scenario.flow_share) * found.flow[1:]
    news = row**2 * (1.0 - scenario.flow_share)
    precision = 1.0 / 0.02**2 + (scenario.tau**2 / news).sum(axis=0)
    assert found.drift_variance[-1] == pytest.approx(1.0 / precision, rel=1e-9)
    assert found.drift_mean[-1] == pytest.approx((scenario.tau * moves / news).sum(axis=0) / precision, rel=1e-7, abs=1e-9)


def test_the_belief_about_lambda_is_a_regression_on_the_flow():
    """Mean and variance against one regression; with the drift unknown too, against the normal equations of both."""
    for drift_sd in (0.0, 0.02):
        scenario = replace(DAY, kyle_sd=0.5, drift_sd=drift_sd)
        market, found = build_market(scenario), paths(scenario, 30).world
        step = market.step_volatility[np.arange(26)[:, None], found.regime[:-1]]
        moves, news = np.diff(found.price, axis=0) / 100.0, step**2 * (1.0 - scenario.flow_share)
        rows = np.stack([np.full(moves.shape, scenario.tau), step * math.sqrt(scenario.flow_share) * found.flow[1:]])
        precision = np.einsum("ike,jke,ke->eij", rows, rows, 1.0 / news) + np.diag([1.0 / max(drift_sd**2, 1e-18), 4.0])
        target = np.einsum("ike,ke->ei", rows, moves / news) + np.array([0.0, 4.0])
        covariance = np.linalg.inv(precision)
        mean = np.einsum("eij,ej->ei", covariance, target)
        assert found.kyle_mean[-1] == pytest.approx(mean[:, 1], rel=1e-6)
        assert found.kyle_variance[-1] == pytest.approx(covariance[:, 1, 1], rel=1e-6)
        assert found.drift_mean[-1] == pytest.approx(mean[:, 0], rel=1e-5, abs=1e-9)
        assert found.drift_with_kyle[-1] == pytest.approx(covariance[:, 0, 1], rel=1e-5, abs=1e-12)


@pytest.mark.parametrize(("slices", "published", "simulated"), [(26, 0.07709, 0.0792), (390, 0.02293, 0.0229)])
def test_the_deviation_of_lambda_after_a_day_is_that_of_the_formula_and_of_regressions(slices, published, simulated):
    """lambda .3 with a prior sd of .15, R^2 .3: (1 / sd0^2 + K R^2 / (1 - R^2) / lambda^2)^(-1/2)."""
    formula = (1.0 / 0.15**2 + slices * 0.3 / 0.7 / 0.3**2) ** -0.5
    assert formula == pytest.approx(published, abs=6e-6)
    scenario = replace(DAY, slices=slices, kyle_lambda=0.3, kyle_multiple=None, flow_share=0.3, kyle_sd=0.5, volume_noise=0.0)
    world = paths(scenario, 4_000).world
    error = 0.3 * (world.kyle[0] - world.kyle_mean[-1])
    assert error.std() == pytest.approx(simulated, rel=4.0 / math.sqrt(8_000))
    assert 0.3 * math.sqrt(world.kyle_variance[-1].mean()) == pytest.approx(published, rel=0.04)
    assert abs((error**2 / (0.09 * world.kyle_variance[-1])).mean() - 1.0) < 4.0 * math.sqrt(2.0 / 4_000)


@pytest.mark.parametrize("backend", ["single", "numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_flow_that_explains_the_whole_price_tells_drift_and_lambda_exactly(backend):
    """Without news two slices determine both numbers, and rounding leaves no negative variance."""
    options = {"scenario": replace(DAY, flow_share=1.0, drift_sd=0.3, kyle_sd=0.2), "observe_beliefs": True}
    env = HyperExecEnv(**options) if backend == "single" else HyperExecVectorEnv(8, "SameStep", backend, **options)
    names = observation_names()
    observation, _ = env.reset(seed=3)
    for _ in range(5):
        observation = env.step(np.zeros(env.action_space.shape, np.float32))[0]
    _, drift_sd, _, kyle_sd = np.moveaxis(np.atleast_2d(observation)[:, len(names) :], 1, 0)
    assert np.abs(drift_sd).max() < 1e-4
    assert np.abs(kyle_sd).max() < 1e-5
    world = paths(options["scenario"], 500).world
    assert world.kyle_mean[-1] == pytest.approx(world.kyle[0], abs=1e-7)
    assert world.drift_mean[-1] == pytest.approx(world.drift[0], abs=1e-6)


class Watching:
    """TWAP that records the belief about the temporary impact, and the price of its fills."""

    name = "watching"

    def __init__(self):
        self.slopes, self.fills = [], []

    def act(self, situation):
        self.slopes.append(np.broadcast_to(situation.slope_mean, np.shape(situation.remaining)).copy())
        self.fills.append(np.broadcast_to(situation.last_price, np.shape(situation.remaining)).copy())
        return situation.remaining / (situation.market.slices - situation.k)


def watched(scenario, episodes=EPISODES):
    policy, path = Watching(), paths(scenario, episodes)
    outcome = roll(build_market(scenario), policy, path)
    return policy, path, outcome


def test_where_the_filter_says_seven_tenths_seven_in_ten_impacts_are_high():
    """Calibration in every bin of the probability that the filter states, within three standard errors."""
    scenario = replace(get_scenario("unknown-impact"), slices=13)
    policy, path, _ = watched(scenario)
    high = path.world.slope[0] > 1.0
    assert high.mean() == pytest.approx(0.5, abs=3.3 * 0.5 / math.sqrt(EPISODES))
    said = (np.array(policy.slopes) - 0.4) / 1.2
    for k in (1, 3, 5, 8):
        for low in np.arange(0.05, 0.95, 0.1):
            here = (said[k] >= low) & (said[k] < low + 0.1)
            if here.sum() > 200:
                error = (high[here] - said[k][here]).mean()
                assert abs(error) < 3.3 * math.sqrt(0.25 / here.sum()), (k, low)
    assert np.abs(said[-1] - high).mean() < np.abs(said[1] - high).mean() - 0.1


def test_the_belief_about_the_impact_is_the_ratio_of_the_likelihoods_of_all_fills():
    """The mean of the last slice against two normal densities of the slippage that the desk computes from its fill prices."""
    scenario = get_scenario("unknown-impact")
    market = build_market(scenario)
    policy, path, _ = watched(scenario, 50)
    shares = scenario.quantity / scenario.slices
    odds = np.zeros(50)
    for k in range(scenario.slices - 1):
        base = market.temporary_scale[0] * shares / path.slices.volume[k]
        slipped = policy.fills[k + 1] - path.world.price[k]
        permanent = market.impact.permanent_slope * shares * (k + 0.5)
        variance = (100.0 * market.step_volatility[k, 0]) ** 2 / 3.0
        seen = slipped - permanent - market.half_spread[0]
        odds += ((seen - 0.4 * base) ** 2 - (seen - 1.6 * base) ** 2) / (2.0 * variance)
    assert policy.slopes[-1] == pytest.approx(0.4 + 1.2 / (1.0 + np.exp(-odds)), rel=1e-6, abs=1e-9)


def test_an_unknown_impact_scales_the_temporary_cost_alone_and_no_account_holds_the_error_of_a_fill():
    scenario = get_scenario("unknown-impact")
    _, plain, known = watched(replace(scenario, temp_impact_sd=0.0), 300)
    _, path, outcome = watched(scenario, 300)
    for field, values in plain.slices._asdict().items():
        factor = path.world.slope[:-1] if field == "temporary_scale" else 1.0
        assert getattr(path.slices, field) == pytest.approx(values * factor, rel=1e-12), field
    ours, theirs = outcome.statement.components, known.statement.components
    assert ours.temporary == pytest.approx(theirs.temporary * path.world.slope[0], rel=1e-9)
    for name in ("spread", "transient", "permanent", "timing"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9, abs=1e-9), name


# --- what an agent sees


def test_the_observation_shows_the_beliefs_behind_its_other_features():
    scenario = replace(DAY, side=-1, **BOTH)
    env = HyperExecEnv(scenario, observe_beliefs=True)
    assert env.observation_names == (
        *observation_names(),
        *("level_belief", "level_belief_sd", "drift_belief", "drift_belief_sd"),
    )
    observation, _ = env.reset(seed=2)
    plain, _ = HyperExecEnv(scenario).reset(seed=2)
    assert np.array_equal(observation[:-4], plain)
    assert observation[-4:] == pytest.approx([0.0, 0.4, 0.0, 2.0])
    for _ in range(3):
        observation = env.step(np.zeros(1, np.float32))[0]
    world = env.episode.world
    expected = (
        world.level_mean[3],
        world.level_variance[3] ** 0.5,
        -100.0 * world.drift_mean[3],
        100.0 * world.drift_variance[3] ** 0.5,
    )
    assert observation[-4:] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_lanes_have_the_beliefs_of_the_single_environment_to_the_bit(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    options = {"scenario": replace(DAY, volume_persistence=0.3, **ALL), "observe_beliefs": True}
    env = HyperExecVectorEnv(3, "SameStep", backend, **options)
    singles = [HyperExecEnv(**options) for _ in range(3)]
    observed, _ = env.reset(seed=[5, 6, 7])
    rows = [single.reset(seed=5 + lane)[0] for lane, single in enumerate(singles)]
    for _ in range(25):
        assert np.array_equal(observed, rows)
        action = np.full((3, 1), 0.1, np.float32)
        observed = env.step(action)[0]
        rows = [single.step(row)[0] for single, row in zip(singles, action, strict=True)]


def test_lanes_that_show_beliefs_alone_read_no_table_for_functions_of_a_user():
    """Reading it took most of the time that beliefs cost a lane."""
    scenario, mode = replace(DAY, **ALL), AutoresetMode.SAME_STEP
    own = Feature("own", 0.0, 1.0, function=lambda situation, known: known.time_left)
    assert Known not in lane_program(build_task(scenario, observe_beliefs=True), mode).tables
    assert Known in lane_program(build_task(scenario, observe_beliefs=True, features=[own]), mode).tables


def test_without_unknowns_there_are_no_beliefs_to_observe():
    ours, theirs = HyperExecEnv("regime-day", observe_beliefs=True), HyperExecEnv("regime-day")
    assert ours.observation_space == theirs.observation_space
    assert np.array_equal(ours.reset(seed=1)[0], theirs.reset(seed=1)[0])


def test_a_hidden_regime_hides_the_beliefs_that_know_it():
    scenario = replace(DAY, **BOTH)
    with pytest.raises(ValueError, match="observe_beliefs must be False where the regime is not observed"):
        HyperExecEnv(scenario, observe_beliefs=True, observe_regime=False)
    env = HyperExecEnv(scenario, observe_regime=False)
    env.reset(seed=3)
    for _ in range(3):
        env.step(np.zeros(1, np.float32))
        assert env.situation.level_mean == env.situation.drift_mean == 0.0
        assert (env.situation.level_variance, env.situation.drift_variance) == pytest.approx((0.16, 4e-4))


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_features_that_name_beliefs_show_the_prior_where_the_regime_is_hidden(backend):
    """The filters know the regime, which the agent does not."""
    if backend == "numba":
        pytest.importorskip("numba")
    options = {"scenario": replace(DAY, **ALL), "observe_regime": False, "features": list(belief_names(ALL))}
    prior = np.array([0.0, 0.4, 0.0, 2.0, 1.0, 0.6, 1.0, 0.5], np.float32)
    single, lanes = HyperExecEnv(**options), HyperExecVectorEnv(2, "SameStep", backend, **options)
    observed, rows = single.reset(seed=3)[0], lanes.reset(seed=3)[0]
    for _ in range(4):
        assert np.array_equal(observed, prior)
        assert np.array_equal(rows, [prior, prior])
        observed, rows = single.step(np.zeros(1, np.float32))[0], lanes.step(np.zeros((2, 1), np.float32))[0]


@pytest.mark.parametrize("odds", [-1e9, -800.0, 800.0, 1e9])
def test_beliefs_that_are_certain_are_the_ends(odds):
    numbers = build_market(get_scenario("unknown-impact")).numbers
    end = 1.0 + np.sign(odds) * numbers.temp_impact_sd
    for given in (odds, np.array([odds])):
        belief = unknown.slope_moments(numbers, given)
        assert np.all(belief.mean == end)
        assert np.all(belief.variance == 0.0)


@pytest.mark.parametrize("unknowns", [{**BOTH, "kyle_sd": 0.5}, ALL, {"temp_impact_sd": 0.6}])
@pytest.mark.parametrize("named", [False, True])
def test_beliefs_written_into_the_observation_are_those_of_the_situation(unknowns, named):
    """An episode holds the beliefs that no trade moves from its start, and writes those about the impact after each slice.

    Features that a user names in another order leave and order columns of what is written.
    """
    scenario = replace(DAY, **unknowns, side=-1)
    names = belief_names(scenario.unknown)
    chosen = (*names[::-1], "remaining") if named else (*observation_names(), *names)
    env = HyperExecEnv(scenario, **({"features": list(chosen)} if named else {"observe_beliefs": True}))
    assert env.observation_names == chosen
    observation, over = env.reset(seed=8)[0], False
    while not over:
        now = env.situation
        means = now.level_mean, -100.0 * now.drift_mean, now.slope_mean, now.kyle_mean
        variances = now.level_variance, 1e4 * now.drift_variance, now.slope_variance, now.kyle_variance
        expected = dict(
            zip(belief_names(ALL), [x for m, v in zip(means, variances, strict=True) for x in (m, v**0.5)], strict=True)
        )
        seen = dict(zip(chosen, observation, strict=True))
        assert [seen[name] for name in names] == pytest.approx([expected[name] for name in names], rel=1e-6, abs=1e-9)
        observation, _, over, _, _ = env.step(np.full(1, 0.3, np.float32))
    assert now.slope_variance < 0.36 or "temp_impact_sd" not in unknowns


def test_an_environment_with_beliefs_can_be_copied_while_an_episode_runs():
    env = HyperExecEnv(replace(DAY, **ALL), observe_beliefs=True)
    env.reset(seed=2)
    env.step(np.zeros(1, np.float32))
    other = pickle.loads(pickle.dumps(env))  # noqa: S301 - made one line before
    for action in (0.2, -0.4, 0.1):
        ours, theirs = (each.step(np.full(1, action, np.float32)) for each in (env, other))
        assert np.array_equal(ours[0], theirs[0])
        assert ours[1] == theirs[1]
