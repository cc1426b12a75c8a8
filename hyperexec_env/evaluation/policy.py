"""What a policy is: one method that turns a situation into shares."""

from __future__ import annotations

from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation, situation_of
from hyperexec_env.market.lane import EpisodeOrder, first_lane
from hyperexec_env.market.model import Market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import begin, order_numbers
from hyperexec_env.records import map_leaves

__all__ = ["PACKAGES", "Policy", "check_policy", "checked_shares", "first_situation", "offers", "read_only"]

PACKAGES: Final = ("hyperexec_env",)
"""The import roots of the code of this project."""


@runtime_checkable
class Policy(Protocol):
    """A policy: a name and one method."""

    @property
    def name(self) -> str:
        """Name on the board."""
        ...

    def act(self, situation: Situation) -> Any:
        """Return the shares to trade in this slice: a number, or an array over episodes.

        `situation.k == 0` begins an episode: whoever remembers something forgets it there.
        """
        ...


def offers(policy: Any, name: str) -> bool:
    """Whether what a policy offers beside `act` speaks for its `act`: it has it itself, or inherits it within the package.

    A subclass elsewhere may have another `act`; what it inherits then tells of a policy that it no longer is.
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
    """Refuse a policy that does not answer a situation with finite shares.

    Raises:
        TypeError: It has no name or no `act`.
        ValueError: It returns the wrong shape, or something that is not a number.
    """
    if not isinstance(policy, Policy):
        raise TypeError(f"a policy needs a `name` and an `act(situation)` method, got {type(policy).__name__}")
    checked_shares(policy, read_only(first_situation(market, episodes=3)))


def read_only(situation: Situation) -> Situation:
    """Return the same situation in copies that cannot be written to: nothing leads back to the arrays themselves."""
    return Situation._make(_locked(value) if isinstance(value, np.ndarray) else value for value in situation)


def _locked(values: NDArray[Any]) -> NDArray[Any]:
    copy = values.copy()
    copy.flags.writeable = False
    return copy


def checked_shares(policy: Policy, situation: Situation) -> NDArray[np.float64]:
    """Ask a policy and return its shares, a number or one for each episode.

    Raises:
        ValueError: They are not finite numbers of that shape, or the policy tried to change what it was given.
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
