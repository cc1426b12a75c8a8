"""Measure a market from its tape: spread, Kyle's lambda, permanent and transient impact, resilience and flow, with errors.

The tape is trades and quotes, or a limit order book in the form of LOBSTER. Trades without a side are signed by the quote rule.
Volume, volatility and regimes are calibrated to --bars, or to one-minute bars of the trades. Temporary impact cannot be seen in
the tape of others: it has the published values of Almgren et al. (2005). With --bars alone impact is not measured: the scenario
has the impact of public tapes at the volatility of the bars, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hyperexec_env.arguments import build, option
from hyperexec_env.data.calibration import calibration_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.measurement import Assumed, Measurement, assume_impact, measure
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
    adv: float | None = option(None, "average daily volume, shares (default: volume of the sessions of the tape)")
    out: str = option(meaning="output file of the scenario, .toml", file="output")
    name: str = option("", "name of the scenario (default: name of the output file)")
    side: int | None = option(None, "side of the order: 1 buy, -1 sell (default: 1)")
    quantity: float | None = option(None, "size of the order, shares (default: 4 % of the daily volume)")


def main(args: Args) -> Measurement | Assumed:
    """Read the tape, measure, write the scenario, and return the measurement."""
    if not args.out.endswith(".toml"):
        raise ValueError(f"out must end in .toml, so that commands recognise it as a scenario, got {args.out!r}")
    name = args.name or Path(args.out).stem
    found = _of_bars(args, name) if args.bars and not (args.book or args.trades or args.quotes) else _of_tape(args, name)
    write_atomically(args.out, found.scenario.to_toml())
    return found


def _of_bars(args: Args, name: str) -> Assumed:
    """Return a scenario calibrated to bars, with the impact of public tapes."""
    sessions = read_sessions(args.bars, build(Format, args), lenient=True, adv=args.adv)
    return assume_impact(calibration_of(sessions, name, side=args.side, quantity=args.quantity, adv=args.adv))


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
    return measure(source, quotes, format, bars=bars, adv=args.adv, name=name, side=args.side, quantity=args.quantity)
