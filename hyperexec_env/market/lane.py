"""One episode as records, and the stages that move it: begin, draw, trade a slice, settle.

A lane is one episode on its way. Numbers of records are those of one episode, or arrays over episodes; compiled loops call
the stages for each lane.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hyperexec_env.market import noise, path
from hyperexec_env.market.account import Account, Statement, book, forced_shares, open_account, settle_in_bps
from hyperexec_env.market.kernel import Cost, Slice, State, paid_cost, step
from hyperexec_env.market.model import Numbers, SliceRow, Thresholds, must_finish
from hyperexec_env.market.numeric import minimum, where
from hyperexec_env.market.path import Draws, OrderNumbers, Words, World, impact_of
from hyperexec_env.market.predator import PredatorMemory, step_with_predator
from hyperexec_env.records import Real, Whole, Word, plus

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
    "draw_words",
    "first_lane",
    "next_slice",
    "settle",
    "slice_cell",
    "turn",
]


class Ticket(NamedTuple):
    """The next episode of a lane."""

    seed: Word
    episode: Word
    """Number of the next episode."""


class EpisodeKey(NamedTuple):
    """The key of an episode: equal keys meet the same market."""

    key: Word


class EpisodeOrder(NamedTuple):
    """What is fixed from the beginning of an episode to its end."""

    key: Word
    """Key of the noise."""
    side: Real
    """+1 buy, -1 sell."""
    quantity: Real
    """Shares of the whole order, X."""
    scale: Real
    """Reward of one unit of currency, bps: :func:`~hyperexec_env.market.path.cost_scale`."""


class LastSlice(NamedTuple):
    """The slice before."""

    shares: Real
    """Shares of the order that traded."""
    volume: Real
    """Market volume, shares; before the first slice the mean expected volume of a slice."""
    price: Real
    """Unaffected price at its start, currency per share."""
    paid: Real
    """Cost of the shares beyond the unaffected price, currency."""
    asked: Real
    """Shares that were asked for."""


class Lane(NamedTuple):
    """All that an episode remembers from slice to slice."""

    k: Whole
    """The slice that comes, 0..N."""
    over: Whole
    """1 where the episode is over, else 0."""
    world: World
    state: State
    memory: PredatorMemory
    account: Account
    last: LastSlice


class Asked(NamedTuple):
    """What is asked for in a slice."""

    shares: Real


class Settled(NamedTuple):
    """What an episode that ended came to."""

    statement: Statement
    forced: Real
    """Share of the order that the deadline forced beyond the last action, fraction."""
    side: Real
    quantity: Real


def begin(numbers: Numbers, orders: OrderNumbers, start: Thresholds, ticket: Ticket) -> tuple[Ticket, EpisodeOrder, Lane]:
    """Begin the next episode of a lane."""
    order, lane = begin_episode(numbers, orders, start, EpisodeKey(noise.key(ticket.seed, ticket.episode)))
    return Ticket(ticket.seed, ticket.episode + noise.ONE), order, lane


def begin_episode(numbers: Numbers, orders: OrderNumbers, start: Thresholds, episode: EpisodeKey) -> tuple[EpisodeOrder, Lane]:
    """Begin the episode of a key."""
    order, world = path.draw_order(orders, episode.key), path.begin_world(numbers, start, episode.key)
    scale = path.cost_scale(order.quantity, numbers.arrival_price)
    return EpisodeOrder(episode.key, order.side, order.quantity, scale), first_lane(numbers, order.quantity, world)


def first_lane(numbers: Numbers, quantity: Any, world: World) -> Lane:
    """Return an episode before its first slice."""
    zero = 0.0
    return Lane(
        k=0,
        over=0,
        world=world,
        state=State(quantity, zero, zero),
        memory=PredatorMemory(zero, zero, zero, zero),
        account=open_account(zero),
        last=LastSlice(zero, numbers.slice_volume, numbers.arrival_price, zero, zero),
    )


def draw_words(order: EpisodeOrder, lane: Lane) -> Words:
    """Return the random words of the slice that comes."""
    return path.draw_words(order.key, lane.k)


def slice_cell(numbers: Numbers, lane: Lane) -> int:
    """Return the place of the slice that comes in the tables; finished lanes are clamped to the last slice."""
    cell: int = minimum(lane.k, numbers.slices - 1) * numbers.width + lane.world.regime
    return cell


def next_slice(numbers: Numbers, order: EpisodeOrder, lane: Lane, row: SliceRow, draws: Draws) -> tuple[Slice, World]:
    """Return the slice that comes, and the market at the start of the one after it."""
    return path.next_slice(numbers, order.side, lane.k, row, lane.world, draws)


def turn(numbers: Numbers, lane: Lane, slice: Slice, world: World, asked: Asked) -> tuple[Lane, Cost]:
    """Trade in a slice, book its cost, and move the market and the clock on.

    Args:
        numbers: The numbers of the market.
        lane: The episode at the start of the slice.
        slice: The slice as our trades meet it.
        world: The market at the start of the next slice.
        asked: What is asked for.

    Returns:
        The episode at the start of the next slice, and the cost of this one, currency.
    """
    spec, impact, before, memory = numbers.spec, impact_of(numbers), lane.state, lane.memory
    if spec.hunted:
        (after, charged), memory = step_with_predator(impact, before, slice, asked.shares, memory, numbers.predator)
        state, cost = State(*after), Cost(*charged)
    else:
        state, cost = step(impact, before, slice, asked.shares)
    account = lane.account
    if spec.complete:  # moves of the price matter where an order may stay unfilled
        account = Account(plus(account.cost, cost), account.drift_move, account.timing_move)
    else:
        account = book(account, cost, slice.drift, slice.innovation)
    k = lane.k + 1
    return (
        Lane(
            k=k,
            over=((k == numbers.slices) | (state.remaining <= 0.0)) * 1,
            world=world,
            state=state,
            memory=memory,
            account=account,
            last=LastSlice(before.remaining - state.remaining, slice.volume, lane.world.price, paid_cost(cost), asked.shares),
        ),
        cost,
    )


def settle(numbers: Numbers, order: EpisodeOrder, lane: Lane) -> Settled:
    """State what an episode that ended came to, in bps of the arrival notional."""
    bps, last = -order.scale, lane.last
    state = State(0.0, 0.0, 0.0) if numbers.spec.complete else lane.state
    statement = settle_in_bps(lane.account, impact_of(numbers), state, order.quantity, bps)
    least = where(must_finish(numbers, lane.k - 1), math.inf, 0.0)
    forced = forced_shares(least, last.volume, numbers.cap, last.asked, last.shares) / order.quantity
    return Settled(statement, forced, order.side, order.quantity)


def constant_fields(numbers: Numbers, orders: OrderNumbers) -> dict[tuple[type, str], Any]:
    """Return the fields that are the same in all lanes of a market, so that compiled loops need no memory for them.

    Returns:
        By record and dotted name of a field: its number, or the record and the name of the field that it is equal to.
    """
    spec, fixed = numbers.spec, dict[tuple[type, str], Any]()
    if not spec.drifting:
        fixed[SliceRow, "step_drift"] = 0.0
        if spec.flow_persistence == 0.0:
            fixed[Lane, "account.cost.drift"] = 0.0
    if spec.complete:
        fixed |= {(Lane, f"account.{name}"): 0.0 for name in ("drift_move", "timing_move")}
    if not spec.hunted:
        fixed |= {(Lane, f"memory.{name}"): 0.0 for name in PredatorMemory._fields}
    if not orders.random_side:
        fixed[EpisodeOrder, "side"] = OrderNumbers, "side"
    if not orders.random_size:
        fixed |= {(EpisodeOrder, name): (OrderNumbers, name) for name in ("quantity", "scale")}
    return fixed
