"""Report the costs of a desk's own executions against a real market: of one order in detail, or of all orders of a blotter.

FILLS holds executions with a time, a side (or signed quantities), a quantity and a price, in columns of any usual names; order
id, execution id and type, symbol, broker, algorithm, fee, currency, order size and time of arrival are read where they are
there. A file with one order of one day gives the report of that order, by cost component; any other file, or --out, --trades or
--quotes, gives one row of costs for each order, and their means by broker, algorithm, symbol, side and time of day.
"""

from __future__ import annotations

import glob
import shlex
from dataclasses import dataclass, fields
from typing import Any, Final

from hyperexec_env.arguments import build, files_of, option
from hyperexec_env.baselines.blotter import order_numbers, tca_blotter
from hyperexec_env.baselines.blotter_page import blotter_page
from hyperexec_env.baselines.blotter_report import BlotterReport
from hyperexec_env.baselines.desk_market import DeskMarket
from hyperexec_env.baselines.order_costs import Settings
from hyperexec_env.baselines.tca import PLANS, Details, tca_of_blotter
from hyperexec_env.baselines.tca_page import page
from hyperexec_env.data.blotter import Blotter, read_blotter
from hyperexec_env.data.format import Format
from hyperexec_env.data.listings import in_shares
from hyperexec_env.evaluation.table import check_ending
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically

ORDER = 14
_DEFAULT: Final = ExecutionConfig()
_ONE_ORDER: Final = (
    *("quantity", "lot_size", "arrival_price", "decision", "start", "deadline", "adv", "plan"),
    *("half_spread_bps", "perm_impact_gamma", "kyle_lambda", "resilience"),
)
"""Options of the report of one order."""


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec tca``."""

    fills: str = option(
        meaning="file, folder or pattern of executions: time, side, quantity, price ...", positional=True, file="input"
    )
    market: tuple[str, ...] = option((), "files, folders or patterns of bars (trades and quotes are recognised)", file="input")
    trades: tuple[str, ...] = option((), "files, folders or patterns of trades", file="input")
    quotes: tuple[str, ...] = option((), "files, folders or patterns of best bids and offers", file="input")
    columns: tuple[str, ...] = option(
        (), "columns of FILLS by name or number (from 1), such as ts=Time,price=LastPx (default: by usual names)", each=True
    )
    market_columns: tuple[str, ...] = option(
        (), "columns of the market data, such as ts=Time,close=Last (default: by layout)", each=True
    )
    fills_tz: str = option("", "time zone of stamps of FILLS without an offset (default: --tz, else that of the calendar)")
    lot: float = option(1.0, "shares of a unit of quantity of FILLS, such as 100 for round lots")
    instruments: str | None = option(
        None,
        "table of instruments: symbol and any of calendar, currency, lot, rate (its value in the currency of the report)",
        file="input",
    )
    out: str | None = option(None, "write one row of costs for each order to this file (.parquet, .csv, .json)", file="output")
    lenient: bool = option(False, "leave out instruments whose executions do not fit the market data, and count them")
    quantity: float | None = option(None, "one order: size of the order, shares (default: the filled shares)")
    lot_size: float = option(1, "one order: shares of a lot, of which quantities are multiples; 0.001: thousandths of a coin")
    arrival_price: float | None = option(None, "one order: mid at the decision, currency per share (default: mid of the bars)")
    decision: str | None = option(
        None, "one order: time of the decision, 10:30, 10:30:05 or with the date (default: the start)"
    )
    start: str | None = option(None, "one order: its start (default: start of the bar of the first fill)")
    deadline: str | None = option(None, "one order: its deadline (default: end of the bar of the last fill)")
    adv: float | None = option(None, "one order: average daily volume, shares (default: mean of the other sessions)")
    plan: str = option("TWAP", "one order: benchmark schedule", choices=PLANS)
    half_spread_bps: float = option(_DEFAULT.half_spread_bps, "one order: half of the quoted spread, bps of the arrival price")
    perm_impact_gamma: float = option(_DEFAULT.perm_impact_gamma, "one order: permanent impact, arrival prices per ADV traded")
    kyle_lambda: float = option(
        _DEFAULT.kyle_lambda, "one order: permanent plus transient impact, arrival prices per ADV traded"
    )
    resilience: float = option(_DEFAULT.resilience, "one order: recovery of the transient impact, per day")
    fee_per_share: float = option(_DEFAULT.fee_per_share, "fee, currency per share")
    fee_bps: float = option(_DEFAULT.fee_bps, "fee, bps of the traded notional, in addition")
    min_fee: float = option(_DEFAULT.min_fee, "smallest fee of a line of FILLS, currency")
    html: str | None = option(None, "write the report as an HTML page with charts to this file", file="output")

    @property
    def inputs(self) -> list[str]:
        """Return the files that the patterns of inputs match."""
        return [file for _, pattern in files_of(self, "input") for file in glob.glob(pattern)]

    @property
    def market_format(self) -> Format:
        """Return how the market data are read."""
        return build(Format, self, columns=self.market_columns)

    @property
    def fills_format(self) -> Format:
        """Return how the executions are read."""
        return build(Format, self, layout="", stamp="", tz=self.fills_tz or self.tz)


def main(args: Args) -> ExecutionReport | BlotterReport:
    """Read executions and market data, build the report, write table and page if asked for, and return the report."""
    if args.html is not None:
        need("matplotlib", "plot")
    if args.out is not None:
        check_ending(args.out)
    blotter = read_blotter(args.fills, args.fills_format)
    several = args.instruments is not None or order_numbers(blotter, args.market_format)[0].any()
    report = (None if several else _one_order(args, in_shares(blotter, args.lot))) or _all_orders(args, blotter)
    if isinstance(report, BlotterReport) and args.out is not None:
        report.write(args.out)
    if args.html is not None:
        command = _command(args)
        content = page(report, command) if isinstance(report, ExecutionReport) else blotter_page(report, command)
        write_atomically(args.html, content)
    return report


def _all_orders(args: Args, blotter: Blotter) -> BlotterReport:
    """Return the costs of all orders."""
    given = [item.name for item in fields(Args) if item.name in _ONE_ORDER and getattr(args, item.name) != item.default]
    if given:
        raise ValueError(
            f"{given[0]} is an option of the report of one order of one day against bars, within the hours of a full session, "
            "without --out, --trades or --quotes; leave it out, or give the order a file of its own"
        )
    settings = build(Settings, args)
    data: dict[str, Any] = {"market": args.market, "trades": args.trades, "quotes": args.quotes}
    data |= {"lot": args.lot, "instruments": args.instruments}
    return tca_blotter(blotter, **data, format=args.market_format, settings=settings, lenient=args.lenient)


def _one_order(args: Args, blotter: Blotter) -> ExecutionReport | None:
    """Return the report of one order; None where there are several orders, days or kinds of data."""
    if args.out or args.trades or args.quotes:
        return None
    given = any(getattr(args, item.name) != item.default for item in fields(Args) if item.name in _ONE_ORDER)
    data = DeskMarket([blotter.symbol.of(0)], args.market, format=args.market_format)
    return tca_of_blotter(
        blotter, data, build(Details, args), build(ExecutionConfig, args), lot_size=args.lot_size, within_hours=not given
    )


def _command(args: Args) -> str:
    """Return the command line that reproduces the report."""
    words = ["hyperexec", "tca", args.fills]
    hidden = {name for name, _ in files_of(args, "output")} | {"fills"}
    for item in sorted(fields(Args), key=lambda item: item.metadata.get("file", "") != "input"):
        value = getattr(args, item.name)
        if item.name in hidden or value == item.default:
            continue
        name = "--" + item.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(name)
        elif item.metadata.get("each"):
            words += [word for part in value for word in (name, part)]
        elif isinstance(value, tuple):
            words += [name, *value]
        else:
            words += [name, f"{value:.15g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)
