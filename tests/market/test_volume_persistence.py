"""Persistence of volume: the log volume around its expectation is AR(1), observed, and moves nothing but the volume."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.market.noise import episode_keys, exponential, logarithm
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market
from hyperexec_env.market.volume_noise import neutral_ratio, predicted_ratio

pytestmark = pytest.mark.fast

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")

DAY = get_scenario("regime-day")
EPISODES = 20_000
LAST_VOLUME = observation_names().index("last_volume")


def paths(scenario, episodes=EPISODES, seed=5):
    return draw_path(build_market(scenario), episode_keys(seed, np.arange(episodes)), 1.0)


def deviations(scenario, path):
    """Log volume of each slice around its expectation in its regime, with mean zero, and that before the first slice."""
    return np.log(path.world.volume_ratio) + 0.5 * scenario.volume_noise**2


def test_a_market_without_persistence_is_the_market_before_the_field():
    for name in scenario_names():
        scenario = get_scenario(name)
        assert scenario.volume_persistence == 0.0
        assert replace(scenario, volume_persistence=0.0).hash == scenario.hash
        assert replace(scenario, volume_persistence=0.3).hash != scenario.hash
        assert (paths(scenario, 20).world.volume_ratio == 1.0).all()


def test_persistence_of_a_volume_without_noise_changes_nothing():
    plain = paths(replace(DAY, volume_noise=0.0), 30)
    other = paths(replace(DAY, volume_noise=0.0, volume_persistence=0.5), 30)
    assert all(np.array_equal(a, b) for a, b in zip(plain.slices, other.slices, strict=True))


@pytest.mark.parametrize("phi", [0.35, 0.9, -0.4])
def test_the_log_volume_is_a_stationary_ar1_of_the_same_noise(phi):
    scenario = replace(DAY, volume_persistence=phi)
    path = paths(scenario)
    logs = deviations(scenario, path)
    error = 1.0 / math.sqrt(EPISODES)
    for k in (0, 1, 13, 26):
        assert abs(logs[k].mean()) < 4.0 * scenario.volume_noise * error
        assert logs[k].std() == pytest.approx(scenario.volume_noise, rel=4.0 * error)
    for lag in (1, 3):
        for k in (0, 12):
            found = np.corrcoef(logs[k], logs[k + lag])[0, 1]
            assert abs(found - phi**lag) < 4.0 * error


@pytest.mark.parametrize("changes", [{}, {"volume_level_sd": 0.4}])
def test_the_expected_volume_does_not_depend_on_the_persistence(changes):
    scenario = replace(DAY, volume_persistence=0.5, **changes)
    market, volume = build_market(scenario), paths(scenario).slices.volume
    for k in (0, 1, 25):
        error = volume[k].std() / math.sqrt(EPISODES)
        assert abs(volume[k].mean() - market.mean_volume[k, market.unknown]) < 4.0 * error


def test_persistence_moves_the_volume_and_nothing_else():
    for name in scenario_names():
        scenario = replace(get_scenario(name), volume_noise=0.3, max_participation=None)
        plain, other = paths(scenario, 30), paths(replace(scenario, volume_persistence=0.5), 30)
        for field, values in plain.slices._asdict().items():
            assert np.array_equal(values, getattr(other.slices, field)) == (field != "volume"), (name, field)
        for field in ("regime", "flow", "price", "volume_level"):
            assert np.array_equal(getattr(plain.world, field), getattr(other.world, field)), (name, field)


def test_the_ratio_is_the_volume_over_its_expectation_in_its_regime():
    scenario = replace(DAY, volume_persistence=0.5, volume_level_sd=0.4)
    market, path = build_market(scenario), paths(scenario, 50)
    expected = market.mean_volume[np.arange(26)[:, None], path.world.regime[:-1]]
    assert path.world.volume_ratio[1:] == pytest.approx(path.slices.volume / expected, rel=1e-12)


@pytest.mark.parametrize("phi", [0.3, -0.7])
def test_the_predicted_ratio_is_the_conditional_mean(phi):
    numbers = build_market(replace(DAY, volume_persistence=phi)).numbers
    ratio = np.array([0.2, 0.7, 1.0, 1.6, 5.0])
    noise = DAY.volume_noise
    own = phi * (np.log(ratio) + 0.5 * noise**2)
    assert predicted_ratio(numbers, ratio) == pytest.approx(np.exp(own - 0.5 * (phi * noise) ** 2), rel=1e-6)
    assert predicted_ratio(numbers, neutral_ratio(numbers)) == pytest.approx(1.0, abs=1e-7)


def test_the_logarithm_of_single_precision_is_the_logarithm():
    values = np.geomspace(1e-8, 1e8, 2001).astype(np.float32)
    assert logarithm(values) == pytest.approx(np.log(values.astype(float)), abs=2e-6)
    assert exponential(logarithm(values)) == pytest.approx(values, rel=3e-6)


def stepped(env, steps):
    """Observations and rewards of an environment that trades at the same pace in each slice."""
    observation, _ = env.reset(seed=3)
    found = [observation], []
    for _ in range(steps):
        observation, reward, *_ = env.step(env.action_space.sample() * 0.0 - 0.2)
        found[0].append(observation)
        found[1].append(reward)
    return [np.array(part) for part in found]


@pytest.mark.parametrize(
    "backend",
    [
        "numpy",
        pytest.param("numba", marks=[needs_numba, pytest.mark.slow]),
    ],  # compiled for this test; `test_vector.py` has it too
)
def test_lanes_are_single_environments_to_the_last_bit_and_show_the_ratio(backend):
    scenario = replace(DAY, volume_persistence=0.5, temp_impact_beta=0.5, volume_level_sd=0.3, slices=8)
    lanes = HyperExecVectorEnv(2, "Disabled", backend, scenario=scenario)
    seen, paid = stepped(lanes, 8)
    for lane in range(2):
        single = HyperExecEnv(scenario)
        single.reset(seed=3 + lane)
        own = [single.reset(seed=3 + lane)[0]], []
        for _ in range(8):
            observation, reward, *_ = single.step(np.array([-0.2], np.float32))
            own[0].append(observation)
            own[1].append(reward)
        assert np.array_equal(np.array(own[0]), seen[:, lane])
        assert np.array_equal(np.array(own[1]), paid[:, lane])
        ratio = paths(scenario, 1, 3 + lane).world.volume_ratio[:, 0]
        assert seen[:, lane, LAST_VOLUME] == pytest.approx(ratio, rel=1e-6)


def test_the_ratio_is_hidden_with_the_regime():
    scenario = replace(DAY, volume_persistence=0.5)
    env = HyperExecEnv(scenario, observe_regime=False)
    observation, _ = env.reset(seed=4)
    assert env.unwrapped.situation.volume_ratio == 1.0
    path, market = paths(scenario, 1, 4), build_market(scenario)
    assert observation[LAST_VOLUME] == pytest.approx(path.world.volume_ratio[0, 0], rel=1e-6)  # of the time before the order
    observation, *_ = env.step(np.zeros(1, np.float32))
    assert env.unwrapped.situation.volume_ratio == 1.0
    expected = market.mean_volume[0, market.unknown]
    assert observation[LAST_VOLUME] == pytest.approx(path.slices.volume[0, 0] / expected, rel=1e-6)
