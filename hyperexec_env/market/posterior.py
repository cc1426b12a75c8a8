"""Posterior: joint draws of the numbers of a market that a measurement gives with an error.

A draw is one row: a value of each measured field. The fields of a scenario with a posterior are the point estimate, and
:meth:`~hyperexec_env.market.scenario.Scenario.draw` returns the scenario of one row. Draws have equal weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from hyperexec_env.checks import check_integer, check_numbers, nearest, one_line, shown

if TYPE_CHECKING:
    from hyperexec_env.market.scenario import Scenario

__all__ = ["MEASURED", "Posterior", "check_draws", "draw_of", "draws_of", "known_posterior", "stated_by"]

MEASURED: Final = (
    *("adv", "volatility", "half_spread_bps", "kyle_lambda", "perm_impact_gamma", "resilience", "flow_share"),
    *("temp_impact_alpha", "temp_impact_beta", "kyle_multiple", "perm_impact_multiple"),
)
"""Fields of a scenario that a posterior may hold."""
_NUMBERS: Final = {"kyle_multiple": "kyle_lambda", "perm_impact_multiple": "perm_impact_gamma"}
"""Multiples, whose provenance is that of the number."""
_MOST: Final = 1000
"""Largest number of draws."""


@dataclass(frozen=True)
class Posterior:
    """Joint draws of measured fields, one row for each draw; each draw is valid together with the rest of its scenario.

    Raises:
        ValueError: A field cannot be measured, is given twice or has another number of draws than the first field, or the
            number of draws is not in [2, 1000].
    """

    names: tuple[str, ...]
    """Fields, among :data:`MEASURED`."""
    columns: tuple[tuple[float, ...], ...]
    """Draws of each field, in the unit of the field; shape (fields, draws)."""

    def __post_init__(self) -> None:
        """Check names and shape; the scenario checks the values (:func:`check_draws`)."""
        for name in self.names:
            if name not in MEASURED:
                known = ", ".join(MEASURED)
                raise ValueError(f"posterior may hold {known}, got {one_line(str(name))}{nearest(name, MEASURED)}")
        if len(set(self.names)) < len(self.names) or len(self.names) != len(self.columns) or not self.names:
            raise ValueError(f"posterior must hold one column of draws for each field, got the fields {shown(self.names)}")
        columns = tuple(
            check_numbers(f"posterior.{name}", column, low=-math.inf, high=math.inf, most=_MOST)
            for name, column in zip(self.names, self.columns, strict=True)
        )
        for name, column in zip(self.names, columns, strict=True):
            check_integer(f"the number of draws of posterior.{name}", len(column), low=2, high=_MOST)
            if len(column) != len(columns[0]):
                raise ValueError(
                    f"posterior.{name} must hold {len(columns[0])} draws as posterior.{self.names[0]}, got {len(column)}"
                )
        object.__setattr__(self, "columns", columns)

    def __len__(self) -> int:
        """Return the number of draws."""
        return len(self.columns[0])

    @classmethod
    def of(cls, columns: Mapping[str, Any]) -> Posterior:
        """Return the posterior of a mapping from field to draws.

        Raises:
            ValueError: See :class:`Posterior`.
        """
        if not isinstance(columns, Mapping):
            raise ValueError(f"posterior must be a table with a list of draws for each field, got {shown(columns)}")
        return cls(tuple(columns), tuple(columns.values()))

    def to_dict(self) -> dict[str, list[float]]:
        """Return the draws as a list for each field; :meth:`of` is the inverse."""
        return {name: list(column) for name, column in zip(self.names, self.columns, strict=True)}

    def row(self, number: int) -> dict[str, Any]:
        """Return the values of one draw, by field."""
        return {name: column[number] for name, column in zip(self.names, self.columns, strict=True)}

    def is_part_of(self, other: Posterior | None) -> bool:
        """Return whether every column is a column of another posterior."""
        theirs = {} if other is None else other.to_dict()
        return self is other or all(theirs.get(name) == column for name, column in self.to_dict().items())

    def without(self, names: Any) -> Posterior | None:
        """Return the posterior without some fields; None if no field is left."""
        kept = {name: column for name, column in self.to_dict().items() if name not in names}
        return type(self).of(kept) if kept else None


def check_draws(scenario: Scenario) -> None:
    """Check that every draw of a scenario is a valid scenario.

    Raises:
        ValueError: A draw is invalid; the message names the draw, the field, the value and the range.
    """
    if scenario.posterior is not None:
        kind: Any = type(scenario)
        _check_rows(kind, scenario.posterior, tuple((name, getattr(scenario, name)) for name in stated_by(scenario)))


def stated_by(scenario: Scenario) -> list[str]:
    """Return the fields among :data:`MEASURED` that a scenario states: impact by its number or by its multiple."""
    return [name for name in MEASURED if name in scenario.to_dict()]


@lru_cache(maxsize=64)
def _check_rows(kind: Any, posterior: Posterior, own: tuple[tuple[str, float], ...]) -> None:
    """Check every draw beside the measured fields that the scenario states, on which alone the checks of a draw depend."""
    scenario = kind(**dict(own))
    for number in range(len(posterior)):
        try:
            replace(scenario, **posterior.row(number))
        except ValueError as error:
            raise ValueError(f"posterior, draw {number}: {error}") from None


def draw_of(scenario: Scenario, number: int) -> Scenario:
    """Return the scenario of one draw; see :meth:`~hyperexec_env.market.scenario.Scenario.draw`."""
    posterior = known_posterior(scenario)
    number = check_integer("draw", number, low=0, high=len(posterior) - 1)
    row, texts = posterior.row(number), {key: text for key, text in scenario.provenance.items() if key != "posterior"}
    drawn = {key for key in texts if key in row or key in {_NUMBERS.get(name) for name in row}}
    texts |= dict.fromkeys(drawn, f"draw {number} of the posterior of {scenario.hash}")
    return replace(scenario, posterior=None, provenance=texts, **row)


def known_posterior(scenario: Scenario) -> Posterior:
    """Return the posterior of a scenario.

    Raises:
        ValueError: The scenario has none, or the draws of a field are farther from the scenario's own value than they are wide.
    """
    posterior = scenario.posterior
    if posterior is None:
        raise ValueError(
            f"scenario {scenario.name!r} has no posterior: its numbers are given without an error; `hyperexec measure` and "
            "`hyperexec calibrate` write the draws of measured numbers"
        )
    for name, column in zip(posterior.names, posterior.columns, strict=True):
        value = getattr(scenario, name)
        low, high = min(column), max(column)
        if not 2.0 * low - high <= value <= 2.0 * high - low:
            raise ValueError(
                f"posterior.{name} must hold draws around {name} = {value:g}, got draws from {low:g} to {high:g}; take the "
                f"draws of {name} out of [posterior], or state another value"
            )
    return posterior


def draws_of(scenario: Scenario, most: int | None = None) -> tuple[Scenario, ...]:
    """Return the scenarios of the first draws, at most `most` (None: all); draws are independent, so the first are as good.

    Raises:
        ValueError: See :func:`known_posterior`.
    """
    count = len(known_posterior(scenario))
    return tuple(draw_of(scenario, number) for number in range(count if most is None else min(count, most)))
