"""Rollouts of tables at the touch in one compiled loop (extra `fast`): draws, actions and steps without Python in between."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.backends.compiled import CompiledLanes, CompiledProgram
from hyperexec_env.backends.plan import Line, Look, Pass, Program, Repeat
from hyperexec_env.envs.action import Action
from hyperexec_env.envs.own import whole
from hyperexec_env.envs.touch_lanes import draw_lane, split, trade_touch
from hyperexec_env.envs.touch_task import TouchSettled, settle_touch
from hyperexec_env.market.lane import EpisodeKey
from hyperexec_env.market.touch import TouchMarket, TouchNumbers, numbers_of, place_row
from hyperexec_env.market.touch_lane import TouchLane, first_touch_lane
from hyperexec_env.records import fill_record, leaves

__all__ = ["TouchLoop"]

_SETTLED: Final = tuple(f"settled_{place}" for place, _ in enumerate(leaves(TouchSettled)))


def begin(numbers: TouchNumbers) -> TouchLane:
    """Return the start of an episode."""
    return first_touch_lane(numbers)


def row_of(numbers: TouchNumbers, lane: TouchLane) -> int:
    """Return the row of a table over (step, lots left, place) of an episode."""
    row: int = whole(((lane.k * (numbers.lots + 1.0)) + lane.left) * (numbers.back + 3.0) + place_row(numbers, lane.place))
    return row


def _program(market: TouchMarket, actions: NDArray[np.int64]) -> Program:
    """Return the program that runs whole episodes of a market under a table of actions."""
    episodes: tuple[Line, ...] = (
        Pass(begin),
        Repeat(TouchNumbers, "steps", Look(row_of, Action), Pass(draw_lane), Pass(split, trade_touch)),
        Pass(settle_touch),
    )
    return Program(
        plans={"episodes": episodes},
        kept=(TouchLane,),
        given={TouchNumbers: numbers_of(market)},
        inputs={EpisodeKey: "keys"},
        outputs={TouchSettled: _SETTLED},
        tables={Action: Action(np.ascontiguousarray(actions, dtype=np.float64).ravel())},
        extra={"thresholds": market.thresholds},
    )


class TouchLoop:
    """A compiled loop that runs whole episodes of a child order under a table of actions.

    Args:
        market: The market.
        actions: Action numbers, take * 4 + rest, shape (steps, lots + 1, places).

    Raises:
        MissingExtra: numba is not installed.
    """

    def __init__(self, market: TouchMarket, actions: NDArray[np.int64]) -> None:
        """Build the program; compilation happens on the first run."""
        self._program = CompiledProgram(_program(market, actions))
        self._lanes: dict[int, CompiledLanes] = {}

    def run(self, keys: NDArray[np.uint64]) -> TouchSettled:
        """Run the episodes with some noise keys, shape (episodes,); fields of the result have the same shape."""
        count = len(keys)
        if count not in self._lanes:
            self._lanes = {count: CompiledLanes(self._program, count, 1)}
        settled = np.empty((len(_SETTLED), count))
        arrays: dict[str, Any] = dict(zip(_SETTLED, settled, strict=True))
        self._lanes[count].run("episodes", {"keys": keys, **arrays})
        found: TouchSettled = fill_record(TouchSettled, iter(settled))
        return found
