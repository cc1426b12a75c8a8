"""The task of an agent with a child order at the touch: action spaces, masks, and the result of an episode."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.envs.own import whole
from hyperexec_env.envs.task import log_warnings, refuse_unknown
from hyperexec_env.envs.touch_features import observe_touch, touch_feature_names, touch_space
from hyperexec_env.market.numeric import minimum, where
from hyperexec_env.market.touch import KEEP, NOWHERE, RESTS, TOUCH, Bill, TouchMarket, build_touch
from hyperexec_env.market.touch_lane import TouchLane, first_touch_lane
from hyperexec_env.market.touch_scenario import get_touch
from hyperexec_env.records import Real, maker

__all__ = ["TOUCH_ACTION_MODES", "TouchSettled", "TouchTask", "build_touch_task", "mask_row", "settle_touch", "touch_info"]

TOUCH_ACTION_MODES: Final = ("pair", "discrete")
"""Names of the action modes: (lots to take, what the others do), or both as one number, take * 4 + rest."""
_OPTIONS: Final = ("scenario", "action_mode", "render_mode", "info")
"""Names of the options of the environments."""


@dataclass(frozen=True, eq=False)
class TouchTask:
    """What the single and the vector environment share, computed once by :func:`build_touch_task`."""

    market: TouchMarket
    action_mode: str
    """One of :data:`TOUCH_ACTION_MODES`."""

    @property
    def discrete(self) -> bool:
        """Whether actions are whole numbers, with a mask: always."""
        return True

    @cached_property
    def flat(self) -> bool:
        """Whether an action is one number."""
        return self.action_mode == "discrete"

    @cached_property
    def takes(self) -> int:
        """Number of choices of lots to take."""
        return self.market.scenario.max_take + 1

    @property
    def space(self) -> spaces.Space[Any]:
        """Action space of one episode."""
        if self.flat:
            return spaces.Discrete(self.takes * len(RESTS))
        return spaces.MultiDiscrete([self.takes, len(RESTS)])

    @property
    def observation_space(self) -> spaces.Box:
        """Observation space of one episode."""
        return touch_space()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features of the observation."""
        return touch_feature_names()

    def checked(self, given: Any, lanes: tuple[int, ...] = ()) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the lots to take (as floats) and the requests of actions, each of shape `lanes`.

        Raises:
            ValueError: The shape, the type or a value is wrong; the message names what is expected.
        """
        actions = np.asarray(given)
        most: tuple[int, ...] = (self.takes * len(RESTS),) if self.flat else (self.takes, len(RESTS))
        shape = lanes if self.flat else (*lanes, 2)
        if actions.shape != shape:
            raise ValueError(f"action must be an array of shape {shape}, got shape {actions.shape}")
        if actions.dtype.kind not in "iu" or not ((actions >= 0) & (actions < (most[0] if self.flat else most))).all():
            upper = most[0] - 1 if self.flat else [count - 1 for count in most]
            raise ValueError(f"action must be whole numbers from 0 to {upper}, got {given!r}")
        take, rest = (actions // len(RESTS), actions % len(RESTS)) if self.flat else (actions[..., 0], actions[..., 1])
        return take.astype(np.float64), rest.astype(np.int64)

    def asked(self, action: Any) -> tuple[float, int]:
        """Return the lots to take and the request of one action; errors as in :meth:`checked`."""
        if self.flat and type(action) in (int, np.int64) and 0 <= action < self.takes * len(RESTS):
            return float(action // len(RESTS)), int(action % len(RESTS))
        if not self.flat and type(action) is np.ndarray and action.shape == (2,) and action.dtype == np.int64:
            take, rest = action.tolist()
            if 0 <= take < self.takes and 0 <= rest < len(RESTS):
                return float(take), rest
        takes, rests = self.checked(action)
        return float(takes), int(rests)

    @cached_property
    def all_masks(self) -> NDArray[np.int8]:
        """All masks, shape (2 * takes, actions): a row for each number of lots left, at most the largest take, of orders that
        rest nowhere, then of those that rest.
        """
        return np.concatenate([self.masks(np.arange(self.takes), np.full(self.takes, level)) for level in (NOWHERE, TOUCH)])

    @cached_property
    def masks_by_row(self) -> list[NDArray[np.int8]]:
        """The rows of :attr:`all_masks`."""
        return list(self.all_masks)

    @cached_property
    def start(self) -> TouchLane:
        """The start of every episode."""
        return first_touch_lane(self.market)

    @cached_property
    def first(self) -> NDArray[np.float32]:
        """The first observation of every episode."""
        return observe_touch(self.market, self.start)

    @cached_property
    def first_row(self) -> float:
        """The row of :attr:`all_masks` at the start of every episode."""
        return float(mask_row(self.takes - 1, self.market.lots, NOWHERE))

    def masks(self, left: Any, level: Any) -> NDArray[np.int8]:
        """Return the masks of the actions, 1 is allowed.

        The shape is (..., takes * 4) for the mode "discrete", else (..., takes + 4): the lots to take, then the requests. Lots
        beyond those that are left cannot be taken, and an order that rests nowhere cannot keep its place.
        """
        lots, rests = np.asarray(left)[..., None], np.arange(len(RESTS))
        takes = np.arange(self.takes) <= lots
        requests = (rests != KEEP) | (np.asarray(level)[..., None] != NOWHERE)
        if not self.flat:
            return np.concatenate([takes, requests], axis=-1).astype(np.int8)
        both = takes[..., :, None] & requests[..., None, :]
        mask: NDArray[np.int8] = both.reshape(*both.shape[:-2], -1).astype(np.int8)
        return mask


def build_touch_task(scenario: Any = None, *, action_mode: str = "pair", **unknown: Any) -> TouchTask:
    """Check the options of the environment, which `HyperExecTouchEnv` documents, and return its task.

    Raises:
        TypeError: An unknown option; the message names the nearest one.
        ValueError: A bad option; the message names it, its value and the range.
    """
    refuse_unknown(unknown, _OPTIONS)
    check_choice("action_mode", action_mode, TOUCH_ACTION_MODES)
    found = get_touch("touch-5min" if scenario is None else scenario)
    log_warnings(found.warnings)
    return TouchTask(build_touch(found), action_mode)


def mask_row(most: Any, left: Any, level: Any) -> Any:
    """Return the row of :attr:`TouchTask.all_masks` of an episode; `most` is the largest take."""
    return where(level != NOWHERE, most + 1, 0) + whole(minimum(left, most * 1.0))


class TouchSettled(NamedTuple):
    """The result of an episode so far; the fields are those of :class:`~hyperexec_env.market.touch_lane.TouchLane`."""

    left: Real
    ticks: Real
    bill: Bill
    taken: Real
    forced: Real


settled_of: Final = maker(TouchSettled, TouchLane, ())


def settle_touch(lane: TouchLane) -> TouchSettled:
    """Return the result of an episode so far."""
    settled: TouchSettled = settled_of(lane)
    return settled


def touch_info(task: TouchTask, lane: TouchLane | TouchSettled) -> dict[str, Any]:
    """Return the `info` of the result of an episode so far; values are numbers, or arrays over episodes."""
    scenario = task.market.scenario
    costs = {name: part * scenario.scale for name, part in lane.bill._asdict().items()}
    objective = costs["take"] + costs["impact"] + costs["rest"] + costs["risk"]
    return {
        "objective": objective,
        "objective_bps": objective * (1e4 * scenario.half_spread / scenario.arrival_price),
        "costs": costs,
        "taken_fraction": lane.taken / scenario.lots,
        "forced_fraction": lane.forced / scenario.lots,
        "left": lane.left,
        "mid_ticks": lane.ticks,
    }
