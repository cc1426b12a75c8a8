"""Predicted and obtained cost side by side: orders simulated by our market, and executed in nautilus_trader's backtest.

    python benchmarks/nautilus_costs.py --book MESSAGES BOOK
    python benchmarks/nautilus_costs.py --trades TRADES --quotes QUOTES

The market is measured on a part of the data and the orders are executed in the other part, then the other way round: the halves
of one session, or every second session of several. The engine has the recorded book and does not react to our trades; see
docs/nautilus.md for what follows from that.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LoggingConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.enums import AccountType, BookType, OmsType, OrderSide
from nautilus_trader.model.identifiers import ClientOrderId, ExecAlgorithmId, Venue
from nautilus_trader.model.objects import Money
from nautilus_trader.trading.strategy import Strategy

import hyperexec_env as hx
from hyperexec_env.arguments import Parser, add_arguments, build, option, parse
from hyperexec_env.data.calendars import calendar_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.tables import Book, Quotes, Trades
from hyperexec_env.data.tape import quotes_of_book
from hyperexec_env.data.zones import MINUTE
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.files import write_atomically
from hyperexec_env.integrations.nautilus import DeskAlgorithm, DeskConfig
from hyperexec_env.integrations.nautilus_data import depths, equity, quote_ticks, trade_ticks
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import build_market

STRATEGIES: Final = ("TWAP", "VWAP", "IS", "optimum")
QUIET: Final = {"max_participation_rate": None, "steganographic_factor": 0.0}
EVERY, FIRST = 30 * MINUTE, 5 * MINUTE
"""Time between the starts of orders, and from the beginning of the data to the first start."""
LATER: Final = MINUTE // 60_000
"""Time by which the algorithm of policies is later than that of the agent."""
SEED, REPLICATES = 20_261_129, 2_000


@dataclass(frozen=True, kw_only=True)
class Args(Format):
    """Options of the comparison."""

    book: tuple[str, ...] = option((), "two files: messages and book, in the form of LOBSTER", file="input")
    trades: tuple[str, ...] = option((), "files of trades", file="input")
    quotes: tuple[str, ...] = option((), "files of quotes, with sizes", file="input")
    minutes: tuple[float, ...] = option((10.0, 30.0), "horizons of the orders, minutes")
    participation: tuple[float, ...] = option((0.01, 0.05, 0.1), "sizes of the orders, fractions of the expected market volume")
    slices: int = option(10, "slices of an order")
    depth: str = option(
        "recorded", "fills: of the recorded book, or the whole rest a tick beyond", choices=("recorded", "tick")
    )
    episodes: int = option(1_000, "episodes of each predicted cost")
    sessions: int = option(0, "execute the orders of so many sessions of each part (0: all)")
    out: str = option("", "output file of the orders, .json", file="output")


class Wanted(NamedTuple):
    """An order of the comparison."""

    name: str
    strategy: str
    side: int
    quantity: int
    minutes: float
    participation: float
    start: int
    """Nanoseconds in UTC."""
    arrival_price: float
    scenario: Scenario
    """Measured elsewhere; with the size, the start and the horizon of the order."""


class Predicted(NamedTuple):
    """Cost of an order in our market, bps of the arrival notional: means by source, and the law of the shortfall."""

    spread: float
    temporary: float
    displacement: float
    """Transient and permanent."""
    shortfall: float
    deviation: float
    low: float
    high: float
    """Ends of the interval that holds 95 % of the episodes."""


class Obtained(NamedTuple):
    """Cost of an order in the engine, bps of the arrival notional."""

    spread: float
    """Fills against the mid before each: half-spread, and depth where the book has it."""
    timing: float
    """Moves of the mid since the arrival, on filled and unfilled shares."""
    shortfall: float
    filled: float
    """Fraction of the order."""


class Row(NamedTuple):
    """An order with both costs."""

    order: Wanted
    predicted: Predicted
    obtained: Obtained


class Span(NamedTuple):
    """A part of a session."""

    start: int
    end: int
    opening: int
    """Opening of its session."""


def rows_within(table: Any, spans: Sequence[Span]) -> Any:
    """Return the rows of a table within some spans of time."""
    inside = np.zeros(len(table), dtype=bool)
    for span in spans:
        inside[slice(*np.searchsorted(table.time, (span.start, span.end)))] = True
    arrays = {item.name: getattr(table, item.name) for item in fields(table)}
    return replace(table, **{name: value[inside] for name, value in arrays.items() if isinstance(value, np.ndarray)})


def folds_of(times: Any, format: Format) -> tuple[tuple[list[Span], list[Span]], ...]:
    """Return pairs of spans: those of the measurement, and those of the orders. Each part takes either role once."""
    calendar = calendar_of(format.calendar, format.hours, format.tz)
    sessions = calendar.sessions(int(times[0]), int(times[-1]))
    if len(sessions) == 1:
        (only,) = sessions
        half = (only.open + only.close) // 2
        parts = [[Span(only.open, half, only.open)], [Span(half, only.close, only.open)]]
    else:
        whole = [Span(item.open, item.close, item.open) for item in sessions]
        parts = [whole[0::2], whole[1::2]]
    return (parts[0], parts[1]), (parts[1], parts[0])


def measured(source: Any, quotes: Quotes | None, spans: list[Span], times: Any, format: Format) -> Scenario:
    """Return the scenario measured on some spans; regimes and persistence of flow are left out, so that solving is quick."""
    part = rows_within(source, spans)
    adv = None
    if len(spans) == 1:  # a part of a session: its volume, for a whole session
        taken = part.size[np.isin(part.type, (4, 5))] if isinstance(part, Book) else part.size
        adv = float(taken.sum()) * len(folds_of(times, format))
    scenario = hx.measure(part, None if quotes is None else rows_within(quotes, spans), format, adv=adv).scenario
    return replace(scenario, regimes=Regimes(), flow_persistence=0.0)


def orders_of(args: Args, scenario: Scenario, quotes: Quotes, spans: list[Span]) -> Iterator[Wanted]:
    """Yield the orders of some spans, both sides of each."""
    number = 0
    good = quotes.ask > quotes.bid
    times, mids = quotes.valid_from[good], quotes.mid[good]
    for span in spans:
        for start in range(span.start + FIRST, span.end, EVERY):
            for minutes in args.minutes:
                if start + int((minutes + 1.0) * MINUTE) > span.end:
                    continue
                mid = float(mids[np.searchsorted(times, start, side="right") - 1])
                own = replace(
                    scenario, slices=args.slices, horizon_minutes=minutes, start_minute=(start - span.opening) / MINUTE
                )
                volume = sum(own.profile()) * own.adv
                for participation in args.participation:
                    quantity = max(args.slices, round(participation * volume))
                    for strategy in STRATEGIES:
                        for side in (1, -1):
                            number += 1
                            priced = replace(own, quantity=float(quantity), arrival_price=mid, side=side)
                            yield Wanted(f"{number}", strategy, side, quantity, minutes, participation, start, mid, priced)


def predict(order: Wanted, episodes: int) -> Predicted:
    """Simulate an order in our market."""
    market = build_market(order.scenario)
    path = draw_path(market, episode_keys(SEED, np.arange(episodes)), float(order.side))
    found = roll(market, hx.get_policy(order.strategy), path).statement
    parts = found.components
    shortfall = found.shortfall - parts.timing.mean()  # whose mean is zero: the price is a martingale
    low, high = np.quantile(shortfall, (0.025, 0.975))
    means = (parts.spread, parts.temporary, parts.transient + parts.permanent, shortfall)
    return Predicted(*(float(np.mean(values)) for values in means), float(shortfall.std()), float(low), float(high))


class Client(Strategy):
    """Submits orders at their times."""

    def __init__(self, orders: list[Wanted], instrument: Any) -> None:
        super().__init__(StrategyConfig(strategy_id="CLIENT-1"))
        self.wanted, self.instrument = orders, instrument

    def on_start(self) -> None:
        """Set an alert for each order.

        The algorithms look at their clocks at different times: the engine sends the orders of a second timer at one time late.
        """
        for order in self.wanted:
            later = LATER if order.strategy == "optimum" else 0
            self.clock.set_time_alert_ns(order.name, order.start + later, partial(self.submit, order))

    def on_stop(self) -> None:
        """Leave all to the algorithms."""

    def submit(self, order: Wanted, event: Any) -> None:
        """Submit an order to the algorithm of its strategy."""
        wishes: dict[str, Any] = {"strategy": order.strategy, "horizon_seconds": 60.0 * order.minutes}
        if order.strategy == "optimum":
            wishes["scenario"] = order.scenario.to_dict()
        elif order.strategy == "VWAP":
            wishes["volume_profile"] = list(order.scenario.profile())
        market_order = self.order_factory.market(
            self.instrument.id,
            OrderSide.BUY if order.side > 0 else OrderSide.SELL,
            self.instrument.make_qty(order.quantity),
            exec_algorithm_id=ExecAlgorithmId("OPTIMUM" if order.strategy == "optimum" else "DESK"),
            exec_algorithm_params=wishes,
            client_order_id=ClientOrderId(order.name),
        )
        self.submit_order(market_order)


def execute(args: Args, orders: list[Wanted], source: Any, quotes: Quotes, trades: Trades) -> dict[str, Obtained]:
    """Execute orders in the engine, all in one run: none of them changes the market of another."""
    stock, recorded = equity(source.symbol or "X"), args.depth == "recorded"
    engine = BacktestEngine(
        BacktestEngineConfig(
            logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True), run_analysis=False
        )
    )
    venue = partial(engine.add_venue, Venue("SIM"), OmsType.NETTING, AccountType.MARGIN, [Money(10_000_000_000, USD)])
    venue(book_type=BookType.L2_MBP if recorded else BookType.L1_MBP)
    engine.add_instrument(stock)
    engine.add_data([*(depths(source, stock) if recorded else ()), *quote_ticks(quotes, stock)])
    if recorded:  # a book of one level would take the price of each trade for a quote
        engine.add_data(trade_ticks(trades, stock))
    force = "IOC" if recorded else "GTC"
    desks = [
        DeskAlgorithm(DeskConfig(exec_algorithm_id=ExecAlgorithmId(name), seed=1, agent=agent, time_in_force=force))
        for name, agent in (("DESK", {**QUIET, "slices": args.slices}), ("OPTIMUM", {**QUIET, "slices": 1}))
    ]
    for desk in desks:
        engine.add_exec_algorithm(desk)
    engine.add_strategy(Client(orders, stock))
    engine.run()
    fills: dict[str, list[Any]] = defaultdict(list)
    for desk in desks:
        for child in desk.desk.children.values():
            fills[child.parent.id.partition(":")[0]] += child.fills
    engine.dispose()
    return {order.name: obtained(order, fills[order.name], quotes) for order in orders}


def obtained(order: Wanted, fills: Sequence[Any], quotes: Quotes) -> Obtained:
    """Return the cost of an order given its fills; unfilled shares are marked at the mid at the deadline."""
    unit = 1e4 * order.side / (order.quantity * order.arrival_price)
    good = quotes.ask > quotes.bid
    last = np.searchsorted(quotes.valid_from[good], order.start + int(order.minutes * MINUTE), side="right") - 1
    final = float(quotes.mid[good][last])
    filled = sum(fill.quantity for fill in fills)
    spread = unit * sum(fill.quantity * (fill.price - fill.mid) for fill in fills)
    moved = sum(fill.quantity * (fill.mid - order.arrival_price) for fill in fills)
    timing = unit * (moved + (order.quantity - filled) * (final - order.arrival_price))
    return Obtained(spread, timing, spread + timing, filled / order.quantity)


def with_interval(values: Sequence[float], starts: Sequence[int], signed: bool = False) -> str:
    """Return the mean of values by order with its 95 % interval: orders that start together are resampled together."""
    clusters = np.unique(starts, return_inverse=True)[1]
    sums, counts = np.bincount(clusters, values), np.bincount(clusters)
    chosen = np.random.default_rng(SEED).integers(len(sums), size=(REPLICATES, len(sums)))
    low, high = np.quantile(sums[chosen].sum(axis=1) / counts[chosen].sum(axis=1), (0.025, 0.975))
    form = "+.2f" if signed else ".2f"
    return f"{np.mean(values):{form}} [{low:{form}}, {high:{form}}]"


def summary(rows: Sequence[Row]) -> str:
    """Return the tables of the report, in Markdown: means, the law of single orders, and the orders of the first start."""
    groups: dict[str, list[Row]] = {"all": list(rows)}
    for name_of in (
        lambda order: order.strategy,
        lambda order: f"{order.participation:.0%} of the volume",
        lambda order: f"{order.minutes:g} minutes",
    ):
        for row in rows:
            groups.setdefault(name_of(row.order), []).append(row)
    means = ["orders", "n", "spread: predicted", "obtained [95 %]", "difference [95 %]", "temporary: predicted"]
    means += ["displacement: predicted", "shortfall: predicted", "obtained [95 %]"]
    laws = ["orders", "filled", "sd: predicted", "obtained", "z", "in the 95 % interval [95 %]", "without impact [95 %]"]
    parts = [table(means, [means_of(name, chosen) for name, chosen in groups.items()])]
    parts.append(table(laws, [laws_of(name, chosen) for name, chosen in groups.items()]))
    first = [row for row in rows if row.order.start == rows[0].order.start]
    single = ["strategy", "side", "shares", "minutes", "predicted [95 %]", "obtained", "of it spread", "timing"]
    return "\n\n".join([*parts, table(single, [single_of(row) for row in first])])


def single_of(row: Row) -> list[str]:
    """Return the line of one order."""
    order, said, got = row
    cells = [order.strategy, "buy" if order.side > 0 else "sell", f"{order.quantity:,}", f"{order.minutes:g}"]
    cells.append(f"{said.shortfall:.2f} [{said.low:.2f}, {said.high:.2f}]")
    return [*cells, f"{got.shortfall:.2f}", f"{got.spread:.2f}", f"{got.timing:.2f}"]


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *lines))


def means_of(name: str, rows: Sequence[Row]) -> list[str]:
    """Return the line of a group of orders: predicted and obtained means."""
    starts = [row.order.start for row in rows]
    predicted = np.mean([row.predicted[:4] for row in rows], axis=0)
    return [
        name,
        f"{len(rows)}",
        f"{predicted[0]:.2f}",
        with_interval([row.obtained.spread for row in rows], starts),
        with_interval([row.obtained.spread - row.predicted.spread for row in rows], starts, signed=True),
        *(f"{value:.2f}" for value in predicted[1:]),
        with_interval([row.obtained.shortfall for row in rows], starts),
    ]


def laws_of(name: str, rows: Sequence[Row]) -> list[str]:
    """Return the line of a group of orders: dispersion, and how many shortfalls lie in their predicted 95 % intervals.

    z is the root mean square of the timing cost over its predicted deviation; the last column moves the intervals by the
    predicted impact, which the engine does not have.
    """
    starts = [row.order.start for row in rows]
    impact = np.array([row.predicted.temporary + row.predicted.displacement for row in rows])
    low, high, sd = (np.array([getattr(row.predicted, key) for row in rows]) for key in ("low", "high", "deviation"))
    cost, timing = np.array([row.obtained.shortfall for row in rows]), np.array([row.obtained.timing for row in rows])
    return [
        name,
        f"{np.mean([row.obtained.filled for row in rows]):.1%}",
        f"{np.sqrt(np.mean(sd**2)):.1f}",
        f"{np.sqrt(np.mean(timing**2)):.1f}",
        f"{np.sqrt(np.mean((timing / sd) ** 2)):.2f}",
        with_interval((low <= cost) & (cost <= high), starts),
        with_interval((low <= cost + impact) & (cost + impact <= high), starts),
    ]


def compare(args: Args) -> list[Row]:
    """Measure, predict and execute; return all orders."""
    if bool(args.book) == bool(args.trades) or bool(args.trades) != bool(args.quotes):
        raise ValueError("give --book MESSAGES BOOK, or --trades and --quotes")
    format = build(Format, args)
    if args.book:
        source: Any = hx.read_book(args.book[0], args.book[1], format)
        trades, given, quotes = hx.read_trades(args.book[0], format), None, quotes_of_book(source)
        levels: Any = source
    else:
        source = trades = hx.read_trades(args.trades, format)
        given = levels = quotes = hx.read_quotes(args.quotes, format)
    rows: list[Row] = []
    for elsewhere, here in folds_of(quotes.time, format):
        scenario = measured(source, given, elsewhere, quotes.time, format)
        print(f"measured: {scenario.half_spread_bps:.2f} bps, lambda {scenario.kyle_lambda:.3g}", flush=True)
        for span in here[: args.sessions or None]:
            part = partial(rows_within, spans=[span])
            orders = list(orders_of(args, scenario, part(quotes), [span]))
            got = execute(args, orders, part(levels), part(quotes), part(trades))
            rows += [Row(order, predict(order, args.episodes), got[order.name]) for order in orders]
            print(f"{len(rows)} orders", flush=True)
    return rows


def main(words: Sequence[str]) -> None:
    """Run the comparison, print its tables, and store the orders."""
    parser = Parser(prog="nautilus_costs.py", description=__doc__.split("\n")[0])
    add_arguments(parser, Args)
    args = parse(Args, parser.parse_args(words))
    try:
        rows = compare(args)
    except ValueError as error:
        parser.error(str(error))
    print(f"\n{summary(rows)}")
    if args.out:
        plain = [
            {
                "order": {key: value for key, value in row.order._asdict().items() if key != "scenario"},
                "predicted": row.predicted._asdict(),
                "obtained": row.obtained._asdict(),
            }
            for row in rows
        ]
        write_atomically(args.out, json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
