"""A simulated tape of known impact: a trade each second, and a mid that answers to signed flow by a propagator."""

from __future__ import annotations

import numpy as np

GAMMA, TRANSIENT, RHO, HALF, SIGMA, ADV = 0.12, 0.15, 60.0, 2.0, 0.0025, 1e6
"""Impact in arrival prices for one ADV, recovery per day, half-spread in bps, volatility of the rest, shares a day."""
SECONDS = 21_600
"""Length of a day, one trade in each second."""


def drawn_flow(rng):
    """Return the signed shares that trade in each second of a day."""
    return rng.choice([-1.0, 1.0], SECONDS) * np.round(rng.lognormal(0.0, 0.7, SECONDS) * ADV / SECONDS / 1.27)


def mid_of(rng, flow, price):
    """Return the mid at each second of a day and at its end, given the signed flow and the mid at its start."""
    tau, q = 1.0 / SECONDS, flow / ADV
    decay, x = np.exp(-RHO * tau), np.zeros(SECONDS + 1)
    for at in range(SECONDS):
        x[at + 1] = (x[at] + q[at]) * decay
    noise = np.concatenate([[0.0], np.cumsum(SIGMA * np.sqrt(tau) * rng.standard_normal(SECONDS))])
    return price * (1.0 + GAMMA * np.concatenate([[0.0], np.cumsum(q)]) + TRANSIENT * x + noise)


def times_of(day):
    """Return the seconds of a day from 10:00 and its end, at which the mid is stated."""
    stamp = np.datetime64("2024-03-04T10:00", "ms") + np.timedelta64(day, "D")
    return stamp + (1000 * np.arange(SECONDS + 1)).astype("timedelta64[ms]")


def quotes_of(time, mid):
    """Return the columns of the quotes of a day, one after each move of the mid."""
    return {"ts": time + np.timedelta64(1, "ms"), "bid": mid * (1.0 - HALF * 1e-4), "ask": mid * (1.0 + HALF * 1e-4)}


def trades_of(time, mid, flow):
    """Return the columns of the trades of a day, at the touch."""
    sign = np.sign(flow)
    paid = mid[:-1] * (1.0 + sign * HALF * 1e-4)
    return {"ts": time[:-1] + np.timedelta64(500, "ms"), "price": paid, "size": np.abs(flow), "side": sign}


def joined(days):
    """Return the columns of several days, one after another."""
    return {name: np.concatenate([day[name] for day in days]) for name in days[0]}
