"""The plans that the vector environments of all kinds of orders have, in each autoreset mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from gymnasium.vector import AutoresetMode

from hyperexec_env.backends.plan import For, Line, Pick, Unless
from hyperexec_env.envs.task import Cut, Limit
from hyperexec_env.records import Whole, maker

__all__ = ["Chosen", "Phases", "cut_stage", "first_row", "reset_plan", "step_plan"]

Lines = tuple[Line, ...]


class Chosen(NamedTuple):
    """The choice of a lane at a reset."""

    flag: Whole
    """1 if the reset begins the next episode of the lane, else 0."""


class Phases(NamedTuple):
    """The lines of the phases of a step that all plans of a program share."""

    clock: Any
    """Record type of the lanes whose field `over` says whether the episode is over."""
    begins: Lines
    """Lines that begin an episode."""
    idle: Lines
    """Lines of a step that begins an episode, which pay nothing."""
    cuts: Lines
    """Lines that end an episode which has reached the limit of steps."""
    settles: Lines
    """Lines that compute the result of an episode that ended."""
    looks: Callable[[str, str], Lines]
    """Function from the names of the arrays of observations and masks to the lines that write them."""


def reset_plan(phases: Phases) -> Lines:
    """Return the plan of a reset, which begins the next episode of the chosen lanes."""
    return (Pick("chosen", Chosen, "flag"), For("chosen", *phases.begins), *phases.looks("observation", "mask"))


def step_plan(phases: Phases, mode: AutoresetMode, refuses: Lines, traded: Lines) -> Lines:
    """Return the plan of a step.

    Args:
        phases: The lines that all plans share.
        mode: The autoreset mode.
        refuses: Lines that refuse invalid actions.
        traded: Lines that trade.
    """
    ended = Pick("ended", phases.clock, "over")
    looks = phases.looks("observation", "mask")
    if mode == AutoresetMode.SAME_STEP:
        last = (*phases.settles, *phases.looks("final", "final_mask"), *phases.begins)
        return (*refuses, *traded, *phases.cuts, ended, For("ended", *last), *looks)
    if mode == AutoresetMode.NEXT_STEP:
        waiting = Pick("waiting", phases.clock, "over")
        traded = (waiting, Unless("waiting", *traded), For("waiting", *phases.begins, *phases.idle))
    return (*refuses, *traded, *phases.cuts, ended, For("ended", *phases.settles), *looks)


@lru_cache(maxsize=16)
def cut_stage(record: Any) -> Callable[..., Any]:
    """Return the stage that ends an episode which has reached the limit of steps; `record` has the fields `k` and `over`."""
    with_over = maker(record, record, ("over",))

    def cut(limit: Limit, lane: Any) -> Any:
        reached = lane.k >= limit.steps
        return with_over(lane, (lane.over | reached) * 1), Cut(reached)

    cut.__annotations__ = {"limit": Limit, "lane": record, "return": tuple[record, Cut]}
    return cut


def first_row() -> int:
    """Return the only row of an array that is the same for all lanes."""
    return 0
