"""Rollouts of rules in one compiled loop (extra `fast`): draws, the policy, trades and the account, no Python in between."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.compiled import CompiledLanes
from hyperexec_env.backends.generate import TILE
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
from hyperexec_env.market.model import Market, Numbers, SliceRow, Thresholds
from hyperexec_env.market.noise import Words
from hyperexec_env.market.numeric import where
from hyperexec_env.market.path import OrderNumbers, draw_shocks, draws_of, order_numbers, trace_step
from hyperexec_env.records import Whole, Word, fill_record, leaves

__all__ = ["RuleLoop", "Run"]

_PART: Final = 4 * TILE
"""Episodes that one thread takes at a time; the results do not depend on the number of threads."""
_SETTLED: Final = tuple(f"settled_{place}" for place, _ in enumerate(leaves(Settled)))
_ZERO: Final = np.uint64(0)

Floats = NDArray[np.float64]


class Run(NamedTuple):
    """The results of some episodes; fields of the same name are those of
    :class:`~hyperexec_env.evaluation.rollout.Outcome`.
    """

    settled: Settled
    start_regime: NDArray[np.int64]
    inventory: Floats
    trace: Words
    """The regimes of each episode as one word, see :func:`~hyperexec_env.market.path.trace`."""


class Tape(NamedTuple):
    """What is recorded of an episode on its way."""

    start_regime: Whole
    trace: Word
    """The regimes up to the slice that comes, see :func:`~hyperexec_env.market.path.trace_step`."""
    missing: Whole
    """How often the rule returned no finite number."""


class Observing(NamedTuple):
    """What a policy observes, in numbers."""

    hidden: Whole
    """1 where the regime is kept from the policy, else 0."""


def begin_tape(lane: Lane) -> Tape:
    """Begin a record."""
    return Tape(lane.world.regime, _ZERO, 0)


def record_regime(tape: Tape, lane: Lane) -> Tape:
    """Record the regime of the slice that comes."""
    return Tape(tape.start_regime, trace_step(tape.trace, lane.world.regime), tape.missing)


def record_answer(tape: Tape, lane: Lane, asked: Asked) -> Tape:
    """Record the regime of the slice that comes, and whether the answer of the rule is a finite number."""
    missing = where(abs(asked.shares) < np.inf, 0, 1)
    return Tape(tape.start_regime, trace_step(tape.trace, lane.world.regime), tape.missing + missing)


def left_over(numbers: Numbers, tape: Tape, lane: Lane) -> tuple[int, float]:
    """Return the place in the inventory, by regime of the start and slice, and the shares that remain."""
    return tape.start_regime * (numbers.slices + 1) + lane.k, lane.state.remaining


def observe_situation(numbers: Numbers, observing: Observing, order: EpisodeOrder, lane: Lane) -> Situation:
    """Return the situation of an episode."""
    last_price = price_of_last(observing.hidden, order, lane)
    return situation_of(None, numbers, observing.hidden, order, lane, last_price)


def _program(market: Market, rule: Rule, hidden: bool) -> Program:
    """Return the program of whole episodes under a rule."""
    decide, orders = rule.decide, order_numbers(market)

    def ask(parameters, situation: Situation) -> Asked:  # type: ignore[no-untyped-def]
        return Asked(decide(parameters, situation))

    ask.__module__ = decide.__module__
    episodes: tuple[Line, ...] = (
        Pass(begin_episode, begin_tape),
        Repeat(
            Numbers,
            "slices",
            Add("inventory", left_over),
            Pass(observe_situation, ask, record_answer),
            Look(slice_cell, SliceRow),
            Pass(draw_words),
            Pass(draw_shocks),
            Pass(draws_of, next_slice, turn),
        ),
        Add("inventory", left_over),
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
        outputs={Tape: Tape._fields, Settled: _SETTLED},
        tables={SliceRow: market.table},
        fixed=constant_fields(market.numbers, orders),
        extra={"parameters": rule.parameters},
    )


class RuleLoop:
    """Runs whole episodes of a market under a rule.

    Args:
        market: The market.
        rule: The rule.
        hidden: Whether the regime is kept from the rule.
        threads: Threads that share the episodes.

    Raises:
        MissingExtra: numba is not installed.
    """

    def __init__(self, market: Market, rule: Rule, hidden: bool = False, threads: int = 1) -> None:
        """State the program."""
        self._market, self._threads = market, threads
        self._program = _program(market, rule, hidden)
        self._lanes: dict[int, CompiledLanes] = {}

    def run(self, keys: Words) -> Run:
        """Run the episodes of some keys.

        Raises:
            ValueError: The rule returned something that is not a finite number.
        """
        count, market = len(keys), self._market
        if count not in self._lanes:
            self._lanes = {count: CompiledLanes(self._program, count, self._threads, _PART)}
        lanes = self._lanes[count]
        settled, inventory = (
            np.empty((len(_SETTLED), count)),
            np.zeros((len(lanes.parts), market.regimes * (market.slices + 1))),
        )
        tape = Tape(np.empty(count, np.int64), np.empty(count, np.uint64), np.empty(count, np.int64))
        arrays = dict(zip(_SETTLED, settled, strict=True)) | tape._asdict()
        lanes.run("episodes", {"keys": keys, "inventory": inventory, **arrays, **self._program.extra})
        missing = int(tape.missing.sum())
        if missing:
            raise ValueError(f"a rule must return finite shares, got something else {missing:,} times")
        total = np.add.reduce(inventory, axis=0).reshape(market.regimes, market.slices + 1)
        states = fill_record(Settled, iter(settled))
        return Run(states, tape.start_regime, total / market.scenario.quantity, tape.trace)
