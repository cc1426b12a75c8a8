"""Policies as ONNX graphs, evaluated by onnxruntime: whatever a library exports. Called in the process of a guest only.

The first input of the graph is the observation, float32 of shape (n, features): the built-in features, or those that the
metadata `observation_names` list as JSON. Its first output is the action, of shape (n,) or (n, 1), or, in the action mode
`discrete`, scores of shape (n, levels), of which the largest counts. A further input `NAME` of shape (n, ...) is memory: it is
zero at the start of an episode, and afterwards the output `next_NAME` of the slice before.
"""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import one_line
from hyperexec_env.envs.action import PACES
from hyperexec_env.envs.features import Feature, listed_features, observation_names
from hyperexec_env.evaluation.observation import ObservationPolicy
from hyperexec_env.extras import need

__all__ = ["load_onnx"]

_BLOCK: Final = 64
"""Rows per call of a graph that takes any number: with a fixed size, the last bits of an action do not depend on the batch."""
_BEGINS: Final = "time_left"
"""Feature that is 1 where an episode begins."""
_EXTERNAL: Final = 1
"""Value of `data_location` of a tensor whose data are in another file."""


def load_onnx(name: str, content: bytes, action_mode: str, observe_regime: bool) -> ObservationPolicy:
    """Return the policy of an ONNX graph.

    Raises:
        ValueError: The content is not an ONNX graph, its inputs do not fit, or it refers to other files.
        MissingExtra: onnx or onnxruntime is not installed.
    """
    runtime, onnx = need("onnxruntime", "export"), need("onnx", "export")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, which is not a dependency of this package
        raise ValueError(f"the model is not ONNX: {one_line(str(error))}") from None
    _check_closed(model)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # errors of onnxruntime have no common class of their own
        raise ValueError(f"onnxruntime cannot load the model: {one_line(str(error))}") from None
    features = _features(session)
    graph = _Graph(session, action_mode == "discrete", observation_names(features))
    return ObservationPolicy(name, graph, action_mode, observe_regime, features)


def _features(session: Any) -> tuple[str | Feature, ...] | None:
    """Return the features that the metadata of a model list; None: the built-in ones.

    Raises:
        ValueError: The metadata are no list of names of features, which must hold `time_left`.
    """
    stated = session.get_modelmeta().custom_metadata_map.get("observation_names")
    if stated is None:
        return None
    try:
        names = json.loads(stated)
        listed = listed_features(names)
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"the metadata observation_names must be a JSON list of features: {one_line(str(error))}") from None
    if _BEGINS not in names:
        raise ValueError(f"the metadata observation_names must hold {_BEGINS!r}, which tells where an episode begins")
    return None if observation_names(listed) == observation_names() else listed


def _check_closed(message: Any) -> None:
    """Check that no tensor of a model lies in another file, which onnxruntime would read from the current folder.

    Raises:
        ValueError: A tensor does.
    """
    if message.DESCRIPTOR.name == "TensorProto" and (message.data_location == _EXTERNAL or len(message.external_data)):
        raise ValueError(f"the model must hold all its numbers, but {message.name!r} refers to another file")
    for field, value in message.ListFields():
        if field.message_type is not None:
            for item in value if hasattr(value, "__len__") else (value,):
                if hasattr(item, "ListFields"):
                    _check_closed(item)


class _Graph:
    """A function from observations to actions, with the memory of the graph."""

    def __init__(self, session: Any, discrete: bool, names: tuple[str, ...]) -> None:
        self._session, self._discrete, self._begins = session, discrete, names.index(_BEGINS)
        observation, *memory = session.get_inputs()
        width = len(names)
        if observation.type != "tensor(float)" or len(observation.shape) != 2 or observation.shape[1] not in (width, None):
            given = f"{observation.type} of shape {observation.shape}"
            raise ValueError(f"the first input must be float32 of shape (n, {width}), got {given}")
        self._rows = observation.shape[0] if isinstance(observation.shape[0], int) else _BLOCK
        self._input = observation.name
        outputs = [output.name for output in session.get_outputs()]
        for item in memory:
            if f"next_{item.name}" not in outputs or not all(isinstance(size, int) for size in item.shape[1:]):
                raise ValueError(f"the input {item.name!r} needs an output 'next_{item.name}', and a shape of whole numbers")
        self._outputs = [outputs[0], *(f"next_{item.name}" for item in memory)]
        self._shapes = {item.name: tuple(item.shape[1:]) for item in memory}
        self._memory: dict[str, NDArray[np.float32]] = {}

    def __call__(self, observation: NDArray[np.float32]) -> NDArray[Any]:
        """Return the action for each observation, shape (episodes, features) -> (episodes,)."""
        episodes = len(observation)
        if observation[0, self._begins] >= 1.0 or any(len(values) != episodes for values in self._memory.values()):
            self._memory = {name: np.zeros((episodes, *shape), np.float32) for name, shape in self._shapes.items()}
        given = {self._input: np.ascontiguousarray(observation, np.float32), **self._memory}
        parts = [self._block(given, first) for first in range(0, episodes, self._rows)]
        action, *memory = (np.concatenate(part)[:episodes] for part in zip(*parts, strict=True))
        self._memory = dict(zip(self._shapes, memory, strict=True))
        return self._action(action)

    def _block(self, given: dict[str, NDArray[np.float32]], first: int) -> list[NDArray[Any]]:
        """Run the graph on one block of rows, zero-padded."""
        block = {}
        for name, values in given.items():
            rows = values[first : first + self._rows]
            block[name] = np.zeros((self._rows, *values.shape[1:]), np.float32)
            block[name][: len(rows)] = rows
        found: list[NDArray[Any]] = self._session.run(self._outputs, block)
        return found

    def _action(self, action: NDArray[Any]) -> NDArray[Any]:
        if self._discrete and action.ndim == 2 and action.shape[1] == len(PACES):
            return np.asarray(action.argmax(axis=1))
        return action.reshape(len(action)) if action.size == len(action) else action
