"""Recorded quotes and trades of level 1: read LOBSTER and crypto files, write events of hftbacktest, measure the touch."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.market.touch_scenario import TouchScenario

__all__ = ["Facts", "Tape", "events", "measured", "mirrored", "read_crypto", "read_lobster", "scenario_of"]

Floats = NDArray[np.float64]

EXCHANGE, LOCAL, BUY, SELL, DEPTH, TRADE = 1 << 31, 1 << 30, 1 << 29, 1 << 28, 1, 2
_EVENT: Final = np.dtype(
    [
        *(("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8")),
        *(("order_id", "<u8"), ("ival", "<i8"), ("fval", "<f8")),
    ],
    align=True,
)
"""An event as hftbacktest 2 reads it."""
_DAY: Final = 390.0 * 60.0
"""Seconds of a trading day, in which touch scenarios count their volatility."""


@dataclass(frozen=True)
class Tape:
    """Quotes and trades of one market; times are in nanoseconds, prices in currency per share."""

    name: str
    time: NDArray[np.int64]
    """Time of each quote, shape (quotes,)."""
    bid: Floats
    bid_size: Floats
    ask: Floats
    ask_size: Floats
    trade_time: NDArray[np.int64]
    """Time of each trade, shape (trades,)."""
    price: Floats
    size: Floats
    seller: NDArray[np.bool_]
    """Whether the seller took."""
    increment: float
    """Price increment, currency per share."""
    smallest: float
    """Size increment, shares."""
    late: int
    """Nanoseconds by which a trade may be recorded after the quote that it changed."""


def _read(path: str | Path, header: int) -> Floats:
    """Return the numbers of a csv file, which may be compressed by gzip."""
    content = Path(path).read_bytes()
    lines = (gzip.decompress(content) if str(path).endswith(".gz") else content).decode().splitlines()
    return np.loadtxt(lines, delimiter=",", skiprows=header)


def read_lobster(messages: str | Path, book: str | Path) -> Tape:
    """Return a day of LOBSTER at level 1; executions of hidden orders are trades too."""
    found, levels = _read(messages, 0), _read(book, 0)
    time = np.round(found[:, 0] * 1e9).astype(np.int64)
    traded = np.isin(found[:, 1], (4, 5))
    ask, ask_size, bid, bid_size = levels.T
    return Tape(
        name=Path(messages).name.split("_")[0],
        time=time,
        bid=bid / 1e4,
        bid_size=bid_size,
        ask=ask / 1e4,
        ask_size=ask_size,
        trade_time=time[traded],
        price=found[traded, 4] / 1e4,
        size=found[traded, 3],
        seller=found[traded, 5] == 1,
        increment=0.01,
        smallest=1.0,
        late=0,
    )


def read_crypto(quotes: str | Path, trades: str | Path, increment: float, smallest: float) -> Tape:
    """Return a stream of best quotes and trades, both at the time at which they were received."""
    found, traded = _read(quotes, 1), _read(trades, 1)
    return Tape(
        name="_".join(Path(quotes).name.split("_")[:2]),
        time=found[:, 0].astype(np.int64),
        bid=found[:, 1],
        bid_size=found[:, 2],
        ask=found[:, 3],
        ask_size=found[:, 4],
        trade_time=traded[:, 0].astype(np.int64),
        price=traded[:, 2],
        size=traded[:, 3],
        seller=traded[:, 4] < 0,
        increment=increment,
        smallest=smallest,
        late=10_000_000,
    )


def mirrored(tape: Tape) -> Tape:
    """Return the tape with its two sides exchanged: what a seller meets, as a buyer meets it."""
    whole = 2.0 * round(float(np.median(tape.bid)) / tape.increment) * tape.increment
    return replace(
        tape,
        bid=whole - tape.ask,
        bid_size=tape.ask_size,
        ask=whole - tape.bid,
        ask_size=tape.bid_size,
        price=whole - tape.price,
        seller=~tape.seller,
    )


def events(tape: Tape) -> NDArray[Any]:
    """Return trades and changes of the touch as events; of two of one time, the trade comes first.

    A level that was the best one keeps its last size while better ones come before it, and is gone once a worse one is the
    best.
    """
    trades = len(tape.trade_time)
    order = np.argsort(np.concatenate([tape.trade_time, tape.time]), kind="stable")
    touches = list(zip(tape.bid.tolist(), tape.bid_size.tolist(), tape.ask.tolist(), tape.ask_size.tolist(), strict=True))
    kinds = (TRADE | np.where(tape.seller, SELL, BUY)).tolist()
    prints = list(zip(kinds, tape.trade_time.tolist(), tape.price.tolist(), tape.size.tolist(), strict=True))
    times, rows = tape.time.tolist(), list[tuple[int, int, float, float]]()
    levels: tuple[list[tuple[float, float]], ...] = ([], [])  # price and size by side, the best one last
    for at in order.tolist():
        if at < trades:
            rows.append(prints[at])
            continue
        bid, bid_size, ask, ask_size = touches[at - trades]
        for known, side, now, sign in zip(levels, (BUY, SELL), ((bid, bid_size), (ask, ask_size)), (1.0, -1.0), strict=True):
            while known and (known[-1][0] - now[0]) * sign > 0.0:
                rows.append((DEPTH | side, times[at - trades], known.pop()[0], 0.0))
            if not known or known[-1] != now or at == trades + len(times) - 1:  # the last quote ends the tape
                if known and known[-1][0] == now[0]:
                    known.pop()
                known.append(now)
                rows.append((DEPTH | side, times[at - trades], *now))
    made = np.zeros(len(rows), _EVENT)
    ev, stamps, made["px"], made["qty"] = (np.array(column) for column in zip(*rows, strict=True))
    made["ev"], made["exch_ts"], made["local_ts"] = ev | EXCHANGE | LOCAL, stamps, stamps
    return made


@dataclass(frozen=True)
class Facts:
    """What a buyer's touch did in some seconds of a tape, by steps; lots are those of the order."""

    queue: float
    """Mean size at the bid, lots."""
    half_spread: float
    traded: float
    """Lots that sellers took from the bid, per step."""
    cancelled: float
    """Lots by which the size of a bid that stayed fell without trades, per step."""
    rises: float
    """Part of the steps in which the bid rose."""
    sweeps: float
    """Part of the steps in which a seller traded below the bid of their start."""
    swept: float
    """Mean fall of the mid from the start to the end of a step with a sweep."""
    adverse: float
    """The same for the other steps, each weighted by the lots that sellers took from the bid."""
    deviation: float
    """Standard deviation of the move of the mid in a step."""
    burst: float
    """Variance over mean of the lots that sellers took from the bid in a step."""
    price: float
    """Mean mid."""


def _of_side(tape: Tape, start: int, end: int, step: int, lot: float) -> Facts:
    """Return the facts of the buyer's side from `start` to `end`, nanoseconds."""
    grid = np.arange(start, end + 1, step)
    mid = 0.5 * (tape.bid + tape.ask)
    at = np.searchsorted(tape.time, grid, side="right") - 1
    chosen = slice(at[0], at[-1] + 1)
    held = np.diff(np.clip(tape.time[chosen], grid[0], None), append=grid[-1]).astype(np.float64)

    def mean(values: Floats) -> float:
        return float(values[chosen] @ held / held.sum())

    steps, of_quote = len(grid) - 1, np.clip(np.searchsorted(grid, tape.time, side="right") - 1, 0, len(grid) - 2)
    inside = (tape.time > grid[0]) & (tape.time <= grid[-1])
    change = np.diff(tape.bid, prepend=tape.bid[0])
    fell = np.where(change == 0.0, np.maximum(-np.diff(tape.bid_size, prepend=tape.bid_size[0]), 0.0), 0.0)[inside].sum()
    within = (tape.trade_time > grid[0]) & (tape.trade_time <= grid[-1])
    stamps, size = tape.trade_time[within], tape.size[within]
    earlier = np.searchsorted(tape.time, stamps - tape.late, side="left") - 1
    later = np.minimum(np.searchsorted(tape.time, stamps + tape.late, side="right"), len(tape.time)) - 1
    # a trade changed one of the quotes around it: the bid that it met is the highest of them
    met = np.maximum(tape.bid[np.maximum(earlier, 0)], tape.bid[later])
    at_bid = tape.seller[within] & (tape.price[within] >= met - 0.5 * tape.increment)
    stays = at_bid & (tape.bid[later] >= met - 0.5 * tape.increment)
    of_trade = np.clip(np.searchsorted(grid, stamps, side="left") - 1, 0, steps - 1)
    through = tape.seller[within] & (tape.price[within] < tape.bid[at[:-1]][of_trade] - 0.5 * tape.increment)
    sweeps = np.zeros(steps, bool)
    sweeps[of_trade[through]] = True
    rises = np.zeros(steps, bool)
    rises[of_quote[inside & (change > 0.0)]] = True
    taken = np.bincount(of_trade[at_bid], size[at_bid], steps) / lot
    fall = mid[at[:-1]] - mid[at[1:]]
    calm = np.where(sweeps, 0.0, taken)
    traded = float(taken.mean())
    return Facts(
        queue=mean(tape.bid_size) / lot,
        half_spread=0.5 * mean(tape.ask - tape.bid),
        traded=traded,
        cancelled=max(float(fell - size[stays].sum()) / lot / steps, 0.0),
        rises=float(rises.mean()),
        sweeps=float(sweeps.mean()),
        swept=float(fall[sweeps].mean()) if sweeps.any() else 0.0,
        adverse=float(fall @ calm / calm.sum()) if calm.any() else 0.0,
        deviation=float(fall.std()),
        burst=float(taken.var() / taken.mean()) if traded else 0.0,
        price=mean(mid),
    )


def measured(tape: Tape, start: int, end: int, step: int, lot: float) -> Facts:
    """Return the facts from `start` to `end`, nanoseconds: the mean of both sides.

    Args:
        tape: The tape.
        start: Begin of the part.
        end: End of the part.
        step: Nanoseconds of a step.
        lot: Shares of a lot.
    """
    sides = [_of_side(each, start, end, step, lot) for each in (tape, mirrored(tape))]
    values = {name: 0.5 * sum(getattr(side, name) for side in sides) for name in Facts.__dataclass_fields__}
    return Facts(**{**values, "price": sides[0].price})


def scenario_of(
    facts: Facts,
    *,
    name: str,
    lots: int,
    lot: float,
    steps: int,
    step: int,
    ahead: float,
    fees: tuple[float, float],
    urgency: float,
    increment: float,
) -> TouchScenario:
    """Return the touch scenario of measured facts.

    Args:
        facts: The facts.
        name: Name of the scenario.
        lots: Lots of the order.
        lot: Shares of a lot.
        steps: Steps of the order.
        step: Nanoseconds of a step.
        ahead: Part of the cancellations that stand ahead of an order.
        fees: Fee of taking and of a fill that rested, fractions of the price.
        urgency: Risk of holding the whole order to the end, as a multiple of the cost of taking it.
        increment: Price increment.
    """
    seconds = step / 1e9
    take, make = (fee * facts.price for fee in fees)
    half, queue = max(facts.half_spread, 0.5 * increment), max(round(facts.queue), 1)
    sweeps = min(facts.sweeps, 0.5)
    volatility = facts.deviation / facts.price * (_DAY / seconds) ** 0.5
    risk = urgency * (half + take) / (lots * steps)  # of one lot and step, currency per share
    variance = (volatility * facts.price) ** 2 * lot * seconds / _DAY
    return TouchScenario(
        name=name,
        lots=lots,
        lot_shares=lot,
        arrival_price=facts.price,
        horizon_seconds=steps * seconds,
        step_seconds=seconds,
        queue=queue,
        deeper_queue=queue // 2,
        outflow=facts.traded + ahead * facts.cancelled,
        move_probability=min(max(facts.rises, sweeps), 0.5),
        sweep_probability=sweeps,
        tick=max(facts.swept, increment),
        half_spread=half,
        take_fee=take,
        make_rebate=-make,
        adverse=max(facts.adverse, 0.0),
        impact=0.0,  # level 1 shows nothing behind the best quote
        volatility=volatility,
        risk_aversion=risk / variance if variance else 0.0,
    )
