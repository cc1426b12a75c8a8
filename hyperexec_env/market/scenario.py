"""Scenarios: an execution problem (order, market and risk aversion) as frozen data, convertible to and from dicts and TOML."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import InitVar, dataclass, field, fields, replace
from functools import cached_property
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
    check_texts,
    nearest,
    one_line,
    shown,
)
from hyperexec_env.market.hashing import HASHED_FIELDS, HASHED_REGIME_FIELDS, hashed_values
from hyperexec_env.market.posterior import Posterior, check_draws, draw_of
from hyperexec_env.market.predator import GREATEST, LEAST
from hyperexec_env.market.regime import Regimes, refuse_slopes
from hyperexec_env.market.scenario_file import is_path, parse_toml, read_chain, toml_key, toml_value
from hyperexec_env.market.scenario_repr import brief
from hyperexec_env.market.volume import slice_profile, volatility_profile

__all__ = [
    "MULTIPLES",
    "UNKNOWNS",
    "Scenario",
    "ScenarioLike",
    "get_scenario",
    "load_scenario",
    "register_scenario",
    "scenario_files",
    "scenario_names",
]


_MOST_NEGATIVE: Final = 1e-6
"""Largest probability of a negative price that passes without a warning."""
_SESSION: Final = 390.0
"""Minutes of an equity session; a scenario whose day is longer may have sessions of many days in it."""
_MOST_PARTS: Final = 10_000
"""Largest number of parts of a curve; as TOML, so many fit into a file."""
_CURVES: Final = ("volatility_curve", "volume_curve")
"""Fields that hold one number for each of equal parts of the day."""
MULTIPLES: Final = {"kyle_lambda": "kyle_multiple", "perm_impact_gamma": "perm_impact_multiple"}
"""Numbers in arrival prices for one ADV, each with the field that states it in daily volatilities."""
_UNHASHED_FIELDS: Final = ("name", "description", "provenance", *MULTIPLES.values())
"""Fields that cannot change a result; a multiple does so through its number."""
UNKNOWNS: Final = ("volume_level_sd", "drift_sd", "temp_impact_sd", "kyle_sd")
"""Fields that state the prior of what an episode draws once and never shows; dicts and files may give them as one table."""
_TABLES: Final = ("regimes", "posterior", "provenance")
"""Fields that are tables of a TOML file; each documents itself."""


def _unit(default: Any, unit: str, meaning: str, **bounds: float) -> Any:
    """Declare a field with its unit and meaning, which the card and the TOML file print.

    A number has bounds: `low` or `above`, its least value or the value that it must exceed, and `high`, its greatest value.
    """
    metadata: dict[str, Any] = {"unit": unit, "meaning": meaning}
    if bounds:
        low = bounds["above"] if "above" in bounds else bounds["low"]
        metadata["range"] = {"low": low, "high": bounds["high"], "open_low": "above" in bounds}
    return field(default=default, metadata=metadata)


class _Itself:
    """Attribute that is the scenario itself, so that `dataclasses.replace` hands the replaced scenario to the new one."""

    def __get__(self, scenario: Scenario | None, owner: type) -> Scenario | None:
        """Return the scenario; None for the class, which is the default of the argument."""
        return scenario


_ITSELF: Final[Any] = _Itself()


@dataclass(frozen=True)
class Scenario:
    """One execution problem: the order, the market in which it trades, and the price of risk.

    Values are checked once, at construction. Make variants with ``replace(get_scenario("regime-day"), quantity=250_000)``.
    ``hyperexec card NAME`` and the metadata of ``dataclasses.fields(Scenario)`` document each field with its unit.

    A `predator` other than zero makes the environment partially observed: the observation does not hold the predator's memory
    of our child orders, so a policy needs a memory of its own (recurrence or stacked observations) to outwit the predator. A
    negative `predator` would pay for round trips where spread and temporary impact are small; orders here trade one side
    only, so no policy can make one (:mod:`~hyperexec_env.market.predator`).

    A `volatility_curve` moves the price and the risk of each slice: the unaffected return of slice k in regime m has the
    standard deviation sigma_m c_k sqrt(tau), and the risk of the remaining shares is risk_aversion (sigma_m c_k P0)^2 tau, with
    c_k from :meth:`volatility_profile`. Temporary impact does not depend on c_k: it is alpha_m sigma_m P0 (n/V)^beta with the
    daily volatility sigma_m, as Almgren, Thum, Hauptmann and Li (2005) normalise it. Observations hold the multiplier of the
    regime and the time; the curve is a constant of the market, which a policy knows.

    So do the *unknowns*, which an episode draws once and never shows: a `volume_level_sd` above zero (past volumes, of which
    the observation holds the last, are noisy signs of the level), a `drift_sd` above zero (past moves of the price are noisy
    signs of the drift), a `temp_impact_sd` above zero (own fills are noisy signs of the temporary impact) and a `kyle_sd` above
    zero (moves of the price with the order flow are noisy signs of Kyle's lambda). A policy with a
    memory can infer them, and `observe_beliefs=True` shows what Bayes' rule infers (:mod:`~hyperexec_env.market.unknown`).
    Dicts and TOML files may give the unknowns in a table ``[unknown]``.

    With a `volume_persistence` psi other than zero, the log of the volume of a slice over its expectation (in its regime, and
    at the level) is AR(1): it keeps the standard deviation `volume_noise`, and E[V_k] does not change. The ratio of the last
    slice, of which the first one is drawn from the stationary law, is observed and predicts the next volume.

    Impact is stated in daily volatilities for one ADV (`kyle_multiple`, `perm_impact_multiple`), which vary less between stocks
    and days than arrival prices do, or in arrival prices (`kyle_lambda`, `perm_impact_gamma`). The multiple is the statement
    and the number follows from it: ``replace(scenario, volatility=0.03)`` rescales the number, ``replace(scenario,
    kyle_lambda=0.3)`` states the number and drops the multiple, and ``replace(scenario, kyle_multiple=None)`` keeps the present
    number at any volatility. The hash covers the number only.

    The provenance of a field is "given" after `replace` has changed the field, unless `replace` states the provenance too.
    A `posterior` holds joint draws of the numbers that were measured with an error; the scenario's own numbers are the point
    estimate, and a result is that of the point estimate unless it says that it covers the draws. A field that `replace` states
    has no draws any more.

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
    max_participation: float | None = _unit(
        None, "fraction of the slice volume", "participation cap (none: no cap)", above=0.0, high=1.0
    )
    complete: bool = _unit(True, "", "the last slice executes the remaining shares (false: they are marked at the final mid)")
    day_minutes: float = _unit(390.0, "minutes", "length of the trading day", above=0.0, high=1e6)
    adv: float = _unit(5_000_000.0, "shares a day", "average daily volume ADV", above=0.0, high=1e15)
    volatility: float = _unit(0.02, "fraction per square root of a day", "volatility sigma", low=0.0, high=10.0)
    volatility_curve: tuple[float, ...] = _unit(
        (), "relative", "volatility of equal parts of the day, rms one over the day (empty: flat)"
    )
    half_spread_bps: float = _unit(1.0, "bps of the arrival price", "half of the quoted spread", low=0.0, high=5e3)
    perm_impact_gamma: float = _unit(
        0.2, "arrival prices for one ADV", "permanent impact, g = gamma P0 / ADV", low=0.0, high=1e6
    )
    perm_impact_multiple: float | None = _unit(
        None, "daily volatilities for one ADV", "permanent impact, perm_impact_gamma / volatility", low=0.0, high=1e5
    )
    kyle_lambda: float = _unit(
        0.3, "arrival prices for one ADV", "Kyle's lambda, slope of the price in net flow", low=0.0, high=1e6
    )
    kyle_multiple: float | None = _unit(
        None, "daily volatilities for one ADV", "Kyle's lambda, kyle_lambda / volatility", low=0.0, high=1e5
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
    volume_persistence: float = _unit(
        0.0, "per slice", "AR(1) coefficient of the log of the slice volume around its expectation", low=-0.999, high=0.999
    )
    drift_sd: float = _unit(
        0.0,
        "fraction of the arrival price a day",
        "normal drift of the unaffected price around that of the regime, drawn once per episode and never shown",
        low=0.0,
        high=10.0,
    )
    temp_impact_sd: float = _unit(
        0.0,
        "fraction of the temporary impact",
        "temporary impact is alpha (1 - sd) or alpha (1 + sd), equally likely, drawn once per episode and never shown",
        low=0.0,
        high=0.99,
    )
    kyle_sd: float = _unit(
        0.0,
        "fraction of Kyle's lambda",
        "normal slope of the price in the flow of others around its mean, drawn once per episode and never shown",
        low=0.0,
        high=1.0,
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
    posterior: Posterior | None = None
    _replaced: InitVar[Scenario | None] = _ITSELF

    def __post_init__(self, _replaced: Scenario | None) -> None:
        """Check every value once; `dataclasses.replace` passes the scenario that the new one replaces."""
        self._keep_draws(_replaced)
        self._scale_impact(_replaced)
        for item in fields(self):
            value = getattr(self, item.name)
            if "range" in item.metadata and not (value is None and item.default is None):
                value = check_number(item.name, value, unit=item.metadata["unit"], **item.metadata["range"])
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
        if self.kyle_sd and (self.flow_persistence or self.price_model != "abm"):
            raise ValueError(
                f"kyle_sd must be 0 unless flow_persistence is 0 and price_model is 'abm' (otherwise lambda would move the "
                f"cost of a plan), got {self.kyle_sd:g} with {self.flow_persistence:g} and {self.price_model!r}"
            )
        if self.start_minute + self.horizon_minutes > self.day_minutes * (1.0 + 1e-12):
            raise ValueError(
                f"start_minute + horizon_minutes must be at most day_minutes ({self.day_minutes:g}), "
                f"got {self.start_minute:g} + {self.horizon_minutes:g}"
            )
        for name in _CURVES:
            object.__setattr__(self, name, check_numbers(name, getattr(self, name), low=0.0, high=1e15, most=_MOST_PARTS))
        self.volatility_profile()
        if not isinstance(self.regimes, Regimes):
            _check_fields(Regimes, self.regimes, "regimes.")
            object.__setattr__(self, "regimes", Regimes(**self.regimes))
        if self.posterior is not None and not isinstance(self.posterior, Posterior):
            object.__setattr__(self, "posterior", Posterior.of(self.posterior) if self.posterior else None)
        check_texts("provenance", self.provenance)
        object.__setattr__(self, "provenance", self._sources(_replaced))
        if not self.notional > 0.0:
            raise ValueError(f"quantity x arrival_price must be positive, got {self.quantity:g} x {self.arrival_price:g}")
        check_draws(self)
        empty = [k for k, share in enumerate(self.profile()) if not share > 0.0]
        if empty:
            raise ValueError(f"volume_curve must give every slice some volume, got none in slice {empty[0]} of {self.slices}")

    def __repr__(self) -> str:
        """Return the fields that differ from their defaults, with curves, regimes and draws counted."""
        return brief(self, MULTIPLES)

    def _scale_impact(self, replaced: Scenario | None) -> None:
        """Derive the impact that is stated in volatilities, and drop a multiple where the number replaces it.

        A value is stated if it is not the object that the replaced scenario (or the class, as a default) holds.

        Raises:
            ValueError: Number and multiple are both stated and disagree, one of them is invalid, or the volatility is 0.
        """
        before = type(self) if replaced is None else replaced
        for number, multiple in MULTIPLES.items():
            times, value = getattr(self, multiple), getattr(self, number)
            number_stated, multiple_stated = value is not getattr(before, number), times is not getattr(before, multiple)
            if times is not None and number_stated and not multiple_stated:
                object.__setattr__(self, multiple, None)
            elif times is not None:
                scale, low, high = self._checked("volatility"), self._checked(multiple), self._checked(number)
                if low > 0.0 and not (scale > 0.0 or number_stated):
                    raise ValueError(
                        f"volatility must be above 0 where {multiple} ({low:g}) states impact in daily volatilities, got "
                        f"{scale:g}; pass {multiple}=None to keep {number}, or state {number}"
                    )
                if number_stated and not math.isclose(low * scale, high, rel_tol=1e-9):
                    raise ValueError(
                        f"{number} must be {multiple} x volatility ({low:g} x {scale:g} = {low * scale:g}) where both are "
                        f"given, got {high:g}; give one of them"
                    )
                value = low * scale
            # A product is an object of its own: a literal that the caller states twice is not mistaken for the value held.
            object.__setattr__(self, number, 1.0 * value if isinstance(value, float) else value)

    def _keep_draws(self, replaced: Scenario | None) -> None:
        """Take the draws of each field that a replacement states out of the posterior that it inherits."""
        if replaced is None or self.posterior is None or self.posterior is not replaced.posterior:
            return
        stated = {item.name for item in fields(self) if getattr(self, item.name) is not getattr(replaced, item.name)}
        impact = {name for pair in MULTIPLES.items() for name in pair}
        stated |= impact if stated & impact else set()  # lambda and gamma are drawn together
        object.__setattr__(self, "posterior", self.posterior.without(stated))

    def _checked(self, name: str) -> float:
        """Return the value of a numeric field; raise ValueError if the value is invalid."""
        metadata = self.__dataclass_fields__[name].metadata
        return check_number(name, getattr(self, name), unit=metadata["unit"], **metadata["range"])

    def _sources(self, replaced: Scenario | None) -> dict[str, str]:
        """Return the provenance of each field; that of a field which a replacement states anew is "given"."""
        texts = {str(key): str(value) for key, value in self.provenance.items()}
        if replaced is None or self.provenance is not replaced.provenance:
            return texts
        for name in set(texts) & {item.name for item in fields(self)}:
            multiple = MULTIPLES.get(name, name)
            name_stating = name if getattr(self, multiple) is None else multiple
            if getattr(self, name_stating) != getattr(replaced, name_stating) and name != "posterior":
                texts[name] = "given"
        if self.posterior is None:
            texts.pop("posterior", None)
        elif "posterior" in texts and not self.posterior.is_part_of(replaced.posterior):
            texts["posterior"] = "given"
        return texts

    @property
    def unknown(self) -> dict[str, float]:
        """The unknowns of an episode, each field of :data:`UNKNOWNS` that is not 0 with its value."""
        return {name: value for name in UNKNOWNS if (value := getattr(self, name))}

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

    def volatility_profile(self) -> tuple[float, ...]:
        """Return c_k, the volatility of each slice over the daily volatility, length N; 1 in each slice without a curve.

        The unaffected return of slice k in regime m has the standard deviation sigma_m c_k sqrt(tau). The mean of c_k^2 over
        the whole day is one.
        """
        day = self.start_minute, self.horizon_minutes, self.day_minutes
        return tuple(volatility_profile(self.volatility_curve, self.slices, *day).tolist())

    def draw(self, number: int) -> Scenario:
        """Return the scenario of one draw of the posterior, 0, 1, ...: the measured fields have the values of the draw.

        Raises:
            ValueError: There is no such draw, or the scenario has no posterior.
        """
        return draw_of(self, number)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of the market that make its results meaningless, one line each; empty for a sound market.

        A volatility or a drift above 100 % of the price in a session may be a percentage. Prices add up in an arithmetic
        market, so that a price can fall below zero: by its volatility (probability by the reflection principle, in the most
        volatile regime), or by the permanent impact of a large sell order.
        """
        found = [*self._percentages()]
        time = self.tau * sum(ratio * ratio for ratio in self.volatility_profile())
        spread = self.volatility * max(self.regimes.volatility) * math.sqrt(time)
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
        for name, value, most in [("volatility", self.volatility, math.sqrt(days)), *drifts, ("drift_sd", self.drift_sd, days)]:
            if abs(value) > most:
                fault = f"{name} = {value:g} is {100.0 * value:g} % of the price in a day"
                yield f"WARNING: {fault}; for {value:g} % pass {value / 100.0:g}"

    @cached_property
    def hash(self) -> str:
        """Return a hash of every value that can change a result: all but name, description and provenance."""
        content = hashed_values(self, _plain(self), always=HASHED_FIELDS, never=_UNHASHED_FIELDS)
        content["regimes"] = hashed_values(self.regimes, self.regimes.to_dict(), always=HASHED_REGIME_FIELDS)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def text(self) -> str:
        """The result of :meth:`to_toml`, computed once."""
        return self.to_toml()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain lists, numbers and texts; :meth:`from_dict` is the inverse.

        Impact is given as it is stated: by the multiple, or by the number in arrival prices.
        """
        plain = _plain(self)
        for number, multiple in MULTIPLES.items():
            del plain[multiple if plain[multiple] is None else number]
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scenario:
        """Return a scenario made from plain values.

        The key ``base`` names a scenario that provides the values of all fields that are not given; within `regimes`, unless
        other regimes are named there. A field that is given has no draws in the posterior of the base.

        Raises:
            ValueError: A field is unknown (the message names the nearest one) or a value is invalid.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"scenario must be a table of values, got {shown(values)}")
        given = dict(values)
        base = given.pop("base", None)
        given |= _unknowns(given)
        _check_fields(cls, given, "")
        if base is None:
            return cls(**given)
        start = get_scenario(base)
        table, regimes = given.get("regimes"), start.regimes.to_dict()
        if isinstance(table, Mapping) and list(table.get("names", regimes["names"])) == regimes["names"]:
            given["regimes"] = {**regimes, **table}
        return replace(start, **{"name": f"{start.name}*", **given})

    def to_toml(self) -> str:
        """Return the scenario as TOML; a comment on each line gives the meaning and unit of the field."""
        lines = []
        plain = self.to_dict()
        for item in fields(self):
            value = plain.get(item.name)
            if item.name in _TABLES or value is None:
                continue
            note = ", ".join(text for text in (item.metadata["meaning"], item.metadata["unit"]) if text)
            lines.append(f"{item.name} = {toml_value(value)}  # {note}")
        for table in _TABLES:
            content = plain[table]
            if content:
                lines += ["", f"[{table}]", *(f"{toml_key(key)} = {toml_value(value)}" for key, value in content.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> Scenario:
        """Return the scenario that TOML text describes.

        Raises:
            ValueError: The text is not TOML, a field is unknown, or a value is invalid.
        """
        return cls.from_dict(parse_toml(text))


def _check() -> None:
    """Look for the unit, the meaning and the bounds of each field.

    Raises:
        TypeError: A field was declared without them; the message names it.
    """
    for item in fields(Scenario):
        if item.name not in _TABLES and "meaning" not in item.metadata:
            raise TypeError(f"scenario.Scenario must state unit and meaning of {item.name!r}: declare it with _unit()")
        if item.type in ("float", "float | None") and "range" not in item.metadata:
            raise TypeError(f"scenario.Scenario must state the bounds of {item.name!r}: low or above, and high")


_check()


def _plain(scenario: Scenario) -> dict[str, Any]:
    """Return every field as plain lists, numbers and texts."""
    plain: dict[str, Any] = {item.name: getattr(scenario, item.name) for item in fields(scenario)}
    posterior = scenario.posterior and scenario.posterior.to_dict()
    tables = {"regimes": scenario.regimes.to_dict(), "provenance": dict(scenario.provenance), "posterior": posterior}
    return {**plain, **tables, **{name: list(getattr(scenario, name)) for name in _CURVES}}


def _unknowns(given: dict[str, Any]) -> dict[str, Any]:
    """Take the table `unknown` out of the values of a scenario, and return its fields.

    Raises:
        ValueError: The table is none, holds a field that is no unknown, or one that the values give too.
    """
    table = given.pop("unknown", {})
    if not isinstance(table, Mapping):
        raise ValueError(f"unknown must be a table of {', '.join(UNKNOWNS)}, got {shown(table)}")
    for name in table:
        if name not in UNKNOWNS:
            known = ", ".join(UNKNOWNS)
            raise ValueError(f"unknown may hold {known}, got {one_line(str(name))}{nearest(name, UNKNOWNS)}")
        if name in given:
            raise ValueError(f"{name} must be given once, got it in the table `unknown` and beside it")
    return dict(table)


def _refuse_other_kinds(given: Any) -> None:
    """Raise ValueError if a name, a table or a record specifies a basket or another kind of scenario, and say what takes it."""
    from hyperexec_env.market.scenarios import CATALOGS

    for catalog in CATALOGS:
        if (catalog.own & set(given)) if isinstance(given, Mapping) else catalog.owns(given):
            raise ValueError(catalog.refusal(given))


def _check_fields(cls: Any, values: Any, prefix: str) -> None:
    """Raise ValueError for a field that a record does not have, and name the nearest one."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{prefix.rstrip('.') or 'scenario'} must be a table of values, got {shown(values)}")
    known = {item.name for item in fields(cls)}
    if cls is Regimes:
        refuse_slopes(values)
    for key in values:
        if key not in known:
            if cls is Scenario:
                from hyperexec_env.market.scenarios import unknown_field  # knows all kinds of scenarios

                _refuse_other_kinds(values)
                raise unknown_field(key, known)
            raise ValueError(f"unknown field {prefix}{one_line(str(key))}{nearest(key, known)}")


ScenarioLike = str | os.PathLike[str] | Mapping[str, Any] | Scenario
"""What names a scenario: a registered name, a path of a TOML file, a dict of values, or the record itself."""

_REGISTRY: dict[str, Scenario] = {}
_ARCHIVED: set[str] = set()


def register_scenario(scenario: Scenario, *, archived: bool = False) -> Scenario:
    """Register a scenario under its name and return it.

    An archived scenario reproduces old results: its name finds it, but "all scenarios" and lists of names leave it out.

    Raises:
        ValueError: A different scenario is registered under that name.
    """
    if _REGISTRY.get(scenario.name, scenario) != scenario:
        raise ValueError(f"scenario {scenario.name!r} is already registered with different values; choose another name")
    _REGISTRY[scenario.name] = scenario
    if archived:
        _ARCHIVED.add(scenario.name)
    return scenario


def scenario_names(*, archived: bool = False) -> tuple[str, ...]:
    """Return the names of the registered scenarios in the order of registration; with `archived`, of the archived ones only."""
    from hyperexec_env.market import library, library_2026  # noqa: F401 - the imports register the shipped scenarios

    return tuple(name for name in _REGISTRY if (name in _ARCHIVED) == archived)


def load_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario from a TOML file; resolve a `base` that is a path relative to the file.

    Raises:
        ValueError: The file cannot be read, is empty or is not a valid scenario, or its chain of bases is circular, too long
            or too large; the message names the file.
    """
    base: dict[str, Any] = {}
    for file, values in reversed(read_chain(Path(path))):
        try:
            scenario = Scenario.from_dict({**values, **base})
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
        base = {"base": scenario}
    return scenario


def scenario_files(scenario: ScenarioLike) -> list[Path]:
    """Return the files that :func:`get_scenario` reads: the file of a scenario and its bases; none for a name or a record."""
    if not isinstance(scenario, (str, os.PathLike)) or not is_path(scenario):
        return []
    try:
        return [file for file, _ in read_chain(Path(scenario))]
    except ValueError:  # loading the scenario reports the fault
        return [Path(scenario)]


def get_scenario(scenario: ScenarioLike) -> Scenario:
    """Return the scenario that a registered name, a dict, a path to a TOML file or a scenario specifies.

    Raises:
        ValueError: The name is unknown (the message names the nearest one), or a value is invalid.
    """
    if isinstance(scenario, Scenario):
        return scenario
    if isinstance(scenario, Mapping):
        return Scenario.from_dict(scenario)
    if is_path(scenario):
        return load_scenario(scenario)
    names = scenario_names()
    if not isinstance(scenario, str) or scenario not in _REGISTRY:
        _refuse_other_kinds(scenario)
        raise ValueError(
            f"unknown scenario {shown(scenario)}{nearest(scenario, names)} (known: {', '.join(names)}; or a .toml file)"
        )
    return _REGISTRY[scenario]
