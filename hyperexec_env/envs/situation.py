"""The situation of a trader at the start of a slice: the information of a policy, in natural units, past only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hyperexec_env.market.belief import Normal
from hyperexec_env.market.hidden import RegimeLaw
from hyperexec_env.market.lane import EpisodeOrder, Lane
from hyperexec_env.market.numeric import where
from hyperexec_env.market.path import World
from hyperexec_env.market.regime import REGIME_NAMES
from hyperexec_env.market.tables import Numbers
from hyperexec_env.market.unknown import slope_moments
from hyperexec_env.records import Whole, extended, filler, maker

__all__ = ["REGIME_LAW", "Situation", "beliefs_of", "is_blind", "price_of_last", "situation_of", "with_law"]


class Situation(NamedTuple):
    """The information of a policy at the start of a slice: each number is a float, or an array over episodes.

    Behind the fields below stand the probabilities of the regimes in slice k given volumes, prices and flows so far, by the
    exact filter: `regime_probability_CRISIS` and so on (:data:`REGIME_LAW`). All are 0 unless the observation shows them, or
    the policy asks for them (:class:`~hyperexec_env.evaluation.policy.Policy`).
    """

    market: Any
    """The :class:`~hyperexec_env.market.tables.Market`; None in compiled loops."""
    k: Whole
    """Slice, 0..N."""
    seen: Whole
    """Column of the market's tables: the index of the regime, or `market.unknown` if the regime is not observed."""
    side: Any
    """+1 buy, -1 sell."""
    quantity: Any
    """Shares of the whole order."""
    remaining: Any
    """Shares still to trade."""
    permanent: Any
    """Permanent displacement, currency per share; adverse is positive."""
    transient: Any
    """Transient displacement, currency per share; adverse is positive. Zero if the regime is not observed, because its decay
    would reveal the regime."""
    price: Any
    """Unaffected price, currency per share."""
    flow: Any
    """Order flow of the previous slice, standard deviations; positive is buying."""
    last_shares: Any
    """Shares of the order that traded in the previous slice."""
    last_volume: Any
    """Market volume of the previous slice, shares; before the first slice, the mean expected volume of a slice, with persistent
    volume times the ratio that was drawn for the time before."""
    last_price: Any
    """Average fill price of `last_shares`, currency per share. Equal to `price` if no shares traded, and if the regime is not
    observed, because the impact would reveal it."""
    volume_ratio: Any = 1.0
    """`last_volume` over its expectation in the regime of that slice, where the volume is persistent. 1 in other markets, and
    if the regime is not observed, because the ratio would reveal the regime of the previous slice."""
    level_mean: Any = 0.0
    """Mean of the log level of the volume given the volumes so far (:mod:`~hyperexec_env.market.unknown`). Where the regime is
    not observed, and there are several, the beliefs are those before any evidence."""
    level_variance: Any = 0.0
    """Variance of the log level given the volumes so far."""
    drift_mean: Any = 0.0
    """Mean of the episode's drift around that of the regime given the prices so far, fraction of the arrival price a day."""
    drift_variance: Any = 0.0
    """Variance of that drift given the prices so far."""
    slope_mean: Any = 1.0
    """Mean of the episode's temporary impact over that of the scenario given our fills so far."""
    slope_variance: Any = 0.0
    """Variance of that ratio given our fills so far."""
    kyle_mean: Any = 1.0
    """Mean of Kyle's lambda of the episode over that of the scenario given flows and prices so far."""
    kyle_variance: Any = 0.0
    """Variance of that ratio given flows and prices so far."""


REGIME_LAW: Final = tuple(f"regime_probability_{name}" for name in REGIME_NAMES)
"""Fields of a situation that hold the probabilities of the regimes in slice k given volumes, prices and flows so far
(:mod:`~hyperexec_env.market.hidden`), a field for each name of :data:`~hyperexec_env.market.regime.REGIME_NAMES`."""
if not TYPE_CHECKING:
    Situation = extended(Situation, REGIME_LAW, 0.0)


class Beliefs(NamedTuple):
    """The beliefs about what an episode does not show; the fields of a :class:`Situation` of these names."""

    level_mean: Any
    level_variance: Any
    drift_mean: Any
    drift_variance: Any
    slope_mean: Any
    slope_variance: Any
    kyle_mean: Any
    kyle_variance: Any


_with_numbers = maker(Situation, Situation, REGIME_LAW)
with_law = eval(  # noqa: S307 - the text holds numbers of ours
    f"lambda situation, law: made(situation, {', '.join(f'law.at_{index}' for index in range(len(REGIME_LAW)))})",
    {"made": _with_numbers},
)
"""Function (situation, :data:`~hyperexec_env.market.hidden.RegimeLaw`) -> the situation with these probabilities."""
_untold = filler(RegimeLaw)


def situation_of(market: Any, numbers: Numbers, hidden: Any, order: EpisodeOrder, lane: Lane, last_price: Any) -> Situation:
    """Return the situation of a lane.

    Args:
        market: The market, for policies in Python; None in compiled loops and for observations.
        numbers: The numbers of the market.
        hidden: Whether the regime is not observed; quantities that would reveal it are then hidden too.
        order: The order of the episode.
        lane: The episode at the start of the slice.
        last_price: The result of :func:`price_of_last`; observations do not read it.
    """
    last, state, world, regime = lane.last, lane.state, lane.world, lane.world.regime
    beliefs = beliefs_of(numbers, hidden, world, lane.slope_odds)
    seen = regime * 0 + (numbers.width - 1) if hidden else regime
    transient = state.transient * 0.0 if hidden else state.transient
    ratio = world.volume_ratio * 0.0 + 1.0 if hidden else world.volume_ratio
    situation = Situation(
        market=market,
        k=lane.k,
        seen=seen,
        side=order.side,
        quantity=order.quantity,
        remaining=state.remaining,
        permanent=state.permanent,
        transient=transient,
        price=world.price,
        flow=world.flow,
        last_shares=last.shares,
        last_volume=last.volume,
        last_price=last_price,
        volume_ratio=ratio,
        level_mean=beliefs.level_mean,
        level_variance=beliefs.level_variance,
        drift_mean=beliefs.drift_mean,
        drift_variance=beliefs.drift_variance,
        slope_mean=beliefs.slope_mean,
        slope_variance=beliefs.slope_variance,
        kyle_mean=beliefs.kyle_mean,
        kyle_variance=beliefs.kyle_variance,
    )
    told: Situation = with_law(situation, _untold(state.remaining * 0.0))
    return told


def is_blind(numbers: Numbers, hidden: Any) -> Any:
    """Return whether beliefs are those before any evidence: one of several regimes is hidden, and no finite filter is exact."""
    return hidden and numbers.spec.regimes > 1


def beliefs_of(numbers: Numbers, hidden: Any, world: World, odds: Any) -> Beliefs:
    """Return the beliefs about log level, drift, temporary impact and lambda.

    Args:
        numbers: The numbers of the market.
        hidden: Whether the regime is not observed (:func:`is_blind`).
        world: The market at the start of the slice.
        odds: Log-odds of the higher temporary impact given the fills so far.
    """
    level, drift = Normal(world.level_mean, world.level_variance), Normal(world.drift_mean, world.drift_variance)
    kyle = Normal(world.kyle_mean, world.kyle_variance)
    if is_blind(numbers, hidden):
        own, trend = numbers.volume_level_sd * numbers.volume_level_sd, numbers.drift_sd * numbers.drift_sd
        level = Normal(level.mean * 0.0, level.variance * 0.0 + own)
        drift = Normal(drift.mean * 0.0, drift.variance * 0.0 + trend)
        odds = odds * 0.0
        kyle = Normal(kyle.mean * 0.0 + 1.0, kyle.variance * 0.0 + numbers.kyle_sd * numbers.kyle_sd)
    slope = slope_moments(numbers, odds) if numbers.spec.unknown_slope else Normal(odds + 1.0, odds)
    return Beliefs(level.mean, level.variance, drift.mean, drift.variance, slope.mean, slope.variance, kyle.mean, kyle.variance)


def price_of_last(hidden: Any, order: EpisodeOrder, lane: Lane) -> Any:
    """Return :attr:`Situation.last_price`, currency per share: S_{k-1} plus the side times the cost per share paid on top."""
    last = lane.last
    priced = (last.shares > 0.0) & (hidden == 0)
    paid = last.paid / where(priced, last.shares, 1.0)
    return where(priced, last.price + order.side * paid, lane.world.price)
