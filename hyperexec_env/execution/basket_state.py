"""A list that is being executed: the plan of its legs, and the shares by which each may get ahead of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hyperexec_env.execution.balance import balanced, imbalance_form
from hyperexec_env.execution.basket_order import BasketOrder, market_of
from hyperexec_env.execution.basket_program import best_schedule, build_program
from hyperexec_env.execution.basket_report import BasketReport
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.quotes import Quote
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.execution.working_order import WorkingOrder
from hyperexec_env.market.basket_path import build_basket
from hyperexec_env.orders import lots_of, shares_of

__all__ = ["WorkingBasket", "seconds_of"]

_OPTIMAL = "IS"


class WorkingBasket:
    """Execution state of a list, guarded by the lock of the agent; each leg is a :class:`WorkingOrder`.

    All legs draw their jitter from one seed (:meth:`hide`), so that hiding moves their children together.

    Args:
        order: The list.
        submitted: Time of the submission, seconds on the agent's clock.
        config: Settings of the agent.

    Raises:
        ValueError: The optimum needs the ADV and the volatility of every order, and one is missing.
    """

    __slots__ = ("_form", "_lots", "legs", "order")

    def __init__(self, order: BasketOrder, submitted: float, config: ExecutionConfig) -> None:
        """Plan the legs; the optimum of ten orders in ten intervals takes some hundredths of a second."""
        algorithm = "VWAP" if order.algorithm == _OPTIMAL else order.algorithm
        self.order = order
        self.legs = [
            WorkingOrder(each, algorithm, submitted, config, np.random.default_rng(0), basket=self) for each in order.orders
        ]
        seconds = self.legs[0].seconds
        if order.algorithm == _OPTIMAL and seconds > 0.0:
            market = build_basket(market_of(order, config, seconds))
            for leg, column in zip(self.legs, best_schedule(build_program(market)).shares.T, strict=True):
                leg.profile = tuple(column.tolist())
        self._form = None if order.max_imbalance is None else imbalance_form(order, order.imbalance)
        self._lots = np.array([float(each.lot_size) for each in order.orders])

    def hide(self, seed: int) -> None:
        """Draw the jitter of all legs from a seed."""
        for leg in self.legs:
            leg.rng = np.random.default_rng(seed)

    def limit(self, leg: WorkingOrder, now: float, quotes: Mapping[str, Quote], halted: Sequence[str]) -> int | None:
        """Return the lots that the next child of a leg may trade beside the other legs that are due; None: no limit."""
        if self._form is None:
            return None
        due = [
            each
            for each in self.legs
            if not each.closed
            and each.parent.symbol not in halted
            and (each is leg or ((time := each.next_time) is not None and time <= now and each.next_open(now) <= now))
        ]
        known = ((each.parent.symbol, quotes.get(each.parent.symbol)) for each in due)
        rates = {symbol: quote.volume_rate for symbol, quote in known if quote is not None and quote.volume_rate is not None}
        return self.most_lots(leg, due, now, rates)

    def report(self, reports: Mapping[str, ExecutionReport]) -> BasketReport | None:
        """Return the report of the list, given those of all orders by id; None if one of its orders has none."""
        found = [reports.get(leg.parent.id) for leg in self.legs]
        known = tuple(report for report in found if report is not None)
        return BasketReport(self.order, known) if len(known) == len(found) else None

    def forgotten(self, reports: Mapping[str, ExecutionReport]) -> bool:
        """Return whether the reports of all its orders were forgotten."""
        return all(leg.closed and leg.parent.id not in reports for leg in self.legs)

    def most_lots(self, leg: WorkingOrder, due: Sequence[WorkingOrder], now: float, rates: Mapping[str, float]) -> int | None:
        """Return the lots that a due child of a leg may trade for the list to stay in balance; None: no limit.

        Children of other legs that are due count as released, so that legs that trade together do not wait for each other.

        Args:
            leg: The leg.
            due: Legs whose next child is due, this one included.
            now: Time of the release, seconds on the agent's clock.
            rates: Quoted market volume by symbol, shares a second, where it is known.
        """
        if self._form is None or self.order.max_imbalance is None:
            return None
        done, wanted, least = (np.zeros(len(self.legs)) for _ in range(3))
        for i, each in enumerate(self.legs):
            size = each.parent.lot_size
            done[i] = shares_of(each.filled + each.working, size)
            if each in due:
                lots, always = each.next_lots(now, rates.get(each.parent.symbol))
                wanted[i], least[i] = shares_of(lots, size), shares_of(always, size)
        allowed = balanced(self._form, self.order.max_imbalance, done, wanted, least, self._lots)
        return lots_of(float(allowed[self.legs.index(leg)]), leg.parent.lot_size)


def seconds_of(order: BasketOrder, config: ExecutionConfig, now: float) -> float:
    """Return the trading time from a time to the deadline of a list, seconds."""
    return WorkingOrder(order.orders[0], "TWAP", now, config, np.random.default_rng(0)).seconds
