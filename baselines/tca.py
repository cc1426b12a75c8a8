"""Transaction cost analysis: the report on a desk's own fills against a real market, by source and against benchmarks.

The other sessions of the market give the ADV, the volatility and the volume curve. The mid before a fill is interpolated
between the open and the close of its bar.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, time, timezone
from pathlib import Path
from typing import Final, NamedTuple

from hyperexec_env.checks import check_choice, check_integer
from hyperexec_env.data.bars import zone
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.report import ExecutionReport, clock
from hyperexec_env.files import printable
from hyperexec_env.orders import MAX_SHARES, ChildOrder, Fill, ParentOrder

from .fills import DeskFill, DeskOrder, check_printable
from .market_day import MarketDay

__all__ = ["PLANS", "Details", "tca"]

PLANS: Final = ("TWAP", "VWAP")
"""Schedules that an order may be compared with."""
_DAY_MINUTES: Final = 390


@dataclass(frozen=True)
class Details:
    """What is known of an order beside its fills; times are clock times such as 10:30 or 10:30:05, or have the date too."""

    quantity: int | None = None
    """Size of the order, shares; None: what was filled."""
    arrival_price: float | None = None
    """Mid at the decision; None: that of the bars."""
    decision: str | None = None
    """Time of the decision; None: the start."""
    start: str | None = None
    """Time at which the order started; None: the begin of the bar of its first fill."""
    deadline: str | None = None
    """Time at which it had to be done; None: the end of the bar of its last fill."""
    adv: float | None = None
    """Average daily volume, shares; None: that of the other sessions."""
    plan: str = "TWAP"
    """The schedule that it is compared with, one of :data:`PLANS`."""
    symbol: str = ""
    """Name of what was traded; empty: that of the fills."""


class _Times(NamedTuple):
    """Moments of the order, seconds after midnight."""

    decision: float
    start: float
    deadline: float
    end: float
    """When it was done: the end of the bar of its last fill, or the deadline where shares were left."""


def tca(
    order: DeskOrder, day: MarketDay, details: Details | None = None, config: ExecutionConfig | None = None
) -> ExecutionReport:
    """Return the report on an order that was executed in a market.

    Args:
        order: The fills.
        day: The market on the day of the fills.
        details: What else is known of the order (default: nothing).
        config: Parameters of the impact model, and the length of the day (default: those of the desk).

    Raises:
        ValueError: A value is out of range, or the fills do not fit the times and the size of the order.
    """
    details, config = details or Details(), config or ExecutionConfig()
    given, order = order.zone, order.by_clock(day.zone)
    quantity = _quantity(order, details.quantity)
    times = _times(order, day, details, complete=order.filled == quantity)
    check_printable("symbol", details.symbol)
    parent = ParentOrder(
        symbol=details.symbol or order.symbol or printable(Path(order.file).name),
        side=order.side,
        quantity=quantity,
        arrival_price=day.mid(times.decision) if details.arrival_price is None else details.arrival_price,
        deadline=times.deadline,
        algorithm=check_choice("plan", details.plan, PLANS),
        adv=day.adv if details.adv is None else details.adv,
        volatility=day.volatility,
        id=order.order_id or order.file,
    )
    before = day.marks(times.decision, times.start) if times.decision >= day.edges[0] else []
    return ExecutionReport(
        parent,
        tuple(_child(parent, number, fill, day) for number, fill in enumerate(order.fills)),
        times.start,
        times.end,
        "filled" if order.filled == quantity else "expired",
        marks=(*before, *day.marks(times.start, times.end)),
        plan=tuple(day.planned(quantity, times.start, times.deadline, details.plan == "VWAP")),
        plan_is_continuous=True,
        config=config,
        close_price=float(day.close[-1]),
        date=day.date,
        notes=(*_notes(order, day, details, config.day_seconds / 60.0), *_clock_notes(given, day)),
    )


def _quantity(order: DeskOrder, quantity: int | None) -> int:
    """Return the size of the order, at least what was filled."""
    if quantity is None:
        return order.filled
    check_integer("quantity", quantity, low=1, high=MAX_SHARES)
    if quantity < order.filled:
        raise ValueError(f"quantity must be at least what was filled, {order.filled} shares in {order.file}, got {quantity}")
    return quantity


def _times(order: DeskOrder, day: MarketDay, details: Details, complete: bool) -> _Times:
    """Return the moments of the order; refuse those that do not follow each other, and fills outside them."""
    opening, closing = float(day.edges[0]), float(day.edges[-1])
    first, last = order.fills[0], order.fills[-1]
    for fill in (first, last):
        _check_fill(order, fill, opening, closing, "the session")
    done = float(day.edges[day.bar(last.time) + 1])
    start = _moment("start", details.start, order, opening, closing, float(day.edges[day.bar(first.time)]))
    if start == closing:
        raise ValueError(f"start must be before the close, {clock(closing)}, got {details.start!r}")
    _check_fill(order, first, start, closing, "start and close")
    deadline = _moment("deadline", details.deadline, order, start, closing, done)
    if not deadline > start:
        raise ValueError(f"deadline must be after the start, {clock(start)}, got {details.deadline!r}")
    _check_fill(order, last, start, deadline, "start and deadline")
    earliest = opening if details.arrival_price is None else 0.0
    decision = _moment("decision", details.decision, order, earliest, start, start)
    return _Times(decision, start, deadline, min(done, deadline) if complete else deadline)


def _check_fill(order: DeskOrder, fill: DeskFill, low: float, high: float, what: str) -> None:
    if not low <= fill.time <= high:
        got = f"{clock(fill.time)} {order.zone or ''}".strip()
        raise ValueError(f"{order.file}, line {fill.line}: ts must lie in {what}, [{clock(low)}, {clock(high)}], got {got}")


def _moment(name: str, text: str | None, order: DeskOrder, low: float, high: float, default: float) -> float:
    """Return a moment that was given as a time of day, or with the date of the order, in seconds after midnight.

    It may carry the offset of the order, which is that of the bars (where they carry none, that of the fills), and no other.
    """
    if text is None:
        return default
    moment = _parsed(text)
    if moment is None:
        raise ValueError(f"{name} must be a time such as 10:30, 10:30:05 or {order.date}T10:30:05, got {text!r}")
    if isinstance(moment, datetime) and moment.date().isoformat() != order.date:
        raise ValueError(f"{name} must be on {order.date}, the day of the fills, got {text!r}")
    if zone(moment) not in (None, order.zone):
        known = f"{order.zone}, or without an offset" if order.zone else "without an offset"
        raise ValueError(f"{name} must be by the clock of the bars, {known}, got {text!r}")
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond * 1e-6
    if not low <= seconds <= high:
        raise ValueError(f"{name} must lie in [{clock(low)}, {clock(high)}], got {text!r}")
    return seconds


def _parsed(text: str) -> time | datetime | None:
    """Return a time of day, or one with a date; None where the text is neither."""
    with contextlib.suppress(ValueError):
        return time.fromisoformat(text)
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text) if len(text) > 10 else None
    return None


def _child(parent: ParentOrder, number: int, fill: DeskFill, day: MarketDay) -> ChildOrder:
    """Return a fill as a child of its own, of which nobody knows when it was released."""
    return ChildOrder(parent, number, fill.quantity, fill.time, None, (Fill(*fill[1:], day.mid(fill.time)),))


def _clock_notes(given: timezone | None, day: MarketDay) -> list[str]:
    """Say by which clock the times of the fills are taken, where their stamps carry an offset."""
    if given is None or given == day.zone:
        return []
    if day.zone is None:
        return [f"the bars carry no offset from universal time: they are taken to be in that of the fills, {given}"]
    return [f"the times of the fills are converted from {given} to {day.zone}, the clock of the bars"]


def _notes(order: DeskOrder, day: MarketDay, details: Details, day_minutes: float) -> list[str]:
    """Say what the numbers rest on."""
    known = f"{day.others} other session{'s' * (day.others != 1)}" if day.others else "the day of the order itself"
    notes = [
        f"{'volatility and volume curve are' if details.adv else 'ADV, volatility and volume curve are'} those of {known}",
        f"bars of {day.report.bar_minutes} min: the mid before a fill is interpolated between open and close; market VWAP by "
        "the typical price (high + low + close) / 3 of each bar; the market volume holds these fills too",
    ]
    if day_minutes != _DAY_MINUTES:
        those = "volatility is that" if details.adv else "ADV and volatility are those"
        notes.append(f"{those} of sessions of {day_minutes:g} minutes: of a day that is longer, no more than a part")
    left_out = ", ".join(f"{count} {kind}" for kind, count in day.report.counts().items())
    if left_out:
        notes.append(f"sessions of the bars that were left out: {left_out}")
    outside = [fill for fill in order.fills if not day.holds(fill.time, fill.price)]
    if outside:
        notes.append(
            f"WARNING: {len(outside):,} of {len(order.fills):,} fills lie outside the low to high of their bar, the first on "
            f"line {outside[0].line}: check the instrument, the time zone and the stamp"
        )
    inside = slice(day.bar(order.fills[0].time), day.bar(order.fills[-1].time) + 1)
    missing, gone = int(day.missing.sum()), int(day.missing[inside].sum())
    if missing:
        notes.append(
            f"{'WARNING: ' * (gone > 0)}bars of the day that are missing: {missing} of {len(day.missing)}, {gone} of them from "
            "the first to the last fill; they are filled with the last price and no volume"
        )
    if not gone and order.filled > day.volume[inside].sum():
        notes.append("WARNING: the fills are more than the market volume of their bars: check the instrument and the unit")
    return notes
