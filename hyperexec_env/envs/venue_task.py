"""The task of an agent that executes an order over venues: action, observation and reward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
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
from hyperexec_env.market.numeric import exponential, maximum, minimum, where
from hyperexec_env.market.several import each, fold, joined
from hyperexec_env.market.venue_lane import limited, split_spread
from hyperexec_env.market.venue_path import Terms, VenueMarket, build_venues, by_volume, lit_terms, splitter
from hyperexec_env.market.venue_scenario import get_venues

__all__ = [
    *("ROUTERS", "Split", "VenueSituation", "VenueTask", "build_venue_task", "features_of_lit", "hidden_features"),
    *("lit_features", "observe_venues", "tilted", "venue_features", "venue_info", "venue_requests"),
]

ROUTERS: Final = ("water-filling", "agent")
"""Names of the routers of lit requests."""
_TILT: Final = 3.0
"""Log of the largest factor by which an agent scales the share of a lit venue."""
_MOST: Final = 20.0
"""Bound of features without a bound of their own."""
OPTIONS: Final = (*("scenario", "router", "reward", "observe_regime", "random_side", "quantity_range", "render_mode", "info"),)
"""Names of the options of the environments with venues."""


Split = Callable[[Any, Terms, float], Sequence[Any]]
"""Function of a lit request, the terms of the lit venues and the exponent of the temporary impact that splits the request."""


class VenueSituation(NamedTuple):
    """The information of a policy at the start of a slice, past only; sequences have one element for each venue of a kind."""

    market: Any
    """The :class:`~hyperexec_env.market.venue_path.VenueMarket`."""
    order: Situation
    """The order and the market, as without venues."""
    weights: Sequence[Any]
    """w, the share of each lit venue in the volume of this slice."""
    asked: Sequence[Any]
    """Shares requested of each hidden venue in the previous slice."""
    filled: Sequence[Any]
    """Shares that each hidden venue filled in the previous slice."""
    since: Sequence[Any]
    """Slices since the last fill of each hidden venue; N before the first."""
    posted: Sequence[Any]
    """Shares requested of each hidden venue so far."""
    gained: Sequence[Any]
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

    @property
    def split(self) -> Split:
        """Function that splits a lit request: the router's, or by the shares of the agent."""
        return by_volume if self.router == "agent" else splitter(self.market)

    def requests(
        self, action: Sequence[Any], left: Any, base: Any, finishing: Any, terms: Terms, split: Split | None = None
    ) -> tuple[tuple[Any, ...], Any]:
        """Return :func:`venue_requests` of an action, each number in [-1, 1], given the terms of the lit venues.

        `split` replaces the desk's router.
        """
        first = 1 + self.market.count - self.market.lit
        if self.router == "agent":
            terms, split = Terms(*terms[:2], each(tilted, self.market.shares, tuple(action[first:]))), None
        beta = self.market.market.impact.beta
        return venue_requests(split or self.split, beta, action[0], tuple(action[1:first]), left, base, finishing, terms)

    @cached_property
    def space(self) -> spaces.Box:
        """Action space of one episode."""
        weights = self.market.lit if self.router == "agent" else 0
        return spaces.Box(-1.0, 1.0, (1 + self.market.count - self.market.lit + weights,), np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an action."""
        return self.space.shape

    @property
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


def lit_features(weights: Any, shares: Any, fees: Any, price: float) -> tuple[Any, ...]:
    """Return the features of several lit venues: share over its mean, and fee in bps of the arrival price (within bounds).

    Args:
        weights: w of each venue.
        shares: Mean share of each venue.
        fees: Fee of each venue, currency per share.
        price: Arrival price, currency per share.
    """
    return fold(joined, each(_lit_feature, weights, shares, fees, price)) if len(weights) > 1 else ()


def _lit_feature(weight: Any, share: float, fee: float, price: float) -> tuple[Any, Any]:
    """Return the features of a lit venue."""
    return minimum(weight / share, _MOST), minimum(maximum(1e4 * fee / price, -_MOST), _MOST)


def hidden_features(slices: Any, asked: Any, last: Any, since: Any, posted: Any, filled: Any) -> tuple[Any, ...]:
    """Return the features of the hidden venues, one venue after another; arguments have a number for each venue.

    Those of a venue are the filled part of the last request (0 without a request), whether it was censored (filled completely,
    so that more may have been there), slices since the last fill over N, and the filled part of all requests so far.

    Args:
        slices: Number of slices N.
        asked: Shares requested in the previous slice.
        last: Shares filled in the previous slice.
        since: Slices since the last fill.
        posted: Shares requested so far.
        filled: Shares filled so far.
    """
    made: tuple[Any, ...] = fold(joined, joined(((),), each(_hidden_feature, slices, asked, last, since, posted, filled)))
    return made


def _hidden_feature(slices: Any, asked: Any, last: Any, since: Any, posted: Any, filled: Any) -> tuple[Any, Any, Any, Any]:
    """Return the features of a hidden venue."""
    wanted, ever = asked > 0.0, posted > 0.0
    return (
        last / where(wanted, asked, 1.0),
        (wanted & (last >= asked)) * 1.0,
        since / slices,
        minimum(filled / where(ever, posted, 1.0), 1.0),
    )


def observe_venues(observer: Observer, situation: VenueSituation) -> NDArray[np.float32]:
    """Return the observations of a batch of situations, shape (episodes, features).

    Args:
        observer: The observer of the order without venues.
        situation: The situations, arrays of shape (episodes,); the slice may be a number.
    """
    market, order = situation.market, situation.order
    rows = observer.observe(order._replace(k=np.minimum(order.k, market.slices)))
    past = situation.asked, situation.filled, situation.since, situation.posted, situation.gained
    extra = (*features_of_lit(market, situation.weights), *hidden_features(market.slices, *past))
    whole = np.concatenate([rows, np.zeros((len(rows), len(extra)), np.float32)], axis=1)
    return assemble(extra, whole, rows.shape[1])


def features_of_lit(market: VenueMarket, weights: Sequence[Any]) -> tuple[Any, ...]:
    """Return :func:`lit_features` of a market."""
    return lit_features(weights, market.shares, market.fees[: market.lit].tolist(), market.scenario.market.arrival_price)


def venue_requests(
    split: Split,
    beta: float,
    pace: Any,
    posting: Sequence[Any],
    left: Any,
    base: Any,
    finishing: Any,
    terms: Terms,
) -> tuple[tuple[Any, ...], Any]:
    """Return the shares that an action requests of each venue, at most the remaining shares in all, and what it wanted in all.

    Args:
        split: Function that splits a lit request (:attr:`VenueTask.split`).
        beta: Exponent of the temporary impact.
        pace: First number of the action: the pace of the lit request, as in HyperExec-v0.
        posting: Number a of the action for each hidden venue: the fraction (1 + a) / 2 of what the lit request leaves.
        left: Remaining shares.
        base: Fraction of the remaining shares that the expected-volume schedule trades in the slice.
        finishing: Whether the slice completes the order.
        terms: The terms of the lit venues, whose volumes the agent's router replaces with its shares.
    """
    wanted = pace_shares(pace, left, base)
    lit = where(finishing, left, minimum(wanted, left))
    posts = limited(left - lit, each(_post, left - lit, posting))
    return joined(split(lit, terms, beta), posts), fold(add, joined((wanted,), posts))


def _post(rest: Any, number: Any) -> Any:
    """Return the shares that a number of an action posts in a hidden venue."""
    return 0.5 * (1.0 + number) * rest


def tilted(share: float, number: Any) -> Any:
    """Return the mean share of a lit venue as a number of the agent's action scales it: by exp(3 a)."""
    return share * exponential(_TILT * number)


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
