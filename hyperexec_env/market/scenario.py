"""Scenarios: one execution problem as frozen data that round-trips through a dict and a TOML file."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from hyperexec_env.checks import check_choice, check_flag, check_integer, check_number, check_numbers, nearest
from hyperexec_env.market.predator import GREATEST, LEAST
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.volume import slice_profile

__all__ = ["Scenario", "ScenarioLike", "get_scenario", "load_scenario", "register_scenario", "scenario_names"]


def _unit(default: Any, unit: str, meaning: str) -> Any:
    """Declare a field with its unit and meaning, which the card and the TOML file print."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True)
class Scenario:
    """One execution problem: the order, the market it meets, and what its risk is worth.

    Every value is checked once, here. A variant is data: ``replace(get_scenario("regime-day"), quantity=250_000)``.
    Fields are documented with their units by ``hyperexec card NAME`` and by ``dataclasses.fields(Scenario)``.

    With a `predator` that is not zero the environment is partly observed: what it remembers of our children is not in the
    observation, so a policy that is to outwit it needs a memory (recurrent, or of stacked observations). A negative one pays
    for round trips where spread and temporary impact are small; orders have one side here, so none can be made
    (:mod:`~hyperexec_env.market.predator`).

    Raises:
        ValueError: A value is missing or out of range; the message names the field, the value and the range.
    """

    name: str = _unit("custom", "", "name of the scenario")
    description: str = _unit("", "", "what it is for")
    side: int = _unit(1, "+1 buy, -1 sell", "side of the order")
    quantity: float = _unit(200_000.0, "shares", "size of the order X")
    arrival_price: float = _unit(100.0, "currency per share", "arrival price P0")
    start_minute: float = _unit(0.0, "minutes after the open", "start of the order")
    horizon_minutes: float = _unit(390.0, "minutes", "time until the deadline")
    slices: int = _unit(26, "", "number of slices N")
    risk_aversion: float = _unit(1e-7, "1 / currency", "price of quadratic variation")
    price_risk: float = _unit(0.0, "per day", "price of holding, lambda in lambda x S (Gatheral and Schied 2011)")
    max_participation: float | None = _unit(None, "fraction of the slice volume", "participation cap (none: no cap)")
    complete: bool = _unit(True, "", "the last slice executes what is left (false: the rest is marked at the final mid)")
    day_minutes: float = _unit(390.0, "minutes", "length of the trading day")
    adv: float = _unit(5_000_000.0, "shares a day", "average daily volume ADV")
    volatility: float = _unit(0.02, "fraction per square root of a day", "volatility sigma")
    half_spread_bps: float = _unit(1.0, "bps of the arrival price", "half of the quoted spread")
    perm_impact_gamma: float = _unit(0.2, "arrival prices for one ADV", "permanent impact, g = gamma P0 / ADV")
    kyle_lambda: float = _unit(0.3, "arrival prices for one ADV", "Kyle's lambda, slope of the price in net flow")
    temp_impact_alpha: float = _unit(0.3, "volatilities of a day", "temporary impact at a participation of one")
    temp_impact_beta: float = _unit(0.5, "", "exponent of temporary impact in the participation")
    resilience: float = _unit(10.0, "per day", "recovery rate rho of the transient impact")
    transient_exponent: float = _unit(
        1.0, "", "exponent of transient impact in the participation; only 1 is sound, another pays for lumpy trading"
    )
    volume_curve: tuple[float, ...] = _unit((), "relative", "volume of equal parts of the day (empty: flat)")
    volume_noise: float = _unit(0.3, "sd of the log", "lognormal noise of the slice volume")
    flow_share: float = _unit(0.35, "R^2", "share of the price variance that order flow explains")
    flow_persistence: float = _unit(0.0, "per slice", "AR(1) coefficient of the order flow")
    predator: float = _unit(
        0.0,
        "fraction of the child that it expects",
        "what another trader buys ahead of us (negative: liquidity that comes; fit for one-sided orders only); "
        "not in the observation",
    )
    price_model: str = _unit("abm", "abm or gbm", "arithmetic or geometric Brownian motion")
    regimes: Regimes = field(default_factory=Regimes)
    provenance: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check every value once."""
        limits: dict[str, tuple[float, float, bool]] = {
            "quantity": (0.0, 1e15, True),
            "arrival_price": (0.0, 1e9, True),
            "start_minute": (0.0, 1e6, False),
            "horizon_minutes": (0.0, 1e6, True),
            "risk_aversion": (0.0, 1e6, False),
            "price_risk": (0.0, 1e6, False),
            "day_minutes": (0.0, 1e6, True),
            "adv": (0.0, 1e15, True),
            "volatility": (0.0, 10.0, False),
            "half_spread_bps": (0.0, 5e3, False),
            "perm_impact_gamma": (0.0, 1e6, False),
            "kyle_lambda": (0.0, 1e6, False),
            "temp_impact_alpha": (0.0, 1e6, False),
            "temp_impact_beta": (0.0, 2.0, True),
            "resilience": (0.0, 1e6, False),
            "transient_exponent": (0.0, 2.0, True),
            "volume_noise": (0.0, 3.0, False),
            "flow_share": (0.0, 1.0, False),
            "flow_persistence": (-0.999, 0.999, False),
            "predator": (LEAST, GREATEST, False),
        }
        units = {item.name: item.metadata.get("unit", "") for item in fields(self)}
        for key, (low, high, open_low) in limits.items():
            value = check_number(key, getattr(self, key), low=low, high=high, open_low=open_low, unit=units[key])
            object.__setattr__(self, key, value)
        for key in ("name", "description"):
            if not isinstance(getattr(self, key), str):
                raise ValueError(f"{key} must be text, got {getattr(self, key)!r}")
        if self.side not in (1, -1) or isinstance(self.side, bool):
            raise ValueError(f"side must be +1 (buy) or -1 (sell), got {self.side!r}")
        object.__setattr__(self, "side", int(self.side))
        object.__setattr__(self, "slices", check_integer("slices", self.slices, low=1, high=100_000))
        check_flag("complete", self.complete)
        check_choice("price_model", self.price_model, ("abm", "gbm"))
        if self.max_participation is not None:
            cap = check_number("max_participation", self.max_participation, low=0.0, high=1.0, open_low=True)
            object.__setattr__(self, "max_participation", cap)
        if self.kyle_lambda < self.perm_impact_gamma:
            raise ValueError(
                f"kyle_lambda must be at least perm_impact_gamma ({self.perm_impact_gamma:g}): it is the permanent and "
                f"the transient part together, got {self.kyle_lambda:g}"
            )
        if self.flow_share > 0.0 and not self.kyle_lambda > 0.0:
            raise ValueError(
                f"flow_share must be 0 where kyle_lambda is 0 (flow cannot move the price), got {self.flow_share:g}"
            )
        if self.predator != 0.0 and self.transient_exponent != 1.0:
            raise ValueError(
                f"transient_exponent must be 1 where predator is not 0 (a predator moves the price along Kyle's slope), "
                f"got {self.transient_exponent:g}"
            )
        if self.start_minute + self.horizon_minutes > self.day_minutes * (1.0 + 1e-12):
            raise ValueError(
                f"start_minute + horizon_minutes must be at most day_minutes ({self.day_minutes:g}), "
                f"got {self.start_minute:g} + {self.horizon_minutes:g}"
            )
        object.__setattr__(self, "volume_curve", check_numbers("volume_curve", self.volume_curve, low=0.0, high=1e15))
        if not isinstance(self.regimes, Regimes):
            object.__setattr__(self, "regimes", _build(Regimes, self.regimes, "regimes."))
        if not isinstance(self.provenance, Mapping):
            raise ValueError(f"provenance must be a table of texts, got {self.provenance!r}")
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
        """Return the share of the daily volume that each slice is expected to hold, length N."""
        shares = slice_profile(self.volume_curve, self.slices, self.start_minute, self.horizon_minutes, self.day_minutes)
        return tuple(float(share) for share in shares)

    @cached_property
    def hash(self) -> str:
        """Hash of everything that moves a result (not of the name, the description or the provenance)."""
        content = {k: v for k, v in self.to_dict().items() if k not in ("name", "description", "provenance")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and texts; ``Scenario.from_dict`` is the inverse."""
        plain: dict[str, Any] = {item.name: getattr(self, item.name) for item in fields(self)}
        plain["volume_curve"] = list(self.volume_curve)
        plain["regimes"] = self.regimes.to_dict()
        plain["provenance"] = dict(self.provenance)
        return plain

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Scenario:
        """Make a scenario from plain values; ``base`` names the scenario whose values fill the rest.

        Raises:
            ValueError: An unknown field (the message names the nearest one) or a bad value.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"scenario must be a table of values, got {values!r}")
        given = dict(values)
        base = given.pop("base", None)
        if base is not None:
            start = get_scenario(base).to_dict()
            if isinstance(given.get("regimes"), Mapping):
                given["regimes"] = {**start["regimes"], **given["regimes"]}
            given = {**start, "name": f"{start['name']}*", **given}
        scenario: Scenario = _build(cls, given, "")
        return scenario

    def to_toml(self) -> str:
        """Return the scenario as TOML, each line with its unit and meaning."""
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
        """Make a scenario from TOML text.

        Raises:
            ValueError: The text is not TOML, or a field or value is wrong.
        """
        return cls.from_dict(_parse(text))


def _parse(text: str) -> dict[str, Any]:
    """Return the values of TOML text."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not a scenario in TOML: {error}") from None


def _build(cls: Any, values: Any, prefix: str) -> Any:
    """Make a record from a mapping; an unknown field is an error that names the nearest one."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{prefix.rstrip('.') or 'scenario'} must be a table of values, got {values!r}")
    known = {item.name for item in fields(cls)}
    for key in values:
        if key not in known:
            raise ValueError(f"unknown field {prefix}{key}{nearest(key, known)}")
    return cls(**values)


def _toml_key(key: str) -> str:
    """Write a key in TOML: bare where that is allowed, else quoted."""
    return key if key and all(c.isascii() and (c.isalnum() or c in "_-") for c in key) else _toml(key)


def _toml(value: Any) -> str:
    """Write one value in TOML."""
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
    """Make a scenario known by its name and return it.

    Raises:
        ValueError: Another scenario has that name.
    """
    if _REGISTRY.get(scenario.name, scenario) != scenario:
        raise ValueError(f"scenario {scenario.name!r} is registered already with other values; give the new one its own name")
    _REGISTRY[scenario.name] = scenario
    return scenario


def scenario_names() -> tuple[str, ...]:
    """Return the names of the registered scenarios, in the order of registration."""
    from hyperexec_env.market import library  # noqa: F401 - fills the registry on first use

    return tuple(_REGISTRY)


def load_scenario(path: str | os.PathLike[str]) -> Scenario:
    """Read a scenario from a TOML file; a `base` that is a path is relative to the file.

    Raises:
        ValueError: The file is missing or is not a scenario, or is its own base; the message names the file.
    """
    return _load(Path(path), ())


def _load(path: Path, waiting: tuple[Path, ...]) -> Scenario:
    """Read a scenario for the files that wait for it as their base."""
    if path.resolve() in waiting:
        raise ValueError(f"{path}: base leads back to this file")
    try:
        values = _parse(path.read_text(encoding="utf-8"))
        base = values.get("base")
        if isinstance(base, str) and _is_path(base):
            values["base"] = _load(path.parent / base, (*waiting, path.resolve()))
        return Scenario.from_dict(values)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the scenario file {path}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _is_path(scenario: Any) -> bool:
    """Return whether a scenario is given as a path, not as a name."""
    if isinstance(scenario, str):
        return scenario.endswith(".toml") or os.sep in scenario
    return isinstance(scenario, os.PathLike)


def get_scenario(scenario: ScenarioLike) -> Scenario:
    """Return a scenario given as a registered name, a dict, a path to a TOML file or a scenario.

    Raises:
        ValueError: No such scenario (the message names the nearest one), or a bad value.
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
            f"unknown scenario {scenario!r}{nearest(scenario, names)} (known: {', '.join(names)}; or a .toml file)"
        )
    return _REGISTRY[scenario]
