"""The account of an episode: where the shortfall came from."""

from __future__ import annotations

from typing import Any, NamedTuple

from hyperexec_env.market.kernel import Cost, Impact, State, close
from hyperexec_env.market.numeric import maximum, minimum, present
from hyperexec_env.orders import Order

__all__ = ["Account", "Components", "Statement", "book", "forced_shares", "open_account", "settle", "settle_in_bps"]


class Account(NamedTuple):
    """Running sums over the slices of an episode: floats, or arrays over episodes."""

    cost: Cost
    """Cash cost by component so far, currency."""
    drift_move: Any
    """Sum of the predictable moves of the unaffected price, times the side, currency per share."""
    timing_move: Any
    """Sum of the zero-mean moves, times the side, currency per share."""


class Components(NamedTuple):
    """The shortfall by source (Perold 1988 for the opportunity cost); the sum is the shortfall."""

    spread: Any
    temporary: Any
    transient: Any
    permanent: Any
    timing: Any
    drift: Any
    opportunity: Any


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


def open_account() -> Account:
    """Return an account in which nothing is booked."""
    return Account(Cost(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0.0, 0.0)


def book(account: Account, cost: Cost, drift: Any, innovation: Any) -> Account:
    """Add the cost of one slice, and the moves of the unaffected price over it."""
    total = Cost(*(a + b for a, b in zip(account.cost, cost, strict=True)))
    return Account(total, account.drift_move + drift, account.timing_move + innovation)


def forced_shares(least: Any, volume: Any, cap: float | None, asked: Any, traded: Any) -> Any:
    """Return how many of the shares that traded in a slice its end forced: beyond what was asked for and the cap allowed.

    Args:
        least: Shares that the slice demanded; where it demanded none, none were forced.
        volume: Market volume of the slice, shares.
        cap: Participation cap of the scenario, or None.
        asked: Shares that the policy asked for.
        traded: Shares that traded.
    """
    wanted = maximum(asked, 0.0)
    if cap is not None:
        wanted = minimum(wanted, cap * volume)
    return maximum(traded - wanted, 0.0) * (least > 0.0)


def settle(account: Account, impact: Impact, state: State, order: Order, arrival_price: float) -> Statement:
    """Close an episode: mark what is left at the final mid and state every cost in bps.

    The moves of the price are booked on what remained after each trade. The part of them that fell on shares that were
    never traded is moved to the opportunity cost, where Perold counts it.
    """
    bps = 1e4 / (order.quantity * arrival_price)
    cost = Cost(*(value * bps for value in account.cost))
    return settle_in_bps(Account(cost, account.drift_move, account.timing_move), impact, state, order.quantity, bps)


def settle_in_bps(account: Account, impact: Impact, state: State, quantity: Any, bps: Any) -> Statement:
    """Close an episode of which the cost (not the moves of the price) is in bps already; see :func:`settle`."""
    permanent, transient, temporary, spread, drift, timing, risk = account.cost
    expected = transient + temporary + spread + drift
    shortfall = permanent + expected + timing
    opportunity: Any = 0.0
    left = state.remaining
    if present(left):  # for arrays, what follows adds zeros where nothing is left
        marked, marked_in_objective = close(impact, state, quantity)
        missed_drift, missed_timing = left * account.drift_move * bps, left * account.timing_move * bps
        drift, timing = drift - missed_drift, timing - missed_timing
        opportunity = marked * bps + missed_drift + missed_timing
        shortfall, expected = shortfall + marked * bps, expected + marked_in_objective * bps
    components = Components(spread, temporary, transient, permanent, timing, drift, opportunity)
    return Statement(shortfall, expected + risk, expected, risk, components)
