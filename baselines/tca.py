"""Transaction cost analysis: report a desk's own fills against a real market, by cost component and against benchmarks.

ADV, volatility and volume curve are estimated from the other sessions of the market. The mid before a fill is interpolated
between the open and the close of its bar.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from datetime import datetime, time
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from hyperexec_env.checks import check_choice, shown
from hyperexec_env.data.blotter import Blotter
from hyperexec_env.data.calendars import SessionHours
from hyperexec_env.data.zones import DAY, SECOND, date_of, local_of
from hyperexec_env.data.zones import zone_of_stamp as zone
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.report import ExecutionReport, clock
from hyperexec_env.files import printable
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder, check_quantity

from .desk_market import DeskMarket
from .fills import DeskFill, DeskOrder, desk_order
from .market_day import MarketDay, day_of
from .range_check import misfit

__all__ = ["PLANS", "Details", "tca", "tca_of_blotter"]

PLANS: Final = ("TWAP", "VWAP")
"""Benchmark schedules of a report."""
_DAY_MINUTES: Final = 390
"""Length of a full session of the ADV and volatility conventions, minutes."""


@dataclass(frozen=True)
class Details:
    """Order details beyond the fills. Times are times of day such as 10:30 or 10:30:05, with or without the date."""

    quantity: float | None = None
    """Size of the order, shares, a whole number of lots; None: the filled shares."""
    arrival_price: float | None = None
    """Mid at the decision, currency per share; None: the mid of the bars."""
    decision: str | None = None
    """Time of the decision; None: the start."""
    start: str | None = None
    """Start of the order; None: the start of the bar of the first fill."""
    deadline: str | None = None
    """Deadline of the order; None: the end of the bar of the last fill."""
    adv: float | None = None
    """Average daily volume, shares; None: the mean of the other sessions."""
    plan: str = "TWAP"
    """Benchmark schedule, one of :data:`PLANS`."""
    symbol: str = ""
    """Instrument; empty: the symbol in the file of fills."""


class _Times(NamedTuple):
    """Times of the order, seconds after midnight."""

    decision: float
    start: float
    deadline: float
    end: float
    """End of the order: the end of the bar of the last fill, or the deadline if shares remained unfilled."""


def tca(
    order: DeskOrder, day: MarketDay, details: Details | None = None, config: ExecutionConfig | None = None
) -> ExecutionReport:
    """Return the report on an executed order.

    Args:
        order: The fills.
        day: The market on the day of the fills.
        details: Further details of the order (default: none).
        config: Parameters of the impact model, and the length of the day (default: the desk's configuration).

    Raises:
        ValueError: A value is out of range, or the fills are inconsistent with the times or the size of the order.
    """
    details, config = details or Details(), config or ExecutionConfig()
    quantity = _quantity(order, details.quantity)
    times = _times(order, day, details, complete=order.filled == quantity)
    if not details.symbol.isprintable():
        raise ValueError(f"symbol must be printable text, got {shown(details.symbol)}")
    parent = ParentOrder(
        symbol=details.symbol or order.symbol or printable(Path(order.file).name),
        side=order.side,
        quantity=quantity,
        arrival_price=day.mid(times.decision) if details.arrival_price is None else details.arrival_price,
        deadline=times.deadline,
        algorithm=check_choice("plan", details.plan, PLANS),
        adv=day.adv if details.adv is None else details.adv,
        volatility=day.volatility,
        lot_size=order.lot_size,
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
        notes=(*_notes(order, day, details, config.day_seconds / 60.0), *order.notes),
    )


def tca_of_blotter(
    blotter: Blotter,
    data: DeskMarket,
    details: Details | None = None,
    config: ExecutionConfig | None = None,
    *,
    lot_size: float = 1,
    within_hours: bool = True,
) -> ExecutionReport | None:
    """Return the report on the one order of a blotter; None if its market does not allow it.

    The report needs bars with volume of a market without a break, and fills of one day.

    Args:
        blotter: The executions; size, arrival and price at the arrival are taken from its columns if `details` lack them.
        data: The market data of its instrument.
        details: See :func:`tca`.
        config: See :func:`tca`; the length of the day is that of the sessions of the bars.
        lot_size: Shares of a lot.
        within_hours: Return None if fills lie outside the hours of the session, instead of raising an error.

    Raises:
        ValueError: See :func:`tca`; or most fills lie outside the price range of their bars.
    """
    symbol = blotter.symbol.of(0)
    instrument = data.instrument(symbol)
    fault = misfit(blotter, instrument, instrument.ranges.excess(blotter.time, blotter.price))
    if fault:
        raise ValueError(fault)
    sessions = data.sessions
    local = local_of(blotter.time, instrument.grid.calendar.zone)
    breaks = sessions is not None and any(item.break_end > item.break_start for item in sessions.hours)
    if sessions is None or not sessions.has_volume or breaks or local[0] // DAY != local[-1] // DAY:
        return None
    date = date_of(int(local[0]))
    hours = next((item for item in sessions.hours if item.date == date), None)
    if within_hours and hours and not (hours.open <= blotter.time[0] and blotter.time[-1] <= hours.close):
        return None
    order, day = desk_order(blotter, instrument.grid.calendar.zone, lot_size), day_of(sessions, date)
    config = replace(config or ExecutionConfig(), day_seconds=60.0 * sessions.day_minutes)
    return tca(order, day, _from_columns(details or Details(), blotter, order, hours), config)


def _from_columns(details: Details, blotter: Blotter, order: DeskOrder, hours: SessionHours | None) -> Details:
    """Return the details, those that are not given from the columns of the blotter."""
    size, price = float(blotter.ordered[0]), float(blotter.arrival_price[0])
    if details.quantity is None and size > order.filled:
        details = replace(details, quantity=int(size) if size == int(size) else size)
    if details.arrival_price is None and price == price:
        details = replace(details, arrival_price=price)
    arrival = None if blotter.arrival is None else int(blotter.arrival.min())
    if details.decision is None and arrival is not None and hours and hours.open <= arrival <= blotter.time[0]:
        moment = np.datetime64(arrival + int(order.zone.utcoffset(None).total_seconds()) * SECOND, "ns")
        details = replace(details, decision=str(moment.astype("datetime64[us]")))
    return details


def _quantity(order: DeskOrder, quantity: float | None) -> float:
    """Return the size of the order, which must be at least the filled shares."""
    if quantity is None:
        return order.filled
    shares = check_quantity("quantity", quantity, order.lot_size)
    if shares < order.filled:
        raise ValueError(f"quantity must be at least the filled shares, {order.filled} in {order.file}, got {quantity}")
    return shares


def _times(order: DeskOrder, day: MarketDay, details: Details, complete: bool) -> _Times:
    """Return the times of the order.

    Raises:
        ValueError: The times are not in order, or a fill lies outside the session, or outside start and deadline.
    """
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
        got = f"{clock(fill.time)} {order.zone}"
        raise ValueError(f"{order.where(fill)}: ts must lie in {what}, [{clock(low)}, {clock(high)}], got {got}")


def _moment(name: str, text: str | None, order: DeskOrder, low: float, high: float, default: float) -> float:
    """Parse a time of day, with or without the date of the order; return seconds after midnight.

    The text may carry the UTC offset of the order, but no other offset.

    Args:
        name: Name of the option, for messages.
        text: The text; None: use the default.
        order: The order.
        low: Earliest valid time, seconds after midnight.
        high: Latest valid time, seconds after midnight.
        default: Time if no text is given, seconds after midnight.

    Raises:
        ValueError: The text is no time, has another date or offset, or is out of range.
    """
    if text is None:
        return default
    moment = _parsed(text)
    if moment is None:
        raise ValueError(f"{name} must be a time such as 10:30, 10:30:05 or {order.date}T10:30:05, got {text!r}")
    if isinstance(moment, datetime) and moment.date().isoformat() != order.date:
        raise ValueError(f"{name} must be on {order.date}, the day of the fills, got {text!r}")
    if zone(moment) not in (None, order.zone):
        raise ValueError(f"{name} must be in the time zone of the market, {order.zone}, or without an offset, got {text!r}")
    seconds = moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond * 1e-6
    if not low <= seconds <= high:
        raise ValueError(f"{name} must lie in [{clock(low)}, {clock(high)}], got {text!r}")
    return seconds


def _parsed(text: str) -> time | datetime | None:
    """Parse a time of day, with or without a date; return None if the text is neither."""
    with contextlib.suppress(ValueError):
        return time.fromisoformat(text)
    with contextlib.suppress(ValueError):
        return datetime.fromisoformat(text) if len(text) > 10 else None
    return None


def _child(parent: ParentOrder, number: int, fill: DeskFill, day: MarketDay) -> ChildOrder:
    """Return a fill as a child order of its own, with an unknown release time."""
    made = Fill(fill.time, fill.quantity, fill.price, day.mid(fill.time), fill.venue, fill.liquidity, fill.fee)
    return ChildOrder(parent, number, fill.quantity, fill.time, None, (made,))


def _notes(order: DeskOrder, day: MarketDay, details: Details, day_minutes: float) -> list[str]:
    """Return the notes on data and assumptions of the report."""
    source = f"{day.others} other session{'s' * (day.others != 1)}" if day.others else "the day of the order itself"
    estimated = "volatility and volume curve" if details.adv else "ADV, volatility and volume curve"
    notes = [
        f"{estimated} are estimated from {source}",
        f"bars of {day.report.bar_minutes} min: the mid before a fill is interpolated between open and close; market VWAP uses "
        "the typical price (high + low + close) / 3 of each bar; the market volume includes these fills",
    ]
    if day_minutes != _DAY_MINUTES:
        partial = "volatility covers" if details.adv else "ADV and volatility cover"
        notes.append(f"{partial} sessions of {day_minutes:g} minutes, which are only a part of a longer trading day")
    left_out = ", ".join(f"{count} {kind}" for kind, count in day.report.counts().items())
    if left_out:
        notes.append(f"sessions left out of the bars: {left_out}")
    outside = [fill for fill in order.fills if not day.holds(fill.time, fill.price)]
    if outside:
        notes.append(
            f"WARNING: {len(outside):,} of {len(order.fills):,} fills lie outside the low-high range of their bar, the first "
            f"in {order.where(outside[0])}: check the instrument, the time zone and the stamp"
        )
    inside = slice(day.bar(order.fills[0].time), day.bar(order.fills[-1].time) + 1)
    missing, missing_inside = int(day.missing.sum()), int(day.missing[inside].sum())
    if missing:
        notes.append(
            f"{'WARNING: ' * (missing_inside > 0)}{missing} of {len(day.missing)} bars of the day are missing, "
            f"{missing_inside} of them between the first and the last fill; a missing bar has the last price and no volume"
        )
    if not missing_inside and order.filled > day.volume[inside].sum():
        notes.append("WARNING: the fills exceed the market volume of their bars: check the instrument and the unit")
    return notes
