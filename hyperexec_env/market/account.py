"""The account of an episode: where the shortfall came from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hyperexec_env.market.kernel import ROLES, Components, Cost, Impact, Role, State, close
from hyperexec_env.market.numeric import maximum, minimum, present
from hyperexec_env.orders import Order
from hyperexec_env.records import filler, maker, plus, scaled, sum_of

__all__ = ["Account", "Components", "Statement", "book", "forced_shares", "open_account", "settle", "settle_in_bps"]


class Account(NamedTuple):
    """Running sums over the slices of an episode: floats, or arrays over episodes."""

    cost: Cost
    """Cash cost by component so far, currency."""
    drift_move: Any
    """Sum of the predictable moves of the unaffected price, times the side, currency per share."""
    timing_move: Any
    """Sum of the zero-mean moves, times the side, currency per share."""


class Statement(NamedTuple):
    """What an episode cost; everything in bps of the arrival notional, positive is a cost."""

    shortfall: Any
    """Implementation shortfall, as the desk sees it."""
    objective: Any
    """J in the expected account: price noise and g X^2 / 2 left out, risk term included."""
    expected: Any
    """The objective without its risk term."""
    risk: Any
    """The risk term."""
    components: Components
    """The shortfall by source."""


_filled = filler(Cost)


def open_account(zero: Any = 0.0) -> Account:
    """Return an account in which nothing is booked; `zero` is the number that each field starts from."""
    return Account(_filled(zero), zero, zero)


def book(account: Account, cost: Cost, drift: Any, innovation: Any) -> Account:
    """Add the cost of one slice, and the moves of the unaffected price over it."""
    return Account(plus(account.cost, cost), account.drift_move + drift, account.timing_move + innovation)


def forced_shares(least: Any, volume: Any, cap: Any, asked: Any, traded: Any) -> Any:
    """Return how many of the shares that traded in a slice its end forced: beyond what was asked for and the cap allowed.

    Args:
        least: Shares that the slice demanded; where it demanded none, none were forced.
        volume: Market volume of the slice, shares.
        cap: Participation cap; infinity where there is none.
        asked: Shares that the policy asked for.
        traded: Shares that traded.
    """
    wanted = minimum(maximum(asked, 0.0), cap * volume)
    return maximum(traded - wanted, 0.0) * (least > 0.0)


def settle(account: Account, impact: Impact, state: State, order: Order, arrival_price: float) -> Statement:
    """Close an episode: mark what is left at the final mid and state every cost in bps.

    The moves of the price are booked on what remained after each trade. The part of them that fell on shares that were
    never traded is moved to the opportunity cost, where Perold counts it.
    """
    return settle_in_bps(account, impact, state, order.quantity, 1e4 / (order.quantity * arrival_price))


def settle_in_bps(account: Account, impact: Impact, state: State, quantity: Any, bps: Any) -> Statement:
    """Close an episode, given the bps of the arrival notional that one unit of currency is; see :func:`settle`."""
    cost = scaled(account.cost, bps)
    expected, risk = _traded(cost), _unpriced(cost)
    shortfall = _sunk(cost) + expected + _luck(cost)
    drift, timing = cost.drift, cost.timing
    opportunity: Any = 0.0
    left = state.remaining
    if present(left):  # for arrays, what follows adds zeros where nothing is left
        marked, marked_in_objective = close(impact, state, quantity)
        missed_drift, missed_timing = left * account.drift_move * bps, left * account.timing_move * bps
        drift, timing = drift - missed_drift, timing - missed_timing
        opportunity = marked * bps + missed_drift + missed_timing
        shortfall, expected = shortfall + marked * bps, expected + marked_in_objective * bps
    components = _components(cost, drift, timing, opportunity)
    return Statement(shortfall, expected + risk, expected, risk, components)


def _of_roles(chosen: Callable[[Role], bool]) -> Callable[[Any], Any]:
    """Return a function that adds the costs of some roles."""
    return sum_of(Cost, [name for name, role in ROLES.items() if chosen(role)])


_traded = _of_roles(lambda role: role.objective and role.shortfall)
_unpriced = _of_roles(lambda role: not role.shortfall)
_sunk = _of_roles(lambda role: role.child and not role.objective)
_luck = _of_roles(lambda role: not role.child and not role.objective)
_components = maker(Components, Cost, ("drift", "timing", "opportunity"))
