"""The catalog of a kind of scenario: what specifies one, and the registered ones by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from hyperexec_env.checks import nearest, shown
from hyperexec_env.market.scenario_file import is_path, read_chain

__all__ = ["Catalog"]


class _Record(Protocol):
    """The record of a scenario: a frozen dataclass with a name, which can be made from a dict."""

    @property
    def name(self) -> str: ...

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self: ...


T = TypeVar("T", bound=_Record)


class Catalog(Generic[T]):
    """A kind of scenario beside that of one asset.

    Args:
        record: The record of the kind.
        word: What one is, with its article: "a basket".
        own: Fields that no other kind has: a table with one of them is of this kind.
        library: Module of the market that registers the scenarios of the package.
        environment: Id of the environment that executes the kind.
        getter: Name of the function of the public API that returns one.
        otherwise: What a specification of another kind becomes; None: it is refused.
    """

    def __init__(
        self,
        record: type[T],
        word: str,
        own: Iterable[str],
        *,
        library: str,
        environment: str,
        getter: str,
        otherwise: Callable[[Any], T] | None = None,
    ) -> None:
        """Make a catalog without scenarios; the library registers its own when it is first needed."""
        self.record, self.word, self.own = record, word, frozenset(own)
        self.library, self.environment, self.getter, self.otherwise = library, environment, getter, otherwise
        self._registry: dict[str, T] = {}

    def register(self, scenario: T) -> T:
        """Register a scenario under its name and return it.

        Raises:
            ValueError: A different scenario is registered under that name.
        """
        if self._registry.get(scenario.name, scenario) != scenario:
            what = f"{self.word.partition(' ')[2]} {scenario.name!r}"
            raise ValueError(f"{what} is already registered with different values; choose another name")
        self._registry[scenario.name] = scenario
        return scenario

    def names(self) -> tuple[str, ...]:
        """Return the names of the registered scenarios in the order of registration."""
        import_module(f"hyperexec_env.market.{self.library}")  # registers the shipped ones
        return tuple(self._registry)

    def owns(self, given: Any) -> bool:
        """Return whether a name, a path, a dict or a record specifies a scenario of this kind."""
        if isinstance(given, self.record):
            return True
        if isinstance(given, Mapping):
            return bool(self.own & set(given)) or self.owns(given.get("base"))
        if isinstance(given, (str, os.PathLike)) and is_path(given):
            try:
                chain = read_chain(Path(given))
            except ValueError:  # loading the file reports the fault
                return False
            return any(self.own & set(values) for _, values in chain) or self.owns(chain[-1][1].get("base"))
        return isinstance(given, str) and given in self.names()

    def read(self, path: str | os.PathLike[str]) -> T:
        """Read a scenario from a TOML file; resolve a `base` that is a path relative to the file.

        Raises:
            ValueError: The file cannot be read, is empty or is not a valid scenario, or its chain of bases is circular, too
                long or too large; the message names the file.
        """
        base: dict[str, Any] = {}
        for file, values in reversed(read_chain(Path(path))):
            try:
                scenario = self.record.from_dict({**values, **base})
            except ValueError as error:
                raise ValueError(f"{file}: {error}") from None
            base = {"base": scenario}
        return scenario

    def get(self, given: Any) -> T:
        """Return the scenario that a registered name, a dict, a path to a TOML file or a record specifies.

        Raises:
            ValueError: The name is unknown (the message names the nearest one), or a value is invalid.
        """
        if isinstance(given, self.record):
            return given
        names = self.names()
        if isinstance(given, str) and given in names:
            return self._registry[given]
        if self.otherwise is not None and not self.owns(given):
            return self.otherwise(given)
        if isinstance(given, Mapping):
            return self.record.from_dict(given)
        if is_path(given):
            return self.read(given)
        raise self.unknown(given)

    def unknown(self, given: Any, others: tuple[str, ...] = ()) -> ValueError:
        """Return the error for a name that is not of this kind; `others` are names that :attr:`otherwise` takes."""
        from hyperexec_env.market.scenarios import kind_of  # knows all kinds of scenarios

        what, names = self.word.partition(" ")[2], self.names()
        kind = kind_of(given)
        if kind is not None:
            return ValueError(f"{shown(given)} is {kind}, and this needs {self.word} (known: {', '.join(names)})")
        return ValueError(f"unknown {what} {shown(given)}{nearest(given, (*names, *others))} (known: {', '.join(names)})")

    def base_of(self, values: dict[str, Any]) -> T | None:
        """Take the `base` out of the values of a table and return its scenario; None without one.

        Raises:
            ValueError: As :meth:`get`, of the base.
        """
        base = values.pop("base", None)
        try:
            return None if base is None else self.get(base)
        except ValueError as error:
            raise ValueError(f"base: {error}") from None

    def refusal(self, given: Any) -> str:
        """Return why something that needs a scenario of one asset does not take one of this kind."""
        if isinstance(given, Mapping):
            what = f"a table with `{min(self.own & set(given))}`"
        else:
            what = shown(getattr(given, "name", given))
        many = self.word.partition(" ")[2]
        takers = f"{self.getter} and {self.environment} take a {many}"
        return f"{what} is {self.word}, and this needs a scenario of HyperExec-v0; {takers}"
