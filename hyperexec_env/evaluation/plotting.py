"""Figures as files: the extensions that are known, and bytes that are equal for equal figures."""

from __future__ import annotations

import io
from typing import Any, Final

from hyperexec_env.extras import need
from hyperexec_env.files import check_target

__all__ = ["check_plot", "picture_of"]

_FORMATS: Final = (".png", ".svg", ".pdf")


def check_plot(path: str | None) -> None:
    """Check, before the work, that a figure can be written to a path.

    Raises:
        ValueError: The path is not writable or has an unknown extension.
        MissingExtra: matplotlib is not installed.
    """
    if path is None:
        return
    check_target(path)
    if not path.lower().endswith(_FORMATS):
        raise ValueError(f"plot must have one of the extensions {', '.join(_FORMATS)}, got {path!r}")
    need("matplotlib", "plot")


def picture_of(figure: Any, path: str) -> bytes:
    """Return a figure as the bytes of a file; the format follows the extension, and equal figures give equal bytes."""
    target = io.BytesIO()
    kind = path.lower().rpartition(".")[2]
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with need("matplotlib", "plot").rc_context({"svg.hashsalt": "hyperexec"}):
        figure.savefig(target, format=kind, dpi=150, metadata=metadata)
    return target.getvalue()
