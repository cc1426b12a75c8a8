r"""Uncertain markets: an episode meets a draw of the posterior, and the agent observes what a desk observes.

A desk sees the mid of the market, its own fills and the volume that traded. It does not see which part of a move of the mid its
own trades caused: it computes that part with its estimates. So an agent whose market is uncertain observes

* the volume, the order flow, the mid and the fill prices of the draw, in units of the point estimate;
* its own displacement as the point estimate gives it: :math:`\hat G_k = \hat g (X - x_k)` and
  :math:`\hat D_{k+1} = (\hat D_k + \hat\kappa n_k) e^{-\hat\rho \tau}`;
* as unaffected price, the mid without that displacement: :math:`\hat S_k = S_k + s (G_k + D_k - \hat G_k - \hat D_k)`.

Expected volumes, volatility and spread of the observation are those of the point estimate by regime. A quoted spread is public
too, but the number itself would name the draw in a finite posterior; only the fills reveal it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.episode import Block, Episode
from hyperexec_env.envs.features import OWN, Seen, Sight, View, observe, own_features, shown
from hyperexec_env.envs.own import notice
from hyperexec_env.envs.reward import Paid, PaidRisk, Reward, pay, pay_parts
from hyperexec_env.envs.situation import Situation
from hyperexec_env.envs.task import Task, settle_cut
from hyperexec_env.market.draws import Drawn, drawn_numbers
from hyperexec_env.market.kernel import Cost, Slice, State, move, step
from hyperexec_env.market.lane import Asked, EpisodeOrder, Lane, Settled, settle, turn
from hyperexec_env.market.path import World, impact_of
from hyperexec_env.market.tables import Market, Numbers
from hyperexec_env.records import Real, maker, on_numbers

__all__ = [
    "Belief",
    "Held",
    "UncertainEpisode",
    "begin_belief",
    "believe",
    "believed",
    "episode_of",
    "held_table",
    "notice_believed",
    "observe_believed",
    "pay_drawn",
    "pay_parts_drawn",
    "settle_drawn",
    "settle_drawn_cut",
    "turn_drawn",
]


class Belief(NamedTuple):
    """What a desk computes of its own displacement of the price."""

    transient: Real
    """Transient displacement by the point estimate, currency per share."""


class Held(NamedTuple):
    """The numbers of the point estimate in one slice and one regime that a belief needs."""

    decay: Real
    """Decay of the transient displacement over the slice; its mean over regimes where the regime is not observed."""


_with_decay = maker(Slice, Slice, ("transient_decay",))
_with_state = maker(Lane, Lane, ("state", "world"))
_as_desk = maker(World, World, ("price", "level_mean", "level_variance"))


def held_table(market: Market, hidden: bool) -> Held:
    """Return the table of :class:`Held` of an observer, one array of shape (cells,) for each field."""
    mean = float(market.transient_decay @ market.scenario.regimes.start_law())
    return Held(shown(market, np.append(market.transient_decay, mean)[None], hidden))


def begin_belief() -> Belief:
    """Return the belief at the start of an episode."""
    return Belief(0.0)


def believe(numbers: Numbers, lane: Lane, slice: Slice, shares: Any, belief: Belief, held: Held) -> Belief:
    """Return the belief after a slice, given the episode before the slice and the shares that traded."""
    state = State(lane.state.remaining, 0.0, belief.transient)
    after, _ = step(impact_of(numbers), state, _with_decay(slice, held.decay), shares)
    return Belief(after.transient)


def believed_price(side: Any, price: Any, permanent: Any, transient: Any, own: Any, passing: Any) -> Any:
    """Return the mid without the displacement that the desk believes to be its own, currency per share.

    Args:
        side: +1 buy, -1 sell.
        price: Unaffected price of the draw.
        permanent: Permanent displacement in the market of the draw.
        transient: Transient displacement in the market of the draw.
        own: Permanent displacement by the point estimate.
        passing: Transient displacement by the point estimate.
    """
    return price + side * ((permanent + transient) - (own + passing))


def believed(numbers: Numbers, order: EpisodeOrder, lane: Lane, belief: Belief) -> Lane:
    """Return the episode as the desk sees it: displacement by the point estimate, and the mid of the draw."""
    state = lane.state
    own = numbers.permanent_slope * (order.quantity - state.remaining)
    price = believed_price(order.side, lane.world.price, state.permanent, state.transient, own, belief.transient)
    level = numbers.volume_level_sd  # the filter of the draw knows the volume that it expects
    world = _as_desk(lane.world, price, lane.world.level_mean * 0.0, lane.world.level_variance * 0.0 + level * level)
    seen: Lane = _with_state(lane, State(state.remaining, own, belief.transient), world)
    return seen


def turn_drawn(
    numbers: Numbers, drawn: Drawn, lane: Lane, slice: Slice, world: World, asked: Asked, belief: Belief, held: Held
) -> tuple[Lane, Cost, Belief]:
    """Trade one slice in the market of the draw (:func:`~hyperexec_env.market.lane.turn`), and follow the belief."""
    after, cost = turn(drawn_numbers(numbers, drawn), lane, slice, world, asked)
    return after, cost, believe(numbers, lane, slice, after.last.shares, belief, held)


def pay_drawn(numbers: Numbers, drawn: Drawn, reward: Reward, order: EpisodeOrder, lane: Lane, cost: Cost) -> Paid:
    """Return the reward of a slice in the market of the draw."""
    return pay(drawn_numbers(numbers, drawn), reward, order, lane, cost)


def pay_parts_drawn(numbers: Numbers, drawn: Drawn, order: EpisodeOrder, lane: Lane, cost: Cost) -> tuple[Paid, PaidRisk]:
    """Return the vector reward of a slice in the market of the draw."""
    return pay_parts(drawn_numbers(numbers, drawn), order, lane, cost)


def settle_drawn(numbers: Numbers, drawn: Drawn, order: EpisodeOrder, lane: Lane) -> Settled:
    """Return the result of an episode in the market of the draw."""
    return settle(drawn_numbers(numbers, drawn), order, lane)


def settle_drawn_cut(numbers: Numbers, drawn: Drawn, order: EpisodeOrder, lane: Lane, paid: Paid) -> Settled:
    """Return the result of an episode in the market of the draw that ended or has reached the limit."""
    return settle_cut(drawn_numbers(numbers, drawn), order, lane, paid)


def observe_believed(numbers: Numbers, sight: Sight, order: EpisodeOrder, lane: Lane, view: View, belief: Belief) -> Seen:
    """Return the computed features of a lane as the desk sees it."""
    return observe(numbers, sight, order, believed(numbers, order, lane, belief), view)


def notice_believed(numbers: Numbers, sight: Sight, order: EpisodeOrder, lane: Lane, belief: Belief) -> Situation:
    """Return the situation of a lane as the desk sees it, for a user's function."""
    return notice(numbers, sight, order, believed(numbers, order, lane, belief))


_write_own = struct.Struct(f"{OWN}f").pack_into
_move = on_numbers(move)
_DECAY: Final = Slice._fields.index("transient_decay")


class UncertainEpisode(Episode):
    """A running episode in the market of its draw, whose agent observes its own displacement by the point estimate."""

    __slots__ = ("_belief", "_decays", "_point", "_prices")

    def __init__(self, task: Task, block: Block, number: int) -> None:
        """Begin episode `number`, which must be one of the block."""
        super().__init__(task, block, number)
        market, index = task.market, number - block.first
        regimes = block.path.world.regime[:-1, index]
        cells = market.cell(np.arange(market.slices), task.observer.seen(regimes))
        self._decays: list[float] = held_table(market, task.observer.hidden).decay.take(cells).tolist()
        self._prices: list[float] = block.path.world.price[:, index].tolist()
        self._point: Any = tuple(market.impact)
        self._belief = 0.0

    def trade(self, request: Callable[[Any, Any, Any], Any], action: Any) -> tuple[NDArray[np.float32], float]:
        """Trade the shares that an action requests; see :meth:`Episode.trade`."""
        k, left = self.k, self._state[0]
        written: Any
        written, reward = super().trade(request, action)
        row, (remaining, permanent, transient) = self._rows[k], self._state
        held = [*row[:_DECAY], self._decays[k], *row[_DECAY + 1 :]]
        (_, _, self._belief), _ = _move(self._point, (left, 0.0, self._belief), held, left - remaining)
        own = self._point[0] * (self.quantity - remaining)
        price = believed_price(self.side, self._prices[k + 1], permanent, transient, own, self._belief)
        known = (self.side * (price - self.task.market.numbers.arrival_price), *self._known[k + 1][1:])
        seen = (remaining, own, self._belief)
        _write_own(written, 0, *own_features(self._scales, self.quantity, self._reach, seen, left - remaining, row[0], known))
        return written, reward

    def seen(self, lane: Lane) -> Lane:
        """Return the episode as the desk sees it."""
        return believed(self.task.market.numbers, self.order, lane, Belief(self._belief))


def episode_of(task: Task, block: Block, number: int) -> Episode:
    """Return episode `number` of a block, in the market of the task or of its draw."""
    return Episode(task, block, number) if task.draws is None else UncertainEpisode(task, block, number)
