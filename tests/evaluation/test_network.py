"""Trained policies as data: safe to load, the same everywhere."""

import hashlib
import json
from dataclasses import replace
from itertools import pairwise

import gymnasium as gym
import numpy as np
import pytest

from baselines.evaluate import entrants
from hyperexec_env.envs.observation import observation_names
from hyperexec_env.evaluation.network import NetworkPolicy, load_policy, save_policy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.model import build_market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario


def _network(action_mode="pace", head="clip", outputs=1, **values):
    rng = np.random.default_rng(0)
    sizes = [len(observation_names()), 8, 8, outputs]
    layers = tuple(
        (rng.normal(0, 0.4, (out, into)).astype(np.float32), rng.normal(0, 0.1, out).astype(np.float32))
        for into, out in pairwise(sizes)
    )
    return NetworkPolicy("net", layers, "tanh", head, action_mode, True, 3, {"algorithm": "none"}, **values)


@pytest.mark.parametrize(("action_mode", "head", "outputs"), [
    ("pace", "clip", 1), ("fraction", "tanh", 1), ("participation", "clip", 1), ("discrete", "argmax", 7),
])  # fmt: skip
def test_a_network_trades_in_the_environment_as_in_the_rollout(action_mode, head, outputs):
    network = _network(action_mode, head, outputs)
    market = build_market(get_scenario("regime-day"))
    outcome = roll(market, network, draw_path(market, episode_keys(9, np.arange(3)), 1.0))
    env = gym.make("hyperexec_env:HyperExec-v0", action_mode=action_mode)
    for episode in range(3):
        observation, _ = env.reset(seed=9 if episode == 0 else None)
        ended = False
        while not ended:
            action = network.action(observation[None])
            observation, _, ended, _, info = env.step(int(action[0]) if head == "argmax" else action.astype(np.float32))
        assert info["objective_bps"] == pytest.approx(outcome.statement.objective[episode], rel=1e-6)


def test_saving_and_loading_gives_the_same_policy(tmp_path):
    network = _network()
    save_policy(network, tmp_path)
    loaded = load_policy(tmp_path)
    for (weight, bias), (same_weight, same_bias) in zip(network.layers, loaded.layers, strict=True):
        assert np.array_equal(weight, same_weight)
        assert np.array_equal(bias, same_bias)
    assert (loaded.name, loaded.training_seed, loaded.about) == (network.name, network.training_seed, network.about)


def test_a_folder_without_a_policy_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="holds no trained policy"):
        load_policy(tmp_path)


@pytest.mark.parametrize(("key", "value", "message"), [
    ("format", 99, "format must be 1, got 99"),
    ("sha256", "0", "not the file that policy.json describes"),
    ("activation", "os.system", "activation must be one of"),
    ("head", "eval", "head must be one of"),
    ("observation_names", ["x"], "other observations"),
    ("name", None, "name must be of type str"),
    ("name", "two\nlines", "name must be printable"),
    ("training_seed", "x", "training_seed must be of type int"),
    ("observe_regime", "no", "observe_regime must be of type bool"),
    ("about", None, "about must be of type dict"),
    ("action_mode", "discrete", "does not fit action_mode"),
    ("head", "argmax", "does not fit action_mode"),
])  # fmt: skip
def test_a_policy_that_does_not_fit_is_refused(tmp_path, key, value, message):
    save_policy(_network(), tmp_path)
    described = json.loads((tmp_path / "policy.json").read_text())
    (tmp_path / "policy.json").write_text(json.dumps({**described, key: value}))
    with pytest.raises(ValueError, match=message):
        load_policy(tmp_path)


def test_a_missing_key_is_refused(tmp_path):
    save_policy(_network(), tmp_path)
    described = json.loads((tmp_path / "policy.json").read_text())
    del described["head"]
    (tmp_path / "policy.json").write_text(json.dumps(described))
    with pytest.raises(ValueError, match="is not a trained policy"):
        load_policy(tmp_path)


def test_a_truncated_weights_file_is_refused(tmp_path):
    save_policy(_network(), tmp_path)
    weights = tmp_path / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"not the file that policy\.json describes"):
        load_policy(tmp_path)


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    save_policy(_network(), tmp_path)
    described = json.loads((tmp_path / "policy.json").read_text())
    (tmp_path / "policy.safetensors").write_bytes(b"garbage")
    (tmp_path / "policy.json").write_text(json.dumps({**described, "sha256": hashlib.sha256(b"garbage").hexdigest()}))
    with pytest.raises(ValueError, match="is not a trained policy"):
        load_policy(tmp_path)


@pytest.mark.parametrize("layers", [(), ((np.zeros((0, 21), np.float32), np.zeros(0, np.float32)),)])
def test_a_network_without_an_output_is_refused(tmp_path, layers):
    save_policy(replace(_network(), layers=layers), tmp_path)
    with pytest.raises(ValueError, match="the last layer must have 1 outputs"):
        load_policy(tmp_path)


def test_layers_that_do_not_follow_one_another_are_refused(tmp_path):
    network = _network()
    save_policy(replace(network, layers=(network.layers[0], network.layers[0], network.layers[2])), tmp_path)
    with pytest.raises(ValueError, match="layer"):
        load_policy(tmp_path)


def test_two_runs_of_one_seed_are_told_apart_by_their_folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_policy(_network(), tmp_path / name)
    first, second = entrants([str(tmp_path / "a"), str(tmp_path / "b")])
    assert first.policy.name == "net"
    assert second.policy.name == f"net {tmp_path / 'b'}"


def test_a_sanity_policy_is_one_whatever_the_case_of_its_name():
    (entrant,) = entrants(["ALL-AT-ONCE"])
    assert entrant.sanity
