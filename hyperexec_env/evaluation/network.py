"""Trained policies as plain data, evaluated with numpy: weights in safetensors, all else in JSON. No pickle is ever loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_integer, check_label, nearest, one_line, shown
from hyperexec_env.envs.action import ACTION_MODES, PACES, ActionMode, OwnAction, build_action_mode
from hyperexec_env.envs.feature import BELIEF_FEATURES, follows
from hyperexec_env.envs.features import Feature, Observer, build_observer, observation_names
from hyperexec_env.envs.own import observe_all
from hyperexec_env.envs.situation import Situation
from hyperexec_env.extras import need
from hyperexec_env.files import read_regular, write_atomically
from hyperexec_env.market.hidden import unfiltered
from hyperexec_env.market.scenarios import ONE_ASSET, kind_of
from hyperexec_env.market.tables import Market

from .graph import Graph, Value

__all__ = [
    *("ACTIVATIONS", "Layers", "NetworkPolicy", "apply_head", "apply_layers", "check_chain", "check_layers", "last_layer"),
    *("last_sizes", "load_policy", "parse_as", "parse_policy", "policy_files", "read_policy", "save_policy", "translation"),
]

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]
Layers = tuple[Layer, ...]
"""Weights (out, in) and biases (out,) of each layer, from the observation to the action."""
Network = TypeVar("Network", bound="NetworkPolicy")
FORMAT: Final = 1
_FIELDS: Final = (
    *("format", "name", "activation", "head", "action_mode", "observe_regime", "training_seed", "observation_names"),
    *("sha256", "about"),
)
"""Fields of `policy.json`, all of them required."""
_LARGEST_DESCRIPTION: Final = 2**20
_LARGEST_WEIGHTS: Final = 2**27
"""Largest sizes of `policy.json` and `policy.safetensors`, bytes."""
_MOST_LAYERS: Final = 100
"""Largest number of layers."""
_BLOCK: Final = 8
"""Rows per matrix product. A single decision costs one whole block; larger blocks do not speed up batches."""
ACTIVATIONS: Final[dict[str, Callable[[Any], Any]]] = {  # in place
    "tanh": lambda values: np.tanh(values, out=values),
    "relu": lambda values: np.maximum(values, 0.0, out=values),
}
_HEADS: Final[dict[str, Callable[[Any], Any]]] = {
    "clip": lambda values: values[:, 0].astype(np.float64).clip(-1.0, 1.0),
    "tanh": lambda values: np.tanh(values[:, 0]).astype(np.float64),
    "argmax": lambda values: values.argmax(axis=1),
    "odds": lambda values: values[:, 0].astype(np.float64),
}
"""Functions of the last layer. The head "odds" belongs to :class:`~hyperexec_env.baselines.universal.UniversalPolicy`."""


@dataclass(frozen=True, eq=False)
class NetworkPolicy:
    """A multi-layer perceptron from the observation to the action.

    Args:
        name: Name on the board.
        layers: Weights (out, in) and biases (out,) of each layer, float32; the arrays become read-only.
        activation: "tanh" or "relu", between the layers.
        head: Function from the last layer to the action: "clip", "tanh" or "argmax".
        action_mode: Action mode of the training.
        observe_regime: Whether the policy observes the regime.
        training_seed: Seed of the training.
        about: Metadata of the training: algorithm, options, scenario.
        beliefs: Names of the beliefs that the policy observes behind the built-in features
            (:func:`~hyperexec_env.envs.feature.belief_names`).
    """

    trades: ClassVar[str] = ONE_ASSET
    """Kind of scenario that a policy of this class trades, with its article."""

    name: str
    layers: Layers
    activation: str
    head: str
    action_mode: str
    observe_regime: bool
    training_seed: int
    about: Mapping[str, Any] = field(default_factory=dict)
    beliefs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Make the weights read-only, because derived arrays are cached."""
        for values in (array for layer in self.layers for array in layer):
            values.flags.writeable = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features of the observation."""
        return (*observation_names(), *self.beliefs)

    @property
    def follows_regimes(self) -> bool:
        """Whether the policy observes the probabilities of the regimes, which a rollout computes with the path."""
        return follows(self.beliefs)

    def unfit(self, market: Any) -> str:
        """Return why the filter of the regimes is not exact in a market, if the policy observes what it says, else ""."""
        return unfiltered(market) if self.follows_regimes else ""

    @property
    def digest(self) -> str:
        """Hash of everything that determines an action; it excludes name, training seed and metadata."""
        described = [self.activation, self.head, self.action_mode, self.observe_regime, *self.beliefs]
        shapes = [[list(values.shape) for values in layer] for layer in self.layers]
        content = hashlib.sha256(json.dumps([*described, shapes]).encode())
        for values in (array for layer in self.layers for array in layer):
            content.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
        return content.hexdigest()

    @cached_property
    def _columns(self) -> Layers:
        """Weights (in, out), contiguous for the fastest product in numpy, and biases of each layer."""
        return tuple((np.ascontiguousarray(weight.T), bias) for weight, bias in self.layers)

    def action(self, observation: NDArray[np.float32]) -> NDArray[Any]:
        """Return the action for each observation, shape (episodes, features) -> (episodes,)."""
        return apply_layers(self._columns, self.activation, self.head, observation)

    def scores(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the values of the last layer, shape (episodes, features) -> (episodes, outputs)."""
        return last_layer(self._columns, self.activation, observation)

    def sizes(self, *given: NDArray[Any]) -> NDArray[np.float32]:
        """Return the sum of the absolute terms of the last layer behind each action, which its rounding is proportional to.

        Args:
            given: Arguments of :meth:`action`.

        Returns:
            Array of the shape of the values of the last layer.
        """
        return last_sizes(self._columns, self.activation, given[0])

    def write(self, graph: Graph) -> Value:
        """Add the inputs and the nodes of :meth:`action` to an ONNX graph, and return the action."""
        scores = graph.layers(self.layers, self.activation, graph.input("observation", len(self.names)))
        action = graph.head(self.head, scores)
        return action if self.head == "argmax" else graph.single(action)

    def examples(self, rows: int) -> tuple[NDArray[Any], ...]:
        """Return inputs of :meth:`action`, in the order of those of its graph, on which the two are compared."""
        return (np.random.default_rng(0).uniform(-1.0, 1.0, (rows, len(self.names))).astype(np.float32),)

    def act(self, situation: Situation) -> Any:
        """Return the shares of the action: a float for a situation of floats, else an array of shape (episodes,)."""
        market, remaining = situation.market, situation.remaining
        observer, mode = translation(market, self.action_mode, self.observe_regime, self.names if self.beliefs else None)
        cell = market.cell(situation.k, situation.seen)
        if getattr(remaining, "ndim", 0):
            return mode.shares(self.action(observe_all(observer, situation)), remaining, mode.base.take(cell))
        action = self.action(observe_all(observer, situation)[None]).item()
        return float(mode.shares(action, remaining, mode.base.item(cell)))


def apply_layers(columns: Layers, activation: str, head: str, observation: NDArray[np.float32]) -> NDArray[Any]:
    """Return the action of a network for each observation, shape (episodes, features) -> (episodes,).

    Args:
        columns: Weights (in, out) and biases (out,) of each layer.
        activation: Name of the function between the layers, of :data:`ACTIVATIONS`.
        head: Name of the function from the last layer to the action.
        observation: The observations.
    """
    return apply_head(head, last_layer(columns, activation, observation))


def apply_head(head: str, values: NDArray[np.float32]) -> NDArray[Any]:
    """Return the action of the values of a last layer, shape (episodes, outputs) -> (episodes,)."""
    return np.asarray(_HEADS[head](values))


def last_layer(columns: Layers, activation: str, observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values of the last layer, shape (episodes, features) -> (episodes, outputs); arguments as above.

    Products use blocks of a fixed size, because otherwise the last bits of an action depend on the number of observations.
    """
    return _last(_hidden(columns, activation, observation), columns[-1], len(observation))


def last_sizes(columns: Layers, activation: str, observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sums of the absolute terms of :func:`last_layer`, same shape."""
    weight, bias = columns[-1]
    return _last(abs(_hidden(columns, activation, observation)), (abs(weight), abs(bias)), len(observation))


def _hidden(columns: Layers, activation: str, observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values of the layers before the last one, in blocks."""
    values, squash = _blocks(observation), ACTIVATIONS[activation]
    for weight, bias in columns[:-1]:
        values = values @ weight
        values += bias
        squash(values)
    return values


def _last(values: NDArray[np.float32], layer: Layer, episodes: int) -> NDArray[np.float32]:
    weight, bias = layer
    made = values @ weight
    made += bias
    return np.asarray(made.reshape(-1, len(bias))[:episodes])


def _blocks(observation: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the observations in blocks, zero-padded, shape (blocks, rows, features)."""
    episodes, features = observation.shape
    blocks = -(-episodes // _BLOCK)
    filled = np.zeros((blocks * _BLOCK, features), dtype=np.float32)
    filled[:episodes] = observation
    return filled.reshape(blocks, _BLOCK, features)


@lru_cache(maxsize=32)
def translation(
    market: Market,
    action_mode: str | OwnAction,
    observe_regime: bool,
    features: tuple[str | Feature, ...] | None = None,
) -> tuple[Observer, ActionMode]:
    """Return what translates a situation to an observation, and an action to shares."""
    return build_observer(market, observe_regime, features), build_action_mode(action_mode, market)


def policy_files(folder: str | Path) -> list[Path]:
    """Return the paths of the description and of the weights of a policy in a folder."""
    return [Path(folder) / "policy.json", Path(folder) / "policy.safetensors"]


def save_policy(policy: NetworkPolicy, folder: Path) -> None:
    """Write a policy to a folder: `policy.safetensors`, then `policy.json`, which contains the hash of the weights."""
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
        "observation_names": list(policy.names),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "about": dict(policy.about),
    }
    description, tensor_file = policy_files(folder)
    write_atomically(tensor_file, weights)
    write_atomically(description, json.dumps(described, indent=2) + "\n")


def _check_fields(described: Any) -> None:
    """Raise a ValueError if a field of a policy file is unknown, missing or wrong, or the head does not fit the action mode."""
    if not isinstance(described, dict):
        raise ValueError(f"the description must be an object, got {shown(described)}")
    for key in described:
        if key not in _FIELDS:
            raise ValueError(f"unknown field {one_line(key)}{nearest(key, _FIELDS)}")
    for key in _FIELDS:
        if key not in described:
            raise ValueError(f"the field {key} is missing")
    if described["format"] != FORMAT:
        raise ValueError(f"format must be {FORMAT}, got {shown(described['format'])}")
    types = {"name": str, "action_mode": str, "observe_regime": bool, "training_seed": int, "about": dict}
    for key, kind in types.items():
        if type(described[key]) is not kind:
            raise ValueError(f"{key} must be of type {kind.__name__}, got {shown(described[key])}")
    check_integer("training_seed", described["training_seed"], low=0, high=2**63 - 1)
    if not check_label("name", described["name"]):
        raise ValueError("name must be printable text, got an empty one")
    for key, known in (("activation", ACTIVATIONS), ("head", _HEADS), ("action_mode", ACTION_MODES)):
        check_choice(key, described[key], known)
    if (described["head"] == "argmax") != (described["action_mode"] == "discrete"):
        raise ValueError(f"head {described['head']!r} does not fit action_mode {described['action_mode']!r}")


def _beliefs(names: Any) -> tuple[str, ...]:
    """Return the names of beliefs behind the built-in features in the names of an observation."""
    first, known = len(observation_names()), {feature.name for feature in BELIEF_FEATURES}
    behind = names[first:] if isinstance(names, list) else []
    return tuple(name for name in behind if isinstance(name, str) and name in known)


def check_layers(layers: Layers, head: str, beliefs: tuple[str, ...] = ()) -> None:
    """Check that layers map an observation, with some beliefs behind the built-in features, to an action.

    Raises:
        ValueError: There are too many layers, the sizes of successive layers do not match, a hidden layer has no unit, or a
            number is not a finite float32; the message names the layer.
    """
    if head == "odds":
        raise ValueError(
            "head must be 'clip', 'tanh' or 'argmax', got 'odds', that of a policy of many markets, which "
            "`baselines.universal.load_trained` reads"
        )
    check_chain(layers, len(observation_names()) + len(beliefs), len(PACES) if head == "argmax" else 1)


def check_chain(layers: Layers, width: int, outputs: int) -> None:
    """Check that the layers map `width` inputs to some outputs; errors as in :func:`check_layers`."""
    if len(layers) > _MOST_LAYERS:
        raise ValueError(f"a policy may have {_MOST_LAYERS} layers, got {len(layers):,}")
    for index, (weight, bias) in enumerate(layers):
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != width:
            raise ValueError(f"layer {index} must take {width} inputs, got weights {weight.shape} and biases {bias.shape}")
        if weight.dtype != np.float32 or bias.dtype != np.float32:
            raise ValueError(f"layer {index} must hold float32, got weights {weight.dtype} and biases {bias.dtype}")
        if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
            raise ValueError(f"layer {index} must hold finite numbers only")
        width = len(bias)
        if not width and index < len(layers) - 1:
            raise ValueError(f"layer {index} must have at least one unit, got none")
    if not layers or width != outputs:
        raise ValueError(f"the last layer must have {outputs} outputs, got {width if layers else 'no layer'}")


def load_policy(folder: str | Path) -> NetworkPolicy:
    """Read a policy from a folder.

    Raises:
        ValueError: The folder has no policy, or its files are inconsistent; the message names the file.
        MissingExtra: safetensors is not installed.
    """
    return read_policy(folder, NetworkPolicy, check_layers)


def read_policy(folder: str | Path, kind: type[Network], check: Callable[..., None]) -> Network:
    """Read a policy of some class from a folder, whose layers a function checks; errors as in :func:`load_policy`."""
    files = policy_files(folder)
    need("safetensors.numpy", "train")
    try:
        described, weights = read_regular(files[0], _LARGEST_DESCRIPTION), read_regular(files[1], _LARGEST_WEIGHTS)
        json.loads(described)
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{folder} holds no trained policy: {error}") from None
    try:
        return parse_as(described, weights, kind, check)
    except ValueError as error:
        raise ValueError(f"{files[0]} is not a trained policy: {error}") from None


def parse_policy(description: bytes, weights: bytes) -> NetworkPolicy:
    """Return the policy of the contents of `policy.json` and `policy.safetensors`.

    Raises:
        ValueError: The contents are inconsistent.
        MissingExtra: safetensors is not installed.
    """
    return parse_as(description, weights, NetworkPolicy, check_layers)


def parse_as(description: bytes, weights: bytes, kind: type[Network], check: Callable[..., None]) -> Network:
    """Return the policy of some class, whose layers a function checks; see :func:`parse_policy`."""
    safetensors, broken = need("safetensors.numpy", "train"), need("safetensors", "train").SafetensorError
    described = None
    try:
        described = json.loads(description)
        _check_fields(described)
        if hashlib.sha256(weights).hexdigest() != described["sha256"]:
            raise ValueError("policy.safetensors is not the file that policy.json describes")
        tensors = safetensors.load(weights)
        layers = tuple((tensors.pop(f"{index}.weight"), tensors.pop(f"{index}.bias")) for index in range(len(tensors) // 2))
        if tensors:
            raise ValueError(f"policy.safetensors must hold weights and biases only, got {shown(sorted(tensors))}")
        beliefs = _beliefs(described["observation_names"])
        of_beliefs: Any = {"beliefs": beliefs} if beliefs and kind is NetworkPolicy else {}
        check(layers, described["head"], **of_beliefs)
        policy = kind(
            described["name"],
            layers,
            described["activation"],
            described["head"],
            described["action_mode"],
            described["observe_regime"],
            described["training_seed"],
            described["about"],
            **of_beliefs,
        )
        if described["observation_names"] != list(policy.names):
            raise ValueError("the policy was trained on other observations than this version has")
        return policy
    except RecursionError:
        raise ValueError("policy.json is nested too deeply") from None
    except (KeyError, TypeError, ValueError, broken) as error:
        raise ValueError(_other_kind(described, kind) or str(error)) from None


def _other_kind(described: Any, kind: type[NetworkPolicy]) -> str:
    """Return the fault of a description that states a training on another kind of scenario than a class trades; "" if none."""
    about = described.get("about") if isinstance(described, dict) else None
    scenario = about.get("scenario") if isinstance(about, dict) else None
    if not isinstance(scenario, dict) or "base" in scenario:  # a base could name a file of this machine
        return ""
    trained = kind_of(scenario)
    if trained == kind.trades:
        return ""
    return f"the policy was trained on {trained}, {shown(scenario.get('name'))}, and this needs a policy of {kind.trades}"
