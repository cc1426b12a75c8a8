"""The `info` of a vector environment, laid out when it is first read.

Gymnasium wants an array over all lanes for each number of the lanes that ended. Most steps end some lane and nobody reads what
they ended with: laying it out at every step would take as long as the step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["LazyInfo"]


class LazyInfo(dict[str, Any]):
    """A dictionary that fills itself when it is read (but for what it has already), written to, compared, copied or pickled.

    Args:
        known: What it has from the start.
        lay_out: Returns the rest; it is called at most once.
    """

    def __init__(self, known: dict[str, Any], lay_out: Callable[[], dict[str, Any]]) -> None:
        """Keep the function for later."""
        super().__init__(known)
        self._lay_out: Callable[[], dict[str, Any]] | None = lay_out

    def fill(self) -> None:
        """Lay the content out, if it is not."""
        if self._lay_out is not None:
            lay_out, self._lay_out = self._lay_out, None
            super().update(lay_out())

    def __getitem__(self, key: str) -> Any:
        """Return a value; the dictionary is filled if it does not have the key yet."""
        if self._lay_out is not None and not dict.__contains__(self, key):
            self.fill()
        return super().__getitem__(key)

    def __reduce__(self) -> Any:
        """Copy and pickle as the plain dictionary that it stands for."""
        self.fill()
        return dict, (dict(self),)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Copy and pickle as the plain dictionary that it stands for."""
        return self.__reduce__()

    def copy(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        self.fill()
        return dict(self)


def _filling(name: str) -> Callable[..., Any]:
    """Return a method of a dictionary that fills it first."""
    original = getattr(dict, name)

    def method(self: LazyInfo, *args: Any, **kwargs: Any) -> Any:
        self.fill()
        if args and isinstance(args[0], LazyInfo):  # C code reads the other dictionary without asking it
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
