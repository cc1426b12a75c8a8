"""The plans of the vector environment: the stages of a reset and of a step, in each autoreset mode."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from hyperexec_env.backends.plan import Line, Look, Pass, Program, Refuse, Show
from hyperexec_env.envs.action import MASKS, Action, Base, mask_place
from hyperexec_env.envs.features import FEATURES, Known, Seen, Sight, View, observe, shown, view_cell
from hyperexec_env.envs.own import allow_stage, ask_stage, extend_stage, notice, pay_stage
from hyperexec_env.envs.plans import Chosen, Phases, cut_stage, first_row, reset_plan, step_plan
from hyperexec_env.envs.reward import Paid, PaidRisk, Reward, no_pay, no_pay_risk, pay, pay_parts
from hyperexec_env.envs.situation import Situation, with_law
from hyperexec_env.envs.task import Cut, Limit, Task, settle_cut
from hyperexec_env.envs.uncertainty import (
    Belief,
    Held,
    begin_belief,
    held_table,
    notice_believed,
    observe_believed,
    pay_drawn,
    pay_parts_drawn,
    settle_drawn,
    settle_drawn_cut,
    turn_drawn,
)
from hyperexec_env.market.days import DayCount, DaySlice, day_row
from hyperexec_env.market.draws import Choice, Drawn, draw_cell, drawn_cell, next_drawn_slice
from hyperexec_env.market.hidden import Chain, RegimeLaw, Rivals, begin_law, chain_of, follow_law, rivals_table
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
from hyperexec_env.records import leaves

__all__ = ["SETTLED", "lane_program", "output_arrays", "slice_lines"]

SETTLED: Final = tuple(path for path, _ in leaves(Settled))
"""Dotted names of the results of an episode that ended: the columns of the array `settled`."""


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
    pay_parts: Any
    notice: Any


_KNOWN: Final = Stages((), (), (SliceRow,), next_slice, turn, pay, settle, settle_cut, (begin,), observe, pay_parts, notice)
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
    pay_parts_drawn,
    notice_believed,
)


def notice_followed(numbers: Numbers, sight: Sight, order: EpisodeOrder, lane: Lane, law: RegimeLaw) -> Situation:
    """Return the situation of a lane with the probabilities of the regimes, for a user's function."""
    noticed: Situation = with_law(notice(numbers, sight, order, lane), law)
    return noticed


_FOLLOWED: Final = _KNOWN._replace(rows=(SliceRow, Rivals), begin=(begin, begin_law), notice=notice_followed)
"""Stages of an observation that shows the probabilities of the regimes, which :func:`follow_law` follows after each slice."""


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
        *((Pass(follow_law),) if Rivals in stages.rows else ()),
    )


def no_ask() -> Asked:
    """Return the request of 0 shares of a step that begins an episode."""
    return Asked(0.0)


class Hooks(NamedTuple):
    """The lines in which a user's functions, or the vector reward, take part."""

    stages: Stages
    ask: tuple[Any, ...]
    """Stages that make the request of an action."""
    asked_of: type
    """Record type that these stages read by the cell of the slice."""
    idle: tuple[Any, ...]
    """Stages of a step that begins an episode."""
    extra: type | None
    """Record type of the user's features."""
    look: tuple[type, ...]
    """Record types that an observation reads."""
    seen: tuple[Any, ...]
    """Stages that make an observation, and the user's mask."""
    allowed: type | None
    """Record type of the user's mask."""


def _hooks(task: Task) -> Hooks:
    """Return the lines of a task."""
    stages, own = _KNOWN if task.draws is None else _DRAWN, task.mode.own
    if task.observer.follows:
        stages = _FOLLOWED
    idle: tuple[Any, ...] = (no_pay,)
    if task.own_reward is not None:
        stages = stages._replace(pay=pay_stage(task.own_reward, task.draws is not None))
    elif task.parts:
        stages, idle = stages._replace(pay=stages.pay_parts), (no_pay, no_pay_risk)
    ask: tuple[Any, ...] = (task.mode.ask,)
    if own is not None:
        ask, idle = (stages.notice, ask_stage(own)), (*idle, no_ask)
    extra, extend = extend_stage(task.observer.own) if task.observer.own else (None, None)
    allowed, allow = allow_stage(own) if own is not None and own.mask is not None else (None, None)
    functions = tuple(stage for stage in (extend, allow) if stage is not None)
    noticed = (stages.notice, *functions) if functions else ()
    return Hooks(
        stages,
        ask,
        Base if own is None else Known,
        idle,
        extra,
        (View, Known) if task.observer.calls or allow is not None else (View,),
        (stages.observe, *noticed),
        allowed,
    )


def _plans(task: Task, mode: AutoresetMode, limited: bool) -> dict[str, tuple[Line, ...]]:
    """Return the plans `reset`, `step` and `trade`; the actions of `trade` are shares."""
    discrete, hooks, recorded = task.mode.discrete, _hooks(task), task.market.days is not None
    stages = hooks.stages
    settling: tuple[Line, ...] = (*stages.draw, Pass(stages.settle_cut if limited else stages.settle))
    begins: tuple[Line, ...] = (Pass(*stages.begin),)
    if recorded:
        begins = (Pass(begin), Look(day_cell, DaySlice), Pass(open_day))

    def masks(target: str) -> tuple[Line, ...]:
        if task.mode.own is None:
            return Look(slice_cell, Base), Show(target, "masks", mask_row)
        return (Show(target, "masks", first_row, hooks.allowed),)

    def looks(observation: str, mask: str) -> tuple[Line, ...]:
        show = Show(observation, "known", view_cell, Seen, hooks.extra)
        return (Look(view_cell, *hooks.look), Pass(*hooks.seen), show, *(masks(mask) if discrete else ()))

    cuts = (Pass(cut_stage(Lane)),) if limited else ()
    phases = Phases(Lane, begins, (Pass(*hooks.idle),), cuts, settling, looks)

    def step(*ask: Any, low: float, high: float) -> tuple[Line, ...]:
        traded = slice_lines(*ask, records=(hooks.asked_of,), stages=stages, recorded=recorded)
        return step_plan(phases, mode, (Refuse(Action, "value", low, high),), traded)

    low, high = (0.0, task.mode.levels - 1.0) if discrete else (-np.inf, np.inf)
    return {
        "reset": reset_plan(phases),
        "step": step(*hooks.ask, low=low, high=high),
        "trade": step(ask_shares, low=-np.inf, high=np.inf),
    }


def _mask_rows(task: Task) -> Any:
    """Return the constant array of which a row, behind the record of the user's mask, is the mask of a lane."""
    own = task.mode.own
    if own is None:
        return MASKS
    return np.ones((1, own.levels if own.mask is None else 0), np.int8)


def lane_program(task: Task, mode: AutoresetMode, limit: int | None = None) -> Program:
    """Return the program of the lanes of a vector environment; `limit` is the largest number of steps of an episode."""
    market, observer, draws = task.market, task.observer, task.draws
    limits: dict[type, Any] = {} if limit is None else {Limit: Limit(limit)}
    orders, days = order_numbers(market, task.draw), market.days
    return Program(
        plans=_plans(task, mode, limited=limit is not None),
        kept=(
            Ticket,
            EpisodeOrder,
            Lane,
            *(() if draws is None else (Belief,)),
            *((RegimeLaw,) if observer.follows else ()),
        ),
        given={
            Numbers: market.numbers,
            OrderNumbers: orders,
            Thresholds: market.start,
            Sight: observer.sight,
            Reward: task.reward,
            **limits,
            **({} if days is None else {DayCount: days.day_count}),
            **({} if draws is None else {Choice: draws.choice}),
            **({Chain: chain_of(market)} if observer.follows else {}),
        },
        inputs={Action: "values", Chosen: "chosen"},
        outputs={
            Paid: ("reward", "terminated"),
            **({PaidRisk: ("risk_reward",)} if task.parts else {}),
            **({} if task.mode.own is None else {Asked: ("asked",)}),
            **({Cut: ("truncated",)} if limits else {}),
        },
        listed={Settled: "settled"},
        tables={
            SliceRow: market.table if draws is None else draws.table,
            Base: Base(shown(market, task.mode.base, observer.hidden)),
            View: observer.table,
            **({} if task.mode.own is None and not observer.calls else {Known: observer.facts}),
            **({} if draws is None else {Drawn: draws.drawn, Held: held_table(market, observer.hidden)}),
            **({} if days is None else {DaySlice: days.slices}),
            **({Rivals: rivals_table(market)} if observer.follows else {}),
        },
        rows={"known": observer.known, "masks": _mask_rows(task)},
        fixed=constant_fields(market.numbers, orders),
    )


def output_arrays(task: Task, lanes: int, limit: int | None = None) -> dict[str, tuple[Any, Any]]:
    """Return (shape, dtype) of each array that the plans of :func:`lane_program` write for all lanes, by name."""
    flag = (lanes,), np.dtype(np.bool_)
    number = (lanes,), np.dtype(np.float64)
    masks = {"mask": ((lanes, task.mode.levels), np.dtype(np.int8))} if task.mode.discrete else {}
    return {
        "observation": ((lanes, len(FEATURES) + len(task.observer.own)), np.dtype(np.float32)),
        "reward": number,
        "terminated": flag,
        **({"risk_reward": number} if task.parts else {}),
        **({} if task.mode.own is None else {"asked": number}),
        **({} if limit is None else {"truncated": flag}),
        **masks,
    }
