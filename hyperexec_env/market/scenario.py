"""Scenarios: an execution problem (order, market and risk aversion) as frozen data, convertible to and from dicts and TOML."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final

from hyperexec_env.checks import (
    check_choice,
    check_flag,
    check_integer,
    check_label,
    check_number,
    check_numbers,
    nearest,
    one_line,
    shown,
)
from hyperexec_env.files import read_regular
from hyperexec_env.market.predator import GREATEST, LEAST
from hyperexec_env.market.regime import Regimes, refuse_slopes
from hyperexec_env.market.volume import slice_profile

__all__ = ["Scenario", "ScenarioLike", "get_scenario", "load_scenario", "register_scenario", "scenario_files", "scenario_names"]


_LARGEST_FILE: Final = 2**18
"""Largest size of a scenario file with all its bases, bytes."""
_MOST_NEGATIVE: Final = 1e-6
"""Largest probability of a negative price that passes without a warning."""
_SESSION: Final = 390.0
"""Minutes of an equity session; a scenario whose day is longer may have sessions of many days in it."""
_MOST_PARTS: Final = 10_000
"""Largest number of parts of a volume curve; as TOML, so many fit into a file."""
_MOST_BASES: Final = 16
"""Largest number of files in a chain of bases."""
_LONG_KEY: Final = re.compile(r"""(?:\.[ \t]*(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*){32}""")
"""A dotted key of more than 32 parts, whose parsing takes time and memory quadratic in the number of parts."""


def _unit(default: Any, unit: str, meaning: str, **bounds: float) -> Any:
    """Declare a field with its unit and meaning, which the card and the TOML file print.

    A number has bounds: `low` or `above`, its least value or the value that it must exceed, and `high`, its greatest value.
    """
    metadata: dict[str, Any] = {"unit": unit, "meaning": meaning}
    if bounds:
        low = bounds["above"] if "above" in bounds else bounds["low"]
        metadata["range"] = {"low": low, "high": bounds["high"], "open_low": "above" in bounds}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Scenario:
    """One execution problem: the order, the market in which it trades, and the price of risk.

    Values are checked once, at construction. Make variants with ``replace(get_scenario("regime-day"), quantity=250_000)``.
    ``hyperexec card NAME`` and the metadata of ``dataclasses.fields(Scenario)`` document each field with its unit.

    A `predator` other than zero makes the environment partially observed: the observation does not hold the predator's memory
    of our child orders, so a policy needs a memory of its own (recurrence or stacked observations) to outwit the predator. A
    negative `predator` would pay for round trips where spread and temporary impact are small; orders here trade one side
    only, so no policy can make one (:mod:`~hyperexec_env.market.predator`).

    A `volume_level_sd` above zero does so too: past volumes, of which the observation holds the last, are noisy signs of the
    level, and a policy with a memory can infer it.

    Raises:
        ValueError: A value is missing or out of range; the message names the field, the value and the range.
    """

    name: str = _unit("custom", "", "name of the scenario")
    description: str = _unit("", "", "purpose of the scenario")
    side: int = _unit(1, "+1 buy, -1 sell", "side of the order")
    quantity: float = _unit(200_000.0, "shares", "size of the order X", above=0.0, high=1e15)
    arrival_price: float = _unit(100.0, "currency per share", "arrival price P0", above=0.0, high=1e9)
    start_minute: float = _unit(0.0, "minutes after the open", "start of the order", low=0.0, high=1e6)
    horizon_minutes: float = _unit(390.0, "minutes", "time until the deadline", above=0.0, high=1e6)
    slices: int = _unit(26, "", "number of slices N")
    risk_aversion: float = _unit(1e-7, "1 / currency", "price of quadratic variation", low=0.0, high=1e6)
    price_risk: float = _unit(
        0.0, "per day", "price of inventory risk, lambda in lambda x S (Gatheral and Schied 2011)", low=0.0, high=1e6
    )
    max_participation: float | None = _unit(None, "fraction of the slice volume", "participation cap (none: no cap)")
    complete: bool = _unit(True, "", "the last slice executes the remaining shares (false: they are marked at the final mid)")
    day_minutes: float = _unit(390.0, "minutes", "length of the trading day", above=0.0, high=1e6)
    adv: float = _unit(5_000_000.0, "shares a day", "average daily volume ADV", above=0.0, high=1e15)
    volatility: float = _unit(0.02, "fraction per square root of a day", "volatility sigma", low=0.0, high=10.0)
    half_spread_bps: float = _unit(1.0, "bps of the arrival price", "half of the quoted spread", low=0.0, high=5e3)
    perm_impact_gamma: float = _unit(
        0.2, "arrival prices for one ADV", "permanent impact, g = gamma P0 / ADV", low=0.0, high=1e6
    )
    kyle_lambda: float = _unit(
        0.3, "arrival prices for one ADV", "Kyle's lambda, slope of the price in net flow", low=0.0, high=1e6
    )
    temp_impact_alpha: float = _unit(
        0.3, "volatilities of a day", "temporary impact at a participation of one", low=0.0, high=1e6
    )
    temp_impact_beta: float = _unit(0.5, "", "exponent of temporary impact in the participation", above=0.0, high=2.0)
    resilience: float = _unit(10.0, "per day", "recovery rate rho of the transient impact", low=0.0, high=1e6)
    transient_exponent: float = _unit(
        1.0,
        "",
        "exponent of transient impact in the participation; only 1 is sound, any other rewards lumpy trading",
        above=0.0,
        high=2.0,
    )
    volume_curve: tuple[float, ...] = _unit((), "relative", "volume of equal parts of the day (empty: flat)")
    volume_noise: float = _unit(0.3, "sd of the log", "lognormal noise of the slice volume", low=0.0, high=3.0)
    volume_level_sd: float = _unit(
        0.0, "sd of the log", "lognormal level of the volume, drawn once per episode and never shown", low=0.0, high=3.0
    )
    flow_share: float = _unit(0.35, "R^2", "share of the price variance that order flow explains", low=0.0, high=1.0)
    flow_persistence: float = _unit(0.0, "per slice", "AR(1) coefficient of the order flow", low=-0.999, high=0.999)
    predator: float = _unit(
        0.0,
        "fraction of the expected child order",
        "position that a predator takes ahead of our child order (negative: liquidity that the order attracts; valid only for "
        "one-sided orders); not in the observation",
        low=LEAST,
        high=GREATEST,
    )
    price_model: str = _unit("abm", "abm or gbm", "arithmetic or geometric Brownian motion")
    regimes: Regimes = field(default_factory=Regimes)
    provenance: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check every value once."""
        for item in fields(self):
            if "range" in item.metadata:
                value = check_number(item.name, getattr(self, item.name), unit=item.metadata["unit"], **item.metadata["range"])
                object.__setattr__(self, item.name, value)
        check_label("name", self.name)
        if not isinstance(self.description, str):
            raise ValueError(f"description must be text, got {shown(self.description)}")
        if self.side not in (1, -1) or isinstance(self.side, bool):
            raise ValueError(f"side must be +1 (buy) or -1 (sell), got {shown(self.side)}")
        object.__setattr__(self, "side", int(self.side))
        object.__setattr__(self, "slices", check_integer("slices", self.slices, low=1, high=100_000))
        check_flag("complete", self.complete)
        check_choice("price_model", self.price_model, ("abm", "gbm"))
        if self.max_participation is not None:
            unit = "fraction of the slice volume"
            cap = check_number("max_participation", self.max_participation, low=0.0, high=1.0, open_low=True, unit=unit)
            object.__setattr__(self, "max_participation", cap)
        if self.kyle_lambda < self.perm_impact_gamma:
            raise ValueError(
                f"kyle_lambda must be at least perm_impact_gamma ({self.perm_impact_gamma:g}): it is the sum of the permanent "
                f"and the transient slope, got {self.kyle_lambda:g}"
            )
        if self.flow_share > 0.0 and not self.kyle_lambda > 0.0:
            raise ValueError(
                f"flow_share must be 0 where kyle_lambda is 0 (flow cannot move the price), got {self.flow_share:g}"
            )
        if self.predator != 0.0 and self.transient_exponent != 1.0:
            raise ValueError(
                f"transient_exponent must be 1 where predator is not 0 (a predator moves the price by Kyle's lambda), "
                f"got {self.transient_exponent:g}"
            )
        if self.start_minute + self.horizon_minutes > self.day_minutes * (1.0 + 1e-12):
            raise ValueError(
                f"start_minute + horizon_minutes must be at most day_minutes ({self.day_minutes:g}), "
                f"got {self.start_minute:g} + {self.horizon_minutes:g}"
            )
        curve = check_numbers("volume_curve", self.volume_curve, low=0.0, high=1e15, most=_MOST_PARTS)
        object.__setattr__(self, "volume_curve", curve)
        if not isinstance(self.regimes, Regimes):
            object.__setattr__(self, "regimes", _build(Regimes, self.regimes, "regimes."))
        if not isinstance(self.provenance, Mapping):
            raise ValueError(f"provenance must be a table of texts, got {shown(self.provenance)}")
        object.__setattr__(self, "provenance", {str(key): str(value) for key, value in self.provenance.items()})
        if not self.notional > 0.0:
            raise ValueError(f"quantity x arrival_price must be positive, got {self.quantity:g} x {self.arrival_price:g}")
        empty = [k for k, share in enumerate(self.profile()) if not share > 0.0]
        if empty:
            raise ValueError(f"volume_curve must give every slice some volume, got none in slice {empty[0]} of {self.slices}")

    @property
    def tau(self) -> float:
        """Length of a slice, days."""
        return self.horizon_minutes / self.day_minutes / self.slices

    @property
    def notional(self) -> float:
        """Arrival notional X P0, currency."""
        return self.quantity * self.arrival_price

    def profile(self) -> tuple[float, ...]:
        """Return the expected volume of each slice as a share of the daily volume, length N."""
        shares = slice_profile(self.volume_curve, self.slices, self.start_minute, self.horizon_minutes, self.day_minutes)
        return tuple(float(share) for share in shares)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of the market that make its results meaningless, one line each; empty for a sound market.

        A volatility or a drift above 100 % of the price in a session may be a percentage. Prices add up in an arithmetic
        market, so that a price can fall below zero: by its volatility (probability by the reflection principle, in the most
        volatile regime), or by the permanent impact of a large sell order.
        """
        found = [*self._percentages()]
        spread = self.volatility * max(self.regimes.volatility) * math.sqrt(self.tau * self.slices)
        below = 2.0 * NormalDist().cdf(-1.0 / spread) if self.price_model == "abm" and spread > 0.0 else 0.0
        if below > _MOST_NEGATIVE:
            found.append(
                f"WARNING: the price falls below zero with a probability of up to {100.0 * below:.2g} %, because it is "
                f"arithmetic and the volatility is {self.volatility:g} per square root of a day; pass price_model = 'gbm', or "
                "a smaller volatility"
            )
        moved = self.perm_impact_gamma * self.quantity / self.adv
        if self.side == -1 and moved >= 1.0:
            found.append(
                "WARNING: the price falls below zero, because the permanent impact of the sell order is "
                f"{100.0 * moved:.3g} % of the arrival price; pass a smaller quantity"
            )
        return tuple(found)

    def _percentages(self) -> Iterator[str]:
        """Yield a warning for each fraction of the price that may be a percentage."""
        days = max(1.0, self.day_minutes / _SESSION)
        drifts = [("regimes.drift", value, days) for value in self.regimes.drift]
        for name, value, most in [("volatility", self.volatility, math.sqrt(days)), *drifts]:
            if abs(value) > most:
                fault = f"{name} = {value:g} is {100.0 * value:g} % of the price in a day"
                yield f"WARNING: {fault}; for {value:g} % pass {value / 100.0:g}"

    @cached_property
    def hash(self) -> str:
        """Return a hash of every value that can change a result: all but name, description and provenance."""
        content = _hashed_values(self, always=_HASHED_FIELDS, never=("name", "description", "provenance"))
        content["regimes"] = _hashed_values(self.regimes, always=_HASHED_REGIME_FIELDS)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def text(self) -> str:
        """The result of :meth:`to_toml`, computed once."""
        return self.to_toml()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain lists, numbers and texts; :meth:`from_dict` is the inverse."""
        plain: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        plain["volume_curve"] = list(self.volume_curve)
        plain["regimes"] = self.regimes.to_dict()
        plain["provenance"] = dict(self.provenance)
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scenario:
        """Return a scenario made from plain values.

        The key ``base`` names a scenario that provides the values of all fields that are not given; within `regimes`, unless
        other regimes are named there.

        Raises:
            ValueError: A field is unknown (the message names the nearest one) or a value is invalid.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"scenario must be a table of values, got {shown(values)}")
        given = dict(values)
        base = given.pop("base", None)
        if base is not None:
            start = get_scenario(base).to_dict()
            table = given.get("regimes")
            if isinstance(table, Mapping) and list(table.get("names", start["regimes"]["names"])) == start["regimes"]["names"]:
                given["regimes"] = {**start["regimes"], **table}
            given = {**start, "name": f"{start['name']}*", **given}
        scenario: Scenario = _build(cls, given, "")
        return scenario

    def to_toml(self) -> str:
        """Return the scenario as TOML; a comment on each line gives the meaning and unit of the field."""
        lines = []
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name in ("regimes", "provenance") or value is None:
                continue
            note = ", ".join(text for text in (item.metadata["meaning"], item.metadata["unit"]) if text)
            lines.append(f"{item.name} = {_toml(value)}  # {note}")
        for table in ("regimes", "provenance"):
            content = self.to_dict()[table]
            if content:
                lines += ["", f"[{table}]", *(f"{_toml_key(key)} = {_toml(value)}" for key, value in content.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> Scenario:
        """Return the scenario that TOML text describes.

        Raises:
            ValueError: The text is not TOML, a field is unknown, or a value is invalid.
        """
        return cls.from_dict(_parse(text))


def _check() -> None:
    """Look for the unit, the meaning and the bounds of each field.

    Raises:
        TypeError: A field was declared without them; the message names it.
    """
    for item in fields(Scenario):
        if item.name not in ("regimes", "provenance") and "meaning" not in item.metadata:
            raise TypeError(f"scenario.Scenario must state unit and meaning of {item.name!r}: declare it with _unit()")
        if item.type == "float" and "range" not in item.metadata:
            raise TypeError(f"scenario.Scenario must state the bounds of {item.name!r}: low or above, and high")


_check()

# Never edit these two lists: every hash that is stored (leaderboards, solutions, trained policies) depends on them. A field in
# a list is hashed by its value, so its default may change. A new field stays out of the lists: it is hashed only where it
# differs from its default, so every present hash stays valid, and the default of a new field may never change.
_HASHED_FIELDS: Final = (
    *("side", "quantity", "arrival_price", "start_minute", "horizon_minutes", "slices", "risk_aversion", "price_risk"),
    *("max_participation", "complete", "day_minutes", "adv", "volatility", "half_spread_bps", "perm_impact_gamma"),
    *("kyle_lambda", "temp_impact_alpha", "temp_impact_beta", "resilience", "transient_exponent", "volume_curve"),
    *("volume_noise", "flow_share", "flow_persistence", "predator", "price_model", "regimes"),
)
_HASHED_REGIME_FIELDS: Final = (
    *("names", "volatility", "volume", "spread", "temporary", "resilience", "drift", "rates", "start"),
)


def _hashed_values(record: Scenario | Regimes, always: tuple[str, ...], never: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the plain values that the hash covers: those of the `always` fields, and of later fields not at their default."""
    plain = record.to_dict()
    later = [item for item in fields(record) if item.name not in (*always, *never)]
    return {name: plain[name] for name in (*always, *(item.name for item in later if not _at_default(record, item)))}


def _at_default(record: Any, item: Field[Any]) -> bool:
    """Return whether replacing the field by its default would leave its value unchanged, after the checks of the record."""
    if item.default is MISSING and item.default_factory is MISSING:
        return False
    default = item.default_factory() if item.default_factory is not MISSING else item.default
    try:
        return bool(getattr(replace(record, **{item.name: default}), item.name) == getattr(record, item.name))
    except ValueError:  # the default is invalid beside the other values of the record
        return False


@lru_cache(maxsize=_MOST_BASES)
def _parse(text: str) -> Mapping[str, Any]:
    """Return the values of TOML text."""
    if _LONG_KEY.search(text):
        raise ValueError("not a scenario in TOML: a key has more than 32 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("not a scenario in TOML: the values are nested too deeply") from None
    except ValueError as error:  # TOMLDecodeError, or a number with thousands of digits
        raise ValueError(f"not a scenario in TOML: {error}") from None


def _build(cls: Any, values: Any, prefix: str) -> Any:
    """Return a record made from a mapping; raise ValueError for an unknown field and name the nearest one."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{prefix.rstrip('.') or 'scenario'} must be a table of values, got {shown(values)}")
    known = {item.name for item in fields(cls)}
    if cls is Regimes:
        refuse_slopes(values)
    for key in values:
        if key not in known:
            raise ValueError(f"unknown field {prefix}{one_line(str(key))}{nearest(key, known)}")
    return cls(**values)


def _toml_key(key: str) -> str:
    """Return a TOML key: bare where TOML allows it, otherwise quoted."""
    return key if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) else _toml(key)


def _toml(value: Any) -> str:
    """Return one value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, float):
        return "inf" if value == math.inf else repr(value)
    return repr(value)


ScenarioLike = str | os.PathLike[str] | Mapping[str, Any] | Scenario
"""What names a scenario: a registered name, a path of a TOML file, a dict of values, or the record itself."""

_REGISTRY: dict[str, Scenario] = {}


def register_scenario(scenario: Scenario) -> Scenario:
    """Register a scenario under its name and return it.

    Raises:
        ValueError: A different scenario is registered under that name.
    """
    if _REGISTRY.get(scenario.name, scenario) != scenario:
        raise ValueError(f"scenario {scenario.name!r} is already registered with different values; choose another name")
    _REGISTRY[scenario.name] = scenario
    return scenario


def scenario_names() -> tuple[str, ...]:
    """Return the names of the registered scenarios, in the order of registration."""
    from hyperexec_env.market import library  # noqa: F401 - the import registers the shipped scenarios

    return tuple(_REGISTRY)


def load_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario from a TOML file; resolve a `base` that is a path relative to the file.

    Raises:
        ValueError: The file cannot be read, is empty or is not a valid scenario, or its chain of bases is circular, too long
            or too large; the message names the file.
    """
    base: dict[str, Any] = {}
    for file, values in reversed(_chain(Path(path))):
        try:
            scenario = Scenario.from_dict({**values, **base})
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        base = {"base": scenario}
    return scenario


def scenario_files(scenario: ScenarioLike) -> list[Path]:
    """Return the files that :func:`get_scenario` reads: the file of a scenario and its bases; none for a name or a record."""
    if not isinstance(scenario, (str, os.PathLike)) or not _is_path(scenario):
        return []
    try:
        return [file for file, _ in _chain(Path(scenario))]
    except ValueError:  # loading the scenario reports the fault
        return [Path(scenario)]


def _chain(path: Path) -> list[tuple[Path, Mapping[str, Any]]]:
    """Return the values of a TOML file and of each base that is a file, each with its path, outermost first.

    Raises:
        ValueError: A file cannot be read, is empty or is not TOML, or a base leads back; the message names the file.
    """
    found: list[tuple[Path, Mapping[str, Any]]] = []
    following: Path | None = path
    left = _LARGEST_FILE
    while following is not None:
        if any(following.resolve() == file.resolve() for file, _ in found):
            raise ValueError(f"{following}: base leads back to this file")
        if len(found) == _MOST_BASES:
            raise ValueError(f"{path}: a chain of bases may hold {_MOST_BASES} files, got more")
        content = read_regular(following, left, "the scenario file")
        left -= len(content)
        try:
            values = _parse(content.decode("utf-8-sig"))
        except UnicodeDecodeError:
            raise ValueError(f"cannot read the scenario file {following}: not text in UTF-8") from None
        except ValueError as error:
            raise ValueError(f"{following}: {error}") from None
        if not values:
            raise ValueError(f"{following}: the file is empty; give at least one field, or a `base`")
        found.append((following, values))
        base = values.get("base")
        following = following.parent / base if isinstance(base, str) and _is_path(base) else None
    return found


def _is_path(scenario: Any) -> bool:
    """Return whether a scenario is given as a path rather than a name."""
    if isinstance(scenario, str):
        return scenario.endswith(".toml") or os.sep in scenario
    return isinstance(scenario, os.PathLike)


def get_scenario(scenario: ScenarioLike) -> Scenario:
    """Return the scenario that a registered name, a dict, a path to a TOML file or a scenario specifies.

    Raises:
        ValueError: The name is unknown (the message names the nearest one), or a value is invalid.
    """
    if isinstance(scenario, Scenario):
        return scenario
    if isinstance(scenario, Mapping):
        return Scenario.from_dict(scenario)
    if _is_path(scenario):
        return load_scenario(scenario)
    names = scenario_names()
    if not isinstance(scenario, str) or scenario not in _REGISTRY:
        raise ValueError(
            f"unknown scenario {shown(scenario)}{nearest(scenario, names)} (known: {', '.join(names)}; or a .toml file)"
        )
    return _REGISTRY[scenario]
