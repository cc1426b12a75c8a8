"""The policy protocol: one method that maps a situation to shares; and checks of policies."""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation, situation_of
from hyperexec_env.market.lane import EpisodeOrder, first_lane
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import begin, order_numbers
from hyperexec_env.market.tables import Market
from hyperexec_env.records import map_leaves

__all__ = ["PACKAGES", "Policy", "check_policy", "checked_shares", "first_situation", "offers", "read_only"]

PACKAGES: Final = ("hyperexec_env",)
"""Import roots of the code of this project."""


@runtime_checkable
class Policy(Protocol):
    """A policy: a name and one method."""

    @property
    def name(self) -> str:
        """Name on the board."""
        ...

    def act(self, situation: Situation) -> Any:
        """Return the shares to trade in this slice: a number, or an array of shape (episodes,).

        `situation.k == 0` marks the start of an episode, at which a policy with memory must reset it.
        """
        ...


def offers(policy: Any, name: str) -> bool:
    """Return whether an optional attribute of a policy (`rule`, `digest`) can be trusted to describe the policy's own `act`.

    It can if the policy's own class (or instance) defines it, or inherits it through classes of this package only. A subclass
    outside the package may override `act`, so that an inherited attribute describes another policy.

    Args:
        policy: The policy.
        name: Name of the attribute.
    """
    own = getattr(policy, "__dict__", {})
    if name in own or "act" in own:
        return name in own
    for kind in type(policy).__mro__:
        if name in vars(kind):
            return True
        if kind.__module__.split(".")[0] not in PACKAGES:
            return False
    return False


def check_policy(policy: Any, market: Market) -> None:
    """Check that a policy returns finite shares for the first situation of three episodes.

    Raises:
        TypeError: The policy has no `name` or no `act`.
        ValueError: The policy returns a wrong shape, or numbers that are not finite.
    """
    if not isinstance(policy, Policy):
        raise TypeError(f"a policy needs a `name` and an `act(situation)` method, got {type(policy).__name__}")
    checked_shares(policy, read_only(first_situation(market, episodes=3)))


def read_only(situation: Situation) -> Situation:
    """Return the situation with every array replaced by a read-only copy, so that a policy cannot reach the original."""
    return Situation._make(_frozen_copy(value) if isinstance(value, np.ndarray) else value for value in situation)


def _frozen_copy(values: NDArray[Any]) -> NDArray[Any]:
    copy = values.copy()
    copy.flags.writeable = False
    return copy


def checked_shares(policy: Policy, situation: Situation) -> NDArray[np.float64]:
    """Call a policy and return its shares, of shape () or (episodes,).

    Raises:
        ValueError: The shares are not finite or have another shape, or the policy wrote to the situation.
    """
    answer = policy.act(situation)
    try:
        shares = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        shares = np.asarray(np.nan)
    if shares.shape not in ((), situation.remaining.shape) or not np.isfinite(shares).all():
        raise ValueError(
            f"policy {policy.name!r} must return finite shares, one for each episode, got {answer!r} in slice {situation.k}"
        )
    return shares


def first_situation(market: Market, episodes: int) -> Situation:
    """Return the situation at the start of some episodes of seed 0."""
    keys, orders = episode_keys(0, np.arange(episodes)), order_numbers(market)
    lane = first_lane(market.numbers, orders.quantity, begin(market, keys))
    lane = map_leaves(lambda values: np.broadcast_to(values, keys.shape), lane)._replace(k=0)
    order = EpisodeOrder(keys, orders.side, orders.quantity, orders.scale)
    return situation_of(market, market.numbers, False, order, lane, lane.world.price)
