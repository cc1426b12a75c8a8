"""Scenarios with venues: one order in one stock that trades in lit markets, dark pools and as a resting order."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import check_number, nearest, one_line, shown
from hyperexec_env.market.catalog import Catalog
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.scenario_file import is_path, parse_toml, toml_key, toml_value
from hyperexec_env.market.venue import LIT, Venue, check_venues

__all__ = [
    "MOST_VENUES",
    "VENUES",
    "VenueLike",
    "VenueScenario",
    "get_venues",
    "register_venues",
    "venue_names",
]

MOST_VENUES: Final = 20
"""Largest number of venues."""
_PLAIN: Final[dict[str, Any]] = {
    "flow_persistence": 0.0,
    "predator": 0.0,
    "price_risk": 0.0,
    "transient_exponent": 1.0,
    "volume_level_sd": 0.0,
    "drift_sd": 0.0,
    "temp_impact_sd": 0.0,
    "kyle_sd": 0.0,
    "volume_persistence": 0.0,
    "price_model": "abm",
    "complete": True,
    "max_participation": None,
    "posterior": None,
}
"""Fields of the market that a scenario with venues does not vary, each with the only value that it takes."""
_HOME: Final = (Venue(name="market", kind="home", share=1.0),)
_ROUNDING: Final = 1e-9


@dataclass(frozen=True)
class VenueScenario:
    """An execution problem with venues: a :class:`~hyperexec_env.market.scenario.Scenario` and a list of venues.

    The venues divide the volume of the market: the shares of the lit ones sum to one. The first venue is `home`, the lit market
    that completes the order. Values are checked once, at construction. Make variants with :meth:`with_market` or ``replace``.

    Published temporary impact was fitted to whole orders of brokers who already used dark pools and resting orders. To add such
    a venue to it counts them twice, so a scenario whose venues save money should have a temporary impact that was
    *recalibrated*: raised until the optimum with venues costs what the optimum without them cost (``hyperexec solve NAME
    --naive`` shows both).

    A scenario with one venue is its market to the last bit.

    Raises:
        ValueError: A value is missing or out of range, the shares do not sum to one, a venue pays for fills (q_v < 0), or the
            market has a feature that venues do not support. The message names the field, the value and the reason.
    """

    market: Scenario = field(default_factory=lambda: Scenario(name="venues"))
    venues: tuple[Venue, ...] = _HOME
    published_alpha: float | None = field(
        default=None,
        metadata={
            "unit": "volatilities of a day",
            "meaning": "temporary impact before the recalibration to the venues (none: not recalibrated)",
        },
    )

    def __post_init__(self) -> None:
        """Check every value once."""
        if not isinstance(self.market, Scenario):
            raise ValueError(f"market must be a Scenario, got {shown(self.market)}")
        venues = tuple(self.venues)
        if not 1 <= len(venues) <= MOST_VENUES or not all(isinstance(venue, Venue) for venue in venues):
            raise ValueError(f"venues must be 1 to {MOST_VENUES} venues, got {len(venues)}: {shown(list(venues))}")
        object.__setattr__(self, "venues", venues)
        if self.published_alpha is not None:
            alpha = check_number("published_alpha", self.published_alpha, low=0.0, high=1e6)
            object.__setattr__(self, "published_alpha", alpha)
        self._check_market()
        check_venues(venues)
        self._check_concessions()

    def _check_market(self) -> None:
        """Check that the market has no feature that venues do not support."""
        for key, value in _PLAIN.items():
            if getattr(self.market, key) != value:
                raise ValueError(
                    f"{key} must be {value} with venues, got {shown(getattr(self.market, key))} for {self.name}: venues do not "
                    "support it yet"
                )
        if any(self.market.regimes.drift):
            raise ValueError(f"regimes.drift must be 0 with venues, got {list(self.market.regimes.drift)} for {self.name}")
        if len(self.lit) > 1 and self.market.temp_impact_beta > 1.0:
            raise ValueError(
                f"temp_impact_beta must be at most 1 with several lit venues, got {self.market.temp_impact_beta:g}: a convex "
                "price would split every order evenly"
            )
        if len(self.lit) > 1 and not self.market.temp_impact_alpha > 0.0:
            raise ValueError(
                "temp_impact_alpha must be above 0 with several lit venues: without depth there is nothing to route"
            )

    def _check_concessions(self) -> None:
        """Check that no fill pays the order: q_v >= 0 in every regime."""
        regimes = self.market.regimes
        for venue in self.venues:
            for name, q in zip(regimes.names, self.concessions(venue), strict=True):
                if q < -_ROUNDING * self.market.arrival_price * 1e-4:
                    raise ValueError(
                        f"half-spread + fee + adverse selection must not be negative, got {q:.4g} currency per share in {name} "
                        f"for {venue.name}: a round trip over such a venue earns; raise adverse_bps or fee"
                    )

    def half_spreads(self, venue: Venue) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return what a fill pays for crossing the spread in each regime, currency per share, shape (regimes,)."""
        usual = 0.0 if venue.kind == "dark" else self.market.half_spread_bps
        own = usual if venue.half_spread_bps is None else venue.half_spread_bps
        crossed = np.array(self.market.regimes.spread) * own * 1e-4 * self.market.arrival_price
        return np.asarray(-crossed if venue.kind == "rest" else crossed)

    def adverse(self, venue: Venue) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the adverse selection of a fill in each regime, currency per share, shape (regimes,).

        It moves with the spread of the regime. A resting order without `adverse_bps` is selected by as much as it saves:
        half-spread and rebate, so that resting earns nothing.
        """
        if venue.adverse_bps is None and venue.kind == "rest":
            return np.maximum(-self.half_spreads(venue) - venue.fee, 0.0)
        return np.array(self.market.regimes.spread) * (venue.adverse_bps or 0.0) * 1e-4 * self.market.arrival_price

    def concessions(self, venue: Venue) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return q of a venue in each regime: half-spread + fee + adverse selection, currency per share, shape (regimes,)."""
        return self.half_spreads(venue) + venue.fee + self.adverse(venue)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return self.market.name

    @property
    def description(self) -> str:
        """Purpose of the scenario."""
        return self.market.description

    @property
    def regimes(self) -> Regimes:
        """Regimes of the market."""
        return self.market.regimes

    @property
    def slices(self) -> int:
        """Number of slices N."""
        return self.market.slices

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each venue."""
        return tuple(venue.name for venue in self.venues)

    @cached_property
    def lit(self) -> tuple[Venue, ...]:
        """The venues that show their liquidity, home first."""
        return tuple(venue for venue in self.venues if venue.kind in LIT)

    @cached_property
    def hidden(self) -> tuple[Venue, ...]:
        """The dark pools and the resting orders."""
        return tuple(venue for venue in self.venues if venue.kind not in LIT)

    @property
    def equal_terms(self) -> bool:
        """Whether all lit venues have the same concession and depth: the cheapest split is then in proportion to their
        volumes.
        """
        first, *others = self.lit
        return all(
            other.temporary == first.temporary and np.array_equal(self.concessions(other), self.concessions(first))
            for other in others
        )

    @property
    def naive(self) -> VenueScenario:
        """The scenario with the temporary impact from before the recalibration, which counts the venues twice."""
        alpha = self.published_alpha
        return self if alpha is None else self.with_market(temp_impact_alpha=alpha)

    @property
    def plain(self) -> Scenario:
        """The market without venues, with the temporary impact from before the recalibration."""
        alpha = self.published_alpha
        return self.market if alpha is None else replace(self.market, temp_impact_alpha=alpha)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of the market that make results meaningless."""
        return self.market.warnings

    def with_market(self, **values: Any) -> VenueScenario:
        """Return the scenario with some fields of its market replaced, for example ``with_market(quantity=1e5)``.

        A temporary impact that is stated anew was not recalibrated, so it drops `published_alpha`.
        """
        kept = None if "temp_impact_alpha" in values else self.published_alpha
        return replace(self, market=replace(self.market, **values), published_alpha=kept)

    @cached_property
    def hash(self) -> str:
        """Return a hash of every value that can change a result: all but names, descriptions and provenance."""
        venues = [{key: value for key, value in venue.to_dict().items() if key != "name"} for venue in self.venues]
        content = json.dumps({"market": self.market.hash, "venues": venues}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @cached_property
    def text(self) -> str:
        """The result of :meth:`to_toml`, computed once."""
        return self.to_toml()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the market and the list `venue` as plain values; :meth:`from_dict` is the inverse."""
        own = {} if self.published_alpha is None else {"published_alpha": self.published_alpha}
        return {**self.market.to_dict(), **own, "venue": [venue.to_dict() for venue in self.venues]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> VenueScenario:
        """Return the scenario of plain values: the fields of a `Scenario`, `published_alpha`, and a list `venue` of tables.

        The key ``base`` names a scenario, with or without venues, that provides everything that is not given. A list `venue`
        replaces the venues of the base.

        Raises:
            ValueError: A field is unknown (the message names the nearest one) or a value is invalid.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"scenario must be a table of values, got {shown(values)}")
        given = dict(values)
        start = VENUES.base_of(given)
        listed = given.pop("venue", None)
        alpha = given.pop("published_alpha", None if start is None else start.published_alpha)
        if start is not None and {"temp_impact_alpha"} & set(given) and "published_alpha" not in values:
            alpha = None  # an impact that is stated anew was not recalibrated to these venues
        if start is not None:
            given["base"] = start.market
        market = Scenario.from_dict(given)
        if listed is None:
            return cls(market, _HOME if start is None else start.venues, alpha)
        if not isinstance(listed, (list, tuple)):
            raise ValueError(f"venue must be a list of tables, got {shown(listed)}")
        return cls(market, tuple(_venue(table, number) for number, table in enumerate(listed)), alpha)

    def to_toml(self) -> str:
        """Return the scenario as TOML; a comment on each line gives the meaning and unit of the field."""
        notes = {item.name: item.metadata for item in fields(Venue)}
        own = []
        if self.published_alpha is not None:
            note = self.__dataclass_fields__["published_alpha"].metadata
            own = [f"published_alpha = {toml_value(self.published_alpha)}  # {note['meaning']}, {note['unit']}"]
        lines = [*own, self.market.to_toml().rstrip("\n")]
        for venue in self.venues:
            lines += ["", "[[venue]]"]
            table = venue.to_dict()
            law = table.pop("liquidity", None)
            for key, value in table.items():
                note = notes[key]
                lines.append(f"{key} = {toml_value(value)}  # {', '.join(filter(None, (note['meaning'], note['unit'])))}")
            if law:
                lines += ["[venue.liquidity]", *(f"{toml_key(key)} = {toml_value(value)}" for key, value in law.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> VenueScenario:
        """Return the scenario that TOML text describes; raise ValueError as :meth:`from_dict` does, or if it is not TOML."""
        return cls.from_dict(parse_toml(text))


def _venue(table: Any, number: int) -> Venue:
    """Return one venue of its table."""
    if isinstance(table, Venue):
        return table
    if not isinstance(table, Mapping):
        raise ValueError(f"venue[{number}] must be a table of values, got {shown(table)}")
    known = [item.name for item in fields(Venue)]
    for key in table:
        if key not in known:
            raise ValueError(f"unknown field venue[{number}].{one_line(str(key))}{nearest(key, known)}")
    try:
        return Venue(**table)
    except ValueError as error:
        raise ValueError(f"venue[{number}] ({shown(table.get('name', 'home'))}): {error}") from None


VenueLike = str | os.PathLike[str] | Mapping[str, Any] | VenueScenario | Scenario
"""What names a scenario with venues: a registered name, a path of a TOML file, a dict of values, or the record; a scenario
without venues has one, its market."""


def _of_one(given: Any) -> VenueScenario:
    """Return the scenario with one venue that a scenario without venues makes."""
    if isinstance(given, str) and not is_path(given) and given not in scenario_names():
        raise VENUES.unknown(given, scenario_names())
    return VenueScenario(get_scenario(given))


VENUES: Final = Catalog(
    VenueScenario,
    "a scenario with venues",
    ("venue",),
    library="venue_library",
    environment="HyperExecVenues-v0",
    getter="get_venues",
    otherwise=_of_one,
)
"""The registered scenarios with venues, and what specifies one."""


def register_venues(venues: VenueScenario) -> VenueScenario:
    """Register a scenario with venues under its name and return it.

    Raises:
        ValueError: A different scenario is registered under that name.
    """
    return VENUES.register(venues)


def venue_names() -> tuple[str, ...]:
    """Return the names of the registered scenarios with venues in the order of registration."""
    return VENUES.names()


def get_venues(venues: VenueLike) -> VenueScenario:
    """Return the scenario with venues that a registered name, a dict, a path to a TOML file or a record specifies.

    A scenario without venues becomes one with one venue, its market.

    Raises:
        ValueError: The name is unknown (the message names the nearest one), or a value is invalid.
    """
    return VENUES.get(venues)
