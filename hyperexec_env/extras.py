"""Optional packages: asked for when they are needed, with the install command where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["MissingExtra", "need"]


class MissingExtra(ImportError):
    """A package of an extra is not installed."""


def need(module: str, extra: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Name of the module.
        extra: The extra of this package that brings it.

    Raises:
        MissingExtra: It is not installed; the message is the install command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        name = module.split(".")[0]
        raise MissingExtra(f'{name} is not installed: pip install "hyperexec-env[{extra}]"') from error
