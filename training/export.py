"""Export a model of stable-baselines3 or sb3-contrib as a policy without pickles: safetensors and JSON, evaluated with numpy.

The model must have been trained on HyperExec-v0 with an `MlpPolicy` (ARS: or a `LinearPolicy`), on the observations of the
environment itself (not normalised by a wrapper). The policy is the model's deterministic one: the mean of a stochastic actor,
the level with the highest probability or value; an action mask is not part of it. This is the only module that loads pickles,
and only if the user declares the file trusted.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_flag
from hyperexec_env.envs.action import ACTION_MODES
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.evaluation.network import ACTIVATIONS, Layers, NetworkPolicy, check_layers, save_policy
from hyperexec_env.extras import need
from hyperexec_env.files import check_folder, printable, read_regular

from .checkpoints import versions
from .folder import check_free
from .lock import claimed

__all__ = ["ALGORITHMS", "DISCRETE", "export", "policy_of"]

ALGORITHMS: Final[dict[str, tuple[str, str]]] = {
    **{name.lower(): (f"stable_baselines3.{name.lower()}", name) for name in ("PPO", "SAC", "DQN", "A2C", "TD3", "DDPG")},
    **{name.lower(): (f"sb3_contrib.{name.lower()}", name) for name in ("TQC", "TRPO", "QRDQN", "CrossQ", "ARS")},
    "maskableppo": ("sb3_contrib.ppo_mask", "MaskablePPO"),
}
"""Module and class of each algorithm whose models can be exported."""
DISCRETE: Final = ("dqn", "qrdqn", "maskableppo")
"""Algorithms that are trained on discrete actions if no action mode is given."""
_REPLACED: Final = {"learning_rate": 0.0, "lr_schedule": 0.0, "clip_range": 0.0, "clip_range_vf": None, "buffer_size": 1}
"""Attributes used only for training, replaced at loading: they are not unpickled, and no replay buffer is allocated."""
_LARGEST: Final = 2**34
"""Largest size of a model, bytes; replay buffers are part of it."""
_EPISODES: Final = 4
"""Episodes on which an exported policy is compared with its model."""


class _Parts(NamedTuple):
    """The parts of a stable-baselines3 policy that lead from the observation to the action."""

    extractor: Any  # features extractor of the observation
    modules: list[Any]  # linear layers and the activations between them, in order
    head: str


def _parts(policy: Any, algorithm: str, discrete: bool) -> _Parts:
    """Return the parts of a policy of one of the :data:`ALGORITHMS`."""
    if algorithm in ("sac", "tqc", "crossq"):
        return _Parts(policy.actor.features_extractor, [*policy.actor.latent_pi, policy.actor.mu], "tanh")
    if algorithm in ("td3", "ddpg"):
        return _Parts(policy.actor.features_extractor, list(policy.actor.mu)[:-1], "tanh")  # without the last tanh
    if algorithm == "dqn":
        return _Parts(policy.q_net.features_extractor, list(policy.q_net.q_net), "argmax")
    if algorithm == "qrdqn":
        *modules, last = policy.quantile_net.quantile_net
        return _Parts(policy.quantile_net.features_extractor, [*modules, _mean(last, policy.n_quantiles)], "argmax")
    if algorithm == "ars":
        modules = list(policy.action_net)[: -1 if policy.squash_output else None]
        return _Parts(policy.features_extractor, modules, "argmax" if discrete else "tanh" if policy.squash_output else "clip")
    modules = [*policy.mlp_extractor.policy_net, policy.action_net]
    return _Parts(policy.pi_features_extractor, modules, "argmax" if discrete else "clip")


def _mean(layer: Any, quantiles: int) -> Any:
    """Return the linear layer whose outputs are the means over the quantiles, the first axis of the layer's outputs."""
    nn, torch = need("torch.nn", "train"), need("torch", "train")
    mean = nn.Linear(layer.in_features, layer.out_features // quantiles)
    with torch.no_grad():
        mean.weight.copy_(layer.weight.view(quantiles, -1, layer.in_features).double().mean(0))
        mean.bias.copy_(layer.bias.view(quantiles, -1).double().mean(0))
    return mean


def _package(algorithm: str) -> str:
    """Return the package of an algorithm."""
    return ALGORITHMS[algorithm][0].split(".")[0]


def _check_kind(model: Any, algorithm: str) -> None:
    """Check that the model's policy is the algorithm's `MlpPolicy`, and that an actor with state-free noise does not squash.

    Raises:
        ValueError: The policy is of another class, or squashes actions.
    """
    module = need(ALGORITHMS[algorithm][0], "train")
    known = [module.MlpPolicy, *([module.LinearPolicy] if algorithm == "ars" else [])]
    if type(model.policy) not in known:
        raise ValueError(f"the policy of a {algorithm} model must be an MlpPolicy, got {type(model.policy).__name__}")
    if hasattr(model.policy, "mlp_extractor") and model.policy.squash_output:
        raise ValueError(f"squash_output must be False for a {algorithm} model, got True")


def _check_spaces(model: Any, env: HyperExecEnv) -> None:
    """Check that the model's spaces are the spaces of the environment.

    Raises:
        ValueError: The observation space or the action space differs.
    """
    if model.observation_space.shape != env.observation_space.shape:
        inputs = f"observations of shape {env.observation_space.shape}"
        raise ValueError(f"the model must take the {inputs} of HyperExec-v0, got {model.observation_space.shape}")
    if model.observation_space != env.observation_space:
        raise ValueError(
            "the model must take the observations of HyperExec-v0, got the same shape with other bounds or another type; "
            "was there a wrapper around the environment?"
        )
    if model.action_space != env.action_space:
        mode = f"action_mode {env.task.mode.name!r}"
        raise ValueError(f"the action space of the model must be {env.action_space} for {mode}, got {model.action_space}")


def _layers(modules: list[Any]) -> tuple[Layers, str]:
    """Return the weights of the linear layers, and the activation between them (tanh if there is only one layer).

    Normalisations by running statistics (CrossQ) are affine, and become part of the linear layers that follow them.

    Raises:
        ValueError: The modules are not linear layers separated by one known activation; the message names the modules.
    """
    nn = need("torch.nn", "train")
    normalised = {at: module for at, module in enumerate(modules) if type(module).__name__ == "BatchRenorm1d"}
    kept = [at for at in range(len(modules)) if at not in normalised]
    linear, between = [modules[at] for at in kept[::2]], [modules[at] for at in kept[1::2]]
    activations = {type(module).__name__.lower() for module in between} or {"tanh"}
    follows = all(at + 1 in kept[::2] for at in normalised)
    valid = follows and len(linear) == len(between) + 1 and all(type(module) is nn.Linear for module in linear)
    if not valid or len(activations) > 1 or not activations <= set(ACTIVATIONS):
        found = ", ".join(type(module).__name__ for module in modules)
        raise ValueError(f"layers must be Linear with Tanh, or with ReLU, between all of them, got {found}")
    return tuple(_affine(modules[at], normalised.get(at - 1)) for at in kept[::2]), activations.pop()


def _affine(layer: Any, norm: Any | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and biases of a linear layer (no bias: zeros), after a normalisation if there is one."""
    weight = _plain(layer.weight)
    bias = np.zeros(len(weight)) if layer.bias is None else _plain(layer.bias)
    if norm is not None:
        mean, variance, shift = (_plain(values) for values in (norm.ra_mean, norm.ra_var, norm.bias))
        scale = _plain(norm.scale) / np.sqrt(variance + norm.eps)
        weight, bias = weight * scale, bias + weight @ (shift - mean * scale)
    return weight.astype(np.float32), bias.astype(np.float32)


def _plain(tensor: Any) -> NDArray[np.float64]:
    return np.array(tensor.detach().cpu().numpy(), dtype=np.float64)


def _check_same_actions(model: Any, policy: NetworkPolicy, env: HyperExecEnv) -> None:
    """Check that a policy acts as its model on random episodes; 1 % of the slices may differ (ties between two levels).

    Raises:
        ValueError: The actions differ in more slices.
    """
    env.action_space.seed(0)
    observations = []
    for episode in range(_EPISODES):
        observation, _ = env.reset(seed=0, options={"episode": episode})
        ended = False
        while not ended:
            observations.append(observation)
            observation, _, ended, _, _ = env.step(env.action_space.sample())
    expected, _ = model.predict(np.stack(observations), deterministic=True)
    differs = np.abs(policy.action(np.stack(observations)) - np.ravel(expected)) > 1e-4
    if differs.mean() > 0.01:
        raise ValueError(
            f"the exported layers and the model choose different actions in {differs.sum()} of {len(observations)} slices"
        )


def policy_of(model: Any, algorithm: str, action_mode: str, observe_regime: bool, name: str) -> NetworkPolicy:
    """Return the deterministic policy of a stable-baselines3 model as plain data.

    Args:
        model: The model, trained on HyperExec-v0.
        algorithm: One of the :data:`ALGORITHMS`.
        action_mode: Action mode of the training.
        observe_regime: Whether the model observed the regime in training.
        name: Name on the board.

    Raises:
        ValueError: The model cannot be exported; the message names the fault.
    """
    env = HyperExecEnv(action_mode=action_mode, observe_regime=observe_regime)
    _check_kind(model, algorithm)
    _check_spaces(model, env)
    parts = _parts(model.policy, algorithm, env.task.mode.discrete)
    if type(parts.extractor) is not need("stable_baselines3.common.torch_layers", "train").FlattenExtractor:
        raise ValueError(f"the features extractor must be FlattenExtractor, got {type(parts.extractor).__name__}")
    layers, activation = _layers(parts.modules)
    check_layers(layers, parts.head)
    about = {
        "algorithm": algorithm,
        "timesteps": int(model.num_timesteps),
        "versions": versions(*dict.fromkeys(("stable_baselines3", _package(algorithm), "torch"))),
    }
    seed = int(model.seed or 0)
    policy = NetworkPolicy(name, layers, activation, parts.head, action_mode, observe_regime, seed, about)
    _check_same_actions(model, policy, env)
    return policy


def _load(path: Path, algorithm: str) -> Any:
    """Unpickle a trusted model.

    Raises:
        ValueError: The file does not exist, or holds no model of the algorithm.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    module, name = ALGORITHMS[algorithm]
    kind = getattr(need(module, "train"), name)
    try:
        return kind.load(path, device="cpu", custom_objects=_REPLACED)
    except Exception as error:  # unpickling can raise any exception
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{path} cannot be loaded as a {_package(algorithm).replace('_', '-')} model of {algorithm}: {reason}"
        ) from None


def export(
    model: str | os.PathLike[str],
    algorithm: str,
    out: str | os.PathLike[str],
    *,
    action_mode: str | None = None,
    observe_regime: bool = True,
    trust_pickle: bool = False,
    overwrite: bool = False,
) -> NetworkPolicy:
    """Load a model, write its policy to a folder, and return the policy.

    Args:
        model: Zip file written by the model's `save`.
        algorithm: One of the :data:`ALGORITHMS`.
        out: Folder of the policy.
        action_mode: Action mode of the training; None: "discrete" for :data:`DISCRETE`, else "pace".
        observe_regime: Whether the model observed the regime in training; the file does not record it.
        trust_pickle: Load the file although its pickles can run any code.
        overwrite: Delete the policy and the checkpoints of another run in the folder.

    Raises:
        ValueError: An option is invalid, the file is not trusted, the model cannot be exported, the folder contains a policy or
            a run, or a training writes to it.
        MissingExtra: The packages of the extra `train` are not installed.
    """
    check_choice("algorithm", algorithm, ALGORITHMS)
    mode = action_mode or ("discrete" if algorithm in DISCRETE else "pace")
    check_choice("action_mode", mode, ACTION_MODES)
    check_flag("observe_regime", observe_regime)
    check_flag("overwrite", overwrite)
    path = Path(model)
    if not check_flag("trust_pickle", trust_pickle):
        raise ValueError(
            f"{path} is not loaded: the zip files of stable-baselines3 contain pickles, and loading a pickle can run any "
            "code; pass --trust-pickle for a file that you made yourself"
        )
    for module in ("torch", "stable_baselines3", "safetensors"):
        need(module, "train")
    check_folder(out)
    if not overwrite:
        check_free(Path(out), overwrite=False)  # before the model is loaded
    name = printable(f"{algorithm.upper()} {path.stem}")
    policy = policy_of(_load(path, algorithm), algorithm, mode, observe_regime, name)
    source = {"source": path.name, "sha256": hashlib.sha256(read_regular(path, _LARGEST)).hexdigest()}
    policy = replace(policy, about={**policy.about, **source})
    with claimed(out) as folder:
        check_free(folder, overwrite=overwrite)
        save_policy(policy, folder)
    return policy
