"""Trained policies as data: safe to load, the same everywhere."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from hyperexec_env.baselines.evaluate import entrants
from hyperexec_env.envs.features import observation_names, observation_space
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.network import NetworkPolicy, load_policy, save_policy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

ROOT = Path(__file__).parent.parent.parent
MODES = [("pace", "clip", 1), ("fraction", "tanh", 1), ("participation", "clip", 1), ("discrete", "argmax", 7)]


def _network(action_mode="pace", head="clip", outputs=1, hidden=(8, 8), **values):
    rng = np.random.default_rng(0)
    sizes = [len(observation_names()), *hidden, outputs]
    layers = tuple(
        (rng.normal(0, 0.4, (out, into)).astype(np.float32), rng.normal(0, 0.1, out).astype(np.float32))
        for into, out in pairwise(sizes)
    )
    return NetworkPolicy("net", layers, "tanh", head, action_mode, True, 3, {"algorithm": "none"}, **values)


def _observations(episodes):
    """Observations of every kind: within the bounds, most of them near the middle."""
    low, high = observation_space().low, observation_space().high
    drawn = np.random.default_rng(1).normal(size=(episodes, len(low)))
    return np.clip(drawn, low, high).astype(np.float32)


@pytest.mark.parametrize("name", ["unknown-volume", "unknown-drift", "unknown-impact", "unknown-all"])
def test_a_policy_that_observes_beliefs_is_stored_and_trades_as_in_its_environment(name, tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    env = HyperExecEnv(name, observe_beliefs=True)
    beliefs = env.observation_names[len(observation_names()) :]
    layers = _network().layers
    wide = np.concatenate([layers[0][0], np.ones((8, len(beliefs)), np.float32)], axis=1)
    policy = replace(_network(), layers=((wide, layers[0][1]), *layers[1:]), beliefs=beliefs)
    save_policy(policy, tmp_path)
    read = load_policy(tmp_path)
    assert (read.names, read.digest) == (env.observation_names, policy.digest)
    assert replace(policy, beliefs=beliefs[::-1]).digest != policy.digest
    path = draw_path(env.task.market, episode_keys(5, np.arange(3)), 1.0)
    costs = roll(env.task.market, read, path).statement.objective
    for episode in range(3):
        observation, _ = env.reset(seed=5, options={"episode": episode})
        over = False
        while not over:
            assert np.ravel(policy.action(observation[None])) == pytest.approx(_action_of(read, env))
            observation, _, over, _, info = env.step(policy.action(observation[None]).astype(np.float32))
        assert info["objective_bps"] == pytest.approx(costs[episode], rel=1e-6)


def _action_of(policy, env):
    """The action whose shares the policy asks for, in the mode `pace`."""
    situation = env.situation
    base = env.task.mode.base.item(env.task.market.cell(situation.k, situation.seen))
    pace = policy.act(situation) / (situation.remaining * base)
    return (pace - 1.0) / (1.0 + 0.75 * pace)


@pytest.mark.parametrize(
    ("hidden", "head", "outputs", "activation"),
    [
        (hidden, *(("clip", 1), ("tanh", 1), ("argmax", 7))[i % 3], ("tanh", "relu")[i % 2])
        for i, hidden in enumerate([(), (1,), (3, 5), (16, 16), (64, 64), (100, 30, 7), (257,)])
    ],
)
def test_actions_are_those_of_the_same_network_in_torch(activation, head, outputs, hidden):
    torch = pytest.importorskip("torch", reason="needs the extra `train`")
    between = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[activation]
    torch.manual_seed(3)
    sizes = [len(observation_names()), *hidden, outputs]
    linear = [torch.nn.Linear(*widths) for widths in pairwise(sizes)]
    modules = [module for layer in linear for module in (layer, between())][:-1]
    layers = tuple((layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy()) for layer in linear)
    observations = _observations(1000)
    with torch.no_grad():
        values = torch.nn.Sequential(*modules)(torch.from_numpy(observations))
    expected = {
        "clip": lambda: values[:, 0].clamp(-1.0, 1.0),
        "tanh": lambda: torch.tanh(values[:, 0]),
        "argmax": lambda: values.argmax(dim=1),
    }[head]().numpy()
    network = NetworkPolicy("net", layers, activation, head, "discrete" if head == "argmax" else "pace", True, 0)
    assert np.abs(network.action(observations) - expected).max() <= 1e-6


@pytest.mark.fast
@pytest.mark.parametrize(
    ("hidden", "action_mode", "head", "outputs"),
    [(hidden, *MODES[i % len(MODES)]) for i, hidden in enumerate([(1,), (3, 5), (64, 64), (100, 30, 7), (512, 512)])],
)
def test_an_action_depends_on_no_other_episode_to_the_last_bit(action_mode, head, outputs, hidden):
    network, observations = _network(action_mode, head, outputs, hidden), _observations(203)
    whole = network.action(observations)
    for count in (1, 2, 7, 8, 9, 31, 64, 200):
        for first in (0, 1, 3, 100):
            part = observations[first : first + count]
            assert np.array_equal(network.action(part), whole[first : first + count])
    assert np.array_equal(network.action(observations[::-1]), whole[::-1])


@pytest.mark.fast
@pytest.mark.parametrize(
    ("scenario", "told", "action_mode", "head", "outputs"),
    [
        (scenario, i % 2 == 0, *MODES[i % len(MODES)])
        for i, scenario in enumerate(["regime-day", "desk-5min", "flow-signal", "geo-compat"])
    ],
)
def test_a_situation_of_floats_is_answered_as_one_of_many_to_the_last_bit(action_mode, head, outputs, told, scenario):
    network = replace(_network(action_mode, head, outputs, (64, 64)), observe_regime=told)
    env = HyperExecEnv(scenario, random_side=True, observe_regime=told)
    met, answers = {}, {}
    for episode in range(20):
        env.reset(seed=5, options={"episode": episode})
        ended = False
        while not ended:
            situation = env.situation
            shares = network.act(situation)
            assert type(shares) is float
            met.setdefault(situation.k, []).append(situation)
            answers.setdefault(situation.k, []).append(shares)
            _, _, ended, _, _ = env.trade(shares)
    for k, situations in met.items():
        market, _, *columns = zip(*situations, strict=True)
        assert np.array_equal(network.act(Situation(market[0], k, *map(np.array, columns))), answers[k])


def test_a_trained_policy_runs_with_numpy_alone():
    """No torch, nothing compiled (safetensors only reads the file): the policy trades alone and in a batch."""
    program = """
import sys
for name in ("torch", "stable_baselines3", "sb3_contrib", "numba"):
    sys.modules[name] = None
import gymnasium as gym, numpy as np, hyperexec_env
from hyperexec_env.evaluation.network import load_policy
policy = load_policy("tests/data/ppo-regime-day")
env, lanes = gym.make("HyperExec-v0"), gym.make_vec("HyperExec-v0", num_envs=3)
observation, _ = env.reset(seed=4)
observations, _ = lanes.reset(seed=4)
ended, steps = False, 0
while not ended:
    action = policy.action(observation[None])
    actions = policy.action(observations)
    assert action[0] == actions[0], (action, actions)
    shares = policy.act(env.unwrapped.situation)
    assert 0.0 <= shares < float("inf")
    observation, _, ended, _, info = env.step(action.astype(np.float32))
    observations, *_ = lanes.step(actions[:, None].astype(np.float32))
    steps += 1
print(steps, info["objective_bps"])
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps, objective = done.stdout.split()
    assert int(steps) == get_scenario("regime-day").slices
    assert np.isfinite(float(objective))


def test_the_weights_of_a_policy_are_locked():
    with pytest.raises(ValueError, match="read-only"):
        _network().layers[0][0][0, 0] = 1.0


@pytest.mark.parametrize(("action_mode", "head", "outputs"), MODES)
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


def test_a_policy_that_does_not_fit_is_refused(tmp_path):
    for key, value, message in [
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
        ("actvation", "tanh", "unknown field actvation; did you mean 'activation'?"),
        ("name", "x" * 201, "name must be printable text of at most 200 bytes"),
        ("training_seed", 10**30, "training_seed must be a whole number"),
        ("head", "argmax", "does not fit action_mode"),
    ]:  # fmt: skip
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


def test_a_description_that_is_nested_without_end_is_one_clear_error(tmp_path):
    save_policy(_network(), tmp_path)
    (tmp_path / "policy.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="holds no trained policy"):
        load_policy(tmp_path)


def test_a_truncated_weights_file_is_refused(tmp_path):
    save_policy(_network(), tmp_path)
    weights = tmp_path / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"not the file that policy\.json describes"):
        load_policy(tmp_path)


def _replace_weights(folder, content):
    """Put another file in the place of the weights, with its hash."""
    described = json.loads((folder / "policy.json").read_text())
    (folder / "policy.safetensors").write_bytes(content)
    (folder / "policy.json").write_text(json.dumps({**described, "sha256": hashlib.sha256(content).hexdigest()}))


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    save_policy(_network(), tmp_path)
    _replace_weights(tmp_path, b"garbage")
    with pytest.raises(ValueError, match="is not a trained policy"):
        load_policy(tmp_path)


def test_a_file_of_weights_that_is_cut_or_made_up_is_one_clear_error(tmp_path):
    for content in [
        b"", b"\xff" * 20, b"\x02" + b"\0" * 7 + b"[]", b"\x05" + b"\0" * 7 + b'{"a":',
        (200_000).to_bytes(8, "little") + b"[" * 200_000,
    ]:  # fmt: skip
        save_policy(_network(), tmp_path)
        _replace_weights(tmp_path, content)
        with pytest.raises(ValueError, match="is not a trained policy"):
            load_policy(tmp_path)


def test_weights_of_another_type_are_refused(tmp_path):
    first, *rest = _network().layers
    save_policy(replace(_network(), layers=((first[0].astype(float), first[1]), *rest)), tmp_path)
    with pytest.raises(ValueError, match="layer 0 must hold float32, got weights float64"):
        load_policy(tmp_path)


def test_weights_that_contradict_their_header_are_refused(tmp_path):
    for key, value in [
        ("dtype", "F64"), ("data_offsets", [0, 10**6]), ("shape", [3, 3]), ("data_offsets", None), ("shape", "x"),
    ]:  # fmt: skip
        save_policy(_network(), tmp_path)
        content = (tmp_path / "policy.safetensors").read_bytes()
        begin = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:begin])
        header["0.weight"][key] = value
        changed = json.dumps(header).encode()
        _replace_weights(tmp_path, len(changed).to_bytes(8, "little") + changed + content[begin:])
        with pytest.raises(ValueError, match="is not a trained policy"):
            load_policy(tmp_path)


def test_a_network_without_an_output_is_refused(tmp_path):
    for layers in ((), ((np.zeros((0, 21), np.float32), np.zeros(0, np.float32)),)):
        save_policy(replace(_network(), layers=layers), tmp_path)
        with pytest.raises(ValueError, match="the last layer must have 1 outputs"):
            load_policy(tmp_path)


def test_a_tensor_that_is_no_layer_is_refused(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    save_policy(_network(), tmp_path)
    tensors = numpy.load((tmp_path / "policy.safetensors").read_bytes())
    for name in ("odd", "7.weight"):
        _replace_weights(tmp_path, numpy.save({**tensors, name: np.zeros(3, np.float32)}))
        with pytest.raises(ValueError, match=f"must hold weights and biases only, got .'{name}'"):
            load_policy(tmp_path)


@pytest.mark.parametrize(("count", "width", "message"), [
    (3_001, 1, "a policy may have 100 layers, got 3,001"), (3, 0, "layer 0 must have at least one unit"),
])  # fmt: skip
def test_a_network_of_a_shape_that_no_training_has_is_refused(tmp_path, count, width, message):
    widths = [len(observation_names()), *[width] * (count - 1), 1]
    layers = tuple((np.zeros((b, a), np.float32), np.zeros(b, np.float32)) for a, b in pairwise(widths))
    save_policy(replace(_network(), layers=layers), tmp_path)
    with pytest.raises(ValueError, match=message):
        load_policy(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and devices of POSIX")
@pytest.mark.parametrize("name", ["policy.json", "policy.safetensors"])
def test_a_policy_is_read_from_regular_files_of_limited_size_only(tmp_path, name):
    save_policy(_network(), tmp_path)
    file = tmp_path / name
    for make in (os.mkfifo, lambda path: os.symlink("/dev/zero", path), os.mkdir):
        file.unlink()
        make(file)
        with pytest.raises(ValueError, match=f"holds no trained policy: cannot read the file .*{name}: not a regular file"):
            load_policy(tmp_path)
        file.rmdir() if file.is_dir() else file.unlink()
        file.touch()
    os.truncate(file, 2**40)  # sparse: takes no room
    with pytest.raises(ValueError, match="it is larger than"):
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
