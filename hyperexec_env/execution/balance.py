r"""Balance of a list of orders: the largest trades that keep its legs together.

Leg i of a list has an order of X_i shares at price P_i and side s_i, of which n_i are done. The fraction of the list that is
done, by value, is :math:`f = \sum P_i n_i / \sum P_i X_i`, and an even execution would have done f X_i of each leg. The
imbalance is the size of the position :math:`e_i = s_i (n_i - f X_i)` beside the even one:

    in currency    abs(sum P_i e_i)      net value bought beyond that of the even execution
    in risk        sqrt(e' Sigma e)      standard deviation of its value over a day, Sigma_ij = v_i C_ij v_j, v = sigma P

Both are sqrt(n' Q n) with a positive semidefinite Q, so the imbalance is convex in the shares done. Nothing done and everything
done are in balance. For a list whose buys and sells have one value, the imbalance in currency is the net value that has traded.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hyperexec_env.execution.basket_order import BasketOrder

__all__ = ["CURRENCY", "MEASURES", "RISK", "balanced", "imbalance", "imbalance_form"]

Floats = NDArray[np.float64]

CURRENCY, RISK = "currency", "risk"
MEASURES: Final = (CURRENCY, RISK)
"""Measures of the imbalance."""
_ROUNDS: Final = 1000
"""Reductions of the trades before all of them wait."""


def imbalance_form(order: BasketOrder, measure: str) -> Floats:
    """Return Q, shape (orders, orders), whose quadratic form in the shares done is the squared imbalance.

    Args:
        order: The list.
        measure: One of :data:`MEASURES`; `risk` needs the volatility of every order.
    """
    prices = np.array([each.arrival_price for each in order.orders])
    quantities = np.array([float(each.quantity) for each in order.orders])
    sides = np.array([float(each.side) for each in order.orders])
    beside = (np.eye(len(prices)) - np.outer(quantities, prices) / (prices @ quantities)) * sides[:, None]
    if measure == CURRENCY:
        net = prices @ beside
        return np.outer(net, net)
    size = prices * np.array([each.volatility for each in order.orders], dtype=float)
    return np.asarray(beside.T @ (order.matrix * np.outer(size, size)) @ beside)


def imbalance(form: Floats, done: Floats) -> float:
    """Return the imbalance, currency, given Q and the shares done of each order."""
    return math.sqrt(max(float(done @ form @ done), 0.0))


def balanced(form: Floats, limit: float, done: Floats, wanted: Floats, least: Floats, lots: Floats) -> Floats:
    """Return the shares of each order to trade, at most those wanted, so that the imbalance stays within a limit.

    Orders that are ahead of the list wait, in proportion to what they want; orders that are behind trade all they want.

    Args:
        form: Q, see :func:`imbalance_form`.
        limit: Largest imbalance, currency.
        done: Shares of each order that are done, shape (orders,).
        wanted: Shares that each order would trade.
        least: Shares of them that trade in any case.
        lots: Lot size of each order, shares; the result is in whole lots.
    """
    trades = wanted.copy()
    for _ in range(_ROUNDS):
        slopes = form @ (done + trades)
        ahead = (slopes > 0.0) & (trades > least + 0.5 * lots)
        if imbalance(form, done + trades) <= limit * (1.0 + 1e-12) or not ahead.any():
            return trades
        rest = np.where(ahead, trades - least, 0.0)
        kept = np.floor(rest * _part(form, limit, done + trades - rest, rest) / lots + 1e-9) * lots
        fewer = np.where(ahead & (kept >= rest - 0.5 * lots), rest - lots, kept)
        trades = trades - rest + np.maximum(fewer, 0.0)
    return np.asarray(np.where(slopes > 0.0, least, trades))


def _part(form: Floats, limit: float, start: Floats, more: Floats) -> float:
    """Return the largest part of `more`, 0 to 1, with the imbalance of start + part more within a limit; else the best one."""
    square, cross = float(more @ form @ more), float(start @ form @ more)
    if not square > 0.0:
        return 0.0
    inside = cross * cross - square * (float(start @ form @ start) - limit * limit)
    root = (math.sqrt(inside) if inside > 0.0 else 0.0) - cross
    return min(max(root / square, 0.0), 1.0)
