"""The policy protocol: one method that maps a situation to shares; and checks of policies."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_label, shown
from hyperexec_env.envs.situation import Situation, situation_of, with_law
from hyperexec_env.evaluation.basket_situation import first_basket_situation
from hyperexec_env.market.basket_path import BasketMarket
from hyperexec_env.market.hidden import chain_of, check_filter
from hyperexec_env.market.lane import EpisodeOrder, first_lane
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import begin, order_numbers
from hyperexec_env.market.tables import Market
from hyperexec_env.records import map_leaves

__all__ = [
    "PACKAGES",
    "Policy",
    "PolicyFailure",
    "blamed",
    "check_fit",
    "check_policy",
    "checked_shares",
    "first_situation",
    "follows_regimes",
    "offers",
    "read_only",
    "unfit",
]

PACKAGES: Final = ("hyperexec_env",)
"""Import roots of the code of this project."""


class PolicyFailure(ValueError):
    """A policy raised an error, did not return in time, or did not return finite shares; the message names the policy."""


class _TimeIsUp(BaseException):
    """A policy did not return in time. Not an `Exception`, so that a policy that catches all of those cannot go on."""


@runtime_checkable
class Policy(Protocol):
    """A policy: a name and one method.

    A policy that sets `follows_regimes = True` reads the probabilities of a hidden regime in its situations, which whoever
    calls it then follows by the exact filter (:mod:`~hyperexec_env.market.hidden`).
    """

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
    """Return whether an optional attribute of a policy (`rule`, `digest`, `unfit`) can be trusted to describe its own `act`.

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


def follows_regimes(policy: Any) -> bool:
    """Return whether a policy reads the probabilities of the regimes in its situations (see :class:`Policy`)."""
    return bool(getattr(policy, "follows_regimes", False))


def unfit(policy: Policy, market: Market | BasketMarket) -> str:
    """Return why a policy cannot trade in a market, or "": the result of its optional method ``unfit(market)``.

    The method is fast: it does not solve the market.
    """
    return str(getattr(policy, "unfit")(market)) if offers(policy, "unfit") else ""  # noqa: B009


def check_fit(policy: Policy, market: Market | BasketMarket) -> None:
    """Raise a ValueError if a policy says that it cannot trade in a market (:func:`unfit`)."""
    reason = unfit(policy, market)
    if reason:
        raise ValueError(f"policy {policy.name!r} cannot trade {market.scenario.name}: {reason}")


def check_policy(policy: Any, market: Market | BasketMarket, timeout: float = 0.0) -> None:
    """Check that a policy returns finite shares for the first situation of three episodes.

    Args:
        policy: The policy.
        market: The market of the episodes.
        timeout: Largest time of the call, seconds; 0: no limit (see :func:`checked_shares`).

    Raises:
        TypeError: The policy has no `name` or no `act`.
        ValueError: The name is not printable text of at most 200 bytes.
        PolicyFailure: The policy raises an error, does not return in time, or does not return finite shares.
    """
    if not isinstance(policy, Policy):
        raise TypeError(f"a policy needs a `name` and an `act(situation)` method, got {type(policy).__name__}")
    check_label("name of a policy", policy.name)
    situation = first_situation(market, episodes=3)
    with blamed(policy, "before the first slice", timeout):
        if follows_regimes(policy):
            check_filter(market)
            situation = with_law(situation, map_leaves(lambda value: np.full(3, value), chain_of(market).start))
    checked_shares(policy, read_only(situation), timeout)


def read_only(situation: Situation) -> Situation:
    """Return the situation with every array replaced by a read-only copy, so that a policy cannot reach the original."""
    return Situation._make(_frozen_copy(value) if isinstance(value, np.ndarray) else value for value in situation)


def _frozen_copy(values: NDArray[Any]) -> NDArray[Any]:
    copy = values.copy()
    copy.flags.writeable = False
    return copy


def checked_shares(policy: Policy, situation: Situation, timeout: float = 0.0) -> NDArray[np.float64]:
    """Call a policy and return its shares, of shape () or (episodes,).

    Args:
        policy: The policy.
        situation: The situation.
        timeout: Largest time of the call, seconds; 0: no limit. The limit applies in the main thread of a POSIX system, and to
            code that returns to Python now and then.

    Raises:
        PolicyFailure: The policy raised an error (a read-only situation raises one where it is written to), did not return in
            time, or the shares are not finite or have another shape.
    """
    with blamed(policy, f"in slice {situation.k}", timeout):
        answer = policy.act(situation)
    try:
        shares = np.asarray(answer, dtype=float)
    except (TypeError, ValueError):
        shares = np.asarray(np.nan)
    if shares.shape not in ((), situation.remaining.shape) or not np.isfinite(shares).all():
        wanted = "finite shares, one for each episode"
        raise PolicyFailure(f"policy {policy.name!r} must return {wanted}, got {shown(answer)} in slice {situation.k}")
    return shares


@contextmanager
def blamed(policy: Policy, where: str, timeout: float = 0.0) -> Iterator[None]:
    """Run code of a policy; raise any error of it, and the end of its time, as a :class:`PolicyFailure`.

    Args:
        policy: The policy.
        where: What the code does, for the message.
        timeout: Largest time, seconds; 0: no limit (see :func:`checked_shares`).
    """
    try:
        with _limited(timeout):
            yield
    except PolicyFailure:
        raise
    except _TimeIsUp:
        raise PolicyFailure(f"policy {policy.name!r} did not return within {timeout:g} s {where}") from None
    except (Exception, SystemExit) as error:
        raise PolicyFailure(f"policy {policy.name!r} raised {type(error).__name__} {where}: {error}") from error


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise :class:`_TimeIsUp` in the block after some seconds, and every second from then on; 0: never."""
    if not seconds or not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    armed = True

    def stop(number: int, frame: Any) -> None:
        if armed:
            raise _TimeIsUp

    handler = signal.signal(signal.SIGALRM, stop)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        try:
            yield
        finally:
            armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def first_situation(market: Market | BasketMarket, episodes: int) -> Situation:
    """Return the situation at the start of some episodes of seed 0."""
    if isinstance(market, BasketMarket):
        return first_basket_situation(market, episodes)
    keys, orders = episode_keys(0, np.arange(episodes)), order_numbers(market)
    lane = first_lane(market.numbers, orders.quantity, begin(market, keys))
    lane = map_leaves(lambda values: np.broadcast_to(values, keys.shape), lane)._replace(k=0)
    order = EpisodeOrder(keys, orders.side, orders.quantity, orders.scale)
    return situation_of(market, market.numbers, False, order, lane, lane.world.price)
