"""The account of an episode: costs booked slice by slice, and the statement in bps at its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hyperexec_env.market.kernel import ROLES, Components, Cost, Impact, Role, State, close
from hyperexec_env.market.numeric import maximum, minimum, present
from hyperexec_env.orders import Order
from hyperexec_env.records import filler, maker, plus, scaled, sum_of

__all__ = ["Account", "Components", "Statement", "book", "forced_shares", "open_account", "settle", "settle_in_bps"]


class Account(NamedTuple):
    """Running sums over the slices of an episode: each number is a float, or an array over episodes."""

    cost: Cost
    """Cash cost by component, currency."""
    drift_move: Any
    """Sum of the predictable moves of the unaffected price, times the side; currency per share."""
    timing_move: Any
    """Sum of the zero-mean moves of the unaffected price, times the side; currency per share."""


class Statement(NamedTuple):
    """Cost of an episode, bps of the arrival notional X P0; positive is a cost."""

    shortfall: Any
    """Implementation shortfall as the desk measures it, price noise and permanent cost included."""
    objective: Any
    """J of the expected account: without the price noise and g X^2 / 2, with the risk term."""
    expected: Any
    """The objective without its risk term."""
    risk: Any
    """The risk term."""
    components: Components
    """The shortfall by source."""


_cost_of_equal_parts = filler(Cost)


def open_account(zero: Any = 0.0) -> Account:
    """Return an empty account; `zero` is the initial value of each number."""
    return Account(_cost_of_equal_parts(zero), zero, zero)


def book(account: Account, cost: Cost, drift: Any, innovation: Any) -> Account:
    """Return the account after one slice, given its cost and its `drift` and `innovation` moves (see :class:`Account`)."""
    return Account(plus(account.cost, cost), account.drift_move + drift, account.timing_move + innovation)


def forced_shares(least: Any, volume: Any, cap: Any, asked: Any, traded: Any) -> Any:
    """Return the shares that the deadline forced in a slice: max(0, traded - min(asked, cap * volume)).

    Args:
        least: Shares that must trade in the slice; the result is 0 where `least` is 0.
        volume: Market volume of the slice, shares.
        cap: Participation cap, fraction; infinity without a cap.
        asked: Shares that the policy asked for.
        traded: Shares that traded.
    """
    wanted = minimum(maximum(asked, 0.0), cap * volume)
    return maximum(traded - wanted, 0.0) * (least > 0.0)


def settle(account: Account, impact: Impact, state: State, order: Order, arrival_price: float) -> Statement:
    """Return the statement of an episode, with the unfilled shares marked at the final mid.

    The account charges the moves of the unaffected price on the shares that remain after each trade. The part charged on
    shares that never traded is moved from drift and timing to the opportunity cost (Perold 1988).
    """
    return settle_in_bps(account, impact, state, order.quantity, 1e4 / (order.quantity * arrival_price))


def settle_in_bps(account: Account, impact: Impact, state: State, quantity: Any, bps: Any) -> Statement:
    """Return the statement of an episode; see :func:`settle`. `bps` is one unit of currency in bps of the arrival notional."""
    cost = scaled(account.cost, bps)
    expected, risk = _expected_part(cost), _risk_part(cost)
    shortfall = _permanent_part(cost) + expected + _noise_part(cost)
    drift, timing = cost.drift, cost.timing
    opportunity: Any = 0.0
    left = state.remaining
    if present(left):  # an array also has completed orders: for them each term below is zero
        marked, marked_in_objective = close(impact, state, quantity)
        missed_drift, missed_timing = left * account.drift_move * bps, left * account.timing_move * bps
        drift, timing = drift - missed_drift, timing - missed_timing
        opportunity = marked * bps + missed_drift + missed_timing
        shortfall, expected = shortfall + marked * bps, expected + marked_in_objective * bps
    components = _components(cost, drift, timing, opportunity)
    return Statement(shortfall, expected + risk, expected, risk, components)


def _part(selects: Callable[[Role], bool]) -> Callable[[Any], Any]:
    """Return a function that adds the cost components whose role is selected."""
    return sum_of(Cost, [name for name, role in ROLES.items() if selects(role)])


_expected_part = _part(lambda role: role.objective and role.shortfall)
_risk_part = _part(lambda role: not role.shortfall)
_permanent_part = _part(lambda role: role.child and not role.objective)
_noise_part = _part(lambda role: not role.child and not role.objective)
_components = maker(Components, Cost, ("drift", "timing", "opportunity"))
