"""One episode as records, and the stages that run it: begin, draw a slice, trade the slice, settle.

A *lane* is one running episode. A *stage* is a function of records, whose numbers belong to one episode or are arrays over
episodes; compiled loops call a stage for each lane. One slice of an episode is

    row      = table[slice_cell(numbers, lane)]
    words    = draw_words(order, lane)                       then path.draw_shocks, path.draws_of
    slice, world = next_slice(numbers, order, lane, row, draws)
    lane, cost   = turn(numbers, lane, slice, world, asked)
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hyperexec_env.market import noise, path
from hyperexec_env.market.account import Account, Statement, book, forced_shares, open_account, settle_in_bps
from hyperexec_env.market.belief import Normal
from hyperexec_env.market.days import DayCount, DaySlice, day_of
from hyperexec_env.market.kernel import Cost, Slice, State, paid_cost, step
from hyperexec_env.market.numeric import minimum, where
from hyperexec_env.market.path import Draws, OrderNumbers, Shocks, Words, World, impact_of
from hyperexec_env.market.predator import PredatorMemory, step_with_predator
from hyperexec_env.market.tables import Numbers, SliceRow, Thresholds, must_finish
from hyperexec_env.market.unknown import learn_slope
from hyperexec_env.records import Real, Whole, Word, maker, plus, scaled

__all__ = [
    "Asked",
    "EpisodeKey",
    "EpisodeOrder",
    "Lane",
    "LastSlice",
    "Settled",
    "Ticket",
    "begin",
    "begin_episode",
    "constant_fields",
    "day_cell",
    "draw_words",
    "end",
    "first_lane",
    "next_episode",
    "next_slice",
    "open_day",
    "settle",
    "settle_so_far",
    "slice_cell",
    "turn",
]


class Ticket(NamedTuple):
    """Seed and number of the next episode of a lane."""

    seed: Word
    """Seed of the lane, as a word of :func:`~hyperexec_env.market.noise.seed_words`."""
    episode: Word
    """Number of the next episode of the seed."""


class EpisodeKey(NamedTuple):
    """The key of an episode; episodes with equal keys have the same market."""

    key: Word
    """Hash of seed and episode number (:func:`~hyperexec_env.market.noise.episode_keys`)."""


class EpisodeOrder(NamedTuple):
    """The numbers of an episode that do not change while it runs."""

    key: Word
    """Key of the noise, see :class:`EpisodeKey`."""
    side: Real
    """+1 buy, -1 sell."""
    quantity: Real
    """Shares of the whole order, X."""
    scale: Real
    """Reward of a cost of one unit of currency, bps: :func:`~hyperexec_env.market.path.cost_scale` of the quantity."""


class LastSlice(NamedTuple):
    """The previous slice."""

    shares: Real
    """Shares of the order that traded; 0 before the first slice."""
    volume: Real
    """Market volume, shares; before the first slice, the mean expected volume of a slice times `World.volume_ratio`."""
    price: Real
    """Unaffected price at the start of the slice, currency per share; before the first slice, the arrival price."""
    paid: Real
    """Cost of the traded shares on top of the unaffected price as the desk sees it in its fills, currency."""
    asked: Real
    """Shares that the policy asked for."""


class Lane(NamedTuple):
    """The state of an episode at the start of a slice."""

    k: Whole
    """The slice to trade next, 0..N."""
    over: Whole
    """1 if the episode is over, else 0."""
    world: World
    """The market at the start of slice k."""
    state: State
    """Remaining shares and our displacement of the price."""
    memory: PredatorMemory
    """The predator's memory of our children; zeros without a predator."""
    account: Account
    """Costs of the slices before k."""
    last: LastSlice
    """Slice k - 1."""
    slope_odds: Real = 0.0
    """Log-odds of the higher temporary impact given our fills so far (:mod:`~hyperexec_env.market.unknown`)."""


class Asked(NamedTuple):
    """The request of a policy in a slice."""

    shares: Real
    """Shares to trade; :func:`~hyperexec_env.market.kernel.step` limits them."""


class Settled(NamedTuple):
    """The result of an episode that ended."""

    statement: Statement
    """Costs, bps of the arrival notional."""
    forced: Real
    """Fraction of the order that the deadline forced beyond the last request."""
    side: Real
    """+1 buy, -1 sell."""
    quantity: Real
    """Shares of the whole order, X."""


def begin(numbers: Numbers, orders: OrderNumbers, start: Thresholds, ticket: Ticket) -> tuple[Ticket, EpisodeOrder, Lane]:
    """Return the ticket of the episode after next, and the order and first state of the next episode of a lane."""
    after, episode = next_episode(ticket)
    order, lane = begin_episode(numbers, orders, start, episode)
    return after, order, lane


def next_episode(ticket: Ticket) -> tuple[Ticket, EpisodeKey]:
    """Return the ticket of the episode after next, and the key of the next episode of a lane."""
    return Ticket(ticket.seed, ticket.episode + noise.ONE), EpisodeKey(noise.key(ticket.seed, ticket.episode))


def begin_episode(numbers: Numbers, orders: OrderNumbers, start: Thresholds, episode: EpisodeKey) -> tuple[EpisodeOrder, Lane]:
    """Return the order and the first state of the episode with a key."""
    order, world = path.draw_order(orders, episode.key), path.begin_world(numbers, start, episode.key)
    scale = path.cost_scale(order.quantity, numbers.arrival_price)
    return EpisodeOrder(episode.key, order.side, order.quantity, scale), first_lane(numbers, order.quantity, world)


def first_lane(numbers: Numbers, quantity: Any, world: World) -> Lane:
    """Return the state of an episode before its first slice."""
    zero = 0.0
    return Lane(
        k=0,
        over=0,
        world=world,
        state=State(quantity, zero, zero),
        memory=PredatorMemory(zero, zero, zero, zero),
        account=open_account(zero),
        last=LastSlice(zero, numbers.slice_volume * world.volume_ratio, numbers.arrival_price, zero, zero),
        slope_odds=zero,
    )


_with_over = maker(Lane, Lane, ("over",))
_with_state = maker(Lane, Lane, ("state",))
_with_world = maker(Lane, Lane, ("world",))


def day_cell(numbers: Numbers, count: DayCount, order: EpisodeOrder, lane: Lane) -> int:
    """Return the row of slice `lane.k` of the episode's recorded day; finished lanes are clamped to the last slice."""
    cell: int = day_of(count, order.key) * numbers.slices + minimum(lane.k, numbers.slices - 1)
    return cell


def open_day(numbers: Numbers, lane: Lane, day: DaySlice) -> Lane:
    """Return the first state of an episode whose market is a recorded day, given the first slice of the day."""
    opened: Lane = _with_world(lane, path.day_world(numbers, day))
    return opened


def draw_words(order: EpisodeOrder, lane: Lane) -> Words:
    """Return the random words of slice `lane.k`."""
    return path.draw_words(order.key, lane.k)


def slice_cell(numbers: Numbers, lane: Lane) -> int:
    """Return the cell of slice `lane.k` and its regime in the flat tables; finished lanes are clamped to the last slice."""
    cell: int = minimum(lane.k, numbers.slices - 1) * numbers.width + lane.world.regime
    return cell


def next_slice(numbers: Numbers, order: EpisodeOrder, lane: Lane, row: SliceRow, draws: Draws) -> tuple[Slice, World]:
    """Return slice `lane.k` for the order, and the market at the start of the next slice."""
    return path.next_slice(numbers, order.side, lane.k, row, lane.world, draws)


def turn(numbers: Numbers, lane: Lane, slice: Slice, world: World, asked: Asked) -> tuple[Lane, Cost]:
    """Trade one slice and book its cost; return the episode at the start of the next slice.

    With (x, G, D) the state and n_k the request limited by the slice:

        (x, G, D)_{k+1}, cost_k = step(impact, (x, G, D)_k, slice_k, n_k)      with a predator: step_with_predator
        account_{k+1}           = account_k + cost_k, and the moves of the unaffected price if the order may stay unfilled
        over                    = k + 1 = N or x_{k+1} = 0

    Args:
        numbers: The numbers of the market.
        lane: The episode at the start of the slice.
        slice: The market of the slice, from :func:`next_slice`.
        world: The market at the start of the next slice, from :func:`next_slice`.
        asked: The request of the policy.

    Returns:
        The episode at the start of the next slice, and the cost of this slice, currency.
    """
    spec, impact, before, memory = numbers.spec, impact_of(numbers), lane.state, lane.memory
    if spec.hunted:
        (after, charged), memory = step_with_predator(impact, before, slice, asked.shares, memory, numbers.predator)
        state, cost = State(*after), Cost(*charged)
    else:
        state, cost = step(impact, before, slice, asked.shares)
    account = lane.account
    if spec.complete:  # the price moves are read only for unfilled shares
        account = Account(plus(account.cost, cost), account.drift_move, account.timing_move)
    else:
        account = book(account, cost, slice.drift, slice.innovation)
    k, traded, paid, odds = lane.k + 1, before.remaining - state.remaining, paid_cost(cost), lane.slope_odds
    if spec.unknown_slope:
        base, part = slice.temporary_scale / world.slope, traded / slice.volume
        odds = learn_slope(numbers, odds, base, part, world.slope, world.slipped, world.slip_variance)
        paid = paid + traded * world.slipped
    return (
        Lane(
            k=k,
            over=((k == numbers.slices) | (state.remaining <= 0.0)) * 1,
            world=world,
            state=state,
            memory=memory,
            account=account,
            last=LastSlice(traded, slice.volume, lane.world.price, paid, asked.shares),
            slope_odds=odds,
        ),
        cost,
    )


def end(lane: Lane, ended: Any) -> Lane:
    """Return the episode, over where `ended` is true."""
    stopped: Lane = _with_over(lane, (lane.over | ended) * 1)
    return stopped


def settle(numbers: Numbers, order: EpisodeOrder, lane: Lane) -> Settled:
    """Return the result of an episode that ended."""
    bps, last = -order.scale, lane.last
    state = State(0.0, 0.0, 0.0) if numbers.spec.complete else lane.state
    statement = settle_in_bps(lane.account, impact_of(numbers), state, order.quantity, bps)
    least = where(must_finish(numbers, lane.k - 1), math.inf, 0.0)
    forced = forced_shares(least, last.volume, numbers.cap, last.asked, last.shares) / order.quantity
    return Settled(statement, forced, order.side, order.quantity)


def settle_so_far(numbers: Numbers, order: EpisodeOrder, lane: Lane, over: Any) -> Settled:
    """Return the result of the slices so far; shares that remain cost nothing unless the episode is over."""
    return settle(numbers, order, _with_state(lane, scaled(lane.state, over * 1.0)))


def constant_fields(numbers: Numbers, orders: OrderNumbers) -> dict[tuple[type, str], Any]:
    """Return the fields that are equal in all lanes of a market, for which compiled loops need no memory.

    Returns:
        For each record and dotted field name: the constant, or (record, field name) of a shared record that has the value.
    """
    spec, fixed = numbers.spec, dict[tuple[type, str], Any]()
    if not spec.drifting:
        fixed[SliceRow, "step_drift"] = 0.0
        if spec.flow_persistence == 0.0 and not spec.unknown_drift:
            fixed[Lane, "account.cost.drift"] = 0.0
    if not spec.varying_level:
        fixed[Lane, "world.volume_level"] = 1.0
        fixed |= {(Lane, f"world.level_{moment}"): 0.0 for moment in Normal._fields}
    if not spec.unknown_drift:
        fixed |= {(Lane, f"world.{name}"): 0.0 for name in ("drift", *(f"drift_{moment}" for moment in Normal._fields))}
    if not spec.unknown_slope:
        fixed |= {(Lane, "world.slope"): 1.0, (Shocks, "slippage"): 0.0, (Lane, "slope_odds"): 0.0}
        fixed |= {(Lane, f"world.{name}"): 0.0 for name in ("slipped", "slip_variance")}
    if not spec.unknown_kyle:
        fixed |= {(Lane, "world.kyle"): 1.0, (Lane, "world.kyle_mean"): 1.0}
        fixed |= {(Lane, "world.kyle_variance"): 0.0, (Lane, "world.drift_with_kyle"): 0.0}
    if spec.volume_persistence == 0.0:
        fixed[Lane, "world.volume_ratio"] = 1.0
    if spec.complete:
        fixed |= {(Lane, f"account.{name}"): 0.0 for name in ("drift_move", "timing_move")}
    if not spec.hunted:
        fixed |= {(Lane, f"memory.{name}"): 0.0 for name in PredatorMemory._fields}
    if not orders.random_side:
        fixed[EpisodeOrder, "side"] = OrderNumbers, "side"
    if not orders.random_size:
        fixed |= {(EpisodeOrder, name): (OrderNumbers, name) for name in ("quantity", "scale")}
    return fixed
