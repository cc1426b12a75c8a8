"""Child orders at the touch: a few lots to trade within minutes, by taking or by resting in a queue, as frozen data."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final

from hyperexec_env.checks import check_label, check_texts, put_integer, put_number, shown
from hyperexec_env.market.catalog import Catalog
from hyperexec_env.market.scenario_file import parse_toml, toml_key, toml_value

__all__ = ["TOUCHES", "TouchLike", "TouchScenario", "get_touch", "register_touch", "touch_names"]

_DAY: Final = 390.0 * 60.0
"""Seconds of a trading day."""
_MOST_STEPS: Final = 10_000
"""Largest number of steps of an episode."""
_UNHASHED: Final = ("name", "description", "market_making", "provenance")
"""Fields that cannot change a result."""


def _number(default: float, unit: str, meaning: str, **bounds: Any) -> Any:
    """Declare a number with its unit, meaning and bounds: `low`, `high`, and `open_low` if it must exceed `low`."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "range": bounds})


def _whole(default: int, unit: str, meaning: str, low: int, high: int) -> Any:
    """Declare a whole number with its unit, meaning and bounds."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning, "whole": {"low": low, "high": high}})


@dataclass(frozen=True)
class TouchScenario:
    """A child order of whole lots that is finished within minutes at the best bid or offer of one market.

    In each step the order takes lots from the other side, and its other lots may rest: at the touch, behind the lots that were
    there before, or one tick deeper. :mod:`~hyperexec_env.market.touch` has the equations. Values are checked once, at
    construction. Make variants with ``replace(get_touch("touch-5min"), lots=10)``.

    Prices and costs are in currency per share. `adverse` is the mean move of the mid against a lot after the queue has filled
    it; a lot that is filled because the touch moved through it loses a whole tick.

    Raises:
        ValueError: A value is out of range, or two values contradict each other; the message names field, value and range.
    """

    name: str = field(default="touch", metadata={"unit": "", "meaning": "name of the scenario"})
    description: str = field(default="", metadata={"unit": "", "meaning": "purpose of the scenario"})
    lots: int = _whole(20, "lots", "size of the order", 1, 200)
    lot_shares: float = _number(100.0, "shares", "size of a lot", low=0.0, high=1e9, open_low=True)
    arrival_price: float = _number(50.0, "currency / share", "mid at the start", low=0.0, high=1e7, open_low=True)
    horizon_seconds: float = _number(300.0, "s", "time to trade the order", low=0.0, high=23_400.0, open_low=True)
    step_seconds: float = _number(5.0, "s", "time between two decisions", low=0.0, high=3_600.0, open_low=True)
    max_take: int = _whole(5, "lots", "largest number of lots to take in a step, before the last", 1, 20)
    queue: int = _whole(8, "lots", "lots before an order that joins the touch", 0, 200)
    deeper_queue: int = _whole(4, "lots", "lots before an order one tick deeper when the touch reaches it", 0, 200)
    outflow: float = _number(1.0, "lots / step", "mean lots that leave the front of the queue (Poisson)", low=0.0, high=200.0)
    move_probability: float = _number(
        0.1, "probability / step", "chance that the touch moves away from the order", low=0.0, high=0.5
    )
    sweep_probability: float = _number(
        0.1, "probability / step", "chance that the touch moves through the order, which fills it", low=0.0, high=0.5
    )
    tick: float = _number(
        0.01,
        "currency / share",
        "move of the touch: one price increment, or the mean move where it is more",
        low=0.0,
        high=1e6,
        open_low=True,
    )
    half_spread: float = _number(
        0.005, "currency / share", "distance of the touch from the mid", low=0.0, high=1e6, open_low=True
    )
    take_fee: float = _number(0.003, "currency / share", "fee of a lot that takes", low=-1e6, high=1e6)
    make_rebate: float = _number(0.002, "currency / share", "rebate of a lot that rested", low=-1e6, high=1e6)
    adverse: float = _number(
        0.004, "currency / share", "mean adverse move of the mid after a fill of the queue", low=0.0, high=1e6
    )
    impact: float = _number(
        0.0002, "currency / share / lot", "cost of walking the book: taking m lots costs impact m^2", low=0.0, high=1e6
    )
    volatility: float = _number(0.02, "fraction / sqrt(day)", "volatility of the mid", low=0.0, high=10.0)
    risk_aversion: float = _number(1e-6, "1 / currency", "price of quadratic variation", low=0.0, high=1e3)
    market_making: float = _number(
        0.0,
        "half-spreads / lot",
        "most that resting on both sides may earn for each lot at risk (the certificate checks it)",
        low=0.0,
        high=1e6,
    )
    provenance: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check every value once."""
        check_label("name", self.name)
        if not isinstance(self.description, str):
            raise ValueError(f"description must be text, got {shown(self.description)}")
        for item in fields(self):
            if "range" in item.metadata:
                put_number(self, item.name, **item.metadata["range"], unit=item.metadata["unit"])
            elif "whole" in item.metadata:
                put_integer(self, item.name, **item.metadata["whole"])
        object.__setattr__(self, "provenance", check_texts("provenance", self.provenance))
        steps = self.horizon_seconds / self.step_seconds
        if abs(steps - round(steps)) > 1e-9 * steps or not 1 <= round(steps) <= _MOST_STEPS:
            raise ValueError(
                f"horizon_seconds must be a whole number of steps of {self.step_seconds:g} s, in [1, {_MOST_STEPS}], got "
                f"{self.horizon_seconds:g} s"
            )
        if self.sweep_probability > self.move_probability:
            raise ValueError(
                f"sweep_probability must be at most move_probability ({self.move_probability:g}), so that the mid has no "
                f"drift, got {self.sweep_probability:g}"
            )
        if self.deeper_queue > self.queue:
            raise ValueError(
                f"deeper_queue must be at most queue ({self.queue}), of which it is the part that came earlier, got "
                f"{self.deeper_queue}"
            )

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return round(self.horizon_seconds / self.step_seconds)

    @property
    def risk(self) -> float:
        """Cost of one step with one lot left, currency per share: risk_aversion (sigma P lot)^2 delta / lot."""
        return self.risk_aversion * (self.volatility * self.arrival_price) ** 2 * self.lot_shares * self.step_seconds / _DAY

    @property
    def earned(self) -> float:
        """Net gain of a lot that the queue fills, currency per share: half-spread plus rebate less adverse selection."""
        return self.half_spread + self.make_rebate - self.adverse

    @property
    def scale(self) -> float:
        """Factor from currency per share, summed over the lots, to half-spreads per lot of the order."""
        return 1.0 / (self.half_spread * self.lots)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes results of the scenario doubtful, one line each."""
        share = self.lots / max(self.outflow * self.steps, 1e-300)
        found = []
        if share > 0.5:
            size = f"{100.0 * share:.0f} % of the lots" if math.isfinite(share) and self.outflow > 0.0 else "more than the lots"
            found.append(
                f"the order is {size} that leave the queue over the horizon: here the order does not slow the queue, in a "
                "market it would"
            )
        if self.earned > self.half_spread:
            found.append(f"a fill of the queue earns {self.earned:g}, more than the half-spread: adverse selection is missing")
        return tuple(found)

    @cached_property
    def hash(self) -> str:
        """Return a hash of every value that can change a result: all but name, description, claims and provenance."""
        content = {key: value for key, value in self.to_dict().items() if key not in _UNHASHED}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def text(self) -> str:
        """The result of :meth:`to_toml`, computed once."""
        return self.to_toml()

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and texts; :meth:`from_dict` is the inverse."""
        return {item.name: getattr(self, item.name) for item in fields(self)} | {"provenance": dict(self.provenance)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TouchScenario:
        """Return a scenario made from plain values; ``base`` names a scenario that provides everything that is not given.

        Raises:
            ValueError: A field is unknown (the message names the nearest one) or a value is invalid.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"scenario must be a table of values, got {shown(values)}")
        given = dict(values)
        base = TOUCHES.base_of(given)
        from hyperexec_env.market.scenarios import unknown_field  # knows all kinds of scenarios

        known = {item.name for item in fields(cls)}
        for key in given:
            if key not in known:
                raise unknown_field(key, known | {"base"}, TOUCHES.word)
        if base is None:
            return cls(**given)
        own = check_texts("provenance", given.get("provenance", {}))
        stated = {key: "given" for key in base.provenance if key in given}
        sources = {**base.provenance, **stated, **own}
        return replace(base, **{"name": f"{base.name}*", **given, "provenance": sources})

    def to_toml(self) -> str:
        """Return the scenario as TOML; a comment on each line gives the meaning and unit of the field."""
        lines = []
        for item in fields(self):
            if item.name != "provenance":
                note = ", ".join(text for text in (item.metadata["meaning"], item.metadata["unit"]) if text)
                lines.append(f"{item.name} = {toml_value(getattr(self, item.name))}  # {note}")
        if self.provenance:
            lines += ["", "[provenance]", *(f"{toml_key(key)} = {toml_value(text)}" for key, text in self.provenance.items())]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> TouchScenario:
        """Return the scenario that TOML text describes; raise ValueError as :meth:`from_dict` does, or if it is not TOML."""
        return cls.from_dict(parse_toml(text))


TouchLike = str | os.PathLike[str] | Mapping[str, Any] | TouchScenario
"""What names a touch scenario: a registered name, a path of a TOML file, a dict of values, or the record."""

TOUCHES: Final = Catalog(
    TouchScenario,
    "a touch scenario",
    ("lots", "lot_shares", "step_seconds", "queue", "deeper_queue", "outflow", "sweep_probability"),
    library="touch_library",
    environment="HyperExecTouch-v0",
    getter="get_touch",
)
"""The registered child orders at the touch, and what specifies one."""


def register_touch(touch: TouchScenario) -> TouchScenario:
    """Register a touch scenario under its name and return it.

    Raises:
        ValueError: A different scenario is registered under that name.
    """
    return TOUCHES.register(touch)


def touch_names() -> tuple[str, ...]:
    """Return the names of the registered touch scenarios in the order of registration."""
    return TOUCHES.names()


def get_touch(touch: TouchLike) -> TouchScenario:
    """Return the touch scenario that a registered name, a dict, a path to a TOML file or a record specifies.

    Raises:
        ValueError: The name is unknown (the message names the nearest one), or a value is invalid.
    """
    return TOUCHES.get(touch)
