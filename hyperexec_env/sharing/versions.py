"""Versions that results depend on, and which of them differ between two machines."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import numpy as np

from hyperexec_env.evaluation.identity import engine
from hyperexec_env.version import __version__

__all__ = ["different_versions", "installed_versions"]

_OTHERS: Final = {"numba": "numba", "onnx": "onnxruntime", "network": "safetensors"}
"""Packages that some results depend on, by the backend or the kind of policy that needs them."""


def installed_versions(used: set[str]) -> dict[str, str]:
    """Return what results depend on here: versions, processor instructions, and the fingerprint of the code.

    Args:
        used: Backends and kinds of policies that compute the results.
    """
    simd: Any = np.show_config(mode="dicts")
    found = {
        "hyperexec_env": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "simd": " ".join(simd.get("SIMD Extensions", {}).get("found", [])),
        "engine": engine(compiled="numba" in used),
    }
    for key, package in _OTHERS.items():
        if key in used:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                found[package] = "not installed"
    return found


def different_versions(made: Mapping[str, str], here: Mapping[str, str]) -> list[str]:
    """Return one line for each entry that differs."""
    names = [name for name in (*made, *(name for name in here if name not in made)) if made.get(name) != here.get(name)]
    return [f"{name}: {made.get(name, 'none')} made the file, {here.get(name, 'none')} is installed" for name in names]
