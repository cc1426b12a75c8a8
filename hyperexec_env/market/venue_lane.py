"""One episode with venues as records, and the stages that run it: open, offer, trade the slice, move the weights.

The stages stand beside those of an order without venues (:mod:`~hyperexec_env.market.lane`): the episode is the order's
:class:`~hyperexec_env.market.lane.Lane`, and a record of what the venues add. The record types have a field for each venue, so
:func:`stages_of` makes them, and the stages, for a number of lit and of hidden venues. One slice is

    slice, world = lane.next_slice(...)                  the market of the slice, as without venues
    offers       = stages.offer(numbers, venues, row, order, lane)
    lane, state, cost = stages.turn(numbers, venues, order, lane, state, slice, world, venue_row, offers, asked)
    state        = stages.weigh(numbers, venues, order, lane, state)             where the shares of lit venues move
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import add, mul
from typing import Any, NamedTuple

import numpy as np

from hyperexec_env.market.account import Account, Components
from hyperexec_env.market.kernel import Cost, Slice, State, paid_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane, LastSlice
from hyperexec_env.market.numeric import maximum, minimum, where
from hyperexec_env.market.path import World, impact_of
from hyperexec_env.market.several import each, fold, joined
from hyperexec_env.market.tables import Numbers, SliceRow, must_finish
from hyperexec_env.market.venue import total_cost, venue_move
from hyperexec_env.market.venue_path import (
    VenueMarket,
    liquidity,
    moved,
    moving_weights,
    next_deviation,
    selected,
    venue_row,
    venue_slices,
)
from hyperexec_env.records import Real, Word, maker, numbered, plus

__all__ = [
    "VenueStages",
    "fee_cash",
    "finishing",
    "limited",
    "numbers_of",
    "past_of_hidden",
    "record_of",
    "row_table",
    "since_fill",
    "split_spread",
    "stage",
    "stages_of",
]


class VenueStages(NamedTuple):
    """Record types and stages for a number of lit and of hidden venues.

    The records `Lit`, `Hidden` and `Every` have a number for each lit venue, each hidden venue, and each venue.
    """

    Lit: Any
    Hidden: Any
    Every: Any
    Numbers: Any
    """What does not change: `shares`, `noises` and `lit_salts` of the lit venues, `odds` and `hidden_salts` of the hidden ones,
    and `fees` and `flags` (1 for a lit venue) of all."""
    Row: Any
    """The terms of a regime, see :class:`~hyperexec_env.market.venue_path.VenueRow`."""
    State: Any
    """An episode at the start of a slice: `deviations` (z) and `weights` (w) of the lit venues; of the hidden venues `asked`
    and `last`, shares requested and filled in the previous slice, `posted`, shares requested so far, and `since`, slices since
    the last fill (N before the first); `filled`, shares that each venue filled so far; `fees` and `adverse`, cash so far."""
    Offers: Any
    """`shares` that the hidden venues offer in a slice."""
    Asked: Any
    """`shares` requested of each venue, in all at most the remaining shares, and `wanted`, those that the policy asked for in
    all venues before the last slice completed the order."""
    open: Callable[..., Any]
    """(Numbers of the market, Numbers, EpisodeOrder) -> State: the state before the first slice."""
    offer: Callable[..., Any]
    """(Numbers of the market, Numbers, laws, SliceRow, EpisodeOrder, Lane) -> Offers."""
    turn: Callable[..., Any]
    """Trade a slice, see :func:`stages_of`."""
    book: Callable[..., Any]
    """Trade a slice whose venues were drawn: (numbers, venues, lane, state, slices, adverse, world, shares, wanted)."""
    weigh: Callable[..., Any]
    """(Numbers of the market, Numbers, EpisodeOrder, Lane, State) -> State: with the weights of the slice at hand."""


_with_price = maker(World, World, ("price",))


def _whole(slice: Slice, weights: Any, offers: Any, row: Any) -> tuple[Slice, ...]:
    """Return the slice of the only venue."""
    return (slice,)


def _moved(venues: Any, order: Any, lane: Lane, slice: Slice, world: World, row: Any, offers: Any) -> tuple[Any, Any]:
    """Return the slice and the market after it, with the move of the price that comes with hidden liquidity."""
    slice, price = moved(slice, lane.world.price, order.side, selected(venues.odds, row.adverse, offers))
    return slice, _with_price(world, price)


def _unmoved(
    venues: Any, order: EpisodeOrder, lane: Lane, slice: Slice, world: World, row: Any, offers: Any
) -> tuple[Any, Any]:
    """Return the slice and the market after it, where hidden liquidity moves no price."""
    return slice, world


def record_of(name: str, **fields: Any) -> Any:
    """Return a new record type."""
    made: Any = NamedTuple(name, list(fields.items()))  # type: ignore[misc]
    made.__module__ = __name__
    return made


def stage(function: Callable[..., Any], result: Any, **taken: Any) -> Callable[..., Any]:
    """Annotate a stage with the record types that it takes and makes."""
    function.__annotations__ = {**taken, "return": result}
    return function


@lru_cache(maxsize=64)
def _stages(lit: int, hidden: int, noisy: bool, moving: bool) -> VenueStages:
    """Return the record types and stages of markets with some venues; see :class:`VenueStages`.

    Args:
        lit: Number of lit venues.
        hidden: Number of hidden venues.
        noisy: Whether the shares of the lit venues move.
        moving: Whether hidden liquidity moves the price.
    """
    count = lit + hidden
    Lit, Hidden, Every = numbered("Lit", lit), numbered("Hidden", hidden), numbered("Every", count)
    salts = {"lit_salts": numbered("LitSalts", lit, Word), "hidden_salts": numbered("HiddenSalts", hidden, Word)}
    VenueNumbers = record_of("VenueNumbers", shares=Lit, noises=Lit, **salts, odds=Hidden, fees=Every, flags=Every)
    Row = record_of("VenueRow", lit=Lit, scale=Lit, hidden=Hidden, adverse=Hidden)
    VenueState: Any = record_of(
        "VenueState",
        **{"deviations": Lit, "weights": Lit, "asked": Hidden, "last": Hidden, "posted": Hidden, "since": Hidden},
        **{"filled": Every, "fees": Real, "adverse": Real},
    )
    Offers, VenueAsked = record_of("Offers", shares=Hidden), record_of("VenueAsked", shares=Every, wanted=Real)
    still, nothing = (0.0,) * lit, (0.0,) * hidden
    shifted, parted = _moved if moving else _unmoved, _whole if count == 1 else venue_slices

    def open_venues(numbers: Numbers, venues: Any, order: EpisodeOrder) -> Any:
        never, none = Hidden(*each(_later, nothing, numbers.slices)), Hidden(*nothing)
        deviations, weights = still, joined(venues.shares)
        if noisy:
            deviations = each(next_deviation, venues.noises, venues.lit_salts, order.key, 0, still)
            weights = moving_weights(venues.shares, deviations)
        return VenueState(Lit(*deviations), Lit(*weights), none, none, none, never, Every(*joined(still, nothing)), 0.0, 0.0)

    def offer(numbers: Numbers, venues: Any, laws: Any, row: SliceRow, order: EpisodeOrder, lane: Lane) -> Any:
        expected = where(must_finish(numbers, lane.k), 0.0, row.mean_volume)
        return Offers(Hidden(*each(liquidity, laws, venues.hidden_salts, order.key, lane.k, expected)))

    def book(
        numbers: Numbers,
        venues: Any,
        lane: Lane,
        state: Any,
        slices: Sequence[Slice],
        adverse: Sequence[Any],
        world: World,
        shares: Sequence[Any],
        wanted: Any,
    ) -> tuple[Lane, Any, Cost]:
        after, costs, fills = venue_move(impact_of(numbers), lane.state, slices, shares, adverse)
        cost, charged, k = total_cost(costs), fee_cash(adverse, fills), lane.k + 1
        account, traded = lane.account, lane.state.remaining - after[0]
        volume = fold(add, each(_lit_part, venues.flags, slices))
        asked, filled = shares[lit:], fills[lit:]
        made = Lane(
            k=k,
            over=((k == numbers.slices) | (after[0] <= 0.0)) * 1,
            world=world,
            state=State(*after),
            memory=lane.memory,
            account=Account(plus(account.cost, cost), account.drift_move, account.timing_move),
            last=LastSlice(traded, volume, lane.world.price, paid_cost(cost) - charged, wanted),
            slope_odds=lane.slope_odds,
        )
        venue_state = VenueState(
            state.deviations,
            state.weights,
            Hidden(*asked),
            Hidden(*filled),
            Hidden(*each(add, state.posted, asked)),
            Hidden(*each(since_fill, state.since, filled, numbers.slices * 1.0)),
            Every(*each(add, state.filled, fills)),
            state.fees + fee_cash(venues.fees, fills),
            state.adverse + charged,
        )
        return made, venue_state, cost

    def turn_venues(
        numbers: Numbers,
        venues: Any,
        order: EpisodeOrder,
        lane: Lane,
        state: Any,
        slice: Slice,
        world: World,
        row: Any,
        offers: Any,
        asked: Any,
    ) -> tuple[Lane, Any, Cost]:
        slice, world = shifted(venues, order, lane, slice, world, row, offers.shares)
        slices, adverse = parted(slice, state.weights, offers.shares, row), joined(still, row.adverse)
        return book(numbers, venues, lane, state, slices, adverse, world, joined(asked.shares), asked.wanted)

    def weigh(numbers: Numbers, venues: Any, order: EpisodeOrder, lane: Lane, state: Any) -> Any:
        k = minimum(lane.k, numbers.slices - 1)
        drawn = each(next_deviation, venues.noises, venues.lit_salts, order.key, k, state.deviations)
        deviations = each(where, lane.k < numbers.slices, drawn, state.deviations)
        return _with_weights(state, Lit(*deviations), Lit(*moving_weights(venues.shares, deviations)))

    _with_weights = maker(VenueState, VenueState, ("deviations", "weights"))
    whole: dict[str, Any] = {"numbers": Numbers, "venues": VenueNumbers}
    episode: dict[str, Any] = {"order": EpisodeOrder, "lane": Lane}
    turned: dict[str, Any] = {"slice": Slice, "world": World, "row": Row, "offers": Offers, "asked": VenueAsked}
    return VenueStages(
        *(Lit, Hidden, Every, VenueNumbers, Row, VenueState, Offers, VenueAsked),
        open=stage(open_venues, VenueState, **whole, order=EpisodeOrder),
        offer=stage(offer, Offers, **whole, laws=Any, row=SliceRow, **episode),
        turn=stage(turn_venues, tuple[Lane, VenueState, Cost], **whole, **episode, state=VenueState, **turned),
        book=book,
        weigh=stage(weigh, VenueState, **whole, **episode, state=VenueState),
    )


def stages_of(market: VenueMarket) -> VenueStages:
    """Return the record types and stages of a market."""
    return _stages(market.lit, market.count - market.lit, market.noisy, market.moving)


def numbers_of(market: VenueMarket) -> Any:
    """Return what does not change of the venues of a market, a record `Numbers` of :class:`VenueStages`."""
    stages, lit = stages_of(market), market.lit
    flags = [float(venue.lit) for venue in market.scenario.venues]
    salts = dict(zip(("lit_salts", "hidden_salts"), (market.salts[:lit], market.salts[lit:]), strict=True))
    given = {
        "shares": market.shares,
        "noises": market.noises,
        **salts,
        "odds": market.odds,
        "fees": market.fees,
        "flags": flags,
    }
    return stages.Numbers(**{name: stages.Numbers.__annotations__[name](*values) for name, values in given.items()})


def row_table(market: VenueMarket) -> Any:
    """Return the terms of all regimes, a record `Row` of :class:`VenueStages` whose numbers have the shape (M + 1,)."""
    row, kind = venue_row(market, np.arange(market.market.regimes + 1)), stages_of(market).Row
    return kind(**{name: kind.__annotations__[name](*values) for name, values in row._asdict().items()})


def past_of_hidden(market: VenueMarket, state: Any) -> list[list[Any]]:
    """Return what each hidden venue did so far: shares asked and filled in the last slice, slices since its last fill, and
    shares requested and filled in all; a list over the hidden venues for each.
    """
    return [list(part) for part in (state.asked, state.last, state.since, state.posted, state.filled[market.lit :])]


def _later(zero: float, slices: Any) -> Any:
    """Return N, the slices since the last fill before the first."""
    return zero + slices


def _lit_part(flag: float, slice: Slice) -> Any:
    """Return the volume of a lit venue, 0 for a hidden one."""
    return flag * slice.volume


def limited(left: Any, asked: Sequence[Any]) -> tuple[Any, ...]:
    """Return requests of which none is negative and whose sum is at most the remaining shares: scaled before nature is seen.

    Args:
        left: Remaining shares.
        asked: Shares requested of each venue.
    """
    wanted = each(maximum, asked, 0.0)
    total = fold(add, joined((0.0,), wanted))
    over = total > left
    return each(mul, wanted, where(over, left, 1.0) / where(over, total, 1.0))


def since_fill(since: Any, filled: Any, slices: float) -> Any:
    """Return the slices since the last fill, at most N."""
    return where(filled > 0.0, 0.0, minimum(since + 1.0, slices))


def fee_cash(rates: Iterable[Any], fills: Iterable[Any]) -> Any:
    """Return the cash of a charge per share, currency: the sum over venues of rate times fill, added from left to right."""
    return fold(add, each(mul, rates, fills))


def split_spread(components: Components, fees: Any, adverse: Any) -> dict[str, Any]:
    """Return the components of the shortfall with fees and adverse selection apart from the spread; the sum stays the same.

    Args:
        components: The shortfall by source, bps.
        fees: Fees, bps.
        adverse: Adverse selection, bps.
    """
    parts = components._asdict()
    return {"spread": parts.pop("spread") - fees - adverse, "fees": fees, "adverse": adverse, **parts}


def finishing(market: VenueMarket, k: Any) -> Any:
    """Return whether slice `k` must complete the order, so that hidden venues are void."""
    return must_finish(market.market.numbers, k)
