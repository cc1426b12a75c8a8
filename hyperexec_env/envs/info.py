"""The `info` of a vector environment, built when it is first read.

Gymnasium requires an array over all lanes for each number of the lanes that ended. Most steps end some lane, and few users read
the result: building these arrays at every step would take as long as the step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LazyInfo", "masked"]


class LazyInfo(dict[str, Any]):
    """A dictionary that computes its content when it is first read, written, compared, copied or pickled.

    Reading a key of `known` by `info[key]` does not compute the rest.

    Args:
        known: Entries that exist from the start.
        build: Returns the other entries; it is called at most once.
    """

    __slots__ = ("_build",)

    def __init__(self, known: dict[str, Any], build: Callable[[], dict[str, Any]]) -> None:
        """Store the known entries and the function."""
        super().__init__(known)
        self._build: Callable[[], dict[str, Any]] | None = build

    def fill(self) -> None:
        """Compute the other entries unless they are computed."""
        if self._build is not None:
            build, self._build = self._build, None
            super().update(build())

    def __getitem__(self, key: str) -> Any:
        """Return the value of a key; compute the other entries if the key is not known."""
        if self._build is not None and not dict.__contains__(self, key):
            self.fill()
        return super().__getitem__(key)

    def __reduce__(self) -> Any:
        """Copy and pickle as a plain dictionary."""
        self.fill()
        return dict, (dict(self),)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle as a plain dictionary."""
        return self.__reduce__()

    def copy(self) -> dict[str, Any]:
        """Return a plain dictionary of all entries."""
        self.fill()
        return dict(self)


def _filling(name: str) -> Callable[..., Any]:
    """Return the method of `dict` of a name, preceded by :meth:`LazyInfo.fill`."""
    original = getattr(dict, name)

    def method(self: LazyInfo, *args: Any, **kwargs: Any) -> Any:
        self.fill()
        if args and isinstance(args[0], LazyInfo):  # dict's C code does not call the methods of the other dictionary
            args[0].fill()
        return original(self, *args, **kwargs)

    method.__name__, method.__doc__ = name, original.__doc__
    return method


for _name in (
    *("__setitem__", "__delitem__", "__contains__", "__iter__", "__reversed__", "__len__", "__repr__"),
    *("__eq__", "__ne__", "__or__", "__ror__", "__ior__"),
    *("get", "keys", "values", "items", "pop", "popitem", "setdefault", "update", "clear"),
):
    setattr(LazyInfo, _name, _filling(_name))


def masked(info: dict[str, Any], mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return an `info` that has, beside each array over lanes, the mask under its key with a leading underscore (gymnasium)."""
    made: dict[str, Any] = {}
    for key, value in info.items():
        made[key] = masked(value, mask) if isinstance(value, dict) else value
        made["_" + key] = mask
    return made
