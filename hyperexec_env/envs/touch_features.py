"""Features of the observation of a child order at the touch, one record each: the past only."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.market.touch import DEEPER, TOUCH, TouchMarket
from hyperexec_env.market.touch_lane import TouchLane

__all__ = ["TOUCH_FEATURES", "TouchFeature", "observe_touch", "touch_feature_names", "touch_space"]


class TouchFeature(NamedTuple):
    """A number that the agent sees."""

    name: str
    low: float
    high: float
    meaning: str
    value: Callable[[TouchMarket, TouchLane], Any]
    """Function of the market and the episode, of numbers or of arrays over episodes."""


def _time_left(market: TouchMarket, lane: TouchLane) -> Any:
    return 1.0 - lane.k / market.steps


TOUCH_FEATURES: Final = (
    TouchFeature("time_left", 0.0, 1.0, "share of the steps that are left", _time_left),
    TouchFeature("lots_left", 0.0, 1.0, "share of the lots that are left", lambda m, lane: lane.left / m.lots),
    TouchFeature("at_touch", 0.0, 1.0, "1 if the order rests at the touch", lambda m, lane: (lane.place.level == TOUCH) * 1.0),
    TouchFeature(
        "deeper", 0.0, 1.0, "1 if the order rests one tick deeper", lambda m, lane: (lane.place.level == DEEPER) * 1.0
    ),
    TouchFeature(
        "ahead",
        0.0,
        1.0,
        "lots before the order at the touch, over the queue",
        lambda m, lane: lane.place.ahead / (m.back or 1.0),
    ),
    TouchFeature(
        "last_outflow",
        0.0,
        1.0,
        "y / (1 + y), y: lots that left the queue in the last step over their mean plus one",
        lambda m, lane: lane.outflow / (lane.outflow + m.outflow + 1.0),
    ),
    TouchFeature("last_fill", 0.0, 1.0, "lots filled in the last step, over the order", lambda m, lane: lane.filled / m.lots),
    TouchFeature(
        "last_move", -1.0, 1.0, "move of the touch in the last step, ticks; away is positive", lambda m, lane: lane.moved
    ),
    TouchFeature("still", 0.0, 1.0, "steps since the touch moved, over all steps", lambda m, lane: lane.since / m.steps),
    TouchFeature("mid_move", -1.0, 1.0, "move of the mid so far, ticks over steps", lambda m, lane: lane.ticks / m.steps),
    TouchFeature(
        "behind",
        -1.0,
        1.0,
        "lots left beyond those of equal lots at equal times, over the order",
        lambda m, lane: lane.left / m.lots - _time_left(m, lane),
    ),
)
"""The features, in the order of the observation."""


def touch_feature_names() -> tuple[str, ...]:
    """Return the names of the features, in the order of the observation."""
    return tuple(feature.name for feature in TOUCH_FEATURES)


@lru_cache(maxsize=1)
def touch_space() -> spaces.Box:
    """Return the observation space."""
    low, high = (np.array([getattr(each, end) for each in TOUCH_FEATURES], np.float32) for end in ("low", "high"))
    return spaces.Box(low, high, dtype=np.float32)


def observe_touch(market: TouchMarket, lane: TouchLane) -> NDArray[np.float32]:
    """Return the observation of an episode, shape (features,), or of arrays of episodes, shape (episodes, features)."""
    values = [feature.value(market, lane) for feature in TOUCH_FEATURES]
    if not isinstance(lane.left, np.ndarray):
        return np.array(values, dtype=np.float32)
    seen = np.empty((len(lane.left), len(values)), dtype=np.float32)
    for column, value in enumerate(values):
        seen[:, column] = value
    return seen
