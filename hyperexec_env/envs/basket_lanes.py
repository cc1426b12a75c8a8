"""The plans of the vector environment of a basket: those of one asset for every asset, joined by weighted sums.

The stages of one asset are those of :mod:`~hyperexec_env.envs.lanes`; :mod:`~hyperexec_env.market.basket_lane` and this module
have those that a basket adds.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.backends.plan import Each, Line, Look, Pass, Program, Refuse, Show, Sum
from hyperexec_env.envs.action import MASKS, Action, Base
from hyperexec_env.envs.basket_features import (
    ASSET,
    BASKET,
    COMMON,
    DIFFERENT,
    deviation_of,
    pull_of,
    variance_left,
    whole_of,
)
from hyperexec_env.envs.basket_task import BasketTask
from hyperexec_env.envs.features import OWN, Seen, Sight, View, computed_features, shown, view_cell
from hyperexec_env.envs.lanes import ask_shares, mask_row
from hyperexec_env.envs.own import whole
from hyperexec_env.envs.plans import Chosen, Phases, cut_stage, reset_plan, step_plan
from hyperexec_env.envs.reward import Paid, Reward, charged_cost, no_pay
from hyperexec_env.envs.situation import situation_of
from hyperexec_env.envs.task import Cut, Limit, Task
from hyperexec_env.market.basket import Coupled, Offer, offer, turn_coupled, without_own
from hyperexec_env.market.basket_lane import (
    Basket,
    Entry,
    Member,
    Mixed,
    OwnDraws,
    Worth,
    begin_basket_episode,
    draw_common,
    enter,
    mixed_draws,
    open_asset,
    own_draws,
    unmixed_draws,
)
from hyperexec_env.market.kernel import Cost
from hyperexec_env.market.lane import (
    EpisodeOrder,
    Lane,
    Settled,
    Ticket,
    constant_fields,
    draw_words,
    next_episode,
    next_slice,
    settle,
    slice_cell,
    turn,
)
from hyperexec_env.market.path import OrderNumbers, draw_shocks, draws_of, order_numbers
from hyperexec_env.market.tables import Numbers, SliceRow, Thresholds
from hyperexec_env.records import Real, Single, Whole, record_type

__all__ = ["basket_arrays", "basket_program"]


class Charged(NamedTuple):
    """What a slice of an asset adds to the reward and to the end of the episode."""

    cost: Real
    """Cost of the slice that the reward charges, currency."""
    running: Real
    """1 if the asset has shares left and slices to trade them, else 0."""


class Charges(NamedTuple):
    """The sums of :class:`Charged` over the assets."""

    cost: Real
    running: Real


class AssetSight(NamedTuple):
    """The numbers of the features of an asset in a basket, see :class:`BasketSight`."""

    price: Real
    deviation: Real


class Exposure(NamedTuple):
    """The remaining shares of an asset (at the beginning of an episode, its order) as a part of the basket."""

    move: Real
    """Their daily standard deviation, currency."""
    value: Real
    """Their value at the arrival price, currency."""
    cell: Real
    """Row of the tables of an observer (:func:`view_cell`)."""


class Exposed(NamedTuple):
    """The move of the basket along an asset."""

    along: Real
    """(C m)_i of the moves m, currency."""


class Reach(NamedTuple):
    """See :attr:`Whole.reach <hyperexec_env.envs.basket_features.Whole>`."""

    reach: Real


class Remaining(NamedTuple):
    """Sums over the assets of :class:`Exposure` and :class:`Part`."""

    value: Real
    variance: Real
    cell: Real
    """That of asset 0: the slice and the regime are those of all."""


class Spread(NamedTuple):
    """The standard deviation of the remaining basket."""

    held: Whole
    """1 if the remaining basket has a variance, else 0."""
    deviation: Real
    """Currency; 1 if it has none."""


class Part(NamedTuple):
    """The part of an asset in the variance of the basket."""

    part: Real
    """m_i (C m)_i, currency^2."""


BasketSeen: Any = record_type("BasketSeen", (feature.name for feature in BASKET if feature.table is None), Single)
"""The features of the basket that are computed; those of tables follow in the observation."""
_DRAWN: Final = len(Seen._fields) - OWN
AssetSeen: Any = record_type("AssetSeen", (feature.name for feature in ASSET[: OWN + 1 + _DRAWN]), Single)
"""The features of an asset that are computed; those of tables follow in the observation."""


def charge(reward: Reward, lane: Lane, cost: Cost) -> Charged:
    """Return what a slice of an asset adds to the reward and to the end of the episode."""
    return Charged(charged_cost(reward, cost), (lane.over == 0) * 1.0)


def close_slice(basket: Basket, charges: Charges) -> tuple[Basket, Paid]:
    """Return the episode at the start of the next slice and the reward of the slice: it is over if no asset runs on."""
    over = charges.running == 0.0
    return Basket(basket.key, basket.k + 1, over * 1, basket.scale), Paid(charges.cost * basket.scale, over)


def expose(numbers: Numbers, asset: AssetSight, lane: Lane) -> Exposure:
    """Return the remaining shares of an asset as a part of the basket."""
    left = lane.state.remaining
    return Exposure(asset.deviation * left, asset.price * left, view_cell(numbers, lane) * 1.0)


def expose_order(asset: AssetSight, entry: Entry) -> Exposure:
    """Return the order of an asset as a part of the basket."""
    return Exposure(asset.deviation * entry.quantity, entry.value, 0.0)


def part_of(exposure: Exposure, exposed: Exposed) -> Part:
    """Return the part of an asset in the variance of the basket."""
    return Part(exposure.move * exposed.along)


def see_basket(worth: Worth, remaining: Remaining) -> tuple[BasketSeen, Spread]:
    """Return the computed features of the basket, and its standard deviation."""
    held, deviation = deviation_of(remaining.variance)
    seen = BasketSeen(remaining.value / worth.value, variance_left(remaining.variance, worth.variance))
    return seen, Spread(held * 1, deviation)


def see_asset(
    numbers: Numbers,
    sight: Sight,
    order: EpisodeOrder,
    lane: Lane,
    view: View,
    reach: Reach,
    exposed: Exposed,
    spread: Spread,
) -> AssetSeen:
    """Return the computed features of an asset."""
    situation = situation_of(None, numbers, sight.hidden, order, lane, lane.world.price)
    own, drawn = computed_features(numbers, sight, view, situation, reach.reach)
    pull = pull_of(exposed.along, spread.held != 0, spread.deviation)
    return AssetSeen(*own, pull, *drawn)


def common_cell(remaining: Remaining) -> int:
    """Return the row of the tables of an observer that all assets share."""
    cell: int = whole(remaining.cell)
    return cell


def _looks(discrete: bool, observation: str, mask: str) -> tuple[Line, ...]:
    """Return the lines that make an observation and its masks."""
    masks = (Look(slice_cell, Base), Show(mask, "masks", mask_row)) if discrete else ()
    return (
        Each(Pass(expose)),
        Sum("exposure", Exposure, "move", Exposed, "along"),
        Each(Pass(part_of)),
        Sum("one", Part, "part", Remaining, "variance"),
        Sum("one", Exposure, "value", Remaining, "value"),
        Sum("asset_0", Exposure, "cell", Remaining, "cell"),
        Pass(see_basket),
        Show(observation, "common", common_cell, BasketSeen),
        Each(
            Look(view_cell, View),
            Pass(see_asset),
            Show(observation, "different", view_cell, AssetSeen, first=len(BASKET)),
            *masks,
        ),
    )


def _begins(sized: bool) -> tuple[Line, ...]:
    """Return the lines that begin an episode; `sized`: whether it draws its quantities."""
    sizes = (
        Sum("reach", Entry, "quantity", Reach, "reach"),
        Each(Pass(expose_order)),
        Sum("exposure", Exposure, "move", Exposed, "along"),
        Each(Pass(part_of)),
        Sum("one", Exposure, "value", Worth, "value"),
        Sum("one", Part, "part", Worth, "variance"),
    )
    return (
        Pass(next_episode),
        Each(Pass(enter)),
        Sum("root", Entry, "world.flow", Mixed, "flow"),
        *(sizes if sized else ()),
        Pass(begin_basket_episode),
        Each(Pass(open_asset)),
    )


def _trades(alone: bool, *ask: Any) -> tuple[Line, ...]:
    """Return the lines that trade a slice.

    Args:
        alone: Whether the basket has one asset, which has no others to be coupled to.
        ask: The stages that make the request of an action.
    """
    drawn = Look(slice_cell, SliceRow, Base), Pass(draw_words), Pass(draw_shocks)
    closes = (
        Sum("one", Charged, "cost", Charges, "cost"),
        Sum("one", Charged, "running", Charges, "running"),
        Pass(close_slice),
    )
    if alone:
        return (Each(*drawn, Pass(draws_of, next_slice, *ask, turn, charge)), *closes)
    return (
        Pass(draw_common),
        Each(*drawn, Pass(own_draws), Pass(unmixed_draws, next_slice, *ask, offer)),
        Sum("root", OwnDraws, "flow", Mixed, "flow"),
        Sum("root", OwnDraws, "news", Mixed, "news"),
        Sum("permanent", Offer, "half", Coupled, "permanent"),
        Sum("transient", Offer, "half", Coupled, "transient"),
        Sum("correlation", Offer, "held", Coupled, "exposure"),
        Each(Pass(mixed_draws, next_slice, *ask, turn_coupled, charge)),
        *closes,
    )


def _plans(task: BasketTask, mode: AutoresetMode, limited: bool) -> dict[str, tuple[Line, ...]]:
    """Return the plans `reset`, `step` and `trade`; the actions of `trade` are shares."""
    discrete = task.discrete
    phases = Phases(
        clock=Basket,
        begins=_begins(task.draw.quantity_range is not None),
        idle=(Pass(no_pay),),
        cuts=(Pass(cut_stage(Basket)),) if limited else (),
        settles=(Each(Pass(settle)),),
        looks=lambda observation, mask: _looks(discrete, observation, mask),
    )

    def step(*ask: Any, low: float, high: float) -> tuple[Line, ...]:
        return step_plan(phases, mode, (Refuse(Action, "value", low, high),), _trades(len(task.assets) == 1, *ask))

    mode_of_all = task.assets[0].mode
    low, high = (0.0, mode_of_all.levels - 1.0) if task.discrete else (-np.inf, np.inf)
    return {
        "reset": reset_plan(phases),
        "step": step(mode_of_all.ask, low=low, high=high),
        "trade": step(ask_shares, low=-np.inf, high=np.inf),
    }


def _member(task: BasketTask, number: int, reach: Any) -> Program:
    """Return the records and numbers of an asset; `reach` is None if the episodes draw their quantities."""
    own: Task = task.assets[number]
    market, observer, sides, sight = own.market, own.observer, task.market.sides, task.sight
    orders = order_numbers(market, task.draw)
    fixed = constant_fields(market.numbers, orders)
    fixed.pop((EpisodeOrder, "scale"), None)  # that of the basket
    return Program(
        plans={},
        kept=(EpisodeOrder, Lane, *((Reach,) if reach is None else ())),
        given={
            Numbers: market.numbers,
            OrderNumbers: orders,
            Thresholds: market.start,
            Member: Member(np.uint64(number), sides[number] * sides[0]),
            Sight: observer.sight,
            AssetSight: AssetSight(sight.prices[number], sight.deviations[number]),
            **({} if reach is None else {Reach: Reach(reach)}),
        },
        inputs={Action: "values"},
        listed={Settled: "settled"},
        tables={SliceRow: market.table, Base: Base(shown(market, own.mode.base, observer.hidden)), View: observer.table},
        rows={"different": _columns(observer.known, DIFFERENT)},
        fixed=fixed,
    )


def _columns(known: NDArray[np.float32], features: tuple[int, ...]) -> NDArray[np.float32]:
    """Return those columns of the features of tables that are among some features."""
    computed = len(Seen._fields)
    return np.ascontiguousarray(known[:, [feature - computed for feature in features if feature >= computed]])


def basket_program(task: BasketTask, mode: AutoresetMode, limit: int | None = None) -> Program:
    """Return the program of the lanes of a vector environment; `limit` is the largest number of steps of an episode."""
    market, sized = task.market, task.draw.quantity_range is not None
    count, coupling = len(market.markets), market.coupling
    orders = whole_of(task.sight, market.scenario.quantities.tolist())
    worth: dict[type, Any] = {} if sized else {Worth: Worth(orders.value, orders.variance)}
    limits: dict[type, Any] = {} if limit is None else {Limit: Limit(limit)}
    return Program(
        plans=_plans(task, mode, limited=limit is not None),
        kept=(Ticket, Basket, *((Worth,) if sized else ())),
        given={Reward: task.reward, **worth, **limits},
        inputs={Chosen: "chosen"},
        outputs={Paid: ("reward", "terminated"), **({Cut: ("truncated",)} if limits else {})},
        rows={"common": _columns(task.assets[0].observer.known, COMMON), "masks": MASKS},
        members=tuple(_member(task, i, None if sized else orders.reach[i]) for i in range(count)),
        weights={
            "root": np.array(market.root),
            "permanent": np.array(without_own(coupling.permanent)),
            "transient": np.array(without_own(coupling.transient)),
            "correlation": np.array(without_own(coupling.correlation)),
            "exposure": np.array(task.sight.correlation),
            "reach": np.array(task.sight.reach),
            "one": np.ones(count),
            "asset_0": np.eye(count)[0],
        },
    )


def basket_arrays(task: BasketTask, lanes: int, limit: int | None = None) -> dict[str, tuple[Any, Any]]:
    """Return (shape, dtype) of each array that the plans of :func:`basket_program` write for all lanes, by name."""
    flag, number = ((lanes,), np.dtype(np.bool_)), ((lanes,), np.dtype(np.float64))
    levels = len(task.assets) * task.assets[0].mode.levels if task.discrete else 0
    return {
        "observation": ((lanes, *task.observation_space.shape), np.dtype(np.float32)),
        "reward": number,
        "terminated": flag,
        **({} if limit is None else {"truncated": flag}),
        **({"mask": ((lanes, levels), np.dtype(np.int8))} if task.discrete else {}),
    }
