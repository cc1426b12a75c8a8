"""Trained policies of every kind as ONNX files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hyperexec_env.checks import shown
from hyperexec_env.envs.basket_features import BASKET
from hyperexec_env.envs.touch_features import TOUCH_FEATURES
from hyperexec_env.evaluation.basket_network import load_basket_policy
from hyperexec_env.evaluation.network import NetworkPolicy, policy_files
from hyperexec_env.evaluation.onnx_export import to_onnx
from hyperexec_env.evaluation.touch_network import load_touch_policy
from hyperexec_env.evaluation.venue_network import load_venue_policy
from hyperexec_env.files import read_regular, write_atomically
from hyperexec_env.market.scenario import ScenarioLike, get_scenario
from hyperexec_env.market.tables import build_market

from .policies import SOLVED, policy_names
from .universal import UniversalPolicy, linearised_policy, load_trained, universal_policy
from .universal_in_market import in_market

__all__ = ["NETWORKS", "load_any_policy", "save_onnx"]

NETWORKS: Final[dict[str, Callable[[], NetworkPolicy]]] = {"universal": universal_policy, "linearised": linearised_policy}
"""Baselines that are networks."""


def load_any_policy(folder: str | os.PathLike[str]) -> NetworkPolicy:
    """Read a trained policy of any kind of scenario from a folder; its observation tells which.

    Raises:
        ValueError: The folder has no policy, or its files are inconsistent; the message names the file.
        MissingExtra: safetensors is not installed.
    """
    path = Path(folder)
    names = _observation_names(path)
    if BASKET[0].name in names:
        return load_basket_policy(path)
    if TOUCH_FEATURES[1].name in names:
        return load_touch_policy(path)
    return load_venue_policy(path) if any(name.startswith("venue") for name in names) else load_trained(path)


def _observation_names(folder: Path) -> list[str]:
    """Return the names in the description of a policy; none if it has a fault, which reading the policy reports."""
    try:
        names = json.loads(read_regular(policy_files(folder)[0], 2**20))["observation_names"]
    except (OSError, RecursionError, ValueError, KeyError, TypeError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _named(name: str) -> NetworkPolicy:
    """Return the network of a name or of a folder.

    Raises:
        ValueError: As in :func:`load_any_policy`, or the name is that of another policy, which is no network.
    """
    if name in NETWORKS:
        return NETWORKS[name]()
    if name.lower() in map(str.lower, (*policy_names(), *SOLVED)) and not os.path.isdir(name):
        raise ValueError(
            f"policy must be the folder of a network, or {' or '.join(NETWORKS)}, got {name!r}, which is no network"
        )
    return load_any_policy(name)


def save_onnx(
    policy: NetworkPolicy | str | os.PathLike[str], file: str | os.PathLike[str], scenario: ScenarioLike | None = None
) -> NetworkPolicy:
    """Write a policy to one ONNX file (:func:`~hyperexec_env.evaluation.onnx_export.to_onnx`), and return the policy.

    Args:
        policy: A policy, its folder, or one of :data:`NETWORKS`.
        file: The file.
        scenario: Market of a policy of many markets, whose tables become part of the file.

    Raises:
        ValueError: The policy cannot be read, is not a network, needs a scenario or has one of its own, or onnxruntime computes
            other actions.
        MissingExtra: safetensors, onnx or onnxruntime is not installed.
    """
    network = policy if isinstance(policy, NetworkPolicy) else _named(os.fspath(policy))
    if isinstance(network, UniversalPolicy):
        if scenario is None:
            raise ValueError(f"policy {network.name!r} trades in many markets: state the scenario of the graph")
        network = in_market(network, build_market(get_scenario(scenario)))
    elif scenario is not None:
        raise ValueError(
            f"policy {network.name!r} has the market of its training: leave the scenario out, got {shown(scenario)}"
        )
    write_atomically(file, to_onnx(network))
    return network
