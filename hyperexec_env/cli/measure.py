"""Measure a market from its tape: spread, Kyle's lambda, permanent and transient impact, resilience and flow, with errors.

The tape is trades and quotes, or a limit order book in the form of LOBSTER. Trades without a side are signed by the quote rule.
Volume, volatility and regimes are calibrated to --bars, or to one-minute bars of the trades. Temporary impact cannot be seen in
the tape of others: it comes from a desk's own executions (--fills), or has the published values of Almgren et al. (2005). With
--bars alone impact is not measured: the scenario has the impact of public tapes at the volatility of the bars, and says so. The
certificate of the market that results is printed last.

With --basket, --trades and --quotes hold a file, folder or pattern for each asset, in the same order: measure --basket --trades
A_trades.csv B_trades.csv --quotes A_quotes.csv B_quotes.csv --out list.toml. The correlation is that of 5-minute returns of the
trades within common sessions, shrunk towards its mean, with a standard error for each pair.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hyperexec_env.arguments import build, option
from hyperexec_env.baselines.measure import Certified, certified, measure, orders_of
from hyperexec_env.data.aggregate import bars_of_trades
from hyperexec_env.data.basket_calibration import calibrate_basket, names_of, signed_shares
from hyperexec_env.data.basket_measurement import measure_basket
from hyperexec_env.data.blotter import Blotter, read_blotter
from hyperexec_env.data.calibration import calibration_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.measurement import Assumed, Measurement, assume_impact
from hyperexec_env.data.reader import read_bars, read_book, read_quotes, read_trades
from hyperexec_env.data.sessions import read_sessions, sessions_of
from hyperexec_env.evaluation.basket_certificate import certify_basket
from hyperexec_env.files import write_atomically
from hyperexec_env.market.basket_scenario import MOST_ASSETS

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
    volume_persistence: bool = option(False, "let the volume persist from slice to slice, as measured: it becomes a signal")
    side: int | None = option(None, "side of the order: 1 buy, -1 sell (default: 1)")
    quantity: float | None = option(None, "size of the order, shares (default: 4 % of the daily volume)")
    basket: bool = option(False, "measure a basket: each of --trades and each of --quotes belongs to one asset")
    orders: tuple[str, ...] = option(
        (), "with --basket: order of an asset as a share of its ADV, negative to sell, such as AAPL=0.04", each=True
    )


def main(args: Args) -> Certified:
    """Read the tape, measure, write the scenario, and return the measurement and the certificate."""
    if not args.out.endswith(".toml"):
        raise ValueError(f"out must end in .toml, so that commands recognise it as a scenario, got {args.out!r}")
    if args.basket:
        return _of_basket(args, args.name or Path(args.out).stem)
    if args.orders:
        raise ValueError("orders must be empty without --basket; pass --side and --quantity for one asset")
    name = args.name or Path(args.out).stem
    found = _of_bars(args, name) if args.bars and not (args.book or args.trades or args.quotes) else _of_tape(args, name)
    result = certified(found)
    write_atomically(args.out, found.scenario.to_toml())
    return result


def _of_bars(args: Args, name: str) -> Assumed:
    """Return a scenario calibrated to bars, with the impact of public tapes, and temporary impact of the fills."""
    format = build(Format, args)
    sessions = read_sessions(args.bars, format, lenient=True, adv=args.adv)
    order: dict[str, Any] = {"side": args.side, "quantity": args.quantity, "adv": args.adv}
    calibration = calibration_of(sessions, name, volume_persistence=args.volume_persistence, **order)
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
    fields["volume_persistence"] = args.volume_persistence
    return measure(source, quotes, format, bars=bars, adv=args.adv, name=name, **fields)


def _of_basket(args: Args, name: str) -> Certified:
    """Return the measurement of a basket, one asset for each of the trades; the basket is written."""
    for key in ("book", "bars", "fills", "fills_columns", "adv", "side", "quantity", "symbol", "volume_persistence"):
        if getattr(args, key):
            raise ValueError(
                f"{key} must not be given with --basket, got {getattr(args, key)}: pass --trades, --quotes, --orders"
            )
    if len(args.trades) != len(args.quotes) or not 2 <= len(args.trades) <= MOST_ASSETS:
        raise ValueError(
            f"a basket needs trades and quotes of 2 to {MOST_ASSETS} assets, a file or folder for each, got {len(args.trades)} "
            f"and {len(args.quotes)}"
        )
    format = build(Format, args)
    sources = [read_trades(path, format) for path in args.trades]
    symbols = names_of(args.trades, [source.symbol for source in sources], "trades")
    bars = (sessions_of(bars_of_trades(source), format, lenient=True) for source in sources)
    calibration = calibrate_basket(dict(zip(symbols, bars, strict=True)), name, shares=signed_shares(args.orders))
    quotes_format = replace(format, tz=args.quotes_tz or args.tz)
    tapes = (
        measure(source, read_quotes(quotes, quotes_format), format, name=symbol)
        for source, quotes, symbol in zip(sources, args.quotes, symbols, strict=True)
    )
    found = measure_basket(calibration, dict(zip(symbols, tapes, strict=True)))
    result = Certified(found, certify_basket(found.scenario))
    write_atomically(args.out, found.scenario.to_toml())
    return result


def _fills(args: Args) -> Blotter | None:
    """Return the executions of the desk; None without them."""
    if not args.fills:
        return None
    tz = args.fills_tz or args.tz
    return read_blotter(args.fills, build(Format, args, layout="", stamp="", columns=args.fills_columns, tz=tz))
