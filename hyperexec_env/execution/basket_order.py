"""Lists: parent orders in several symbols that are executed together, and the market in which their plan is optimal."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_number, shown
from hyperexec_env.execution.balance import CURRENCY, MEASURES, RISK
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.market.basket_scenario import MOST_ASSETS, BasketScenario
from hyperexec_env.market.cross import check_correlation, check_same, is_empty
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.orders import ParentOrder

__all__ = ["BASKET_ALGORITHMS", "BasketOrder", "market_of"]

BASKET_ALGORITHMS: Final = ("TWAP", "VWAP", "IS")
"""Algorithms of a list. IS is the schedule of least cost and risk of the whole list, with covariance and cross-impact."""
_MINUTES: Final = 390.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BasketOrder:
    """A list: orders in 1 to 50 symbols with one deadline, which an agent executes together.

    Args:
        orders: The orders, one for each symbol, buys and sells. Deadline and sessions are equal; algorithm and urgency are the
            list's, so the orders leave them out.
        algorithm: "IS" (the optimum of the list, from ADV and volatility of every order), "TWAP" or "VWAP".
        correlation: Correlation of the returns, one row for each order; empty: none.
        cross_impact: Weight c of the multivariate Kyle matrix, 0 (orders move their own price only) to 1; an assumption.
        max_imbalance: Largest imbalance of the shares released, currency, see :mod:`~hyperexec_env.execution.balance`; None: no
            limit. A child that would exceed it is reduced, and later children carry its shares.
        imbalance: Measure of the imbalance: "currency" (net value) or "risk" (standard deviation over a day).
        id: Identifier of the list, unique within an agent; random by default.

    Raises:
        ValueError: A value is out of range, two orders have one symbol or different deadlines, or the correlation is not
            symmetric and positive semidefinite; the message names the field, the values and the reason.
    """

    orders: tuple[ParentOrder, ...]
    algorithm: str = "IS"
    correlation: tuple[tuple[float, ...], ...] = ()
    cross_impact: float = 0.5
    max_imbalance: float | None = None
    imbalance: str = CURRENCY
    id: str = field(default_factory=lambda: secrets.token_hex(8))

    def __post_init__(self) -> None:
        """Check every value once."""
        put, orders = object.__setattr__, self.orders
        if not isinstance(orders, (list, tuple)) or not all(isinstance(each, ParentOrder) for each in orders):
            raise ValueError(f"orders must be a list of ParentOrder, got {shown(orders)}")
        if not 1 <= len(orders) <= MOST_ASSETS:
            raise ValueError(f"orders must be 1 to {MOST_ASSETS} orders, got {len(orders)}")
        put(self, "orders", tuple(orders))
        if not isinstance(self.id, str) or not self.id:
            raise ValueError(f"id must be a non-empty text, got {self.id!r}")
        self._check_orders()
        check_choice("algorithm", self.algorithm, BASKET_ALGORITHMS)
        check_choice("imbalance", self.imbalance, MEASURES)
        if not is_empty(self.correlation):
            put(self, "correlation", check_correlation(self.correlation, len(orders)))
        put(self, "cross_impact", check_number("cross_impact", self.cross_impact, low=0.0, high=1.0))
        if self.max_imbalance is not None:
            limit = check_number("max_imbalance", self.max_imbalance, low=0.0, high=1e18, open_low=True, unit="currency")
            put(self, "max_imbalance", limit)
            if self.imbalance == RISK:
                self.need("volatility", "an imbalance in risk")

    def _check_orders(self) -> None:
        """Check the orders against each other."""
        symbols = self.symbols
        for i, symbol in enumerate(symbols):
            if symbol in symbols[:i]:
                raise ValueError(f"orders must have different symbols, got two in {symbol!r}; net them into one order")
        for key in ("deadline", "sessions"):
            check_same(key, (getattr(each, key) for each in self.orders), symbols, "the orders of a list share one horizon")
        for key in ("algorithm", "urgency"):
            for each in self.orders:
                if getattr(each, key) is not None:
                    raise ValueError(
                        f"{key} must be left out of the orders of a list, got {getattr(each, key)!r} for {each.symbol}: the "
                        "algorithm is the list's"
                    )

    def need(self, key: str, reason: str) -> None:
        """Raise ValueError if an order lacks a value that its list needs."""
        for each in self.orders:
            if not getattr(each, key):
                raise ValueError(f"{key} of {each.symbol} must be a positive number for {reason}, got {getattr(each, key)}")

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbol of each order."""
        return tuple(each.symbol for each in self.orders)

    @property
    def notional(self) -> float:
        """Arrival notional of all orders, sum of X P0, currency."""
        return math.fsum(each.notional for each in self.orders)

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Correlation of the returns, shape (orders, orders)."""
        return np.array(self.correlation) if len(self.correlation) else np.eye(len(self.orders))


def market_of(order: BasketOrder, config: ExecutionConfig, seconds: float) -> BasketScenario:
    """Return the market of a list as an agent knows it, with the impact of its configuration and without noise of the volume.

    The day of the scenario is the life of the list: its ADV is the volume expected until the deadline, its volatility that of
    this time, and Kyle's lambda is per volume of this time, so that the slopes are those of :class:`ExecutionConfig`.

    Args:
        order: The list; every order has an ADV and a volatility.
        config: Impact, spread, risk aversion, number of intervals.
        seconds: Trading time until the deadline.

    Raises:
        ValueError: An order has no ADV or no volatility; the message names both.
    """
    for key in ("adv", "volatility"):
        order.need(key, "the market of a list")
    days = seconds / config.day_seconds
    return BasketScenario(
        name="list",
        assets=tuple(_asset(each, config, days) for each in order.orders),
        correlation=order.correlation,
        cross_impact=order.cross_impact,
        provenance={"cross_impact": "given" if order.cross_impact != 0.5 else "assumed: the default"},
    )


def _asset(order: ParentOrder, config: ExecutionConfig, days: float) -> Scenario:
    """Return the market of one order, in units of its life of some days."""
    adv: Any = order.adv
    volatility: Any = order.volatility
    volume = order.expected_volume or adv * days
    lifetimes = volume / adv
    return Scenario(
        name=order.symbol,
        side=order.side,
        quantity=float(order.quantity),
        arrival_price=order.arrival_price,
        horizon_minutes=_MINUTES,
        day_minutes=_MINUTES,
        slices=config.slices,
        risk_aversion=config.risk_aversion,
        adv=volume,
        volatility=volatility * math.sqrt(days),
        half_spread_bps=config.half_spread_bps,
        kyle_lambda=config.kyle_lambda * lifetimes,
        perm_impact_gamma=config.perm_impact_gamma * lifetimes,
        temp_impact_alpha=config.temp_impact_alpha / math.sqrt(days),
        temp_impact_beta=config.temp_impact_beta,
        resilience=config.resilience * days,
        volume_curve=order.volume_profile,
        volume_noise=0.0,
        flow_share=0.0,
    )
