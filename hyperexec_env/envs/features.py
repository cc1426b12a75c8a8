"""Observations: the features of the market and of the agent's own order, past only.

Each feature is one :class:`Feature` in one of three lists: computed from the agent's trades (`_OWN`), computed from the draws
(`_DRAWN`), or read from a table by slice and regime (`_TABLE`). The observation space, the names, the tables and the records
of every execution are derived from the lists.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_hashable, check_label, check_number
from hyperexec_env.checks import shown as shown_value
from hyperexec_env.envs.feature import BELIEF_FEATURES, Feature, all_beliefs, follows
from hyperexec_env.envs.situation import Situation, situation_of
from hyperexec_env.market.lane import EpisodeOrder, Lane
from hyperexec_env.market.numeric import minimum, power, signed
from hyperexec_env.market.regime import REGIME_NAMES, UNKNOWN
from hyperexec_env.market.tables import Market, Numbers
from hyperexec_env.records import Real, Single, Whole, record_type

__all__ = [
    "FEATURES",
    "OWN",
    "Feature",
    "Known",
    "Observer",
    "Scales",
    "Seen",
    "Sight",
    "View",
    "build_observer",
    "choose_features",
    "computed_features",
    "drawn_features",
    "last_ratio",
    "listed_features",
    "observation_names",
    "observation_space",
    "observation_table",
    "observe",
    "own_features",
    "shown",
    "view_cell",
]

_BIG: Final = 20.0
_BIGGEST_FLOW: Final = 400.0  # 7.45 sqrt((1 + phi) / (1 - phi)) for the largest persistence that a scenario may have
_LARGEST_BOUND: Final = 1e38  # of a user's feature: observations are in single precision
_LARGEST_NORMAL: Final = 6.77  # of the noise


class Scales(NamedTuple):
    """Units of the features."""

    transient: Real
    """One over the largest transient displacement of an order of one share, shares per currency: 1 / kappa for linear impact.
    0 without transient impact, and if the regime is not observed."""
    move: Real
    """One over the standard deviation of the unaffected price over the whole order, shares per currency (0 without
    volatility)."""


# computed from the agent's trades by own_features
_OWN: Final = (
    Feature("remaining", 0.0, 1.0),
    Feature("behind_schedule", -1.0, 1.0),
    Feature("required_participation", 0.0, 1.0),
    Feature("transient_displacement", 0.0, 1.0),
    Feature("price_move", -1.0, 1.0),
    Feature("last_participation", 0.0, 1.0),
)
# computed from the draws by drawn_features
_DRAWN: Final = (
    Feature("last_volume", 0.0, _BIG),
    Feature("last_flow", -_BIGGEST_FLOW, _BIGGEST_FLOW),
    Feature("side", -1.0, 1.0),
)


def own_features(
    scales: tuple[Any, Any],
    quantity: Any,
    reach: Any,
    state: tuple[Any, Any, Any],
    last_shares: Any,
    last_volume: Any,
    known: tuple[Any, Any, Any],
) -> tuple[Any, Any, Any, Any, Any, Any]:
    """Return the features that depend on the agent's trades. Their formulas bound them, without clipping.

    The price move is y / (1 + |y|), with y the move of the mid against the order since arrival in standard deviations over the
    whole order; if the regime is not observed, y excludes the transient displacement.

    Args:
        scales: Units of the features (:class:`Scales`).
        quantity: Shares of the whole order.
        reach: :func:`reach` of the quantity.
        state: Remaining shares; permanent and transient displacement, currency per share.
        last_shares: Shares of the order that traded in the previous slice.
        last_volume: Market volume of the previous slice, shares.
        known: Move of the unaffected price against the order since arrival, currency per share; remaining fraction of the
            order in the expected-volume schedule; expected market volume until the deadline, shares.
    """
    remaining, permanent, transient = state
    by_transient, by_move = scales
    drifted, plan, rest_volume = known
    left = remaining / quantity
    move = (drifted + permanent + (transient if by_transient else 0.0)) * by_move
    return (
        left,
        left - plan,
        remaining / (remaining + rest_volume),
        transient * by_transient / reach,
        move / (1.0 + abs(move)),
        last_shares / (last_shares + last_volume),
    )


def drawn_features(last_ratio: Any, side: Any, flow: Any) -> tuple[Any, Any, Any]:
    """Return the features of the draws: :func:`last_ratio` (at most 20), last flow times the side, side."""
    return minimum(last_ratio, _BIG), signed(side, flow), side


def last_ratio(numbers: Numbers, hidden: Any, last_volume: Any, last_expected: Any, volume_ratio: Any) -> Any:
    """Return the volume of the previous slice over its expectation.

    The expectation is averaged over regimes; if the volume is persistent and the regime is observed, it is that in the regime
    of the previous slice, because that ratio predicts the next volume.

    Args:
        numbers: The numbers of the market.
        hidden: Whether the regime is not observed.
        last_volume: Market volume of the previous slice, shares.
        last_expected: Expected market volume of the previous slice, averaged over regimes, shares.
        volume_ratio: `World.volume_ratio`.
    """
    if numbers.spec.volume_persistence != 0.0 and not hidden:
        return volume_ratio
    return last_volume / last_expected


def _one_hot(name: str) -> Callable[[Market], Any]:
    """Return the table function of the feature `regime_NAME`: 1 in the column of the regime, else 0."""
    return lambda market: np.array([name == other for other in (*market.scenario.regimes.names, UNKNOWN)], dtype=float)


# read from tables by slice and regime
_TABLE: Final = (
    Feature("time_left", 0.0, 1.0, lambda market: (1.0 - np.arange(market.slices + 1) / market.slices)[:, None]),
    Feature("expected_volume", 0.0, _BIG, lambda market: market.mean_volume / market.numbers.slice_volume),
    Feature("expected_volume_rest", 0.0, _BIG, lambda market: market.rest_volume / market.rest_volume[0, market.unknown]),
    Feature("volatility", 0.0, _BIG, lambda market: market.volatility),
    Feature("spread", 0.0, _BIG, lambda market: market.half_spread / (market.half_spread[market.unknown] or 1.0)),
    *(Feature(f"regime_{name}", 0.0, 1.0, _one_hot(name)) for name in (*REGIME_NAMES, UNKNOWN)),
)

FEATURES: Final = (*_OWN, *_DRAWN, *_TABLE)
"""All features, in the order of the observation."""
OWN: Final = len(_OWN)
"""Number of features that depend on the agent's trades; they come first."""
Seen: Any = record_type("Seen", (feature.name for feature in (*_OWN, *_DRAWN)), Single)
"""The features that are computed, first `_OWN`, then `_DRAWN`; the features of tables follow in the observation."""


def _check() -> None:
    """Check at import that the lists and the functions have the same number of features.

    Raises:
        TypeError: A feature is missing in one of the places; the message names the function.
    """
    own = own_features(Scales(1.0, 1.0), 1.0, 1.0, (1.0, 0.0, 0.0), 0.0, 1.0, (0.0, 1.0, 1.0))
    for name, listed, returned in (("own", _OWN, own), ("drawn", _DRAWN, drawn_features(1.0, 1.0, 0.0))):
        if len(listed) != len(returned):
            raise TypeError(f"features.{name}_features returns {len(returned)} values for {len(listed)} features")


_check()


def observation_names(features: Sequence[str | Feature] | None = None) -> tuple[str, ...]:
    """Return the names of the features of an observation, in order; by default those of the built-in features."""
    return tuple(feature.name for feature in choose_features(features))


def observation_space(features: Sequence[str | Feature] | None = None) -> spaces.Box:
    """Return the observation space: shape (features,), float32, finite bounds, equal for all scenarios."""
    return spaces.Box(*_bounds(choose_features(features)), dtype=np.float32)


def choose_features(features: Sequence[str | Feature] | None = None) -> tuple[Feature, ...]:
    """Return the features of an observation: names of built-in features, and records of a user, in the order given.

    Raises:
        ValueError: An unknown name, a name that two features have, or a bad record; the message names it.
    """
    if features is None:
        return FEATURES
    if isinstance(features, (str, Feature)) or not isinstance(features, Iterable):
        raise ValueError(f"features must be a list of names and Feature records, got {shown_value(features)}")
    named = {feature.name: feature for feature in (*FEATURES, *BELIEF_FEATURES)}
    chosen = [
        _checked(feature) if isinstance(feature, Feature) else named[check_choice("features", feature, named)]
        for feature in features
    ]
    names = [feature.name for feature in chosen]
    for feature in chosen:
        if names.count(feature.name) > 1 or (feature.name in named and feature != named[feature.name]):
            raise ValueError(f"features must have different names, got {feature.name!r} twice (or a built-in feature has it)")
    if not chosen:
        raise ValueError("features must name at least one feature, got an empty list")
    return tuple(chosen)


def listed_features(features: Sequence[str | Feature] | None) -> tuple[str | Feature, ...] | None:
    """Return the checked features of an observation, built-in ones by name; None for None, all built-in ones."""
    if features is None:
        return None
    return tuple(each if each.function and each not in BELIEF_FEATURES else each.name for each in choose_features(features))


def observation_table(features: Sequence[Feature], card: str) -> str:
    """Return the table of an observation in Markdown; the rows of built-in features are those of the environment's card."""
    lines = [line.strip() for line in card.splitlines()]
    head = next(index for index, line in enumerate(lines) if line.startswith("| number | name |"))
    known = dict(zip(observation_names(), lines[head + 2 :], strict=False))

    def row(number: int, feature: Feature) -> str:
        if feature.function is None:
            cells = known[feature.name].strip("|").split("|")[1:]
        else:
            cells = [
                f" {text} " for text in (feature.name, feature.meaning, feature.unit, f"{feature.low:g}", f"{feature.high:g}")
            ]
        return f"| {number} |{'|'.join(cells)}|"

    return "\n".join([*lines[head : head + 2], *(row(number, feature) for number, feature in enumerate(features))])


def _checked(feature: Feature) -> Feature:
    """Return a user's feature.

    Raises:
        ValueError: A bad name, bounds or function.
    """
    if feature in (*FEATURES, *BELIEF_FEATURES):
        return feature
    name = check_label("name of a feature", feature.name)
    low = check_number(f"low of feature {name!r}", feature.low, low=-_LARGEST_BOUND, high=_LARGEST_BOUND)
    high = check_number(f"high of feature {name!r}", feature.high, low=low, high=_LARGEST_BOUND, open_low=True)
    if np.float32(low) == np.float32(high):
        raise ValueError(f"bounds of feature {name!r} must differ in single precision, got {low!r} and {high!r}")
    if not callable(feature.function):
        raise ValueError(f"feature {name!r} needs function=f with f(situation, known), got {shown_value(feature.function)}")
    check_hashable(f"function of feature {name!r}", feature.function)
    return feature._replace(low=low, high=high, table=None)


def _bounds(features: tuple[Feature, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the lower and the upper bounds of some features, each of shape (features,)."""
    low, high = (np.array([getattr(feature, end) for feature in features], np.float32) for end in ("low", "high"))
    return low, high


class Sight(NamedTuple):
    """The numbers of an observer."""

    scales: Scales
    """Units of the features."""
    hidden: Whole
    """1 if the regime, and quantities that would reveal it, are hidden from the observer, else 0."""


class View(NamedTuple):
    """The numbers of one slice and one regime that computed features need; :class:`Observer` has the tables of these names."""

    plan: Real
    """Remaining fraction of the order in the expected-volume schedule."""
    last_expected: Real
    """Expected market volume of the previous slice, averaged over regimes, shares."""
    rest_volume: Real
    """Expected market volume until the deadline, shares, at least 1."""


Known: Any = record_type("Known", ("slices", "arrival_price", *View._fields, *(feature.name for feature in _TABLE)), Real)
"""The numbers of a slice that an agent knows beforehand, for a user's function: `slices` (N), `arrival_price` (currency per
share), the fields of :class:`View` (`plan`, `last_expected`, `rest_volume`) and the features of tables (`time_left`,
`expected_volume`, ..., `regime_UNKNOWN`) in the units of the observation. If the regime is not observed, they are expectations
over it."""


def reach(quantity: Any, exponent: float) -> Any:
    """Return X^p: the largest transient displacement of an order of X shares over that of one share, p the exponent."""
    return quantity if exponent == 1.0 else power(quantity, exponent)


def view_cell(numbers: Numbers, lane: Lane) -> int:
    """Return the cell of slice `lane.k`, 0..N, and its regime in the flat tables of an observer."""
    cell: int = minimum(lane.k, numbers.slices) * numbers.width + lane.world.regime
    return cell


def seen_of(numbers: Numbers, sight: Sight, view: View, situation: Situation) -> Any:
    """Return the computed features (:data:`Seen`) of a situation."""
    own, drawn = computed_features(numbers, sight, view, situation, reach(situation.quantity, numbers.spec.transient_exponent))
    return Seen(*own, *drawn)


def computed_features(numbers: Numbers, sight: Sight, view: View, situation: Situation, reach: Any) -> tuple[Any, Any]:
    """Return :func:`own_features` and :func:`drawn_features` of a situation."""
    drifted = signed(situation.side, situation.price - numbers.arrival_price)
    own = own_features(
        sight.scales,
        situation.quantity,
        reach,
        (situation.remaining, situation.permanent, situation.transient),
        situation.last_shares,
        situation.last_volume,
        (drifted, view.plan, view.rest_volume),
    )
    ratio = last_ratio(numbers, sight.hidden, situation.last_volume, view.last_expected, situation.volume_ratio)
    return own, drawn_features(ratio, situation.side, situation.flow)


def observe(numbers: Numbers, sight: Sight, order: EpisodeOrder, lane: Lane, view: View) -> Seen:
    """Return the computed features of a lane."""
    situation = situation_of(None, numbers, sight.hidden, order, lane, lane.world.price)
    return seen_of(numbers, sight, view, situation)


def _scales(market: Market, hidden: bool) -> Scales:
    """Return the units of the features for a market."""
    displacement = _of_one_share(market)
    scenario = market.scenario
    curve = market.volatility_profile
    deviation = scenario.volatility * scenario.arrival_price * np.sqrt(market.tau * float(curve @ curve))
    return Scales(
        1.0 / displacement if displacement > 0.0 and not hidden else 0.0,
        float(1.0 / deviation) if deviation > 0.0 else 0.0,
    )


def _of_one_share(market: Market) -> float:
    """Return the largest transient displacement that an order of one share can cause, currency per share.

    An order of X shares can cause X^p times as much, with p the exponent of the transient impact. If p is at least 1, the
    largest displacement is that of trading at once; else that of shares n_j ~ decay^(j / (1 - p)), j slices before the end
    (Hoelder's inequality).
    """
    impact, exponent, scenario = market.impact, market.impact.transient_exponent, market.scenario
    if exponent == 1.0:
        return float(impact.transient_slope)
    persistence = abs(scenario.volume_persistence)  # an AR(1) of bounded shocks has this bound in its deviations
    normal = _LARGEST_NORMAL * math.sqrt((1.0 + persistence) / (1.0 - persistence))
    noise, level = scenario.volume_noise, scenario.volume_level_sd
    least = math.exp(-noise * (normal + 0.5 * noise) - level * (_LARGEST_NORMAL + 0.5 * level))
    least_volume = market.mean_volume[:-1, : market.unknown].min() * least
    at_once = float(impact.transient_slope * least_volume**-exponent)
    if exponent > 1.0:
        return at_once
    decays = market.transient_decay.max() ** (np.arange(market.slices) / (1.0 - exponent))
    return at_once * float(decays.sum() ** (1.0 - exponent))


@dataclass(frozen=True, eq=False)
class Observer:
    """The tables that turn the situations of one market into observations, computed once by :func:`build_observer`.

    A table has one row for each *cell*, a slice and a regime (:meth:`Market.cell`). If the regime is hidden, the cells of all
    regimes hold expectations over the distribution of the regimes, and the transient displacement is not observed, because its
    decay would reveal the resilience.
    """

    market: Market
    hidden: bool
    """Whether the regime, and quantities that would reveal it, are hidden."""
    sight: Sight
    plan: NDArray[np.float64]
    """Remaining fraction of the order in the expected-volume schedule, shape (cells,)."""
    last_expected: NDArray[np.float64]
    """Expected market volume of the previous slice, averaged over regimes, shares, shape (cells,)."""
    rest_volume: NDArray[np.float64]
    """Expected market volume until the deadline, at least one share to avoid division by zero, shape (cells,)."""
    by_feature: NDArray[np.float64]
    """The features of tables, shape (cells, features of tables)."""
    listed: tuple[str | Feature, ...] | None = None
    """The features of the observation, built-in ones by name, whose functions cannot be pickled; None: all built-in ones."""

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features of the observation."""
        return choose_features(self.listed)

    @cached_property
    def own(self) -> tuple[Feature, ...]:
        """The features that are functions of the situation: the user's, and beliefs."""
        return tuple(feature for feature in self.features if feature.function is not None)

    @cached_property
    def calls(self) -> bool:
        """Whether a feature is a function of a user, which an episode calls in every slice; else `own` are beliefs."""
        return not all_beliefs(self.own)

    @cached_property
    def follows(self) -> bool:
        """Whether a feature shows the probability of a regime, which somebody must follow."""
        return follows(self.own)

    @cached_property
    def columns(self) -> NDArray[np.int64] | None:
        """Columns of the observation among all built-in features and the user's behind them; None: all, in their order."""
        every = [*FEATURES, *self.own]
        return None if list(self.features) == every else np.array([every.index(feature) for feature in self.features])

    def select(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the columns of the observation, given all features, shape (..., features)."""
        return observation if self.columns is None else observation[..., self.columns]

    @cached_property
    def known(self) -> NDArray[np.float32]:
        """The features of tables in single precision, shape (cells, features of tables)."""
        return self.by_feature.astype(np.float32)

    @cached_property
    def facts(self) -> Any:
        """The table of :data:`Known`, an array of shape (cells,) for each field."""
        market, cells = self.market, len(self.plan)
        constant = float(market.slices), market.numbers.arrival_price
        return Known(*(np.full(cells, value) for value in constant), *self.table, *np.ascontiguousarray(self.by_feature.T))

    def facts_of(self, k: int, seen: int) -> Any:
        """Return what is known of one slice and one column of the tables, floats."""
        cell = int(self.market.cell(k, seen))
        return Known(*(column.item(cell) for column in self.facts))

    @cached_property
    def rows(self) -> NDArray[np.float32]:
        """The observations of all cells, shape (cells, features), with zeros for the computed features."""
        return np.pad(self.known, ((0, 0), (len(Seen._fields), len(self.own))))

    @cached_property
    def table(self) -> View:
        """The numbers of all cells, one array of shape (cells,) for each field of :class:`View`."""
        return View(*(getattr(self, name) for name in View._fields))

    def view(self, cell: Any) -> View:
        """Return the numbers of some cells."""
        return View(*(column.take(cell) for column in self.table))

    def observe(self, situation: Situation) -> NDArray[np.float32]:
        """Return the observations of a batch of situations, shape (episodes, features)."""
        cell = self.market.cell(situation.k, situation.seen)
        seen = seen_of(self.market.numbers, self.sight, self.view(cell), situation)
        return assemble(seen, self.rows.take(cell, axis=0))

    def seen(self, regime: Any) -> Any:
        """Return the column of the market's tables for regimes: the regimes, or `unknown` if they are hidden."""
        return np.full_like(regime, self.market.unknown) if self.hidden else regime


def assemble(computed: Any, rows: NDArray[np.float32], first: int = 0) -> NDArray[np.float32]:
    """Write computed features over those of rows of :attr:`Observer.rows`, shape (..., features), and return the rows.

    Args:
        computed: Consecutive features of :data:`Seen`.
        rows: Observations with the features of tables.
        first: Number of the first of the computed features.
    """
    for column, values in enumerate(computed, start=first):
        rows[..., column] = values
    return rows


def shown(market: Market, table: NDArray[Any], hidden: bool) -> NDArray[Any]:
    """Return a table, broadcastable to shape (N + 1, M + 1), as the flat table of an observer, shape (cells,).

    If the regime is hidden, every column is the last column, which holds the expectations over regimes.
    """
    shape = (market.slices + 1, market.regimes + 1)
    columns = table[:, -1:] if hidden else table
    return np.ascontiguousarray(np.broadcast_to(columns, shape)).ravel()


@lru_cache(maxsize=64)
def build_observer(market: Market, observe_regime: bool = True, features: tuple[str | Feature, ...] | None = None) -> Observer:
    """Return the observer of a market, which shows some features; the last 64 observers are cached."""
    hidden = not observe_regime

    def by_cell(table: Any) -> NDArray[Any]:
        return shown(market, table, hidden)

    expected = np.append(market.numbers.slice_volume, market.mean_volume[:-1, market.unknown])
    columns = [np.atleast_2d(feature.table(market)) for feature in _TABLE if feature.table is not None]
    known = np.stack([by_cell(column) for column in columns], axis=1)
    return Observer(
        market,
        hidden,
        Sight(_scales(market, hidden), int(hidden)),
        by_cell(market.plan[:, None]),
        by_cell(expected[:, None]),
        by_cell(np.maximum(market.rest_volume, 1.0)),
        np.clip(known, *_bounds(_TABLE)),
        features,
    )
