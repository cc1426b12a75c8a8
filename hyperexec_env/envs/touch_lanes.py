"""The plans of the vector environment of a child order at the touch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium.vector import AutoresetMode

from hyperexec_env.backends.plan import Line, Pass, Program, Refuse, Show
from hyperexec_env.envs.action import Action
from hyperexec_env.envs.plans import Chosen, Phases, cut_stage, first_row, reset_plan, step_plan
from hyperexec_env.envs.reward import Paid, no_pay
from hyperexec_env.envs.task import Cut, Limit
from hyperexec_env.envs.touch_features import TOUCH_FEATURES
from hyperexec_env.envs.touch_task import TouchSettled, TouchTask, mask_row, settle_touch
from hyperexec_env.market.lane import EpisodeKey, Ticket, next_episode
from hyperexec_env.market.touch import RESTS, Draw, TouchNumbers, draw_touch, numbers_of
from hyperexec_env.market.touch_lane import TouchLane, first_touch_lane, step_lane
from hyperexec_env.records import Real, Single, record_type

__all__ = ["touch_arrays", "touch_program"]


class Take(NamedTuple):
    """The first number of an action."""

    lots: Real
    """Lots to take."""


class Rest(NamedTuple):
    """The second number of an action."""

    request: Real
    """What the other lots do, an index of :data:`~hyperexec_env.market.touch.RESTS`."""


TouchSeen: Any = record_type("TouchSeen", (feature.name for feature in TOUCH_FEATURES), Single)
"""The observation."""


def _observe() -> Callable[..., Any]:
    """Return the stage that computes the observation."""
    names: dict[str, Any] = {"TouchSeen": TouchSeen, **{f"f{i}": each.value for i, each in enumerate(TOUCH_FEATURES)}}
    parts = ", ".join(f"f{i}(numbers, lane)" for i in range(len(TOUCH_FEATURES)))
    observe: Callable[..., Any] = eval(f"lambda numbers, lane: TouchSeen({parts})", names)  # noqa: S307 - numbers of ours
    observe.__name__ = observe.__qualname__ = "observe_touch"
    observe.__annotations__ = {"numbers": TouchNumbers, "lane": TouchLane, "return": TouchSeen}
    return observe


_OBSERVE: Final = _observe()


def split(action: Action) -> tuple[Take, Rest]:
    """Return both numbers of an action that is one number, take * 4 + rest."""
    take = action.value // len(RESTS)
    return Take(take), Rest(action.value - len(RESTS) * take)


def begin_touch(numbers: TouchNumbers, ticket: Ticket) -> tuple[Ticket, EpisodeKey, TouchLane]:
    """Return the ticket of the episode after next, and the key and the first state of the next episode of a lane."""
    after, episode = next_episode(ticket)
    return after, episode, first_touch_lane(numbers)


def draw_lane(numbers: TouchNumbers, thresholds: Any, episode: EpisodeKey, lane: TouchLane) -> Draw:
    """Return what nature draws in step `lane.k`."""
    return draw_touch(numbers, thresholds, episode.key, lane.k)


def trade_touch(numbers: TouchNumbers, lane: TouchLane, draw: Draw, take: Take, rest: Rest) -> tuple[TouchLane, Paid]:
    """Do a step; return the episode after it and the reward, half-spreads per lot."""
    after, cost = step_lane(numbers, lane, take.lots, rest.request, draw)
    return after, Paid(cost * -numbers.scale, after.over != 0)


def mask_of_lane(numbers: TouchNumbers, lane: TouchLane) -> int:
    """Return the row of :attr:`TouchTask.all_masks` of a lane."""
    row: int = mask_row(numbers.max_take, lane.left, lane.place.level)
    return row


def touch_program(task: TouchTask, mode: AutoresetMode, limit: int | None = None) -> Program:
    """Return the program of the lanes of a vector environment; `limit` is the largest number of steps of an episode."""
    limits: dict[type, Any] = {} if limit is None else {Limit: Limit(limit)}
    most, rests = task.takes - 1.0, len(RESTS) - 1.0

    def looks(observation: str, mask: str) -> tuple[Line, ...]:
        return (Pass(_OBSERVE), Show(observation, "nothing", first_row, TouchSeen), Show(mask, "masks", mask_of_lane))

    phases = Phases(
        clock=TouchLane,
        begins=(Pass(begin_touch),),
        idle=(Pass(no_pay),),
        cuts=(Pass(cut_stage(TouchLane)),) if limits else (),
        settles=(Pass(settle_touch),),
        looks=looks,
    )
    refuses: tuple[Line, ...] = (Refuse(Take, "lots", 0.0, most), Refuse(Rest, "request", 0.0, rests))
    ask: tuple[Any, ...] = ()
    inputs: dict[type, str] = {Take: "takes", Rest: "rests"}
    if task.flat:
        refuses, ask, inputs = (Refuse(Action, "value", 0.0, (most + 1.0) * (rests + 1.0) - 1.0),), (split,), {Action: "values"}
    return Program(
        plans={
            "reset": reset_plan(phases),
            "step": step_plan(phases, mode, refuses, (Pass(draw_lane), Pass(*ask, trade_touch))),
        },
        kept=(Ticket, EpisodeKey, TouchLane),
        given={TouchNumbers: numbers_of(task.market), **limits},
        inputs={**inputs, Chosen: "chosen"},
        outputs={Paid: ("reward", "terminated"), **({Cut: ("truncated",)} if limits else {})},
        listed={TouchSettled: "settled"},
        rows={"nothing": np.zeros((1, 0), np.float32), "masks": task.all_masks},
        extra={"thresholds": task.market.thresholds},
    )


def touch_arrays(task: TouchTask, lanes: int, limit: int | None = None) -> dict[str, tuple[Any, Any]]:
    """Return (shape, dtype) of each array that the plans of :func:`touch_program` write for all lanes, by name."""
    flag = (lanes,), np.dtype(np.bool_)
    return {
        "observation": ((lanes, len(TOUCH_FEATURES)), np.dtype(np.float32)),
        "reward": ((lanes,), np.dtype(np.float64)),
        "terminated": flag,
        **({} if limit is None else {"truncated": flag}),
        "mask": ((lanes, task.all_masks.shape[1]), np.dtype(np.int8)),
    }
