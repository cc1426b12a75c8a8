"""A distribution of markets: each draw is a scenario of its own, to train one policy for many markets and to judge it.

Orders and clocks are always drawn; the numbers of the market come from ranges, or with `measured` from the joint draws of
measured scenarios. What matters for a policy are ratios of costs: the ranges of price and ADV only exercise the invariance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from hyperexec_env.checks import check_integer, check_label, check_number, check_numbers, nearest, shown
from hyperexec_env.files import read_regular
from hyperexec_env.market.library import SIX_REGIMES, U_CURVE
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.scenario_file import is_path, parse_toml, toml_value

__all__ = ["MARKETS", "MarketDistribution", "get_distribution"]

_LARGEST_FILE: Final = 2**16
_TAG: Final = 0x6D61726B
"""Sets the random words of the draws apart from other generators with the same seed."""
_LIMITS: Final = {
    "participation": (1e-6, 10.0),
    "urgency": (1e-6, 1e6),
    "horizon_minutes": (1e-3, 390.0),
    "adv": (1.0, 1e12),
    "arrival_price": (1e-6, 1e9),
    "volatility": (1e-6, 1.0),
    "half_spread_bps": (1e-6, 1e3),
    "kyle_multiple": (1e-6, 1e4),
    "permanent_share": (0.0, 1.0),
    "temp_impact_alpha": (1e-6, 1e3),
    "temp_impact_beta": (0.05, 1.0),
    "resilience": (1e-6, 1e5),
    "volume_noise": (0.0, 2.0),
    "volume_curve": (0.0, 1.0),
    "volatility_curve": (0.0, 1.0),
    "regime_speed": (1e-3, 1e3),
    "regime_scatter": (0.0, 2.0),
}
"""Smallest and largest value that a range may hold."""
_UNIFORM: Final = (
    *("permanent_share", "temp_impact_beta", "volume_noise", "volume_curve", "volatility_curve", "regime_scatter"),
)
"""Ranges from which a number is drawn uniformly; from the others log-uniformly."""

Range = tuple[float, float]


@dataclass(frozen=True)
class MarketDistribution:
    """Ranges (smallest, largest) from which markets are drawn independently; (v, v) fixes a number.

    Args:
        name: Name.
        participation: Quantity over the market volume expected over the horizon, fraction.
        urgency: Risk aversion times the arrival notional: the price of one unit of squared return.
        horizon_minutes: Time until the deadline; half of the orders last the longest. The start is uniform over the day.
        slices: Numbers of slices to choose from.
        adv: Average daily volume, shares.
        arrival_price: Arrival price, currency per share.
        volatility: Fraction per square root of a day.
        half_spread_bps: Half of the quoted spread, bps.
        kyle_multiple: Kyle's lambda, daily volatilities for one ADV.
        permanent_share: Permanent impact over Kyle's lambda, fraction, uniform.
        temp_impact_alpha: Temporary impact at a participation of one, daily volatilities.
        temp_impact_beta: Exponent of temporary impact, uniform.
        resilience: Per day.
        volume_noise: Standard deviation of the log of the volume shock, uniform.
        volume_curve: Weight of the curve of the day against a flat one, uniform.
        volatility_curve: Power of the volume curve that the volatility follows, halved, uniform.
        regimes: Smallest and largest number of the six regimes.
        regime_speed: Factor of the transition rates.
        regime_scatter: Standard deviation of the logs of the multipliers of the regimes around the usual ones, uniform.
        measured: Scenarios (names or paths; paths in a file are relative to its folder), from whose posterior a share of the
            markets is drawn; a scenario without draws counts as one draw.
        measured_share: Share of these markets.

    Raises:
        ValueError: A range is empty or out of bounds, or a scenario is unknown; the message names the field.
    """

    name: str = "markets"
    participation: Range = (0.002, 0.3)
    urgency: Range = (0.1, 30.0)
    horizon_minutes: Range = (30.0, 390.0)
    slices: tuple[int, ...] = (10, 26, 52)
    adv: Range = (2e5, 1e8)
    arrival_price: Range = (5.0, 500.0)
    volatility: Range = (0.005, 0.05)
    half_spread_bps: Range = (0.3, 20.0)
    kyle_multiple: Range = (10.0, 40.0)
    permanent_share: Range = (0.1, 0.9)
    temp_impact_alpha: Range = (0.05, 0.5)
    temp_impact_beta: Range = (0.4, 1.0)
    resilience: Range = (1.0, 1000.0)
    volume_noise: Range = (0.0, 0.6)
    volume_curve: Range = (0.0, 1.0)
    volatility_curve: Range = (0.0, 1.0)
    regimes: tuple[int, int] = (1, 6)
    regime_speed: Range = (0.3, 3.0)
    regime_scatter: Range = (0.0, 0.4)
    measured: tuple[str, ...] = ()
    measured_share: float = 0.5

    def __post_init__(self) -> None:
        """Check every range once."""
        if not check_label("name", self.name):
            raise ValueError("name must be printable text, got an empty one")
        for field, (low, high) in _LIMITS.items():
            found = check_numbers(field, getattr(self, field), low=low, high=high, length=2)
            if found[0] > found[1]:
                raise ValueError(f"{field} must be (smallest, largest), got {shown(getattr(self, field))}")
            object.__setattr__(self, field, found)
        for field in ("slices", "regimes", "measured"):
            if not isinstance(getattr(self, field), (tuple, list)):
                raise ValueError(f"{field} must be a list, got {shown(getattr(self, field))}")
        object.__setattr__(self, "slices", tuple(check_integer("slices", count, low=2, high=500) for count in self.slices))
        counts = tuple(check_integer("regimes", count, low=1, high=len(SIX_REGIMES)) for count in self.regimes)
        if not self.slices:
            raise ValueError("slices must hold at least one number, got none")
        if len(counts) != 2 or counts[0] > counts[1]:
            raise ValueError(f"regimes must be (smallest, largest), got {shown(self.regimes)}")
        object.__setattr__(self, "regimes", counts)
        object.__setattr__(self, "measured", tuple(self.measured))
        check_number("measured_share", self.measured_share, low=0.0, high=1.0)
        for each in self.measured:
            _check_measured(each)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MarketDistribution:
        """Return the distribution of a mapping from field to value.

        Raises:
            ValueError: See :class:`MarketDistribution`; a field is unknown.
        """
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise ValueError(f"unknown field {shown(key)} of a distribution{nearest(key, known)}")
        plain: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain lists, numbers and texts; :meth:`from_dict` is the inverse."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def to_toml(self) -> str:
        """Return the fields as TOML."""
        return "".join(f"{key} = {toml_value(value)}\n" for key, value in self.to_dict().items())

    @property
    def hash(self) -> str:
        """Hash of all fields but the name, and of the measured scenarios, 16 hex digits."""
        plain = {key: value for key, value in self.to_dict().items() if key not in ("name", "measured")}
        text = repr(sorted(plain.items())) + "".join(scenario.hash for scenario in self._measured())
        return sha256(text.encode()).hexdigest()[:16]

    def _measured(self) -> list[Scenario]:
        """Return the measured scenarios."""
        return [get_scenario(each) for each in self.measured]

    def draw(self, seed: int, number: int, slices: int | None = None) -> Scenario:
        """Return the market of a seed and a number; the same numbers give the same market.

        Args:
            seed: Seed, at least 0.
            number: Number of the draw, at least 0.
            slices: Number of slices; None: one of :attr:`slices`.

        Raises:
            ValueError: Seed or number is negative, or the scenario is not valid.
        """
        check_integer("seed", seed, low=0, high=2**63 - 1)
        check_integer("number", number, low=0, high=2**63 - 1)
        rng = np.random.default_rng([seed, number, _TAG])
        chosen = {field: self._number(field, rng) for field in _LIMITS}
        count = int(rng.choice(self.slices))
        market = self._measured_market(rng) if self.measured and rng.random() < self.measured_share else None
        if market is None:
            market = self._market(chosen, rng)
        longest = min(self.horizon_minutes[1], market.day_minutes)
        horizon = longest if rng.random() < 0.5 else min(chosen["horizon_minutes"], longest)
        start = float(rng.uniform(0.0, market.day_minutes - horizon))
        order = replace(market, start_minute=start, horizon_minutes=horizon, slices=count if slices is None else slices)
        quantity = max(1.0, chosen["participation"] * order.adv * math.fsum(order.profile()))
        return replace(
            order,
            name=f"{self.name}-{seed}-{number}",
            side=int(rng.choice((-1, 1))),
            quantity=quantity,
            risk_aversion=chosen["urgency"] / (quantity * order.arrival_price),
            provenance={},
        )

    def _number(self, field: str, rng: np.random.Generator) -> float:
        """Draw a number from the range of a field."""
        low, high = map(float, getattr(self, field))
        uniform = float(rng.random())
        return low + (high - low) * uniform if field in _UNIFORM else low * (high / low) ** uniform

    def _measured_market(self, rng: np.random.Generator) -> Scenario:
        """Return a draw of the posterior of one of the measured scenarios."""
        scenario = self._measured()[int(rng.integers(len(self.measured)))]
        return scenario if scenario.posterior is None else scenario.draw(int(rng.integers(len(scenario.posterior))))

    def _market(self, chosen: Mapping[str, float], rng: np.random.Generator) -> Scenario:
        """Return a market from the ranges, with the order of a default scenario."""
        shape = np.array(U_CURVE) * len(U_CURVE)
        volatility = shape ** (0.5 * chosen["volatility_curve"])
        volume = 1.0 + chosen["volume_curve"] * (shape - 1.0)
        plain = ("adv", "arrival_price", "volatility", "half_spread_bps", "temp_impact_alpha", "temp_impact_beta")
        return Scenario(
            **{field: chosen[field] for field in (*plain, "resilience", "volume_noise", "kyle_multiple")},  # type: ignore[arg-type]
            perm_impact_multiple=chosen["permanent_share"] * chosen["kyle_multiple"],
            volume_curve=tuple(volume.tolist()),
            volatility_curve=tuple((volatility / math.sqrt(float(np.mean(volatility**2)))).tolist()),
            regimes=_regimes(int(rng.integers(self.regimes[0], self.regimes[1] + 1)), chosen, rng),
        )


def _check_measured(given: Any) -> None:
    """Raise a ValueError that names the field if a scenario of `measured` cannot be read, or is none to train on."""
    try:
        scenario = get_scenario(given)
    except ValueError as error:
        raise ValueError(f"measured must hold scenarios of one asset, got {shown(given)}: {error}") from None
    if scenario.predator:
        raise ValueError(f"measured must hold scenarios without a predator, got {shown(given)}: {scenario.predator}")


def _regimes(count: int, chosen: Mapping[str, float], rng: np.random.Generator) -> Regimes:
    """Return some of the six regimes, with multipliers that scatter around the usual ones, and rates times a factor.

    A pair of regimes without a rate between them gets one of 0.3 a day, so that every regime can be reached.
    """
    keep = np.sort(rng.choice(len(SIX_REGIMES), count, replace=False))

    def scattered(values: Any) -> tuple[float, ...]:
        factors = np.exp(chosen["regime_scatter"] * rng.standard_normal(count))
        return tuple((np.array(values)[keep] * factors).tolist())

    rates = np.array(SIX_REGIMES.rates)[np.ix_(keep, keep)]
    rates = np.where(rates > 0.0, rates, 0.3) * chosen["regime_speed"]
    np.fill_diagonal(rates, 0.0)
    return Regimes(
        names=tuple(SIX_REGIMES.names[place] for place in keep),
        volatility=scattered(SIX_REGIMES.volatility),
        volume=scattered(SIX_REGIMES.volume),
        spread=scattered(SIX_REGIMES.spread),
        temporary=scattered(SIX_REGIMES.temporary),
        resilience=scattered(SIX_REGIMES.resilience),
        rates=tuple(map(tuple, (rates - np.diag(rates.sum(axis=1))).tolist())),
    )


MARKETS: Final = MarketDistribution()
"""The distribution of the shipped policy."""


def get_distribution(given: MarketDistribution | Mapping[str, Any] | str | Path) -> MarketDistribution:
    """Return the distribution that a record, a mapping, the name "markets" or a path to a TOML file specifies.

    Raises:
        ValueError: The name is unknown, the file cannot be read, or a value is invalid; the message names the file.
    """
    if isinstance(given, MarketDistribution):
        return given
    if isinstance(given, Mapping):
        return MarketDistribution.from_dict(given)
    if not is_path(given):
        if given != MARKETS.name:
            raise ValueError(f"distribution must be {MARKETS.name!r} or the path of a .toml file, got {shown(given)}")
        return MARKETS
    content = read_regular(Path(given), _LARGEST_FILE, "the distribution")
    try:
        values = dict(parse_toml(content.decode("utf-8-sig"), "a distribution"))
        if not values:
            raise ValueError("the file is empty; give at least one field")
        if isinstance(measured := values.get("measured"), list):
            folder = Path(given).absolute().parent
            values["measured"] = [str(folder / each) if is_path(each) else each for each in measured]
        return MarketDistribution.from_dict(values)
    except UnicodeDecodeError:
        raise ValueError(f"cannot read the distribution {given}: not text in UTF-8") from None
    except (TypeError, ValueError) as error:
        raise ValueError(f"{given}: {error}") from None
