"""Generate the data of the README's TCA example: five synthetic sessions of five-minute bars, and the fills of one order.

The market is the scenario `regime-day-2026` with 78 slices. In the last session an ExecutionAgent sells 60,000 shares by VWAP
between 10:00 and 14:00; the bars include its trades and their impact.

    python benchmarks/example_order.py
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from hyperexec_env.envs import HyperExecEnv
from hyperexec_env.execution import ExecutionAgent, ExecutionConfig, ParentOrder, Quote
from hyperexec_env.files import write_atomically
from hyperexec_env.market.scenario import get_scenario

SLICES, MINUTES = 78, 5
FIRST, LAST = 6, 54  # slices of 10:00 and 14:00, start and deadline of the order; the agent's clock counts slices
QUANTITY = 60_000
OPENINGS = [datetime(2026, 3, day, 9, 30) for day in (2, 3, 4, 5, 6)]
FOLDER = Path(__file__).parent


def clock(opening: datetime, slices: float) -> str:
    """Return the ISO time that is `slices` slices after the opening."""
    return f"{opening + timedelta(minutes=MINUTES * slices):%Y-%m-%dT%H:%M:%S}"


def parent_order(env: HyperExecEnv) -> ParentOrder:
    """Return the parent order that is submitted at 10:00, with the expected volume profile until its deadline."""
    now, market = env.situation, env.task.market
    profile = tuple(market.mean_volume[FIRST:LAST, market.unknown].tolist())
    return ParentOrder(
        symbol="XYZ", side=-1, quantity=QUANTITY, arrival_price=now.price, deadline=float(LAST), volume_profile=profile
    )


def session(env: HyperExecEnv, opening: datetime, with_order: bool, rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Simulate one session, with or without the order; return the CSV lines of its bars and of its fills."""
    config = ExecutionConfig(slices=LAST - FIRST, algorithm="VWAP", max_participation_rate=None)
    agent, market = ExecutionAgent(config, seed=3), env.task.market
    agent.start()
    bars, fills = [], []
    for k in range(SLICES):
        now = env.situation
        before = now.price + now.side * (now.permanent + now.transient)
        if with_order and k == FIRST:
            agent.submit_order(parent_order(env), now=float(k))
        agent.process({"XYZ": Quote(before, float(market.mean_volume[k, now.seen]))}, now=float(k))
        children = list(iter(lambda end=k + 0.999: agent.get_next_child(end), None))
        env.trade(float(sum(child.quantity for child in children)))
        after = env.situation
        for child in children:
            agent.report_fill(child, child.quantity, after.last_price, now=child.schedule_time, mid=before)
            at = clock(opening, child.schedule_time)
            fills.append(f"{at},sell,{child.quantity},{after.last_price:.4f},XYZ")
        mid = after.price + after.side * (after.permanent + after.transient)
        traded = [after.last_price] if children else []
        width = 0.5 * market.scenario.volatility * np.sqrt(market.tau) * mid
        high, low = max(before, mid) + width * rng.random(), min([before, mid, *traded]) - width * rng.random()
        bars.append(f"{clock(opening, k)},{before:.4f},{high:.4f},{low:.4f},{mid:.4f},{after.last_volume:.0f}")
    return bars, fills


def main() -> None:
    """Write example_bars.csv and example_fills.csv beside this file."""
    # the environment's order is larger than the agent's, so that the session continues after the agent has finished
    scenario = replace(get_scenario("regime-day-2026"), slices=SLICES, side=-1, quantity=100.0 * QUANTITY, complete=False)
    env, rng = HyperExecEnv(scenario), np.random.default_rng(1)
    bars, fills = ["ts,open,high,low,close,volume"], ["ts,side,quantity,price,symbol"]
    for number, opening in enumerate(OPENINGS):
        env.reset(seed=11 if number == 0 else None)
        rows, sold = session(env, opening, number == len(OPENINGS) - 1, rng)
        bars += rows
        fills += sold
    write_atomically(FOLDER / "example_bars.csv", "\n".join(bars) + "\n")
    write_atomically(FOLDER / "example_fills.csv", "\n".join(fills) + "\n")


if __name__ == "__main__":
    main()
