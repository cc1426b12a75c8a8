"""Report on a desk's own fills against a real market: what the order cost, by source and against benchmarks.

FILLS has the columns ts, side (buy, sell, +1, -1), quantity and price, and may have symbol and order_id; it holds one order
of one day. Its times are the wall clock of the bars, seconds and fractions allowed; where both carry an offset from universal
time and the two differ, those of the fills are converted. The bars are checked as by `calibrate`;
the day of the order must be a full session, faulty other days are left out and counted. The other days tell the ADV, the
volatility and the volume curve. The mid before a fill is interpolated between the open and the close of its bar.
"""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass, fields
from datetime import datetime, time, timezone
from pathlib import Path
from typing import Final, NamedTuple

from hyperexec_env.arguments import option
from hyperexec_env.checks import check_choice, check_integer
from hyperexec_env.data.bars import zone
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.report import ExecutionReport, clock
from hyperexec_env.extras import need
from hyperexec_env.files import check_target, printable, write_atomically
from hyperexec_env.orders import MAX_SHARES, ChildOrder, Fill, ParentOrder

from .evaluate import show
from .fills import DeskFill, DeskOrder, check_printable, read_fills
from .market_day import MarketDay, read_day
from .tca_page import page

__all__ = ["Args", "main", "tca"]

_DEFAULT: Final = ExecutionConfig()
_DAY_MINUTES: Final = 390


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec tca``."""

    fills: str = option(meaning="file of fills: columns ts, side, quantity, price (symbol, order_id)", positional=True)
    market: tuple[str, ...] = option(meaning="files of bars: columns ts, open, high, low, close, volume")
    stamp: str = option("start", "whether a bar is stamped at its start or its end", choices=("start", "end"))
    quantity: int | None = option(None, "size of the order, shares (default: what was filled)")
    arrival_price: float | None = option(None, "mid at the decision (default: that of the bars)")
    decision: str | None = option(None, "time of the decision, 10:30, 10:30:05 or with the date (default: the start)")
    start: str | None = option(None, "time at which the order started (default: begin of the bar of its first fill)")
    deadline: str | None = option(None, "time at which it had to be done (default: end of the bar of its last fill)")
    adv: float | None = option(None, "average daily volume, shares (default: that of the other sessions)")
    plan: str = option("TWAP", "the plan it is held against", choices=("TWAP", "VWAP"))
    symbol: str = option("", "name of what was traded (default: that of the fills)")
    half_spread_bps: float = option(_DEFAULT.half_spread_bps, "half of the quoted spread, bps of the arrival price")
    perm_impact_gamma: float = option(_DEFAULT.perm_impact_gamma, "permanent impact, arrival prices for one ADV")
    kyle_lambda: float = option(_DEFAULT.kyle_lambda, "permanent and transient impact, arrival prices for one ADV")
    resilience: float = option(_DEFAULT.resilience, "recovery of the transient impact, per day")
    open_minute: int = option(570, "minute of the day at which the session opens (570: 09:30)")
    day_minutes: int = option(_DAY_MINUTES, "length of the session, minutes")
    html: str | None = option(None, "write the report as a page with the picture of the order to this file")
    json: str | None = option(None, "write the report as JSON to this file (without a file: to standard output)")


class _Times(NamedTuple):
    """Moments of the order, seconds after midnight."""

    decision: float
    start: float
    deadline: float
    end: float
    """When it was done: the end of the bar of its last fill, or the deadline where shares were left."""


def tca(order: DeskOrder, day: MarketDay, args: Args) -> ExecutionReport:
    """Return the report on an order that was executed in a market.

    Args:
        order: The fills.
        day: The market on the day of the fills.
        args: What else is known of the order, and the parameters of the model.

    Raises:
        ValueError: A value is out of range, or the fills do not fit the times and the size of the order.
    """
    given, order = order.zone, order.by_clock(day.zone)
    quantity = _quantity(order, args.quantity)
    times = _times(order, day, args, complete=order.filled == quantity)
    check_printable("symbol", args.symbol)
    parent = ParentOrder(
        symbol=args.symbol or order.symbol or printable(Path(order.file).name),
        side=order.side,
        quantity=quantity,
        arrival_price=day.mid(times.decision) if args.arrival_price is None else args.arrival_price,
        deadline=times.deadline,
        algorithm=check_choice("plan", args.plan, ("TWAP", "VWAP")),
        adv=day.adv if args.adv is None else args.adv,
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
        plan=tuple(day.planned(quantity, times.start, times.deadline, args.plan == "VWAP")),
        plan_is_continuous=True,
        config=_config(args),
        close_price=float(day.close[-1]),
        date=day.date,
        notes=(*_notes(order, day, args), *_clock_notes(given, day)),
    )


def _config(args: Args) -> ExecutionConfig:
    """Return the parameters of the model."""
    given = {item.name: getattr(args, item.name) for item in fields(ExecutionConfig) if hasattr(args, item.name)}
    return ExecutionConfig(**given, day_seconds=60.0 * args.day_minutes)


def _quantity(order: DeskOrder, quantity: int | None) -> int:
    """Return the size of the order, at least what was filled."""
    if quantity is None:
        return order.filled
    check_integer("quantity", quantity, low=1, high=MAX_SHARES)
    if quantity < order.filled:
        raise ValueError(f"quantity must be at least what was filled, {order.filled} shares in {order.file}, got {quantity}")
    return quantity


def _times(order: DeskOrder, day: MarketDay, args: Args, complete: bool) -> _Times:
    """Return the moments of the order; refuse those that do not follow each other, and fills outside them."""
    opening, closing = float(day.edges[0]), float(day.edges[-1])
    first, last = order.fills[0], order.fills[-1]
    for fill in (first, last):
        _check_fill(order, fill, opening, closing, "the session")
    done = float(day.edges[day.bar(last.time) + 1])
    start = _moment("start", args.start, order, opening, closing, float(day.edges[day.bar(first.time)]))
    if start == closing:
        raise ValueError(f"start must be before the close, {clock(closing)}, got {args.start!r}")
    _check_fill(order, first, start, closing, "start and close")
    deadline = _moment("deadline", args.deadline, order, start, closing, done)
    if not deadline > start:
        raise ValueError(f"deadline must be after the start, {clock(start)}, got {args.deadline!r}")
    _check_fill(order, last, start, deadline, "start and deadline")
    earliest = opening if args.arrival_price is None else 0.0
    decision = _moment("decision", args.decision, order, earliest, start, start)
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


def _notes(order: DeskOrder, day: MarketDay, args: Args) -> list[str]:
    """Say what the numbers rest on."""
    known = f"{day.others} other session{'s' * (day.others != 1)}" if day.others else "the day of the order itself"
    notes = [
        f"{'volatility and volume curve are' if args.adv else 'ADV, volatility and volume curve are'} those of {known}",
        f"bars of {day.report.bar_minutes} min: the mid before a fill is interpolated between open and close; market VWAP by "
        "the typical price (high + low + close) / 3 of each bar; the market volume holds these fills too",
    ]
    if args.day_minutes != _DAY_MINUTES:
        those = "volatility is that" if args.adv else "ADV and volatility are those"
        notes.append(f"{those} of sessions of {args.day_minutes} minutes: of a day that is longer, no more than a part")
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


def main(args: Args) -> ExecutionReport:
    """Read, report, write, and return the report."""
    targets = [target for target in (args.html, args.json) if target is not None]
    for target in targets:
        check_target(target, (args.fills, *args.market))
    if args.html is not None:
        need("matplotlib", "plot")
        if args.html == "-":
            raise ValueError("html must be a file, got '-'")
    if len({Path(target).resolve() for target in targets}) < len(targets):
        raise ValueError(f"json and html must be two files, got {args.html!r} twice")
    order = read_fills(args.fills)
    day = read_day(args.market, args.stamp, order.date, open_minute=args.open_minute, day_minutes=args.day_minutes)
    report = tca(order, day, args)
    text = str(report)
    if args.html is not None:
        write_atomically(args.html, page(report, _command(args)))
        text += f"\n\nwrote {args.html}"
    show(text, report.to_json(), args.json)
    return report


def _command(args: Args) -> str:
    """Return the command that makes the report again."""
    words = ["hyperexec", "tca", args.fills, "--market", *args.market]
    for item in fields(Args):
        value = getattr(args, item.name)
        if item.name not in ("fills", "market", "html", "json") and value != item.default:
            words += ["--" + item.name.replace("_", "-"), str(value)]
    return shlex.join(words)
