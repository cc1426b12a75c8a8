"""A trained policy as plain data, run by numpy: weights in safetensors, everything else in JSON. Nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.envs.action import ACTION_MODES, PACES, ActionMode, build_action_mode
from hyperexec_env.envs.observation import Observer, Situation, build_observer, observation_names
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically
from hyperexec_env.market.model import Market

__all__ = ["NetworkPolicy", "load_policy", "save_policy"]

FORMAT: Final = 1
_BLOCK: Final = 32  # rows that are multiplied at once
_ACTIVATIONS: Final[dict[str, Callable[[Any], Any]]] = {"tanh": np.tanh, "relu": lambda values: np.maximum(values, 0.0)}
_HEADS: Final[dict[str, Callable[[Any], Any]]] = {
    "clip": lambda values: np.clip(values[:, 0], -1.0, 1.0).astype(np.float64),
    "tanh": lambda values: np.tanh(values[:, 0]).astype(np.float64),
    "argmax": lambda values: values.argmax(axis=1),
}


@dataclass(frozen=True, eq=False)
class NetworkPolicy:
    """A multi-layer perceptron from the observation to the action.

    Args:
        name: Name on the board.
        layers: Weights (out, in) and biases (out,) of each layer, float32.
        activation: "tanh" or "relu", between the layers.
        head: What makes the last layer an action: "clip", "tanh" or "argmax".
        action_mode: The action mode it was trained in.
        observe_regime: Whether it was told the regime.
        training_seed: Seed of its training.
        about: How it was made: algorithm, options, scenario.
    """

    name: str
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    activation: str
    head: str
    action_mode: str
    observe_regime: bool
    training_seed: int
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """Hash of everything that moves an action (not of the name, the training seed or how it was made)."""
        described = [self.activation, self.head, self.action_mode, self.observe_regime]
        shapes = [[list(values.shape) for values in layer] for layer in self.layers]
        content = hashlib.sha256(json.dumps([*described, shapes]).encode())
        for values in (array for layer in self.layers for array in layer):
            content.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
        return content.hexdigest()

    def action(self, observation: NDArray[np.float32]) -> NDArray[Any]:
        """Return the action for each observation, shape (episodes, features) -> (episodes,).

        Matrices are multiplied in blocks of one size: in others the last bits of an action would depend on how many there are.
        """
        values, squash = _blocks(observation), _ACTIVATIONS[self.activation]
        for weight, bias in self.layers[:-1]:
            values = squash(values @ weight.T + bias)
        weight, bias = self.layers[-1]
        values = values @ weight.T + bias
        return np.asarray(_HEADS[self.head](values.reshape(-1, len(bias))[: len(observation)]))

    def act(self, situation: Situation) -> Any:
        """Return the shares that the action asks for."""
        if np.ndim(situation.remaining) == 0:
            single = Situation(situation.market, *(np.atleast_1d(value) for value in situation[1:]))
            return float(self.act(single)[0])
        observer, mode = _translation(situation.market, self.action_mode, self.observe_regime)
        base = mode.base.take(situation.market.cell(situation.k, situation.seen))
        return mode.shares(self.action(observer.observe(situation)), situation.remaining, base)


def _blocks(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the observations in blocks, the last one filled with zeros, shape (blocks, rows, features)."""
    episodes, features = observation.shape
    blocks = -(-episodes // _BLOCK)
    filled = np.zeros((blocks * _BLOCK, features), dtype=observation.dtype)
    filled[:episodes] = observation
    return filled.reshape(blocks, _BLOCK, features)


@lru_cache(maxsize=32)
def _translation(market: Market, action_mode: str, observe_regime: bool) -> tuple[Observer, ActionMode]:
    return build_observer(market, observe_regime), build_action_mode(action_mode, market)


def save_policy(policy: NetworkPolicy, folder: Path) -> None:
    """Write a policy into a folder: `policy.safetensors`, then `policy.json`, which holds the hash of the weights."""
    tensors = {}
    for index, (weight, bias) in enumerate(policy.layers):
        tensors[f"{index}.weight"], tensors[f"{index}.bias"] = np.ascontiguousarray(weight), np.ascontiguousarray(bias)
    weights: bytes = need("safetensors.numpy", "train").save(tensors)
    described = {
        "format": FORMAT,
        "name": policy.name,
        "activation": policy.activation,
        "head": policy.head,
        "action_mode": policy.action_mode,
        "observe_regime": policy.observe_regime,
        "training_seed": policy.training_seed,
        "observation_names": list(observation_names()),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "about": dict(policy.about),
    }
    write_atomically(folder / "policy.safetensors", weights)
    write_atomically(folder / "policy.json", json.dumps(described, indent=2) + "\n")


def _check_fields(described: Any) -> None:
    """Refuse values of a wrong type, and a head that does not fit the action mode."""
    types = {"name": str, "action_mode": str, "observe_regime": bool, "training_seed": int, "about": dict}
    for key, kind in types.items():
        if type(described[key]) is not kind:
            raise ValueError(f"{key} must be of type {kind.__name__}, got {described[key]!r}")
    if not described["name"].isprintable() or not described["name"]:
        raise ValueError(f"name must be printable text, got {described['name']!r}")
    for key, known in (("activation", _ACTIVATIONS), ("head", _HEADS), ("action_mode", ACTION_MODES)):
        check_choice(key, described[key], known)
    if (described["head"] == "argmax") != (described["action_mode"] == "discrete"):
        raise ValueError(f"head {described['head']!r} does not fit action_mode {described['action_mode']!r}")


def _check_layers(layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...], outputs: int) -> None:
    """Refuse layers that do not lead from the observation to the action."""
    width = len(observation_names())
    for index, (weight, bias) in enumerate(layers):
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != width:
            raise ValueError(f"layer {index} must take {width} inputs, got weights {weight.shape} and biases {bias.shape}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"layer {index} must hold finite numbers only")
        width = len(bias)
    if not layers or width != outputs:
        raise ValueError(f"the last layer must have {outputs} outputs, got {width if layers else 'no layer'}")


def load_policy(folder: str | Path) -> NetworkPolicy:
    """Read a policy from a folder.

    Raises:
        ValueError: There is none, or its parts do not fit together; the message names the file.
        MissingExtra: safetensors is not installed.
    """
    folder = Path(folder)
    safetensors = need("safetensors.numpy", "train")
    try:
        described = json.loads((folder / "policy.json").read_text(encoding="utf-8"))
        weights = (folder / "policy.safetensors").read_bytes()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{folder} holds no trained policy: {error}") from None
    try:
        if described["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT}, got {described['format']!r}")
        if described["observation_names"] != list(observation_names()):
            raise ValueError("it was trained on other observations than this version has")
        if hashlib.sha256(weights).hexdigest() != described["sha256"]:
            raise ValueError("policy.safetensors is not the file that policy.json describes")
        _check_fields(described)
        tensors = safetensors.load(weights)
        layers = tuple((tensors[f"{index}.weight"], tensors[f"{index}.bias"]) for index in range(len(tensors) // 2))
        _check_layers(layers, len(PACES) if described["head"] == "argmax" else 1)
        return NetworkPolicy(
            described["name"],
            layers,
            described["activation"],
            described["head"],
            described["action_mode"],
            described["observe_regime"],
            described["training_seed"],
            described["about"],
        )
    except (KeyError, TypeError, ValueError, need("safetensors", "train").SafetensorError) as error:
        raise ValueError(f"{folder / 'policy.json'} is not a trained policy: {error}") from None
