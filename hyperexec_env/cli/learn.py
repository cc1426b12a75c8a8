"""Learn the impact of a market across a desk's own orders: a prior scenario and FILLS to a posterior scenario.

FILLS holds executions in one instrument, as `hyperexec tca` reads them. Each order is compared with the market at its time,
from --bars, --trades and --quotes, or --book. Temporary, permanent and transient impact of the prior are updated by the normal
law; the prior's [posterior] gives their errors, or --impact-sd does. The result is a scenario with a [posterior] of its
own, and may be the prior of the next orders: two batches one after the other give what both at once give.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hyperexec_env.arguments import build, option
from hyperexec_env.baselines.learn import Learned, learn
from hyperexec_env.data.blotter import read_blotter
from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars, read_book, read_quotes, read_trades
from hyperexec_env.data.tables import Book, Trades
from hyperexec_env.files import write_atomically

ORDER = 13.6


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec learn``."""

    fills: str = option(meaning="file, folder or pattern of the desk's own executions", positional=True, file="input")
    prior: str = option(meaning="the scenario before: a name or a file", file="scenario")
    bars: tuple[str, ...] = option((), "files, folders or patterns of bars", file="input")
    trades: tuple[str, ...] = option((), "files, folders or patterns of trades", file="input")
    quotes: tuple[str, ...] = option((), "files, folders or patterns of quotes", file="input")
    quotes_tz: str = option("", "time zone of stamps of the quotes without an offset (default: as --tz)")
    book: tuple[str, ...] = option((), "two files: messages and book, in the form of LOBSTER", file="input")
    fills_columns: tuple[str, ...] = option(
        (), "columns of FILLS by name or number (from 1), such as ts=Time,price=LastPx (default: by usual names)", each=True
    )
    fills_tz: str = option("", "time zone of stamps of FILLS without an offset (default: --tz, else that of the calendar)")
    impact_sd: float | None = option(
        None, "standard deviation of impact over its mean, in place of the prior's draws (default: the draws, 0.5 without)"
    )
    out: str = option(meaning="output file of the posterior scenario, .toml", file="output")
    name: str = option("", "name of the posterior scenario (default: name of the output file)")


def main(args: Args) -> Learned:
    """Read executions and market, update the prior, write the posterior, and return what was learned."""
    if not args.out.endswith(".toml"):
        raise ValueError(f"out must end in .toml, so that commands recognise it as a scenario, got {args.out!r}")
    if not (args.bars or args.book or args.trades):
        raise ValueError("give the market of the fills: --bars, --trades and --quotes, or --book MESSAGES BOOK")
    if bool(args.trades) != bool(args.quotes) or (args.book and (args.trades or len(args.book) != 2)):
        raise ValueError("give --trades and --quotes together, or --book with two files, messages and book")
    format = build(Format, args)
    source: Book | Trades | None = None
    if args.book or args.trades:
        source = read_book(args.book[0], args.book[1], format) if args.book else read_trades(args.trades, format)
    quotes = read_quotes(args.quotes, replace(format, tz=args.quotes_tz or args.tz)) if args.quotes else None
    bars = read_bars(args.bars, format) if args.bars else None
    tz = args.fills_tz or args.tz
    blotter = read_blotter(args.fills, build(Format, args, layout="", stamp="", columns=args.fills_columns, tz=tz))
    name = args.name or Path(args.out).stem
    found = learn(blotter, args.prior, source, quotes, bars, format=format, impact_sd=args.impact_sd, name=name)
    write_atomically(args.out, found.scenario.to_toml())
    return found
