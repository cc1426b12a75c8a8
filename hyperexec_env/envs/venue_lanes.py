"""The plans of the vector environment of an order over venues: those of one order, with a trade in several venues.

The stages of one order are those of :mod:`~hyperexec_env.envs.lanes`; :mod:`~hyperexec_env.market.venue_lane` and this module
have those that venues add.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import add
from typing import Any, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from hyperexec_env.backends.plan import Line, Look, Pass, Program, Refuse, Show
from hyperexec_env.envs.action import Base
from hyperexec_env.envs.features import Seen, Sight, View, observe, shown, view_cell
from hyperexec_env.envs.plans import Chosen, Phases, cut_stage, reset_plan, step_plan
from hyperexec_env.envs.reward import Paid, Reward, no_pay, pay
from hyperexec_env.envs.task import Cut, Limit
from hyperexec_env.envs.venue_task import VenueTask, hidden_features, lit_features, tilted, venue_requests
from hyperexec_env.market.lane import (
    EpisodeOrder,
    Lane,
    Settled,
    Ticket,
    begin,
    constant_fields,
    draw_words,
    next_slice,
    settle,
    slice_cell,
)
from hyperexec_env.market.numeric import maximum, minimum
from hyperexec_env.market.path import OrderNumbers, draw_shocks, draws_of, order_numbers
from hyperexec_env.market.several import each, fold, joined
from hyperexec_env.market.tables import Numbers, SliceRow, Thresholds, must_finish
from hyperexec_env.market.venue_lane import VenueStages, limited, numbers_of, record_of, row_table, stage, stages_of
from hyperexec_env.market.venue_path import Terms, lit_volume
from hyperexec_env.records import Real, Single, leaves, numbered, record_type

__all__ = ["VenueKinds", "input_names", "venue_arrays", "venue_kinds", "venue_program"]


class Depth(NamedTuple):
    """See :attr:`VenueMarket.depth <hyperexec_env.market.venue_path.VenueMarket.depth>`."""

    depth: Real


class VenueKinds(NamedTuple):
    """Record types and stages of a task beside those of its market."""

    Terms: Any
    """What a router knows of a slice: `expected` volume, and `q` and `scale` of the lit venues."""
    Settled: Any
    """The result of an episode: `settled` of the order, `fees`, `adverse`, `filled` of each venue, and the order's `scale`."""
    inputs: tuple[Any, ...]
    """Record types of the numbers of actions and of requests: one for each number, as many as the longer has."""
    ask: tuple[Any, ...]
    """Stages that make the request of an action."""
    trade: tuple[Any, ...]
    """Stages that make the request of numbers of shares."""
    settle: Any
    see: tuple[Any, ...]
    """The stage that computes the features of the venues, or nothing where they have none."""
    Seen: Any
    """Record type of these features; None where there are none."""


def _clipped(number: Any) -> Any:
    """Return a number of an action within its bounds."""
    return minimum(maximum(number, -1.0), 1.0)


def _gathered(name: str, kind: Any, inputs: tuple[Any, ...]) -> Callable[..., Any]:
    """Return the stage that makes a record of the numbers of inputs."""
    names = [f"given{i}" for i in range(len(inputs))]
    text = f"lambda {', '.join(names)}: Kind({', '.join(f'{each}.value' for each in names)})"
    made: Callable[..., Any] = eval(text, {"Kind": kind})  # noqa: S307 - names of ours
    made.__name__ = made.__qualname__ = name
    return stage(made, kind, **dict(zip(names, inputs, strict=True)))


def regime_row(lane: Lane) -> int:
    """Return the regime of the slice at hand, the row of the terms of the venues."""
    regime: int = lane.world.regime
    return regime


def venue_kinds(task: VenueTask) -> VenueKinds:
    """Return the record types and stages of a task."""
    return _kinds(stages_of(task.market), task.market.lit, task.shape[0], task.router == "agent", task.split)


@lru_cache(maxsize=64)
def _kinds(stages: VenueStages, lit: int, numbers: int, agent: bool, split: Callable[..., Any]) -> VenueKinds:
    """Return the record types and stages of the tasks of some markets.

    Args:
        stages: Record types and stages of the market.
        lit: Number of lit venues.
        numbers: Numbers of an action.
        agent: Whether the agent splits the lit request.
        split: Function that splits it.
    """
    Lit, Every, VenueState, VenueNumbers, VenueAsked = stages.Lit, stages.Every, stages.State, stages.Numbers, stages.Asked
    count = len(Every._fields)
    hidden = count - lit
    VenueTerms = record_of("VenueTerms", expected=Real, q=Lit, scale=Lit)
    VenueSettled = record_of("VenueSettled", settled=Settled, fees=Real, adverse=Real, filled=Every, scale=Real)
    inputs = tuple(record_type(f"Input{i}", ("value",)) for i in range(max(count, numbers)))
    VenueAction, VenueShares = numbered("VenueAction", numbers), numbered("VenueShares", count)
    tilts = 1 + hidden
    names = [*("share", "fee") * (lit if lit > 1 else 0), *("filled", "censored", "since", "fill_rate") * hidden]
    VenueSeen: Any = record_type("VenueSeen", (f"{name}_{i}" for i, name in enumerate(names)), Single)

    def ask_venues(
        numbers: Numbers, venues: Any, depth: Depth, terms: Any, base: Base, lane: Lane, state: Any, action: Any
    ) -> Any:
        chosen = each(_clipped, action)
        if agent:
            volumes = each(tilted, venues.shares, chosen[tilts:])
        else:
            volumes = each(lit_volume, terms.expected, depth.depth, state.weights)
        known = Terms(joined(terms.q), joined(terms.scale), volumes)
        left, last = lane.state.remaining, must_finish(numbers, minimum(lane.k, numbers.slices - 1))
        shares, wanted = venue_requests(split, numbers.spec.beta, chosen[0], chosen[1:tilts], left, base.base, last, known)
        return VenueAsked(Every(*shares), wanted)

    def ask_venue_shares(lane: Lane, given: Any) -> Any:
        return VenueAsked(Every(*limited(lane.state.remaining, given)), fold(add, given))

    def settle_venues(numbers: Numbers, order: EpisodeOrder, lane: Lane, state: Any) -> Any:
        return VenueSettled(settle(numbers, order, lane), state.fees, state.adverse, state.filled, order.scale)

    def see_venues(numbers: Numbers, venues: Any, state: Any) -> Any:
        seen = lit_features(state.weights, venues.shares, venues.fees[:lit], numbers.arrival_price)
        filled = state.filled[lit:]
        hidden = hidden_features(numbers.slices, state.asked, state.last, state.since, state.posted, filled)
        return VenueSeen(*joined(seen, hidden))

    venues: dict[str, Any] = {"numbers": Numbers, "venues": VenueNumbers}
    known: dict[str, Any] = {"depth": Depth, "terms": VenueTerms, "base": Base, "lane": Lane, "state": VenueState}
    episode: dict[str, Any] = {"order": EpisodeOrder, "lane": Lane, "state": VenueState}
    asked = stage(ask_venues, VenueAsked, **venues, **known, action=VenueAction)
    traded = stage(ask_venue_shares, VenueAsked, lane=Lane, given=VenueShares)
    return VenueKinds(
        VenueTerms,
        VenueSettled,
        inputs,
        ask=(_gathered("gather_action", VenueAction, inputs[:numbers]), asked),
        trade=(_gathered("gather_shares", VenueShares, inputs[:count]), traded),
        settle=stage(settle_venues, VenueSettled, numbers=Numbers, **episode),
        see=(stage(see_venues, VenueSeen, **venues, state=VenueState),) if names else (),
        Seen=VenueSeen if names else None,
    )


def input_names(kinds: VenueKinds) -> tuple[str, ...]:
    """Return the names of the arrays of the numbers of actions and of requests."""
    return tuple(f"values_{i}" for i in range(len(kinds.inputs)))


def _terms_table(task: VenueTask, kinds: VenueKinds, stages: VenueStages) -> Any:
    """Return the table of what a router knows of each slice and regime, numbers of shape (cells,)."""
    market, whole, hidden = task.market, task.market.market, task.hidden

    def by_cell(table: NDArray[np.float64]) -> NDArray[np.float64]:
        return shown(whole, table, hidden)

    q, scale = (stages.Lit(*(by_cell(table[v][None]) for v in range(market.lit))) for table in (market.q, market.scale))
    return kinds.Terms(by_cell(whole.mean_volume), q, scale)


def _plans(task: VenueTask, mode: AutoresetMode, limited: bool) -> dict[str, tuple[Line, ...]]:
    """Return the plans `reset`, `step` and `trade`; the actions of `trade` are shares of each venue."""
    stages, kinds = stages_of(task.market), venue_kinds(task)
    weigh: tuple[Line, ...] = (Pass(stages.weigh),) if task.market.noisy else ()

    def looks(observation: str, mask: str) -> tuple[Line, ...]:
        show = Show(observation, "known", view_cell, Seen, kinds.Seen)
        return (Look(view_cell, View), Pass(observe, *kinds.see), show)

    phases = Phases(
        clock=Lane,
        begins=(Pass(begin, stages.open),),
        idle=(Pass(no_pay),),
        cuts=(Pass(cut_stage(Lane)),) if limited else (),
        settles=(Pass(kinds.settle),),
        looks=looks,
    )

    def step(*ask: Any) -> tuple[Line, ...]:
        refuses = tuple(
            Refuse(kind, "value", -np.inf, np.inf) for kind in kinds.inputs if kind in ask[0].__annotations__.values()
        )
        traded = (
            Look(slice_cell, SliceRow, Base, kinds.Terms),
            Look(regime_row, stages.Row),
            Pass(draw_words),
            Pass(draw_shocks),
            Pass(stages.offer),
            Pass(draws_of, next_slice, *ask, stages.turn, pay),
            *weigh,
        )
        return step_plan(phases, mode, refuses, traded)

    return {"reset": reset_plan(phases), "step": step(*kinds.ask), "trade": step(*kinds.trade)}


def venue_program(task: VenueTask, mode: AutoresetMode, limit: int | None = None) -> Program:
    """Return the program of the lanes of a vector environment; `limit` is the largest number of steps of an episode."""
    venues, market, own = task.market, task.market.market, task.order
    stages, kinds, observer, orders = stages_of(venues), venue_kinds(task), own.observer, order_numbers(market, own.draw)
    limits: dict[type, Any] = {} if limit is None else {Limit: Limit(limit)}
    fixed = constant_fields(market.numbers, orders)
    if not venues.noisy:
        fixed |= {(stages.State, f"deviations.{path}"): 0.0 for path, _ in leaves(stages.Lit)}
        fixed |= {(stages.State, f"weights.{path}"): (stages.Numbers, f"shares.{path}") for path, _ in leaves(stages.Lit)}
    return Program(
        plans=_plans(task, mode, limited=limit is not None),
        kept=(Ticket, EpisodeOrder, Lane, stages.State),
        given={
            Numbers: market.numbers,
            OrderNumbers: orders,
            Thresholds: market.start,
            Sight: observer.sight,
            Reward: own.reward,
            stages.Numbers: numbers_of(venues),
            Depth: Depth(venues.depth),
            **limits,
        },
        inputs={**dict(zip(kinds.inputs, input_names(kinds), strict=True)), Chosen: "chosen"},
        outputs={Paid: ("reward", "terminated"), **({Cut: ("truncated",)} if limits else {})},
        listed={kinds.Settled: "settled"},
        tables={
            SliceRow: market.table,
            Base: Base(shown(market, own.mode.base, observer.hidden)),
            View: observer.table,
            kinds.Terms: _terms_table(task, kinds, stages),
            stages.Row: row_table(venues),
        },
        rows={"known": observer.known},
        fixed=fixed,
        extra={"laws": venues.laws},
    )


def venue_arrays(task: VenueTask, lanes: int, limit: int | None = None) -> dict[str, tuple[Any, Any]]:
    """Return (shape, dtype) of each array that the plans of :func:`venue_program` write for all lanes, by name."""
    flag = (lanes,), np.dtype(np.bool_)
    return {
        "observation": ((lanes, len(task.features)), np.dtype(np.float32)),
        "reward": ((lanes,), np.dtype(np.float64)),
        "terminated": flag,
        **({} if limit is None else {"truncated": flag}),
    }
