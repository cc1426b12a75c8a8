"""The probabilities of a hidden regime in the observation: those of the filter, in every execution, and calibrated."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from hyperexec_env.audit.own import another_future, another_regime
from hyperexec_env.baselines.evaluate import evaluate
from hyperexec_env.baselines.filtered import RegimeFilter
from hyperexec_env.envs.feature import REGIME_BELIEFS, Feature
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.situation import REGIME_LAW
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.observation import ObservationPolicy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.evaluation.rule import Rule, RulePolicy
from hyperexec_env.market.hidden import RegimeLaw, Tape, chain_of, laws_along, next_law, regime_evidence, rivals_of
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market
from hyperexec_env.records import map_leaves

from ..calibration import tenths_that_hold

pytestmark = pytest.mark.fast

DAY = get_scenario("regime-day")
SHOWN = {"observe_regime": False, "observe_beliefs": True}
NAMES = tuple(feature.name for feature in REGIME_BELIEFS.values())
TRADE = np.full(1, 0.3, np.float32)
KINDS = {
    "arithmetic": DAY,
    "geometric": replace(DAY, price_model="gbm"),
    "persistent flow": replace(DAY, flow_persistence=0.4, side=-1),
    "no noise of the volume": replace(DAY, volume_noise=0.0),
    "trends": get_scenario("trending-day"),
}


def law_of(situation):
    """Return the probabilities of the regimes in a situation."""
    return tuple(getattr(situation, name) for name in REGIME_LAW)


def episode_of(env, seed):
    """Return the observations of an episode, and the probabilities of its situations."""
    observation, _ = env.reset(seed=seed)
    seen, laws, over = [observation], [law_of(env.unwrapped.situation)], False
    while not over:
        observation, _, over, _, _ = env.step(TRADE)
        seen.append(observation)
        laws.append(law_of(env.unwrapped.situation))
    return np.array(seen), np.array(laws)


@pytest.mark.parametrize("kind", KINDS)
def test_the_observation_shows_what_the_filter_of_the_policy_says(kind):
    env = HyperExecEnv(KINDS[kind], **SHOWN)
    present = [name for name in REGIME_BELIEFS if name in KINDS[kind].regimes.names]
    assert env.observation_names == (*observation_names(), *(REGIME_BELIEFS[name].name for name in present))
    known = RegimeFilter(env.task.market)
    order = [KINDS[kind].regimes.names.index(name) for name in present]
    observation, _ = env.reset(seed=4)
    for _ in range(10):
        known.see(env.situation)
        said = observation[-len(present) :]
        assert said == pytest.approx(known.probabilities[0][order], rel=1e-6, abs=1e-9)
        observation = env.step(TRADE)[0]


def test_the_probabilities_begin_at_the_law_of_the_first_regime_and_sum_to_one():
    env = HyperExecEnv(DAY, **SHOWN)
    seen, laws = episode_of(env, 3)
    assert laws[0] == pytest.approx(DAY.regimes.start_law(), rel=1e-12)
    assert np.array_equal(seen[:, -6:], laws.astype(np.float32))
    assert laws.sum(axis=1) == pytest.approx(1.0, abs=1e-12)
    assert laws.min() >= 0.0
    assert laws.max() <= 1.0
    assert all(env.observation_space.contains(row) for row in seen)


def test_the_other_features_are_those_without_the_probabilities():
    with_them, without = HyperExecEnv(DAY, **SHOWN), HyperExecEnv(DAY, observe_regime=False)
    ours, _ = episode_of(with_them, 11)
    assert np.array_equal(ours[0, :-6], without.reset(seed=11)[0])
    for row in ours[1:]:
        assert np.array_equal(row[:-6], without.step(TRADE)[0])
    assert law_of(without.situation) == (0.0,) * 6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_lanes_show_the_probabilities_of_the_single_environment_to_the_bit(kind, backend, mode):
    if backend == "numba":
        pytest.importorskip("numba")
    options = {"scenario": KINDS[kind], **SHOWN}
    env = HyperExecVectorEnv(3, mode, backend, **options)
    singles = [HyperExecEnv(**options) for _ in range(3)]
    observed, _ = env.reset(seed=[5, 6, 7])
    rows = [single.reset(seed=5 + lane)[0] for lane, single in enumerate(singles)]
    for _ in range(DAY.slices + 3):
        assert np.array_equal(observed, rows)
        assert np.array_equal(np.transpose(law_of(env.situation)), [law_of(single.situation) for single in singles])
        action = np.full((3, 1), 0.1, np.float32)
        observed, _, over, _, _ = env.step(action)
        rows = [single.step(row)[0] for single, row in zip(singles, action, strict=True)]
        if over.all():
            if mode == "NextStep":
                assert np.array_equal(observed, rows)
                observed = env.step(action)[0]
            rows = [single.reset()[0] for single in singles]


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_features_of_a_user_read_the_probabilities_beside_them(backend):
    """A function of the situation, in the single environment and in lanes; the regime may be observed too."""
    if backend == "numba":
        pytest.importorskip("numba")
    worst = Feature("worst", 0.0, 2.0, None, lambda situation, known: 2.0 * situation.regime_probability_CRISIS)
    options = {"scenario": DAY, "features": ["time_left", "regime_probability_CRISIS", worst]}
    env, single = HyperExecVectorEnv(2, "SameStep", backend, **options), HyperExecEnv(**options)
    observed, row = env.reset(seed=8)[0], single.reset(seed=8)[0]
    for _ in range(6):
        assert np.array_equal(observed[0], row)
        assert row[2] == pytest.approx(2.0 * row[1], rel=1e-6)
        observed, row = env.step(np.full((2, 1), 0.1, np.float32))[0], single.step(np.full(1, 0.1, np.float32))[0]


@pytest.mark.parametrize("k", [0, 3, 12])
def test_another_regime_or_another_future_moves_no_observation_before_it(k):
    env = HyperExecEnv(DAY, **SHOWN)

    def seen(change):
        observed = [env.begin_on(change)[0]]
        return np.array(observed + [env.step(TRADE)[0] for _ in range(k + 1)])

    for change in (another_regime, another_future):
        moved = 0
        for seed in range(60):
            env.reset(seed=seed)
            usual, other = seen(lambda path: path), seen(change(env.task, k))
            assert np.array_equal(usual[: k + 1], other[: k + 1])
            moved += not np.array_equal(usual[k + 1, -6:], other[k + 1, -6:])
        assert moved > 0


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=pytest.mark.slow)])
def test_a_rule_that_reads_the_probabilities_is_not_compiled_without_them(backend):
    if backend == "numba":
        pytest.importorskip("numba")

    class Calm(RulePolicy):
        name, follows_regimes = "calm", True

        def rule(self, market, hidden):
            return Rule(calm_shares, Slices(float(market.slices)))

    board = evaluate(DAY, Entrant(Calm(), hidden=True), episodes=5, optimum=False, backend=backend)
    market = build_market(DAY)
    expected = roll(market, Calm(), draw_path(market, episode_keys(0, np.arange(5), board=True), 1.0), hidden=True)
    assert np.array_equal(board.outcomes[0].statement.objective, expected.statement.objective)
    assert expected.statement.objective.std() > 0.0


class Slices(NamedTuple):
    """Parameters of a rule."""

    slices: float


def calm_shares(parameters, situation):
    calm = 1.0 - situation.regime_probability_CRISIS
    return calm * situation.remaining / (parameters.slices - situation.k)


def test_where_the_observation_says_seven_tenths_the_regime_is_that_in_seven_tenths():
    """Calibration in every tenth of every regime's probability, within four standard errors of independent episodes."""
    market = build_market(DAY)
    path = draw_path(market, episode_keys(9, np.arange(6_000)), 1.0)
    laws, counted = np.array(laws_along(market, path)), 0
    for k in (2, 9, 20):
        for regime in range(6):
            counted += tenths_that_hold(laws[regime, k], path.world.regime[k] == regime)
    assert counted > 40


def test_a_policy_on_a_board_observes_what_the_environment_shows():
    market, met = build_market(DAY), []
    path = draw_path(market, episode_keys(2, np.arange(3)), 1.0)
    env = HyperExecEnv(DAY, **SHOWN)
    env.reset(seed=0)

    def action(observation):
        met.append(observation)
        return np.full(len(observation), 0.3)

    policy = ObservationPolicy("watching", action, observe_regime=False, features=env.observation_names)
    outcome = roll(market, policy, path, hidden=True)
    layers = ((np.zeros((1, len(observation_names()) + 6), np.float32), np.full(1, 0.3, np.float32)),)
    network = NetworkPolicy("network", layers, "tanh", "clip", "pace", False, 0, beliefs=NAMES)
    assert np.allclose(roll(market, network, path, hidden=True).statement.objective, outcome.statement.objective, rtol=1e-6)
    assert np.array([observation[:, -6:] for observation in met]).transpose(2, 0, 1) == pytest.approx(
        np.array(laws_along(market, path))[:, :-1], rel=1e-6
    )
    without = HyperExecEnv(DAY, observe_regime=False)
    without.reset(seed=1)
    with pytest.raises(ValueError, match="which this situation does not tell"):
        network.act(without.situation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"scenario": replace(DAY, volume_persistence=0.3), **SHOWN},
            "needs a scenario without unknowns and without persistent",
        ),
        ({"scenario": "unknown-drift", "features": ["regime_probability_CRISIS"]}, "needs a scenario without unknowns"),
        ({"scenario": replace(DAY, drift_sd=0.01), **SHOWN}, "observe_beliefs must be False where the regime is not observed"),
    ],
)
def test_probabilities_without_an_exact_filter_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        HyperExecEnv(**options)


def test_a_market_of_one_regime_has_no_probabilities_to_observe():
    assert HyperExecEnv("almgren-chriss", **SHOWN).observation_names == observation_names()


@pytest.mark.parametrize("law", [(0.0, 0.0, 1.0, 0.0, 0.0, 0.0), (0.0, 0.3, 0.7, 0.0, 0.0, 0.0)])
@pytest.mark.parametrize("price", [99.9, 90.0, 0.5])
def test_a_slice_that_only_an_impossible_regime_explains_leaves_the_possible_ones(law, price):
    market = build_market(DAY)
    rivals = map_leaves(lambda values: values.item(0), rivals_of(market))
    volume = rivals.volume.at_2
    evidence = regime_evidence(market, 0, *(np.array([value]) for value in (volume, 100.0, price, 0.0)))[0]
    possible = np.array(law) > 0.0
    weights = np.where(possible, law * np.exp(np.where(possible, evidence - evidence[possible].max(), 0.0)), 0.0)
    expected = weights / weights.sum() @ DAY.regimes.transition(market.tau)
    found = next_law(market.numbers, chain_of(market), rivals, RegimeLaw(*law), Tape(volume, 100.0, price, 0.0))
    assert found == pytest.approx(tuple(expected), rel=1e-12)
