"""RecurrentPPO of sb3-contrib, an LSTM with its default hyperparameters, as an ONNX graph (docs/howto/submit.md).

The memory of the LSTM is two inputs of the graph, `hidden` and `cell`, and two outputs, `next_hidden` and `next_cell`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import sb3_contrib
import torch
from onnx import helper, numpy_helper

from hyperexec_env.envs.features import observation_names
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.foreign import ForeignPolicy
from hyperexec_env.evaluation.onnx_policy import load_onnx
from hyperexec_env.files import write_atomically
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.training.adapter import BatchVecEnv

NAME: Final = "RecurrentPPO"
GRAPH, ABOUT = "policy.onnx", "about.json"
TIME_LEFT: Final = observation_names().index("time_left")
_OPSET, _VERSION = 17, 8
"""Versions of the operators and of the format, which onnxruntime has read since 1.13."""


@dataclass(frozen=True)
class RecurrentPolicy:
    """A policy in an ONNX graph."""

    graph: bytes
    training_seed: int
    about: dict[str, Any] = field(default_factory=dict)
    """What the training was."""
    name: str = NAME
    action_mode: str = "pace"
    action: Any = field(init=False, repr=False)
    """The action of observations (episodes, features), slice by slice: the memory is forgotten where an episode begins."""

    def __post_init__(self) -> None:
        """Load the graph."""
        object.__setattr__(self, "action", load_onnx(self.name, self.graph, self.action_mode, observe_regime=True).action)

    def entrant(self) -> Entrant:
        """Return the entrant of a board: the graph runs in a process of its own."""
        guest = ForeignPolicy(self.name, self.graph, kind="onnx", action_mode=self.action_mode, observe_regime=True)
        return Entrant(guest, self.training_seed)

    def save(self, folder: Path) -> None:
        """Write the graph and what the training was."""
        write_atomically(folder / ABOUT, json.dumps({**self.about, "training_seed": self.training_seed}, indent=2) + "\n")
        write_atomically(folder / GRAPH, self.graph)


def read_policy(folder: Path) -> RecurrentPolicy:
    """Return the policy that :meth:`RecurrentPolicy.save` wrote."""
    about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    return RecurrentPolicy((folder / GRAPH).read_bytes(), about.pop("training_seed"), about)


def train(scenario: Scenario, seed: int, slices: int, lanes: int, network: tuple[int, ...] = ()) -> tuple[RecurrentPolicy, Any]:
    """Train RecurrentPPO.

    Args:
        scenario: The scenario.
        seed: Seed of the weights, the exploration and the market.
        slices: Slices to trade.
        lanes: Parallel environments; an update has the default 128 slices of each lane.
        network: Units of the LSTM (the first number) and of the hidden layers after it; (): the library's.

    Returns:
        The policy, and the model's own deterministic action as a function of observations (episodes, features), slice by slice.
    """
    torch.set_num_threads(1)
    env = BatchVecEnv(lanes, seed, scenario=scenario)
    steps = min(128, max(2, slices // lanes))
    sizes = {"lstm_hidden_size": network[0], "net_arch": [*network]} if network else None
    options = {"n_steps": steps, "gamma": 1.0, "policy_kwargs": sizes, "seed": seed, "device": "cpu"}
    model = sb3_contrib.RecurrentPPO("MlpLstmPolicy", env, **options).learn(slices)
    memory: Any = None

    def act(observations: Any) -> Any:
        nonlocal memory
        begins = observations[:, TIME_LEFT] >= 1.0
        action, memory = model.predict(observations, None if begins.all() else memory, begins, deterministic=True)
        return action

    return RecurrentPolicy(graph_of(model.policy), seed), act


def graph_of(policy: Any) -> bytes:
    """Return the deterministic action of an `MlpLstmPolicy` with one layer of memory as an ONNX graph."""
    lstm, linear = policy.lstm_actor, [m for m in (*policy.mlp_extractor.policy_net, policy.action_net) if hasattr(m, "weight")]
    units = lstm.hidden_size
    stored = {
        "W": _gates(lstm.weight_ih_l0)[None],
        "R": _gates(lstm.weight_hh_l0)[None],
        "B": np.concatenate([_gates(lstm.bias_ih_l0), _gates(lstm.bias_hh_l0)])[None],
        "first": np.array([0]),
        "low": np.float32(-1.0),
        "high": np.float32(1.0),
    }
    nodes = [helper.make_node("Unsqueeze", [name, "first"], [f"{name}_1"]) for name in ("observation", "hidden", "cell")]
    given = ["observation_1", "W", "R", "B", "", "hidden_1", "cell_1"]
    nodes += [helper.make_node("LSTM", given, ["", "hidden_2", "cell_2"], hidden_size=units)]
    nodes += [helper.make_node("Squeeze", [f"{name}_2", "first"], [f"next_{name}"]) for name in ("hidden", "cell")]
    value = "next_hidden"
    for number, layer in enumerate(linear):
        last = layer is linear[-1]
        stored |= {f"weight{number}": _plain(layer.weight), f"bias{number}": _plain(layer.bias)}
        nodes += [helper.make_node("Gemm", [value, f"weight{number}", f"bias{number}"], [f"sum{number}"], transB=1)]
        value = f"layer{number}"
        nodes += [] if last else [helper.make_node("Tanh", [f"sum{number}"], [value])]
    nodes += [helper.make_node("Clip", [f"sum{len(linear) - 1}", "low", "high"], ["action"])]
    memory = [("hidden", units), ("cell", units)]
    graph = helper.make_graph(
        nodes,
        NAME,
        [_tensor("observation", lstm.input_size), *(_tensor(name, width) for name, width in memory)],
        [_tensor("action", 1), *(_tensor(f"next_{name}", width) for name, width in memory)],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _tensor(name: str, width: int) -> Any:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", width])


def _gates(values: Any) -> Any:
    """Return weights in the order of ONNX's gates (input, output, forget, cell); torch's is input, forget, cell, output."""
    inward, forget, cell, outward = np.split(_plain(values), 4)
    return np.concatenate([inward, outward, forget, cell])


def _plain(values: Any) -> Any:
    return values.detach().numpy().astype(np.float32)
