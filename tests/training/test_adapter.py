"""The batch as stable-baselines3 sees it."""

import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")

from hyperexec_env.envs.vector import HyperExecVectorEnv
from training.adapter import TRAINING_SEEDS, BatchVecEnv


def test_the_adapter_passes_the_batch_through():
    adapter = BatchVecEnv(6, seed=2, reward_scale=0.1, scenario="regime-day")
    batch = HyperExecVectorEnv(6, "SameStep", scenario="regime-day")
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


def test_training_never_meets_the_seeds_of_an_evaluation():
    adapter = BatchVecEnv(3, seed=0, scenario="regime-day")
    for seed in (0, 5, 2**19 - 1):
        assert min(adapter.seed(seed)) >= TRAINING_SEEDS > 2**32 - 1


def test_two_training_seeds_share_no_lane():
    adapter = BatchVecEnv(4, seed=0, scenario="regime-day")
    assert not set(adapter.seed(0)) & set(adapter.seed(1))


def test_masks_reach_maskable_algorithms():
    adapter = BatchVecEnv(3, seed=0, scenario="regime-day", action_mode="discrete")
    adapter.reset()
    masks = np.stack(adapter.env_method("action_masks"))
    assert masks.shape == (3, 7)
    assert masks.any(axis=1).all()
