"""Predicted and obtained fills side by side: a lot at the touch in our market, and in hftbacktest's matching engine.

    python -m venv .venv-hftbacktest && .venv-hftbacktest/bin/pip install -e ".[hftbacktest]"
    .venv-hftbacktest/bin/python benchmarks/touch_fills.py MESSAGES BOOK

MESSAGES and BOOK are a session of LOBSTER at level 1 (csv or csv.gz). Every 90 seconds one lot joins the bid and stays at its
price; a fill counts within a minute. The market is measured on the first half of the session, and the orders rest in the second
half. hftbacktest replays the recorded book, which does not react to the order; its queue model says how cancellations move the
order forward: not at all ("trades only"), or by a power of the shares of the queue before and behind it ("power 2").
hftbacktest pins numpy below 2.3, so it has an environment of its own.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
from hftbacktest import GTX, LIMIT, BacktestAsset, HashMapMarketDepthBacktest
from numba import njit
from numpy.typing import NDArray

from hyperexec_env.evaluation.statistics import share_interval
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.touch import AWAY, JOIN, KEEP, NONE, NOWHERE, Place, build_touch, draw_step, turn
from hyperexec_env.market.touch_scenario import TouchScenario

Floats = NDArray[np.float64]

STEP: Final = 2
"""Seconds of a step."""
STEPS: Final = 30
SHOWN: Final = (2, 5, 10, 15, 30)
"""Steps after which fills are compared."""
LOT: Final = 100.0
EVERY: Final = 90
"""Seconds between two orders."""
SKIPPED: Final = 300.0
"""Seconds at each end of the session that are left out."""
EPISODES: Final = 100_000
_FILLED: Final = 3
_EXCHANGE, _LOCAL, _BUY, _SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
_DEPTH, _TRADE = 1, 2
_EVENT: Final = np.dtype(
    [
        *(("ev", "<u8"), ("exch_ts", "<i8"), ("local_ts", "<i8"), ("px", "<f8"), ("qty", "<f8")),
        *(("order_id", "<u8"), ("ival", "<i8"), ("fval", "<f8")),
    ],
    align=True,
)
"""An event as hftbacktest 2 reads it."""


def read(path: str) -> Floats:
    """Return the numbers of a csv file."""
    content = Path(path).read_bytes()
    lines = (gzip.decompress(content) if path.endswith(".gz") else content).decode().splitlines()
    return np.loadtxt(lines, delimiter=",")


def events(messages: Floats, book: Floats) -> NDArray[Any]:
    """Return trades and changes of the touch as events."""
    rows: list[tuple[int, int, float, float]] = []
    before: list[tuple[float, float]] = [(0.0, 0.0), (0.0, 0.0)]
    for (time, kind, _, size, price, direction), (ask, asked, bid, bought) in zip(
        messages.tolist(), book.tolist(), strict=True
    ):
        stamp = round(time * 1e9)
        if kind in (4, 5):
            rows.append((_TRADE | (_SELL if direction == 1 else _BUY), stamp, price / 1e4, size))
        for i, (side, now, worse) in enumerate(((_BUY, (bid, bought), -1.0), (_SELL, (ask, asked), 1.0))):
            if now != before[i]:
                if before[i][0] and (now[0] - before[i][0]) * worse > 0.0:  # the level that was best is gone
                    rows.append((_DEPTH | side, stamp, before[i][0] / 1e4, 0.0))
                rows.append((_DEPTH | side, stamp, now[0] / 1e4, now[1]))
                before[i] = now
    made = np.zeros(len(rows), _EVENT)
    kinds, stamps, made["px"], made["qty"] = (np.array(column) for column in zip(*rows, strict=True))
    made["ev"], made["exch_ts"], made["local_ts"] = kinds | _EXCHANGE | _LOCAL, stamps, stamps
    return made


def measured(messages: Floats, book: Floats, end: float) -> TouchScenario:
    """Return the touch of the session up to a second; half of the cancellations at the bid stand ahead of an order.

    A step sweeps the bid where an execution empties it. Most falls of the bid are cancellations, which fill nobody.
    """
    time = messages[:, 0]
    grid = np.arange(time[0] + SKIPPED, end, STEP)
    at = np.searchsorted(time, grid, side="right") - 1
    bid, size = book[:, 2], book[:, 3]
    chosen = (time >= grid[0]) & (time < end) & (messages[:, 5] == 1) & (messages[:, 4] == np.append(bid[0], bid[:-1]))
    traded = messages[chosen & np.isin(messages[:, 1], (4, 5)), 3].sum()
    cancelled = messages[chosen & np.isin(messages[:, 1], (2, 3)), 3].sum()
    rises = np.append(False, np.diff(bid) > 0.0)
    sweeps = np.append(False, np.diff(bid) < 0.0) & (messages[:, 1] == 4)
    held = np.diff(time, append=time[-1])
    early = time < end
    rising, swept = (float((np.add.reduceat(each, at) > 0).mean()) for each in (rises, sweeps))
    return TouchScenario(
        name="measured",
        lots=1,
        lot_shares=LOT,
        horizon_seconds=float(STEP * STEPS),
        step_seconds=float(STEP),
        queue=max(round(float((size * held)[early].sum() / held[early].sum()) / LOT), 1),
        deeper_queue=0,
        outflow=float(traded + 0.5 * cancelled) / LOT / len(grid),
        move_probability=min(max(rising, swept), 0.5),
        sweep_probability=swept,
        half_spread=float((((book[:, 0] - bid) * held)[early].sum()) / held[early].sum() / 2e4),
    )


def predicted(scenario: TouchScenario) -> Floats:
    """Return the share of lots that are filled by the end of each step, which join the touch and stay at their price."""
    market, keys = build_touch(scenario), episode_keys(0, np.arange(EPISODES))
    left, gone, found = np.ones(EPISODES), np.zeros(EPISODES, bool), []
    place = Place(np.full(EPISODES, NOWHERE), np.zeros(EPISODES))
    for k in range(STEPS):
        draw = draw_step(market, keys, k)
        done = turn(market, left, place, np.zeros(EPISODES), np.where(gone, NONE, KEEP if k else JOIN), draw)
        left, place = done.left, done.place
        gone |= draw.moved == AWAY
        found.append(1.0 - left.mean())
    return np.array(found)


@njit
def probe(engine: Any, start: int, out: Any) -> int:
    """Rest a lot at the bid again and again; write the step of each fill, -1 for none, and return the number of orders."""
    count = 0
    if engine.elapse(start) != 0:
        return 0
    while count < len(out):
        begun, number = engine.current_timestamp, count + 1
        engine.submit_buy_order(0, number, engine.depth(0).best_bid, LOT, GTX, LIMIT, False)
        filled, step = -1.0, 0
        while step < STEPS and filled < 0.0:
            if engine.elapse(STEP * 1_000_000_000) != 0:
                return count
            step += 1
            if engine.orders(0).get(number).status == _FILLED:
                filled = float(step)
        out[count] = filled
        count += 1
        if filled < 0.0:
            engine.cancel(0, number, False)
        wait = EVERY * 1_000_000_000 - (engine.current_timestamp - begun)
        if engine.elapse(wait) != 0:
            return count
        engine.clear_inactive_orders(0)
    return count


def obtained(made: NDArray[Any], model: str, start: float) -> Floats:
    """Return the step in which each order was filled, -1 for none."""
    asset = BacktestAsset().data(made).linear_asset(1.0).constant_order_latency(0, 0)
    asset = asset.risk_adverse_queue_model() if model == "trades only" else asset.power_prob_queue_model(2.0)
    asset = asset.no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0).tick_size(0.01).lot_size(1.0)
    engine = HashMapMarketDepthBacktest([asset])
    seconds = (made["exch_ts"][-1] - made["exch_ts"][0]) / 1e9
    out = np.full(int((seconds - start - SKIPPED) / EVERY), np.nan)
    count = probe(engine, round(start * 1e9), out)
    engine.close()
    return out[:count]


def main() -> None:
    """Print the comparison."""
    messages, book = map(read, sys.argv[1:3])
    made = events(messages, book)
    half = 0.5 * (messages[-1, 0] - messages[0, 0])
    scenario = measured(messages, book, messages[0, 0] + half)
    rates = predicted(scenario)
    cells = []
    for model in ("trades only", "power 2"):
        steps = obtained(made, model, half)
        for k in SHOWN:
            share = float(((steps > 0.0) & (steps <= k)).mean())
            low, high = share_interval(round(share * len(steps)), len(steps))
            cells.append(
                [model, str(k * STEP), f"{rates[k - 1]:.3f}", f"{share:.3f}", f"{low:.3f} to {high:.3f}", str(len(steps))]
            )
    print(text_table(["queue model", "seconds", "predicted", "obtained", "95 %", "orders"], cells))
    print(
        f"\nfirst half: {scenario.queue} lots in the queue, outflow {scenario.outflow:.2f} lots a step, executions sweep the "
        f"bid in {scenario.sweep_probability:.3f} and it rises in {scenario.move_probability:.3f} of the steps, half-spread "
        f"{scenario.half_spread:.3f}"
    )


if __name__ == "__main__":
    main()
