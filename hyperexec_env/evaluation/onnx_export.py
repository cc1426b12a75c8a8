"""A trained policy as one ONNX file, whose actions onnxruntime has compared with the policy's own."""

from __future__ import annotations

import json
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.extras import need
from hyperexec_env.version import __version__

from .graph import Graph

__all__ = ["TOLERANCE", "run_onnx", "to_onnx"]

TOLERANCE: Final = 1e-6
"""Largest difference between an action of the graph and of its policy; of levels, between their scores. It is relative to the
sum of the absolute terms of the last layer (:meth:`~hyperexec_env.evaluation.network.NetworkPolicy.sizes`) where that is above
1, because rounding grows with it."""
_LARGEST: Final = 1e3
"""Largest sum that widens the tolerance: an action beyond a difference of 1e-3 is another action."""
_ROWS: Final = 1000
"""Number of observations on which the actions are compared."""


def to_onnx(policy: NetworkPolicy) -> bytes:
    """Return a policy as an ONNX model: weights, activations, masks and the head of the action are inside.

    Inputs are `observation`, float32 of shape (n, features), and at the touch `mask`, int8 of shape (n, actions). The output
    `action` is what the environment takes: float32 of shape (n,) or (n, numbers), or int64 of shape (n,). The metadata state
    name, observations, action mode, training and version.

    Raises:
        ValueError: onnxruntime computes other actions than the policy.
        MissingExtra: onnx or onnxruntime is not installed.
    """
    graph, given = Graph(), policy.examples(_ROWS)
    action, expected = policy.write(graph), policy.action(*given)
    model = graph.model(action, expected.shape[1:], _about(policy))
    _check_same(policy, given, expected, run_onnx(model, given))
    return model


def run_onnx(model: bytes, given: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """Return the first output of an ONNX model, evaluated by onnxruntime on inputs in their order."""
    runtime = need("onnxruntime", "export")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, given, strict=True)))[0])


def _about(policy: NetworkPolicy) -> dict[str, str]:
    """Return the metadata of the model, texts."""
    return {
        "name": policy.name,
        "observation_names": json.dumps(policy.names),
        "action_mode": policy.action_mode,
        "observe_regime": json.dumps(policy.observe_regime),
        "training_seed": str(policy.training_seed),
        "algorithm": str(policy.about.get("algorithm", "")),
        "scenario_hash": str(policy.about.get("scenario_hash", "")),
        "digest": policy.digest,
        "hyperexec_env": __version__,
    }


def _check_same(policy: NetworkPolicy, given: tuple[NDArray[Any], ...], expected: NDArray[Any], found: NDArray[Any]) -> None:
    """Check that a graph has the actions of its policy.

    Raises:
        ValueError: An action differs by more than :data:`TOLERANCE`; of two levels, one may stand for the other in a tie.
    """
    if found.shape != expected.shape:
        raise ValueError(f"the graph of policy {policy.name!r} has actions of shape {found.shape}, not {expected.shape}")
    sizes = np.clip(policy.sizes(*given), 1.0, _LARGEST)
    if expected.dtype.kind in "iu":
        scores, row = policy.scores(given[0]).astype(float), np.arange(len(expected))
        lost = np.abs(scores[row, expected] - scores[row, found]) / np.maximum(sizes[row, expected], sizes[row, found])
    else:
        lost = np.abs(found - expected) / sizes.reshape(expected.shape)
    if not lost.max() <= TOLERANCE:  # nan too
        raise ValueError(
            f"policy {policy.name!r} has no equal ONNX graph: onnxruntime computes actions that differ by up to "
            f"{lost.max():.2g}, more than {TOLERANCE:g}, on {_ROWS:,} random observations"
        )
