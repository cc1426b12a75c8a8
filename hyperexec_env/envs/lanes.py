"""The plans of the vector environment: the stages of a reset and of a step, in each autoreset mode."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from hyperexec_env.backends.plan import For, Line, Look, Pass, Pick, Program, Refuse, Show, Unless
from hyperexec_env.envs.action import MASKS, PACES, Action, Base, mask_place
from hyperexec_env.envs.features import FEATURES, Seen, Sight, View, observe, shown, view_cell
from hyperexec_env.envs.task import Cut, Limit, Paid, Reward, Task, cut, no_pay, pay, settle_cut
from hyperexec_env.envs.uncertainty import (
    Belief,
    Held,
    begin_belief,
    held_table,
    observe_believed,
    pay_drawn,
    settle_drawn,
    settle_drawn_cut,
    turn_drawn,
)
from hyperexec_env.market.days import DayCount, DaySlice, day_row
from hyperexec_env.market.draws import Choice, Drawn, draw_cell, drawn_cell, next_drawn_slice
from hyperexec_env.market.lane import (
    Asked,
    EpisodeOrder,
    Lane,
    Settled,
    Ticket,
    begin,
    constant_fields,
    day_cell,
    draw_words,
    next_slice,
    open_day,
    settle,
    slice_cell,
    turn,
)
from hyperexec_env.market.numeric import minimum
from hyperexec_env.market.path import OrderNumbers, day_draws, draw_shocks, draws_of, order_numbers
from hyperexec_env.market.tables import Numbers, SliceRow, Thresholds, must_finish
from hyperexec_env.records import Whole, leaves

__all__ = ["SETTLED", "Chosen", "lane_program", "output_arrays", "slice_lines"]

SETTLED: Final = tuple(path for path, _ in leaves(Settled))
"""Dotted names of the results of an episode that ended: the columns of the array `settled`."""


class Chosen(NamedTuple):
    """The choice of a lane at a reset."""

    flag: Whole
    """1 if the reset begins the next episode of the lane, else 0."""


def ask_shares(action: Action) -> Asked:
    """Return the request of an action that is a number of shares, for the plan `trade`."""
    return Asked(action.value)


def mask_row(numbers: Numbers, lane: Lane, base: Base) -> int:
    """Return the row of :data:`MASKS` for slice `lane.k`."""
    place: int = mask_place(lane.state.remaining, base.base, must_finish(numbers, minimum(lane.k, numbers.slices - 1)))
    return place


class Stages(NamedTuple):
    """The stages that differ between a market that is known and one that is a draw of a posterior."""

    draw: tuple[Line, ...]
    """Lines that read the draw of an episode."""
    looks: tuple[Line, ...]
    """Lines that read the tables of a slice by other cells than that of the slice."""
    rows: tuple[type, ...]
    """Record types that stages read by the cell of the slice."""
    next_slice: Any
    turn: Any
    pay: Any
    settle: Any
    settle_cut: Any
    begin: tuple[Any, ...]
    observe: Any


_KNOWN: Final = Stages((), (), (SliceRow,), next_slice, turn, pay, settle, settle_cut, (begin,), observe)
_FIND: Final = (Look(draw_cell, Drawn),)
_DRAWN: Final = Stages(
    _FIND,
    (*_FIND, Look(drawn_cell, SliceRow)),
    (Held,),
    next_drawn_slice,
    turn_drawn,
    pay_drawn,
    settle_drawn,
    settle_drawn_cut,
    (begin, begin_belief),
    observe_believed,
)


def slice_lines(*ask: Any, records: tuple[type, ...] = (), stages: Stages = _KNOWN, recorded: bool = False) -> tuple[Line, ...]:
    """Return the lines that trade one slice.

    Args:
        ask: The stages that make the request (:class:`Asked`).
        records: Record types that these stages read from tables, by the cell of the slice.
        stages: The stages of the market.
        recorded: Whether the draws are those of recorded days.
    """
    if recorded:
        look = Look(slice_cell, SliceRow, *records), Look(day_cell, DaySlice)
        return (*look, Pass(day_row, day_draws, next_slice, *ask, turn, pay))
    return (
        *stages.looks,
        Look(slice_cell, *stages.rows, *records),
        Pass(draw_words),
        Pass(draw_shocks),
        Pass(draws_of, stages.next_slice, *ask, stages.turn, stages.pay),
    )


def _plans(task: Task, mode: AutoresetMode, limited: bool) -> dict[str, tuple[Line, ...]]:
    """Return the plans `reset`, `step` and `trade`; the actions of `trade` are shares."""
    discrete, stages, recorded = task.mode.discrete, _KNOWN if task.draws is None else _DRAWN, task.market.days is not None
    cuts, settles = ((Pass(cut),), stages.settle_cut) if limited else ((), stages.settle)
    settling: tuple[Line, ...] = (*stages.draw, Pass(settles))
    begins: tuple[Line, ...] = (Pass(*stages.begin),)
    if recorded:
        begins = (Pass(begin), Look(day_cell, DaySlice), Pass(open_day))

    def looks(observation: str, mask: str) -> tuple[Line, ...]:
        seen = (Look(view_cell, View), Pass(stages.observe), Show(observation, "known", view_cell, Seen))
        return (*seen, Look(slice_cell, Base), Show(mask, "masks", mask_row)) if discrete else seen

    def step(*ask: Any, low: float, high: float) -> tuple[Line, ...]:
        refuse, ended = Refuse(Action, "value", low, high), Pick("ended", Lane, "over")
        traded = slice_lines(*ask, records=(Base,), stages=stages, recorded=recorded)
        if mode == AutoresetMode.SAME_STEP:
            last = (*settling, *looks("final", "final_mask"), *begins)
            return (refuse, *traded, *cuts, ended, For("ended", *last), *looks("observation", "mask"))
        if mode == AutoresetMode.NEXT_STEP:
            waiting = Pick("waiting", Lane, "over")
            traded = (waiting, Unless("waiting", *traded), For("waiting", *begins, Pass(no_pay)))
        return (refuse, *traded, *cuts, ended, For("ended", *settling), *looks("observation", "mask"))

    low, high = (0.0, len(PACES) - 1.0) if discrete else (-np.inf, np.inf)
    return {
        "reset": (Pick("chosen", Chosen, "flag"), For("chosen", *begins), *looks("observation", "mask")),
        "step": step(task.mode.ask, low=low, high=high),
        "trade": step(ask_shares, low=-np.inf, high=np.inf),
    }


def lane_program(task: Task, mode: AutoresetMode, limit: int | None = None) -> Program:
    """Return the program of the lanes of a vector environment; `limit` is the largest number of steps of an episode."""
    market, observer, draws = task.market, task.observer, task.draws
    limits: dict[type, Any] = {} if limit is None else {Limit: Limit(limit)}
    orders, days = order_numbers(market, task.draw), market.days
    return Program(
        plans=_plans(task, mode, limited=limit is not None),
        kept=(Ticket, EpisodeOrder, Lane, *(() if draws is None else (Belief,))),
        given={
            Numbers: market.numbers,
            OrderNumbers: orders,
            Thresholds: market.start,
            Sight: observer.sight,
            Reward: task.reward,
            **limits,
            **({} if days is None else {DayCount: days.day_count}),
            **({} if draws is None else {Choice: draws.choice}),
        },
        inputs={Action: "values", Chosen: "chosen"},
        outputs={Paid: ("reward", "terminated"), **({Cut: ("truncated",)} if limits else {})},
        listed={Settled: "settled"},
        tables={
            SliceRow: market.table if draws is None else draws.table,
            Base: Base(shown(market, task.mode.base, observer.hidden)),
            View: observer.table,
            **({} if draws is None else {Drawn: draws.drawn, Held: held_table(market, observer.hidden)}),
            **({} if days is None else {DaySlice: days.slices}),
        },
        rows={"known": observer.known, "masks": MASKS},
        fixed=constant_fields(market.numbers, orders),
    )


def output_arrays(task: Task, lanes: int, limit: int | None = None) -> dict[str, tuple[Any, Any]]:
    """Return (shape, dtype) of each array that the plans of :func:`lane_program` write for all lanes, by name."""
    flag = (lanes,), np.dtype(np.bool_)
    masks = {"mask": ((lanes, len(PACES)), np.dtype(np.int8))} if task.mode.discrete else {}
    return {
        "observation": ((lanes, len(FEATURES)), np.dtype(np.float32)),
        "reward": ((lanes,), np.dtype(np.float64)),
        "terminated": flag,
        **({} if limit is None else {"truncated": flag}),
        **masks,
    }
