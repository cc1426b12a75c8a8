"""The batch as stable-baselines3 sees it."""

from importlib.util import find_spec

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.training.adapter import TRAINING_SEEDS, BatchVecEnv

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
BACKENDS = ("numpy", pytest.param("numba", marks=needs_numba))


def test_the_adapter_passes_the_batch_through():
    adapter = BatchVecEnv(6, seed=2, reward_scale=0.1, backend="numpy", scenario="regime-day")
    batch = HyperExecVectorEnv(6, "SameStep", "numpy", scenario="regime-day")
    observation, _ = batch.reset(seed=TRAINING_SEEDS + 2 * 2**20)
    assert np.array_equal(adapter.reset(), observation)
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(80):
        actions = rng.uniform(-1, 1, (6, 1)).astype(np.float32)
        observation, reward, ended, _, info = batch.step(actions)
        same, scaled, dones, infos = adapter.step(actions)
        assert np.array_equal(same, observation)
        assert scaled == pytest.approx(0.1 * reward, rel=1e-6)
        assert np.array_equal(dones, ended)
        for lane in np.flatnonzero(ended):
            ends += 1
            assert np.array_equal(infos[lane]["terminal_observation"], info["final_obs"][lane])
            assert infos[lane]["episode"]["r"] == pytest.approx(-info["final_info"]["objective_bps"][lane])
            assert 1 <= infos[lane]["episode"]["l"] <= 26
            assert not infos[lane]["TimeLimit.truncated"]
        assert all(infos[lane] == {} for lane in np.flatnonzero(~ended))
    assert ends > 12


def test_training_leaves_small_seeds_alone():
    adapter = BatchVecEnv(3, seed=0, scenario="regime-day")
    for seed in (0, 5, 2**19 - 1):
        assert min(adapter.seed(seed)) >= TRAINING_SEEDS > 2**32 - 1


def test_two_training_seeds_share_no_lane():
    adapter = BatchVecEnv(4, seed=0, scenario="regime-day")
    assert not set(adapter.seed(0)) & set(adapter.seed(1))


def test_masks_reach_maskable_algorithms():
    adapter = BatchVecEnv(3, seed=0, backend="numpy", scenario="regime-day", action_mode="discrete")
    adapter.reset()
    masks = np.stack(adapter.env_method("action_masks"))
    assert masks.shape == (3, 7)
    assert masks.any(axis=1).all()


# --- where the episodes stand

FULL = {
    "base": "trending-day",
    "name": "full",
    "temp_impact_beta": 0.5,
    "predator": 0.3,
    "flow_persistence": 0.5,
    "complete": False,
    "max_participation": 0.1,
    "volume_level_sd": 0.4,
    "volume_persistence": 0.4,
    "drift_sd": 0.02,
    "temp_impact_sd": 0.3,
    "volatility_curve": [1.6, 0.8, 0.7, 1.2],
}
FULLEST = {
    "scenario": FULL,
    "action_mode": "discrete",
    "random_side": True,
    "quantity_range": (0.5, 2.0),
    "observe_regime": False,
    "reward": "realised",
}
"""The fullest program of `envs/test_vector.py`: every lane has its own order, a signal and a predator's memory."""


def draw_actions(adapter, rng):
    """The first lanes wait for the deadline, the last ones hurry and end early."""
    hurry = rng.random(adapter.num_envs) < np.linspace(0.0, 0.9, adapter.num_envs)
    if adapter.action_space.shape == ():
        return np.where(hurry, 6, rng.integers(0, 4, adapter.num_envs))
    return np.where(hurry, 1.0, rng.uniform(-1.0, 0.3, adapter.num_envs)).astype(np.float32)[:, None]


def assert_same_step(ours, theirs):
    """Observations, rewards, ends and what the protocol tells of lanes that ended: all equal to the last bit."""
    for one, other in zip(ours[:3], theirs[:3], strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    for one, other in zip(ours[3], theirs[3], strict=True):
        assert one.keys() == other.keys()
        assert one.get("episode") == other.get("episode")
        assert np.array_equal(one.get("terminal_observation", 0), other.get("terminal_observation", 0))


@pytest.mark.parametrize(
    ("backend", "options"), [("numpy", {}), ("numpy", FULLEST), pytest.param("numba", FULLEST, marks=needs_numba)]
)
def test_a_batch_that_goes_on_from_a_position_is_the_one_that_was_not_interrupted(backend, options):
    """Another batch, of another seed, that has gone some way of its own; from any slice."""
    options = {"backend": backend, "scenario": "regime-day", **options}
    for stop in (0, 1, 13, 26, 40):
        whole, other = BatchVecEnv(6, 1, 0.1, **options), BatchVecEnv(6, 2, 0.1, **options)
        seen = whole.reset()
        other.reset()
        rng, stray = np.random.default_rng(stop), np.random.default_rng(99)
        for _ in range(stop):
            seen = whole.step(draw_actions(whole, rng))[0]
            other.step(draw_actions(other, stray))
        position = whole.position()
        kept = {name: values.copy() for name, values in position.items()}
        assert np.array_equal(other.go_on(position), seen)
        ends = []
        for _ in range(60):
            actions = draw_actions(whole, rng)
            ours, theirs = other.step(actions), whole.step(actions)
            assert_same_step(ours, theirs)
            ends.append(ours[2])
        assert np.sum(ends, axis=0).min() >= 2
        for name, values in kept.items():
            assert np.array_equal(position[name], values), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_batch_that_was_made_to_go_on_knows_its_situation(backend):
    whole, other = (BatchVecEnv(6, seed, backend=backend, **FULLEST) for seed in (1, 2))
    whole.reset()
    rng = np.random.default_rng(5)
    for _ in range(7):
        whole.step(draw_actions(whole, rng))
    other.go_on(whole.position())
    ours, theirs = other.batch.situation, whole.batch.situation
    for name, one, another in zip(ours._fields[1:], ours[1:], theirs[1:], strict=True):
        assert np.array_equal(one, another), name


def test_a_position_of_one_backend_is_one_of_the_other():
    """A training may go on where numba is not installed: this market is the same to the last bit."""
    pytest.importorskip("numba", reason="needs the extra `fast`")
    numba, numpy = (BatchVecEnv(6, seed, backend=backend, **FULLEST) for seed, backend in enumerate(("numba", "numpy")))
    numba.reset()
    rng = np.random.default_rng(5)
    for here, there in ((numba, numpy), (numpy, numba)):
        for _ in range(33):
            here.step(draw_actions(here, rng))
        there.go_on(here.position())
        assert here.position().keys() == there.position().keys()
        for _ in range(30):
            actions = draw_actions(here, rng)
            assert_same_step(there.step(actions), here.step(actions))
