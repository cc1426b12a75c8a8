"""Short text of a scenario: the fields that differ from their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, Final

from hyperexec_env.market.posterior import Posterior
from hyperexec_env.market.regime import Regimes

__all__ = ["brief"]

_LONGEST: Final = 4
"""Most numbers of a curve that are written out."""


def brief(record: Any, derived: Mapping[str, str]) -> str:
    """Return the text of a scenario, ``Scenario(name='spy', quantity=1728502.0, ...)``, without fields at their defaults.

    Curves, regimes and draws are counted, and provenance is left out: ``scenario.to_toml()`` and `hyperexec card` show all of
    them.

    Args:
        record: The scenario.
        derived: Numbers that follow from another field where that field is stated, each with that field.
    """
    values = {item.name: getattr(record, item.name) for item in fields(record) if item.name != "provenance"}
    for number, stated in derived.items():
        if values[stated] is not None:
            del values[number]
    usual = {item.name: _default(item) for item in fields(record)}
    shown = (f"{name}={_text(value)}" for name, value in values.items() if name == "name" or value != usual[name])
    return f"{type(record).__name__}({', '.join(shown)})"


def _default(item: Field[Any]) -> Any:
    """Return the default of a field."""
    return item.default if item.default_factory is MISSING else item.default_factory()


def _text(value: Any) -> str:
    """Return a value in Python's form, or the size of a table."""
    if isinstance(value, Regimes):
        return f"<{len(value.names)} regimes>"
    if isinstance(value, Posterior):
        return f"<{len(value)} draws of {', '.join(value.names)}>"
    if isinstance(value, tuple) and len(value) > _LONGEST:
        return f"<{len(value)} values>"
    return repr(value)
