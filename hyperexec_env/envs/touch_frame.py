"""What a picture of a child order at the touch shows, and the same as text."""

from __future__ import annotations

import itertools
from typing import Final, NamedTuple

from hyperexec_env.envs.touch_episode import TouchEpisode
from hyperexec_env.market.touch import AWAY, DEEPER, THROUGH, TOUCH
from hyperexec_env.market.touch_lane import TouchLane
from hyperexec_env.market.touch_scenario import TouchScenario

__all__ = ["TouchFrame", "describe_touch", "headline", "look_at", "whereabouts"]

_SHOWN: Final = 60
"""Largest number of lots of a queue in a line of text."""


class TouchFrame(NamedTuple):
    """An episode so far: the past only."""

    scenario: TouchScenario
    lanes: list[TouchLane]
    """The episode before each step so far, and now, length k + 1."""
    costs: dict[str, float]
    """Cost so far by source, half-spreads per lot of the order."""

    @property
    def now(self) -> TouchLane:
        """The episode now."""
        return self.lanes[-1]

    @property
    def taken(self) -> list[float]:
        """Lots that took in each step so far, those after the last step included, length k."""
        return [after.taken - before.taken for before, after in itertools.pairwise(self.lanes)]


def look_at(episode: TouchEpisode) -> TouchFrame:
    """Return the frame of an episode so far."""
    scale = episode.task.market.scenario.scale
    costs = {name: part * scale for name, part in episode.lane.bill._asdict().items()}
    return TouchFrame(episode.task.market.scenario, episode.lanes, costs)


def headline(frame: TouchFrame) -> tuple[str, str]:
    """Return the order and the time, in words."""
    scenario, now = frame.scenario, frame.now
    order = f"{scenario.name}: {scenario.lots} lots of {scenario.lot_shares:,.0f} shares, {now.left:.0f} left"
    clock = f"step {now.k} of {scenario.steps} done, second {now.k * scenario.step_seconds:g} of {scenario.horizon_seconds:g}"
    return order, clock + (", over" if now.over else "")


def whereabouts(frame: TouchFrame) -> str:
    """Return where the order rests, in words."""
    level, ahead = frame.now.place
    if level == TOUCH:
        return f"at the touch, {ahead:.0f} of {frame.scenario.queue} lots ahead"
    return "one tick deeper" if level == DEEPER else "nowhere"


def describe_touch(frame: TouchFrame) -> str:
    """Return the frame as text: the order, the queue (`.` a lot ahead, `#` an own lot), the last step and the cost."""
    now = frame.now
    level, ahead = now.place
    own = "#" * int(now.left)
    line = ("." * int(ahead) + own if level == TOUCH else f"({own})" if level == DEEPER else "")[:_SHOWN]
    move = {AWAY: "the touch moved away", THROUGH: "the touch moved through"}.get(now.moved, "the touch stayed")
    last = "nothing yet"
    if now.k:
        last = f"took {frame.taken[-1]:.0f}, filled {now.filled:.0f}, {now.outflow:.0f} lots left the queue, {move}"
    order, clock = headline(frame)
    costs = ", ".join(f"{name} {value:+.3f}" for name, value in frame.costs.items())
    lines = [
        order,
        f"clock      {clock}",
        f"rests      {whereabouts(frame)}",
        f"queue      front [{line}",
        f"last step  {last}",
        f"mid        {now.ticks:+.0f} ticks since the start",
        f"cost       {sum(frame.costs.values()):.3f} half-spreads a lot = {costs}",
    ]
    return "\n".join(lines) + "\n"
