"""Rollouts of rules in one compiled loop (extra `fast`): draws, policy, trades and account without Python in between."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.compiled import CompiledLanes, CompiledProgram
from hyperexec_env.backends.layout import TILE
from hyperexec_env.backends.plan import Add, Line, Look, Pass, Program, Repeat
from hyperexec_env.envs.situation import Situation, price_of_last, situation_of
from hyperexec_env.evaluation.rule import Rule
from hyperexec_env.market.lane import (
    Asked,
    EpisodeKey,
    EpisodeOrder,
    Lane,
    Settled,
    begin_episode,
    constant_fields,
    draw_words,
    next_slice,
    settle,
    slice_cell,
    turn,
)
from hyperexec_env.market.noise import Words
from hyperexec_env.market.numeric import where
from hyperexec_env.market.path import OrderNumbers, draw_shocks, draws_of, order_numbers, trace_step
from hyperexec_env.market.tables import Market, Numbers, SliceRow, Thresholds
from hyperexec_env.records import Whole, Word, fill_record, leaves

__all__ = ["RuleLoop", "Run"]

_PART: Final = 4 * TILE
"""Episodes per unit of work of a thread; results do not depend on the number of threads."""
_SETTLED: Final = tuple(f"settled_{place}" for place, _ in enumerate(leaves(Settled)))
_ZERO: Final = np.uint64(0)

Floats = NDArray[np.float64]


class Run(NamedTuple):
    """Results of some episodes; see :class:`~hyperexec_env.evaluation.rollout.Outcome` for the fields of the same name."""

    settled: Settled
    start_regime: NDArray[np.int64]
    inventory: Floats
    trace: Words
    """Hash of the regimes of each episode, shape (episodes,); see :func:`~hyperexec_env.market.path.trace`."""


class EpisodeRecord(NamedTuple):
    """Values recorded along an episode."""

    start_regime: Whole
    trace: Word
    """Hash of the regimes up to the coming slice; see :func:`~hyperexec_env.market.path.trace_step`."""
    missing: Whole
    """Number of slices in which the rule did not return a finite number."""


class Observing(NamedTuple):
    """Observation settings as numbers, for compiled loops."""

    hidden: Whole
    """1 if the regime is hidden from the policy, else 0."""


def begin_record(lane: Lane) -> EpisodeRecord:
    """Start the record of an episode."""
    return EpisodeRecord(lane.world.regime, _ZERO, 0)


def record_regime(record: EpisodeRecord, lane: Lane) -> EpisodeRecord:
    """Record the regime of the coming slice."""
    return EpisodeRecord(record.start_regime, trace_step(record.trace, lane.world.regime), record.missing)


def record_decision(record: EpisodeRecord, lane: Lane, asked: Asked) -> EpisodeRecord:
    """Record the regime of the coming slice, and whether the rule returned a finite number."""
    missing = where(abs(asked.shares) < np.inf, 0, 1)
    return EpisodeRecord(record.start_regime, trace_step(record.trace, lane.world.regime), record.missing + missing)


def remaining_shares(numbers: Numbers, record: EpisodeRecord, lane: Lane) -> tuple[int, float]:
    """Return the index in the flat inventory, (start regime, slice), and the remaining shares."""
    return record.start_regime * (numbers.slices + 1) + lane.k, lane.state.remaining


def observe_situation(numbers: Numbers, observing: Observing, order: EpisodeOrder, lane: Lane) -> Situation:
    """Return the situation of an episode."""
    last_price = price_of_last(observing.hidden, order, lane)
    return situation_of(None, numbers, observing.hidden, order, lane, last_price)


def _program(market: Market, rule: Rule, hidden: bool) -> Program:
    """Return the program that runs whole episodes of a market under a rule."""
    decide, orders = rule.decide, order_numbers(market)

    def ask(parameters, situation: Situation) -> Asked:  # type: ignore[no-untyped-def]
        return Asked(decide(parameters, situation))

    ask.__module__ = decide.__module__
    episodes: tuple[Line, ...] = (
        Pass(begin_episode, begin_record),
        Repeat(
            Numbers,
            "slices",
            Add("inventory", remaining_shares),
            Pass(observe_situation, ask, record_decision),
            Look(slice_cell, SliceRow),
            Pass(draw_words),
            Pass(draw_shocks),
            Pass(draws_of, next_slice, turn),
        ),
        Add("inventory", remaining_shares),
        Pass(record_regime),
        Pass(settle),
    )
    return Program(
        plans={"episodes": episodes},
        kept=(EpisodeOrder, Lane),
        given={
            Numbers: market.numbers,
            OrderNumbers: orders,
            Thresholds: market.start,
            Observing: Observing(int(hidden)),
        },
        inputs={EpisodeKey: "keys"},
        outputs={EpisodeRecord: EpisodeRecord._fields, Settled: _SETTLED},
        tables={SliceRow: market.table},
        fixed=constant_fields(market.numbers, orders),
        extra={"parameters": rule.parameters},
    )


class RuleLoop:
    """A compiled loop that runs whole episodes of a market under a rule.

    Args:
        market: The market.
        rule: The rule.
        hidden: Whether the regime is hidden from the rule.
        threads: Number of threads.

    Raises:
        MissingExtra: numba is not installed.
    """

    def __init__(self, market: Market, rule: Rule, hidden: bool = False, threads: int = 1) -> None:
        """Build the program; compilation happens on the first run."""
        self.rule = rule
        self._market, self._threads = market, threads
        self._program = CompiledProgram(_program(market, rule, hidden))
        self._lanes: dict[int, CompiledLanes] = {}

    def run(self, keys: Words) -> Run:
        """Run the episodes with some noise keys, shape (episodes,); without episodes, only compile the loop.

        Raises:
            ValueError: The rule returned a number that is not finite.
        """
        count, market = len(keys), self._market
        if count not in self._lanes:
            self._lanes = {count: CompiledLanes(self._program, count, self._threads, _PART)}
        lanes = self._lanes[count]
        settled, inventory = (
            np.empty((len(_SETTLED), count)),
            np.zeros((len(lanes.parts), market.regimes * (market.slices + 1))),
        )
        record = EpisodeRecord(np.empty(count, np.int64), np.empty(count, np.uint64), np.empty(count, np.int64))
        arrays = dict(zip(_SETTLED, settled, strict=True)) | record._asdict()
        lanes.run("episodes", {"keys": keys, "inventory": inventory, **arrays})
        missing = int(record.missing.sum())
        if missing:
            raise ValueError(f"a rule must return finite shares, got something else {missing:,} times")
        total = np.add.reduce(inventory, axis=0).reshape(market.regimes, market.slices + 1)
        states = fill_record(Settled, iter(settled))
        return Run(states, record.start_regime, total / market.scenario.quantity, record.trace)
