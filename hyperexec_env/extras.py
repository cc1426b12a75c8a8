"""Optional dependencies: import them on demand, or raise an error that gives the install command."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MissingExtra", "need"]


class MissingExtra(ImportError):
    """An optional dependency is not installed."""


def need(module: str, extra: str) -> Any:
    """Import and return a module of an optional dependency.

    Args:
        module: Name of the module.
        extra: Extra of this package that installs the module.

    Raises:
        MissingExtra: The module is not installed; the message gives the install command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = module.split(".")[0]
        raise MissingExtra(f'{name} is not installed: pip install "hyperexec-env[{extra}]"') from error
