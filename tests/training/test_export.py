"""Export: a model of stable-baselines3 becomes plain data that acts as it does, and no pickle is loaded unasked."""

import ast
import base64
import json
import pickle
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
pytest.importorskip("sb3_contrib", reason="needs the extra `train`")

import torch
from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor

import hyperexec_env.training.torch_rollout as torch_rollout
from hyperexec_env import cli
from hyperexec_env.envs.features import observation_space
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.training import pathwise
from hyperexec_env.training.export import ALGORITHMS, policy_of
from hyperexec_env.training.lock import claimed

pytestmark = pytest.mark.usefixtures("without_numba")

ROOT = Path(__file__).parent.parent.parent
ENV = "hyperexec_env:HyperExec-v0"
TRAINED = ("ppo", "sac", "dqn")
"""The algorithms that are trained and exported from a file; an untrained network of every algorithm is exported too."""
OFF = {"buffer_size": 500, "learning_starts": 20, "batch_size": 16}


def _env(**options):
    return gym.make(ENV, scenario="desk-5min", **options)


def _own_script(algorithm):
    """What a user does: train by stable-baselines3 on the environment."""
    if algorithm == "ppo":
        return PPO("MlpPolicy", _env(), n_steps=32, batch_size=16, n_epochs=2, learning_rate=0.01, seed=5).learn(96)
    if algorithm == "sac":
        return SAC("MlpPolicy", _env(), learning_rate=0.01, seed=5, **OFF).learn(60)
    return DQN("MlpPolicy", _env(action_mode="discrete"), learning_rate=0.01, target_update_interval=20, seed=5, **OFF).learn(
        100
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A trained model of each algorithm, saved beside its name in one folder."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    trained = {algorithm: _own_script(algorithm) for algorithm in TRAINED}
    for algorithm, model in trained.items():
        model.save(folder / f"{algorithm}.zip")
    return folder, trained


def _words(model, algorithm, out, *more):
    return ["export", str(model), "--algorithm", algorithm, "--out", str(out), *more]


def _check_same(policy, model):
    """The same actions, and not always the same action, on observations of every kind within the bounds."""
    space = observation_space()
    drawn = np.random.default_rng(1).normal(size=(1000, *space.shape))
    observations = np.clip(drawn, space.low, space.high).astype(np.float32)
    expected = model(observations)
    assert np.abs(policy.action(observations) - np.ravel(expected)).max() <= 1e-6
    assert len(np.unique(expected)) > 2


def _predicted(model):
    return lambda observations: model.predict(observations, deterministic=True)[0]


@pytest.mark.parametrize("algorithm", TRAINED)
def test_a_model_of_the_user_is_exported_and_judged(algorithm, models, tmp_path, capsys):
    folder, trained = models
    assert cli.main(_words(folder / f"{algorithm}.zip", algorithm, tmp_path / "out", "--trust-pickle")) == 0
    policy = load_policy(tmp_path / "out")
    mode = "discrete" if algorithm == "dqn" else "pace"
    assert (policy.name, policy.training_seed) == (f"{algorithm.upper()} {algorithm}", 5)
    assert (policy.action_mode, policy.observe_regime) == (mode, True)
    assert policy.about["timesteps"] == trained[algorithm].num_timesteps
    _check_same(policy, _predicted(trained[algorithm]))
    words = ["evaluate", "--scenario", "desk-5min", "--policy", str(tmp_path / "out"), "--episodes", "20", "--no-optimum"]
    assert cli.main(words) == 0
    assert policy.name in capsys.readouterr().out


def _scrambled(model):
    """The model with weights so large that actions take all values, the bounds too."""
    torch.manual_seed(1)
    for values in model.policy.parameters():
        values.data.normal_(0.0, values.shape[-1] ** -0.5 if values.ndim == 2 else 0.2)
    for name, values in model.policy.named_buffers():
        if name.endswith(("ra_mean", "ra_var")):  # running statistics of CrossQ
            values.normal_(1.0, 0.2)
    return model


TANH, RELU = {"activation_fn": torch.nn.Tanh}, {"activation_fn": torch.nn.ReLU}
VARIANTS = {
    "ppo relu": (PPO, {"action_mode": "fraction"}, {**RELU, "net_arch": [20, 10]}, {}),
    "ppo without hidden layers": (PPO, {}, {"net_arch": []}, {}),
    "ppo with a smaller actor": (PPO, {"action_mode": "participation"}, {"net_arch": {"pi": [5], "vf": [32, 32]}}, {}),
    "ppo of levels": (PPO, {"action_mode": "discrete"}, {}, {}),
    "ppo without the regime": (PPO, {"observe_regime": False}, {"share_features_extractor": False}, {}),
    "ppo with state-dependent exploration": (PPO, {}, {}, {"use_sde": True}),
    "sac tanh": (SAC, {"action_mode": "fraction"}, {**TANH, "net_arch": [20, 10, 5]}, {"buffer_size": 10}),
    "dqn tanh": (DQN, {"action_mode": "discrete"}, {**TANH, "net_arch": [7]}, {"buffer_size": 10}),
    "a2c": (A2C, {}, {}, {}),
    "td3": (TD3, {}, {"net_arch": [20, 10]}, {"buffer_size": 10}),
    "ddpg": (DDPG, {"action_mode": "fraction"}, {"net_arch": [20, 10]}, {"buffer_size": 10}),
    "tqc": (TQC, {}, {"net_arch": [20, 10]}, {"buffer_size": 10}),
    "trpo": (TRPO, {}, {}, {}),
    "qrdqn": (QRDQN, {"action_mode": "discrete"}, {"net_arch": [20], "n_quantiles": 5}, {"buffer_size": 10}),
    "crossq": (CrossQ, {}, {"net_arch": {"pi": [20, 10], "qf": [5]}}, {"buffer_size": 10}),
    "ars": (ARS, {}, {"net_arch": [20, 10]}, {}),
    "ars linear": (ARS, {}, {"net_arch": [], "with_bias": False, "squash_output": False}, {}),
    "ars of levels": (ARS, {"action_mode": "discrete"}, {"net_arch": [20]}, {}),
    "maskableppo": (MaskablePPO, {"action_mode": "discrete"}, {}, {}),
}


def test_every_algorithm_is_exported():
    assert {kind.__name__.lower() for kind, *_ in VARIANTS.values()} == set(ALGORITHMS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_network_of_linear_layers_acts_as_its_model(variant):
    kind, task, network, options = VARIANTS[variant]
    model = _scrambled(kind("MlpPolicy", _env(**task), policy_kwargs=network, **options))
    mode, told = task.get("action_mode", "pace"), task.get("observe_regime", True)
    policy = policy_of(model, kind.__name__.lower(), mode, told, "mine")
    assert (policy.action_mode, policy.observe_regime) == (mode, told)
    _check_same(policy, _predicted(model))


def test_the_policy_of_the_pathwise_trainer_acts_as_its_network_in_torch(tmp_path, monkeypatch):
    caught, roll = {}, torch_rollout.roll
    monkeypatch.setattr(torch_rollout, "roll", lambda *words: (caught.update(act=words[3]), roll(*words))[1])
    args = pathwise.Args(steps=10, lanes=32, validation=32, validate_every=10, patience=1, progress=False, out=str(tmp_path))
    pathwise.train(args)
    policy, trainer = load_policy(tmp_path), pathwise.Trainer(args, pathwise.get_scenario("regime-day"))
    weights = torch.tensor(np.concatenate([values.ravel() for layer in policy.layers for values in layer]))
    with torch.no_grad():
        trainer.roll(weights, trainer.held_out)
        _check_same(policy, lambda observations: caught["act"](torch.from_numpy(observations)).numpy())


# --- what is refused


class Touch:
    """An object whose pickle, when it is loaded, makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path):
    """A file that looks like a model and runs code when it is loaded; and the trace that the code leaves."""
    trace, path = tmp_path / "trace", tmp_path / "trap.zip"
    serialized = base64.b64encode(pickle.dumps(Touch(trace))).decode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": {":type:": "x", ":serialized:": serialized}}))
    return path, trace


def test_without_trust_nothing_is_loaded_and_one_line_says_why(trap, tmp_path, capsys):
    path, trace = trap
    assert cli.main(_words(path, "ppo", tmp_path / "out")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pickle can run any code" in line
    assert "--trust-pickle" in line
    assert not trace.exists()
    assert not (tmp_path / "out").exists()


def test_with_trust_the_code_of_a_pickle_runs(trap, tmp_path, capsys):
    """So the trap is one, and the refusal is needed."""
    path, trace = trap
    assert cli.main(_words(path, "ppo", tmp_path / "out", "--trust-pickle")) == 2
    assert "cannot be loaded as a stable-baselines3 model of ppo" in capsys.readouterr().err
    assert trace.exists()


@pytest.mark.parametrize(("name", "algorithm", "more", "message"), [
    ("missing.zip", "ppo", (), "there is no file"),
    ("text.zip", "ppo", (), "cannot be loaded as a stable-baselines3 model of ppo"),
    ("sac.zip", "ppo", (), "cannot be loaded as a stable-baselines3 model of ppo"),
    ("ppo.zip", "dqn", (), "cannot be loaded as a stable-baselines3 model of dqn"),
    ("ppo.zip", "ppo", ("--action-mode", "discrete"), "must be Discrete(7) for action_mode 'discrete'"),
    ("dqn.zip", "dqn", ("--action-mode", "pace"), "for action_mode 'pace', got Discrete(7)"),
])  # fmt: skip
def test_a_file_that_is_not_what_was_said_is_one_line(name, algorithm, more, message, models, tmp_path, capsys):
    folder, _ = models
    (folder / "text.zip").write_text("no zip")
    assert cli.main(_words(folder / name, algorithm, tmp_path / "out", "--trust-pickle", *more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def test_an_export_replaces_no_other_policy_and_no_run_unless_told_to(models, trap, tmp_path, capsys):
    folder, _ = models
    out, (path, trace) = tmp_path / "out", trap
    assert cli.main(_words(folder / "ppo.zip", "ppo", out, "--trust-pickle")) == 0
    (out / "checkpoints").mkdir()
    (out / "checkpoints" / "checkpoint-7.safetensors").write_bytes(b"of a run")
    capsys.readouterr()
    assert cli.main(_words(path, "ppo", out, "--trust-pickle")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"the folder {out} already contains a policy (policy.json); pass --overwrite to replace it, or another --out" in line
    assert not trace.exists()  # refused before the pickle is loaded
    assert load_policy(out).name == "PPO ppo"
    assert cli.main(_words(folder / "sac.zip", "sac", out, "--trust-pickle", "--overwrite")) == 0
    assert load_policy(out).name == "SAC sac"
    assert not list((out / "checkpoints").iterdir())
    with claimed(tmp_path / "busy"):
        capsys.readouterr()
        assert cli.main(_words(folder / "ppo.zip", "ppo", tmp_path / "busy", "--trust-pickle")) == 2
        assert "writes to the folder" in capsys.readouterr().err


class Features(BaseFeaturesExtractor):
    """Features that only their author knows."""

    def __init__(self, space):
        super().__init__(space, space.shape[0])

    def forward(self, observation):
        return 2.0 * observation


class OwnPolicy(ActorCriticPolicy):
    """A policy of the user's own."""


def _seeing_less():
    return gym.wrappers.TransformObservation(_env(), lambda seen: seen[:5], gym.spaces.Box(-1.0, 1.0, (5,), np.float32))


def _normalised():
    return gym.wrappers.NormalizeObservation(_env())


def _doing_more():
    return gym.wrappers.RescaleAction(_env(), np.float32([-2.0]), np.float32([2.0]))


@pytest.mark.parametrize(("kind", "policy", "env", "network", "options", "message"), [
    (PPO, "MlpPolicy", _env, {"activation_fn": torch.nn.ELU}, {}, "Linear with Tanh, or with ReLU, .* got Linear, ELU"),
    (PPO, "MlpPolicy", _env, {"features_extractor_class": Features}, {}, "FlattenExtractor, got Features"),
    (PPO, OwnPolicy, _env, {}, {}, "must be an MlpPolicy, got OwnPolicy"),
    (PPO, "MlpPolicy", _env, {"squash_output": True}, {"use_sde": True}, "squash_output must be False"),
    (SAC, "MlpPolicy", _env, {}, {"use_sde": True, "buffer_size": 9}, "got Linear, ReLU, Linear, ReLU, Sequential"),
    (PPO, "MlpPolicy", _seeing_less, {}, {}, r"of shape \(21,\) of HyperExec-v0, got \(5,\)"),
    (PPO, "MlpPolicy", _normalised, {}, {}, "got the same shape with other bounds"),
    (PPO, "MlpPolicy", _doing_more, {}, {}, r"action space of the model must be Box\(-1.0, 1.0, .* got Box\(-2.0"),
])  # fmt: skip
def test_a_policy_of_another_kind_is_refused(kind, policy, env, network, options, message):
    model = kind(policy, env(), policy_kwargs=network, **options)
    with pytest.raises(ValueError, match=message):
        policy_of(model, kind.__name__.lower(), "pace", True, "mine")


def test_a_policy_for_pictures_is_refused():
    """An environment of pictures, as CnnPolicy wants them."""

    class Pictures(gym.ObservationWrapper):
        observation_space = gym.spaces.Box(0, 255, (3, 36, 36), np.uint8)

        def observation(self, observation):
            return np.zeros((3, 36, 36), np.uint8)

    model = PPO("CnnPolicy", Pictures(_env()))
    with pytest.raises(ValueError, match="must be an MlpPolicy, got ActorCriticCnnPolicy"):
        policy_of(model, "ppo", "pace", True, "mine")


def test_activations_that_differ_are_refused():
    model = PPO("MlpPolicy", _env())
    model.policy.mlp_extractor.policy_net[1] = torch.nn.ReLU()
    with pytest.raises(ValueError, match="got Linear, ReLU, Linear, Tanh, Linear"):
        policy_of(model, "ppo", "pace", True, "mine")


def test_weights_that_are_not_finite_are_refused():
    model = PPO("MlpPolicy", _env())
    model.policy.action_net.bias.data[0] = torch.nan
    with pytest.raises(ValueError, match="layer 2 must hold finite numbers only"):
        policy_of(model, "ppo", "pace", True, "mine")


def test_a_model_that_acts_otherwise_than_its_layers_is_refused(monkeypatch):
    model = _scrambled(PPO("MlpPolicy", _env()))
    predict = model.policy._predict
    monkeypatch.setattr(model.policy, "_predict", lambda seen, **options: 0.5 * predict(seen, **options))
    with pytest.raises(ValueError, match=r"choose different actions in (\d+) of \1 slices"):
        policy_of(model, "ppo", "pace", True, "mine")


# --- pickles are loaded nowhere else

PICKLES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "pandas", "shelve"}
LOADERS = {"load", "loads", "load_from_pkl", "load_from_zip_file", "load_replay_buffer", "read_pickle", "set_parameters"}
HARMLESS = {"json", "json_format", "safetensors", "tomllib"}
"""What is loaded by these runs no code; and no more does `np.load`, unless `allow_pickle` is given."""


def _may_unpickle(node):
    """Whether a node of a syntax tree imports something that unpickles, or calls what may."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in PICKLES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in PICKLES or any(alias.name in LOADERS for alias in node.names)
    if not isinstance(node, ast.Call):
        return False
    texts = {word.value for word in node.args if isinstance(word, ast.Constant)}
    name = getattr(node.func, "attr", getattr(node.func, "id", ""))
    if name in ("need", "import_module", "__import__", "getattr"):
        return bool(texts & (PICKLES | LOADERS))
    if ast.unparse(node.func) == "np.load":
        return any(word.arg == "allow_pickle" and ast.unparse(word.value) != "False" for word in node.keywords)
    return name in LOADERS and ast.unparse(getattr(node.func, "value", node.func)) not in HARMLESS


def test_no_other_module_loads_a_pickle():
    """Except compiled loops, which are code anyway: the user's own cache holds them, with a checksum (`files.read_cached`)."""
    found = {
        path.relative_to(ROOT).as_posix()
        for package in ("hyperexec_env", "baselines", "training", "benchmarks")
        for path in (ROOT / package).rglob("*.py")
        if any(map(_may_unpickle, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == {"training/export.py", "hyperexec_env/backends/compiled.py"}


def test_what_loads_a_pickle_is_found():
    for code in [
        "import pickle", "import torch, cloudpickle as c", "from pickle import Unpickler", "from torch import load",
        "torch.load(x)", "PPO.load(x)", "kind(algorithm).load(x)", "getattr(kind, 'load')(x)", "need('dill', 'train')",
        "model.set_parameters(x)", "np.load(x, allow_pickle=True)", "np.load(x, allow_pickle=trusted)",
    ]:  # fmt: skip
        assert any(map(_may_unpickle, ast.walk(ast.parse(code))))
