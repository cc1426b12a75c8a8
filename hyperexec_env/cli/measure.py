"""Measure a market from its tape: spread, Kyle's lambda, permanent and transient impact, resilience and flow, with errors.

The tape is trades and quotes, or a limit order book in the form of LOBSTER. Trades without a side are signed by the quote rule.
Volume, volatility and regimes are calibrated to --bars, or to one-minute bars of the trades. Temporary impact cannot be seen in
the tape of others: it comes from a desk's own executions (--fills), or has the published values of Almgren et al. (2005). With
--bars alone impact is not measured: the scenario has the impact of public tapes at the volatility of the bars, and says so. The
certificate of the market that results is printed last.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperexec_env.arguments import build, option
from hyperexec_env.baselines.measure import Certified, certified, measure, orders_of
from hyperexec_env.data.blotter import Blotter, read_blotter
from hyperexec_env.data.calibration import calibration_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.measurement import Assumed, Measurement, assume_impact
from hyperexec_env.data.reader import read_bars, read_book, read_quotes, read_trades
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.files import write_atomically

ORDER = 13.5


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec measure``."""

    trades: tuple[str, ...] = option((), "files, folders or patterns of trades", file="input")
    quotes: tuple[str, ...] = option((), "files, folders or patterns of quotes", file="input")
    quotes_tz: str = option("", "time zone of stamps of the quotes without an offset (default: as --tz)")
    book: tuple[str, ...] = option((), "two files: messages and book, in the form of LOBSTER", file="input")
    bars: tuple[str, ...] = option((), "bars of a longer time, for volume, volatility and regimes", file="input")
    fills: tuple[str, ...] = option((), "the desk's own executions, for temporary impact", file="input")
    fills_columns: tuple[str, ...] = option(
        (), "columns of --fills by name or number (from 1), such as ts=Time,price=LastPx (default: by usual names)", each=True
    )
    fills_tz: str = option("", "time zone of stamps of --fills without an offset (default: --tz, else that of the calendar)")
    adv: float | None = option(None, "average daily volume, shares (default: volume of the sessions of the tape)")
    out: str = option(meaning="output file of the scenario, .toml", file="output")
    name: str = option("", "name of the scenario (default: name of the output file)")
    side: int | None = option(None, "side of the order: 1 buy, -1 sell (default: 1)")
    quantity: float | None = option(None, "size of the order, shares (default: 4 % of the daily volume)")


def main(args: Args) -> Certified:
    """Read the tape, measure, write the scenario, and return the measurement and the certificate."""
    if not args.out.endswith(".toml"):
        raise ValueError(f"out must end in .toml, so that commands recognise it as a scenario, got {args.out!r}")
    name = args.name or Path(args.out).stem
    found = _of_bars(args, name) if args.bars and not (args.book or args.trades or args.quotes) else _of_tape(args, name)
    result = certified(found)
    write_atomically(args.out, found.scenario.to_toml())
    return result


def _of_bars(args: Args, name: str) -> Assumed:
    """Return a scenario calibrated to bars, with the impact of public tapes, and temporary impact of the fills."""
    format = build(Format, args)
    sessions = read_sessions(args.bars, format, lenient=True, adv=args.adv)
    calibration = calibration_of(sessions, name, side=args.side, quantity=args.quantity, adv=args.adv)
    fills = _fills(args)
    orders = orders_of(fills, bars=read_bars(args.bars, format), format=format) if fills else None
    return assume_impact(calibration, orders)


def _of_tape(args: Args, name: str) -> Measurement:
    """Return the measurement of trades and quotes, or of a book."""
    if bool(args.book) == bool(args.trades or args.quotes) or bool(args.trades) != bool(args.quotes):
        raise ValueError("give --trades and --quotes, --book MESSAGES BOOK, or --bars alone")
    if args.book and len(args.book) != 2:
        raise ValueError(f"book must be two files, messages and book, got {len(args.book)}")
    format = build(Format, args)
    source = read_book(args.book[0], args.book[1], format) if args.book else read_trades(args.trades, format)
    quotes = read_quotes(args.quotes, replace(format, tz=args.quotes_tz or args.tz)) if args.quotes else None
    bars = read_bars(args.bars, format) if args.bars else None
    fields: dict[str, Any] = {"fills": _fills(args), "side": args.side, "quantity": args.quantity}
    return measure(source, quotes, format, bars=bars, adv=args.adv, name=name, **fields)


def _fills(args: Args) -> Blotter | None:
    """Return the executions of the desk; None without them."""
    if not args.fills:
        return None
    tz = args.fills_tz or args.tz
    return read_blotter(args.fills, build(Format, args, layout="", stamp="", columns=args.fills_columns, tz=tz))
