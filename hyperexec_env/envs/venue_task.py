"""The task of an agent that executes an order over venues: action, observation and reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.envs.action import pace_shares
from hyperexec_env.envs.features import FEATURES, Feature, Observer, assemble
from hyperexec_env.envs.situation import Situation
from hyperexec_env.envs.task import Task, final_info, log_warnings, order_draw, refuse_unknown, task_of
from hyperexec_env.market.lane import Settled
from hyperexec_env.market.numeric import exponential, minimum, where
from hyperexec_env.market.venue_lane import limited, split_spread
from hyperexec_env.market.venue_path import Terms, VenueMarket, build_venues, lit_terms, routed
from hyperexec_env.market.venue_scenario import get_venues

__all__ = [
    *("ROUTERS", "VenueSituation", "VenueTask", "build_venue_task", "hidden_features", "lit_features", "observe_venues"),
    *("venue_features", "venue_info", "venue_requests"),
]

ROUTERS: Final = ("water-filling", "agent")
"""Names of the routers of lit requests."""
_TILT: Final = 3.0
"""Log of the largest factor by which an agent scales the share of a lit venue."""
_MOST: Final = 20.0
"""Bound of features without a bound of their own."""
OPTIONS: Final = (*("scenario", "router", "reward", "observe_regime", "random_side", "quantity_range", "render_mode", "info"),)
"""Names of the options of the environments with venues."""


class VenueSituation(NamedTuple):
    """The information of a policy at the start of a slice, past only; lists have one element for each venue of their kind."""

    market: Any
    """The :class:`~hyperexec_env.market.venue_path.VenueMarket`."""
    order: Situation
    """The order and the market, as without venues."""
    weights: list[Any]
    """w, the share of each lit venue in the volume of this slice."""
    asked: list[Any]
    """Shares requested of each hidden venue in the previous slice."""
    filled: list[Any]
    """Shares that each hidden venue filled in the previous slice."""
    since: list[Any]
    """Slices since the last fill of each hidden venue; N before the first."""
    posted: list[Any]
    """Shares requested of each hidden venue so far."""
    gained: list[Any]
    """Shares that each hidden venue filled so far."""

    @property
    def terms(self) -> Terms:
        """The terms of the lit venues, on which a router decides."""
        k, seen, whole = self.order.k, self.order.seen, self.market.market
        return lit_terms(self.market, whole.mean_volume[np.minimum(k, whole.slices), seen], seen, self.weights)

    @property
    def finishing(self) -> Any:
        """Whether the slice completes the order: hidden venues are then void."""
        return np.equal(self.order.k, self.market.slices - 1)


@dataclass(frozen=True, eq=False)
class VenueTask:
    """What the single and the vector environment with venues share, computed once by :func:`build_venue_task`."""

    market: VenueMarket
    order: Task
    """The task of the order without venues: pace, observer and reward."""
    router: str
    """One of :data:`ROUTERS`."""

    @property
    def secret(self) -> bool:
        """Whether the costs of a running episode would reveal the regime, which the agent does not observe."""
        return self.order.secret

    @property
    def hidden(self) -> bool:
        """Whether the regime is not observed."""
        return self.order.observer.hidden

    @property
    def discrete(self) -> bool:
        """Whether actions are the indices of levels: never."""
        return False

    @property
    def action_mode(self) -> str:
        """Name of the action mode: that of the lit request."""
        return self.order.action_mode

    @cached_property
    def space(self) -> spaces.Box:
        """Action space of one episode."""
        weights = self.market.lit if self.router == "agent" else 0
        return spaces.Box(-1.0, 1.0, (1 + self.market.count - self.market.lit + weights,), np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an action."""
        return self.space.shape

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        """Features of the observation: those of the order, then those of the venues."""
        return (*FEATURES, *venue_features(self.market.lit, self.market.count - self.market.lit))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features of the observation."""
        return tuple(feature.name for feature in self.features)

    @cached_property
    def observation_space(self) -> spaces.Box:
        """The observation space of one episode."""
        low, high = (np.array([getattr(each, end) for each in self.features], np.float32) for end in ("low", "high"))
        return spaces.Box(low, high, dtype=np.float32)

    def checked(self, given: Any, lanes: tuple[int, ...] = ()) -> NDArray[np.float64]:
        """Return actions as an array of shape (*lanes, numbers), clipped to the bounds.

        Raises:
            ValueError: The shape, the type or a value is wrong; the message names what is expected.
        """
        actions, shape = np.asarray(given), (*lanes, *self.shape)
        if actions.shape != shape:
            raise ValueError(f"action must be an array of shape {shape}, got shape {actions.shape}")
        if actions.dtype.kind not in "fiub":
            raise ValueError(f"action must be numbers in [-1, 1], got an array of {actions.dtype}")
        actions = actions.astype(np.float64)
        if np.isnan(actions).any():
            raise ValueError(f"action must be numbers in [-1, 1], got {given!r}")
        return np.asarray(np.clip(actions, -1.0, 1.0))


def venue_features(lit: int, hidden: int) -> tuple[Feature, ...]:
    """Return the features of the venues, in the order of the observation. A single lit venue has none: nothing moves there.

    Args:
        lit: Number of lit venues.
        hidden: Number of hidden venues.
    """
    made: list[Feature] = []
    for number in range(lit if lit > 1 else 0):
        made += [Feature(f"venue{number}.share", 0.0, _MOST), Feature(f"venue{number}.fee", -_MOST, _MOST)]
    for number in range(lit, lit + hidden):
        names = ("filled", "censored", "since", "fill_rate")
        made += [Feature(f"venue{number}.{name}", 0.0, 1.0) for name in names]
    return tuple(made)


def lit_features(market: VenueMarket, weights: Sequence[Any]) -> list[Any]:
    """Return the features of the lit venues: share over its mean, and fee in bps of the arrival price (both within bounds)."""
    if market.lit == 1:
        return []
    made, price = [], market.scenario.market.arrival_price
    for venue, weight in zip(market.scenario.lit, weights, strict=True):
        made += [minimum(weight / venue.share, _MOST), min(max(1e4 * venue.fee / price, -_MOST), _MOST)]
    return made


def hidden_features(slices: int, asked: Any, last: Any, since: Any, posted: Any, filled: Any) -> list[Any]:
    """Return the features of a hidden venue.

    They are the filled part of the last request (0 without a request), whether it was censored (filled completely, so that more
    may have been there), slices since the last fill over N, and the filled part of all requests so far.

    Args:
        slices: Number of slices N.
        asked: Shares requested in the previous slice.
        last: Shares filled in the previous slice.
        since: Slices since the last fill.
        posted: Shares requested so far.
        filled: Shares filled so far.
    """
    wanted, ever = asked > 0.0, posted > 0.0
    return [
        last / where(wanted, asked, 1.0),
        (wanted & (last >= asked)) * 1.0,
        since / slices,
        minimum(filled / where(ever, posted, 1.0), 1.0),
    ]


def observe_venues(observer: Observer, situation: VenueSituation) -> NDArray[np.float32]:
    """Return the observations of a batch of situations, shape (episodes, features).

    Args:
        observer: The observer of the order without venues.
        situation: The situations, arrays of shape (episodes,); the slice may be a number.
    """
    market, order = situation.market, situation.order
    rows = observer.observe(order._replace(k=np.minimum(order.k, market.slices)))
    extra = lit_features(market, situation.weights)
    for parts in zip(situation.asked, situation.filled, situation.since, situation.posted, situation.gained, strict=True):
        extra += hidden_features(market.slices, *parts)
    whole = np.concatenate([rows, np.zeros((len(rows), len(extra)), np.float32)], axis=1)
    return assemble(extra, whole, rows.shape[1])


def venue_requests(
    task: VenueTask,
    action: Sequence[Any],
    left: Any,
    base: Any,
    finishing: Any,
    terms: Terms,
    split: Callable[[VenueMarket, Any, Terms], list[Any]] = routed,
) -> tuple[list[Any], Any]:
    """Return the shares that an action requests of each venue, at most the remaining shares in all, and what it wanted in all.

    The first number is the pace of the lit request, as in HyperExec-v0. Each hidden venue has one number a, the fraction (1 +
    a) / 2 of what the lit request leaves. With the router "agent", each lit venue has one number more, which scales its mean
    share by exp(3 a).

    Args:
        task: The task.
        action: Numbers of the action, each in [-1, 1].
        left: Remaining shares.
        base: Fraction of the remaining shares that the expected-volume schedule trades in the slice.
        finishing: Whether the slice completes the order.
        terms: The terms of the lit venues.
        split: The desk's router.
    """
    market = task.market
    wanted = pace_shares(action[0], left, base)
    lit = where(finishing, left, minimum(wanted, left))
    rest = left - lit
    hidden = market.count - market.lit
    posts = [0.5 * (1.0 + each) * rest for each in action[1 : 1 + hidden]]
    if len(posts) > 1:
        posts = limited(rest, posts)
    if posts:
        wanted = wanted + reduce(add, posts)
    if task.router != "agent":
        return [*split(market, lit, terms), *posts], wanted
    tilted = [
        venue.share * exponential(_TILT * each) for venue, each in zip(market.scenario.lit, action[1 + hidden :], strict=True)
    ]
    total = reduce(add, tilted)
    return [*(lit * (part / total) for part in tilted), *posts], wanted


def build_venue_task(
    scenario: Any = None,
    *,
    router: str = "water-filling",
    reward: str = "expected",
    observe_regime: bool = True,
    random_side: bool = False,
    quantity_range: Any = None,
    **unknown: Any,
) -> VenueTask:
    """Check the options of the environment, which `HyperExecVenuesEnv` documents, and return its task.

    Raises:
        TypeError: An unknown option; the message names the nearest one.
        ValueError: A bad option; the message names it, its value and the range.
    """
    refuse_unknown(unknown, OPTIONS)
    check_choice("router", router, ROUTERS)
    draw = order_draw(reward, observe_regime, random_side, quantity_range)
    venues = get_venues("venues-day" if scenario is None else scenario)
    log_warnings(venues.warnings)
    market = build_venues(venues)
    return VenueTask(market, task_of(market.market, "pace", reward, observe_regime, draw), router)


def venue_info(task: VenueTask, settled: Settled, fees: Any, adverse: Any, filled: Sequence[Any], scale: Any) -> dict[str, Any]:
    """Return the `info` of the result of an episode; values are numbers, or arrays over episodes.

    Args:
        task: The task.
        settled: The result of the order; costs in bps of the arrival notional.
        fees: Fees, currency.
        adverse: Adverse selection, currency.
        filled: Shares that each venue filled.
        scale: Reward of a cost of one unit of currency, bps.
    """
    components = split_spread(settled.statement.components, -scale * fees, -scale * adverse)
    whole = settled.quantity
    fractions = {name: shares / whole for name, shares in zip(task.market.scenario.names, filled, strict=True)}
    return {**final_info(settled), "components_bps": components, "filled_fraction": fractions}
