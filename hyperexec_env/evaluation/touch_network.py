"""Trained policies of a child order at the touch as plain data: a small network whose impossible actions are masked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.touch_features import observe_touch, touch_feature_names
from hyperexec_env.envs.touch_task import TouchTask
from hyperexec_env.evaluation.touch_rollout import TouchSituation
from hyperexec_env.market.touch import RESTS
from hyperexec_env.market.touch_scenario import TOUCHES

from .graph import Graph, Value
from .network import Layers, NetworkPolicy, check_chain, read_policy

__all__ = ["TouchNetworkPolicy", "check_touch_layers", "load_touch_policy"]


@dataclass(frozen=True, eq=False)
class TouchNetworkPolicy(NetworkPolicy):
    """A multi-layer perceptron from the observation to a score of each action; the best possible action is taken.

    The fields are those of :class:`~hyperexec_env.evaluation.network.NetworkPolicy`.
    """

    trades: ClassVar[str] = TOUCHES.word

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features of the observation."""
        return touch_feature_names()

    def action(self, observation: NDArray[np.float32], mask: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return the best possible action for each observation, shape (episodes, features) -> (episodes,).

        Args:
            observation: The observations.
            mask: 1 where an action is possible, else 0, shape (episodes, actions); None: every action is possible.
        """
        scores = self.scores(observation)
        return np.asarray((scores if mask is None else np.where(mask.astype(bool), scores, -np.inf)).argmax(axis=1))

    def write(self, graph: Graph) -> Value:
        """Add the inputs and the nodes of :meth:`action` to an ONNX graph, and return the action."""
        scores = graph.layers(self.layers, self.activation, graph.input("observation", len(self.names)))
        possible = graph.input("mask", len(self.layers[-1][1]), np.int8).astype(np.bool_)
        return graph.argmax(graph.node("Where", possible, scores, np.float32(-np.inf)))

    def examples(self, rows: int) -> tuple[NDArray[Any], ...]:
        """Return inputs of :meth:`action`: observations, and masks that allow an action at least."""
        actions, rng = len(self.layers[-1][1]), np.random.default_rng(1)
        mask = rng.integers(2, size=(rows, actions), dtype=np.int8)
        mask[np.arange(rows), rng.integers(actions, size=rows)] = 1
        return (*super().examples(rows), mask)

    def act(self, situation: TouchSituation) -> Any:  # type: ignore[override]
        """Return action numbers, take * 4 + rest, in the shape of `situation.left`.

        Raises:
            ValueError: The scenario has another number of actions.
        """
        task, actions = TouchTask(situation.market, "discrete"), len(self.layers[-1][1])
        if actions != task.takes * len(RESTS):
            wanted = task.takes * len(RESTS)
            raise ValueError(
                f"policy {self.name!r} has {actions} actions, got a scenario with {wanted} (max_take {task.takes - 1})"
            )
        mask = np.atleast_2d(task.masks(situation.left, situation.place.level))
        seen = np.atleast_2d(observe_touch(situation.market, situation))  # type: ignore[arg-type]  # the fields that features read
        return self.action(seen, mask).reshape(np.shape(situation.left))


def check_touch_layers(layers: Layers, head: str) -> None:
    """Check that layers map an observation to a score of each action.

    Raises:
        ValueError: As :func:`~hyperexec_env.evaluation.network.check_layers`, or the head is not discrete.
    """
    if head != "argmax":
        raise ValueError(f"head must be 'argmax' at the touch, got {head!r}")
    outputs = len(layers[-1][1]) if layers else 0
    check_chain(layers, len(touch_feature_names()), outputs)
    if not outputs or outputs % len(RESTS):
        raise ValueError(f"the last layer must have a multiple of {len(RESTS)} outputs, got {outputs}")


def load_touch_policy(folder: str | Path) -> TouchNetworkPolicy:
    """Read a policy of a child order at the touch from a folder.

    Raises:
        ValueError: The folder has no such policy, or its files are inconsistent; the message names the file.
        MissingExtra: safetensors is not installed.
    """
    return read_policy(folder, TouchNetworkPolicy, check_touch_layers)
