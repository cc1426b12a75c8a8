"""Action modes: the conversion of an agent's action to the shares that it requests in a slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_label, shown
from hyperexec_env.market.lane import Asked, Lane
from hyperexec_env.market.numeric import maximum, minimum, where
from hyperexec_env.market.tables import Market
from hyperexec_env.records import Real, for_numbers

__all__ = [
    "ACTION_MODES",
    "CONTINUOUS_MODES",
    "MASKS",
    "PACES",
    "Action",
    "ActionMode",
    "Base",
    "OwnAction",
    "build_action_mode",
    "mask_place",
    "none_allowed",
]

PACE_LIMIT: Final = 8.0
"""Largest pace of the continuous action, in multiples of the expected-volume schedule."""
PACES: Final = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Paces of the discrete action, in multiples of the expected-volume schedule."""
_PACE_SLOPE: Final = 1.0 - 2.0 / PACE_LIMIT
_LEVELS: Final = np.array(PACES)
MASKS: Final = np.concatenate([np.tri(len(PACES)), np.eye(len(PACES))[-1:]]).astype(np.int8)
"""Masks of the discrete levels, shape (levels + 1, levels): row i allows levels 0..i, the last row the highest level only."""
MASKS.flags.writeable = False


class Action(NamedTuple):
    """The action of an agent."""

    value: Real
    """Number in [-1, 1], or index of a discrete level."""


class Base(NamedTuple):
    """The factor of an action in one slice and one regime."""

    base: Real
    """Fraction of the remaining shares, or shares: see :attr:`ActionMode.base`."""


def pace_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Return the shares x f (1 + a) / (1 - 3a/4) of an action a, with x remaining shares and the schedule's fraction f.

    The base f is the fraction of the remaining shares that the expected-volume schedule trades in the slice. The pace (1 + a) /
    (1 - 3a/4) is 0 at -1, 1 at 0 and 8 at +1: a smooth, nearly logarithmic scale that reaches zero. It needs no library
    function, so floats and arrays agree to the last bit.
    """
    return remaining * base * ((1.0 + action) / (1.0 - _PACE_SLOPE * action))


def fraction_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Return the shares x (1 + a) / 2 of an action a, with x remaining shares; the base is 1."""
    return remaining * base * (0.5 * (1.0 + action))


def participation_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Return the shares b (1 + a) / 2 of an action a; the base b is in shares."""
    return base * (0.5 * (1.0 + action))


@for_numbers(lambda action, remaining, base: remaining * base * _LEVELS[np.int64(action)])
def level_shares(action: Any, remaining: Any, base: Any) -> Any:
    """Return the shares x f p of a discrete action: x remaining shares, the schedule's fraction f, p from :data:`PACES`."""
    return remaining * base * (PACES[action] if isinstance(action, int) else _LEVELS[np.asarray(action, dtype=np.int64)])


def mask_place(remaining: Any, base: Any, forced: Any) -> Any:
    """Return the row of :data:`MASKS` that allows the levels which trade more than the level below.

    All levels above the first level that completes the order make the same trade. If the slice must complete the order
    (`forced`), only the highest level is allowed.
    """
    highest = 0
    for pace in PACES[:-1]:
        highest = highest + (remaining * base * pace < remaining) * 1
    return where(forced, len(PACES), highest)


@cache
def _stage(shares: Callable[[Any, Any, Any], Any], discrete: bool) -> Callable[[Lane, Base, Action], Asked]:
    """Return :attr:`ActionMode.ask`, one function for all markets, whose signature is then read once."""

    def ask(lane: Lane, base: Base, action: Action) -> Asked:
        return Asked(shares(minimum(maximum(action.value, -1.0), 1.0), lane.state.remaining, base.base))

    def ask_level(lane: Lane, base: Base, action: Action) -> Asked:
        return Asked(shares(action.value, lane.state.remaining, base.base))

    return ask_level if discrete else ask


@dataclass(frozen=True, eq=False)
class OwnAction:
    """A user's action mode: ``gym.make("HyperExec-v0", action_mode=OwnAction(...))``.

        def a_level(level, situation, known):
            return situation.remaining * (0.0, 0.25, 1.0)[level]

        mode = OwnAction("thirds", gymnasium.spaces.Discrete(3), a_level)

    The functions get single numbers in every execution: `situation` is the :class:`~hyperexec_env.envs.situation.Situation`
    without its market, `known` the numbers of the slice that are known beforehand
    (:data:`~hyperexec_env.envs.features.Known`). Functions at the top of a module can be pickled.

    Args:
        name: Name of the action mode.
        space: `Box(low, high, (1,))` with finite bounds, or `Discrete(levels)`.
        shares: Function (action, situation, known) -> shares to trade in the slice. The action is a float, clipped to the
            bounds, or the int of a level. At most the remaining shares and the participation cap trade, and never a negative
            number; the last slice completes the order.
        mask: Function (level, situation, known) -> whether the level is allowed, for a `Discrete` space; None: every level is
            allowed. It must allow at least one level of each slice. It is called at the end of an episode too.

    Raises:
        ValueError: A bad argument; the message names it.
    """

    name: str
    space: spaces.Space[Any]
    shares: Callable[[Any, Any, Any], Any]
    mask: Callable[[int, Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        check_label("name of an own action mode", self.name)
        space = self.space
        box = isinstance(space, spaces.Box) and space.shape == (1,) and space.is_bounded() and space.low < space.high
        if not box and not (isinstance(space, spaces.Discrete) and space.start == 0):
            raise ValueError(f"space of {self.name!r} must be Box(low, high, (1,)) or Discrete(levels), got {shown(space)}")
        if not callable(self.shares):
            raise ValueError(f"shares of {self.name!r} must be a function (action, situation, known), got {shown(self.shares)}")
        if self.mask is not None and not (callable(self.mask) and self.discrete):
            raise ValueError(f"mask of {self.name!r} must be a function (level, situation, known) for a Discrete space")

    @property
    def discrete(self) -> bool:
        """Whether the action is the number of a level."""
        return isinstance(self.space, spaces.Discrete)

    @property
    def levels(self) -> int:
        """Number of levels of a discrete action."""
        return int(self.space.n) if isinstance(self.space, spaces.Discrete) else 0

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound of a continuous action."""
        return (float(self.space.low[0]), float(self.space.high[0])) if isinstance(self.space, spaces.Box) else (0.0, 0.0)


def none_allowed(own: OwnAction, where: str) -> str:
    """Return the error for a mask that allows no level."""
    return f"mask of action mode {own.name!r} must allow at least one level, but allows none in {where}"


@dataclass(frozen=True, eq=False)
class ActionMode:
    """An action mode of one market."""

    name: str
    """One of :data:`ACTION_MODES`."""
    space: spaces.Space[Any]
    """Action space of one episode."""
    shares: Callable[[Any, Any, Any], Any]
    """(action, remaining, base) -> requested shares: floats, or arrays over episodes."""
    base: NDArray[np.float64]
    """Factor of the action by slice and regime, shape (N + 1, M + 1): a fraction of the remaining shares, or shares."""
    own: OwnAction | None = None
    """The user's action mode, whose functions replace `shares` and `mask`."""

    @property
    def ask(self) -> Callable[[Lane, Base, Action], Asked]:
        """The stage that converts an action to requested shares; continuous actions are clipped to [-1, 1]."""
        return _stage(self.shares, self.discrete)

    @property
    def discrete(self) -> bool:
        """Whether the action is the index of a level."""
        return isinstance(self.space, spaces.Discrete)

    @property
    def levels(self) -> int:
        """Number of levels of a discrete action: those of :data:`PACES`, or the user's."""
        return int(self.space.n) if isinstance(self.space, spaces.Discrete) else 0

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound of a continuous action."""
        return (-1.0, 1.0) if self.own is None else self.own.bounds

    def mask(self, remaining: Any, base: Any, forced: Any) -> NDArray[np.int8]:
        """Return the mask of the discrete levels, shape (..., levels), 1 is allowed; see :func:`mask_place`."""
        return np.asarray(MASKS[mask_place(remaining, base, forced)])


def _vwap_fraction(market: Market) -> NDArray[np.float64]:
    """Return the fraction of the remaining shares that the expected-volume schedule trades, shape (N + 1, M + 1)."""
    fraction = np.ones_like(market.mean_volume)
    fraction[:-1] = market.mean_volume[:-1] / market.rest_volume[:-1]
    return fraction


def _continuous() -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (1,), np.float32)


def _pace_mode(market: Market) -> ActionMode:
    return ActionMode("pace", _continuous(), pace_shares, _vwap_fraction(market))


def _fraction_mode(market: Market) -> ActionMode:
    return ActionMode("fraction", _continuous(), fraction_shares, np.ones_like(market.mean_volume))


def _participation_mode(market: Market) -> ActionMode:
    cap = market.scenario.max_participation
    return ActionMode("participation", _continuous(), participation_shares, market.mean_volume * (1.0 if cap is None else cap))


def _discrete_mode(market: Market) -> ActionMode:
    return ActionMode("discrete", spaces.Discrete(len(PACES)), level_shares, _vwap_fraction(market))


_MODES: Final[dict[str, Callable[[Market], ActionMode]]] = {
    "pace": _pace_mode,
    "fraction": _fraction_mode,
    "participation": _participation_mode,
    "discrete": _discrete_mode,
}
ACTION_MODES: Final = tuple(_MODES)
"""Names of the action modes."""
CONTINUOUS_MODES: Final = tuple(name for name in ACTION_MODES if name != "discrete")
"""Names of the action modes whose action is a number in [-1, 1]."""


def build_action_mode(name: str | OwnAction, market: Market) -> ActionMode:
    """Return the action mode of a name, or a user's, for a market.

    Raises:
        ValueError: No such action mode; the message names the nearest one.
    """
    if isinstance(name, OwnAction):
        return ActionMode(name.name, name.space, _no_formula, np.ones_like(market.mean_volume), name)
    if not isinstance(name, str):
        raise ValueError(f"action_mode must be one of {', '.join(ACTION_MODES)} or an OwnAction, got {shown(name)}")
    return _MODES[check_choice("action_mode", name, ACTION_MODES)](market)


def _no_formula(action: Any, remaining: Any, base: Any) -> Any:
    """Stand in for :attr:`ActionMode.shares` of a user's action mode, which needs the situation."""
    raise TypeError("an own action mode needs the situation: call its `shares(action, situation, known)`")
