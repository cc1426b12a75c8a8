"""Report a desk's own fills against a real market: cost of the order by component and against benchmarks.

FILLS has the columns ts, side (buy, sell, +1, -1), quantity and price, and optionally symbol and order_id; the file holds one
order of one day. Times are wall-clock times in the time zone of the bars, with optional seconds and fractions. If fills and
bars carry different UTC offsets, the times of the fills are converted. Bars are checked as in `calibrate`: the day of the order
must be a full session, and faulty sessions of other days are left out and counted. ADV, volatility and volume curve are
estimated from the other days. The mid before a fill is interpolated between the open and the close of its bar.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, fields
from typing import Final

from hyperexec_env.arguments import build, files_of, option
from hyperexec_env.baselines.fills import read_fills
from hyperexec_env.baselines.market_day import read_day
from hyperexec_env.baselines.tca import PLANS, Details, tca
from hyperexec_env.baselines.tca_page import page
from hyperexec_env.data.format import Format
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically

ORDER = 14
_DEFAULT: Final = ExecutionConfig()


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of ``hyperexec tca``."""

    fills: str = option(
        meaning="file of fills: columns ts, side, quantity, price (symbol, order_id)", positional=True, file="input"
    )
    market: tuple[str, ...] = option(meaning="files, folders or patterns of bars", file="input")
    quantity: float | None = option(None, "size of the order, shares (default: the filled shares)")
    lot_size: float = option(1, "shares of a lot, of which quantities are multiples; 0.001 allows thousandths of a coin")
    arrival_price: float | None = option(None, "mid at the decision, currency per share (default: mid of the bars)")
    decision: str | None = option(None, "time of the decision, 10:30, 10:30:05 or with the date (default: the start)")
    start: str | None = option(None, "start of the order (default: start of the bar of the first fill)")
    deadline: str | None = option(None, "deadline of the order (default: end of the bar of the last fill)")
    adv: float | None = option(None, "average daily volume, shares (default: mean of the other sessions)")
    plan: str = option("TWAP", "benchmark schedule", choices=PLANS)
    half_spread_bps: float = option(_DEFAULT.half_spread_bps, "half of the quoted spread, bps of the arrival price")
    perm_impact_gamma: float = option(_DEFAULT.perm_impact_gamma, "permanent impact, in arrival prices per ADV traded")
    kyle_lambda: float = option(_DEFAULT.kyle_lambda, "permanent plus transient impact, in arrival prices per ADV traded")
    resilience: float = option(_DEFAULT.resilience, "recovery of the transient impact, per day")
    fee_per_share: float = option(_DEFAULT.fee_per_share, "fee, currency per share")
    fee_bps: float = option(_DEFAULT.fee_bps, "fee, bps of the traded notional, in addition")
    min_fee: float = option(_DEFAULT.min_fee, "smallest fee of a line of FILLS, currency")
    html: str | None = option(None, "write the report as an HTML page with charts of the order to this file", file="output")


def main(args: Args) -> ExecutionReport:
    """Read fills and bars, build the report, write the page if asked for, and return the report."""
    if args.html is not None:
        need("matplotlib", "plot")
    order = read_fills(args.fills, args.lot_size)
    day = read_day(args.market, order.date, build(Format, args))
    config = build(ExecutionConfig, args, day_seconds=60.0 * day.report.day_minutes)
    report = tca(order, day, build(Details, args), config)
    if args.html is not None:
        write_atomically(args.html, page(report, _command(args)))
    return report


def _command(args: Args) -> str:
    """Return the command line that reproduces the report."""
    words = ["hyperexec", "tca", args.fills, "--market", *args.market]
    files = {name for name, _ in files_of(args, "input", "output")}
    for item in fields(Args):
        value = getattr(args, item.name)
        if item.name not in files and value != item.default:
            text = f"{value:.15g}" if isinstance(value, float) else str(value)
            words += ["--" + item.name.replace("_", "-"), text]
    return shlex.join(words)
