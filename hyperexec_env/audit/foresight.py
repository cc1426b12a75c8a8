"""The check of foresight: whether observations predict the next move of the price where past prices do not.

It needs no change of the future, so it can be made for any environment that tells its price. It is a comparison of two
regressions out of sample, not a test: an environment that is meant to show a strong signal of its own fails it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.audit.adapter import Adapter
from hyperexec_env.audit.episodes import play, randomly
from hyperexec_env.audit.findings import Finding, failed, not_run, passed
from hyperexec_env.audit.settings import Settings

__all__ = ["check_foresight"]

Floats = NDArray[np.float64]

_GAIN: Final = 0.5
"""Part of the variance of the next move that observations explain beyond past prices, from which the check fails."""
_LAGS: Final = 3
_MOST_NUMBERS: Final = 500
"""Largest size of an observation that is read."""


def check_foresight(adapter: Adapter, settings: Settings) -> Finding:
    """No observation predicts the next move of the price where past prices do not."""
    seen, past, moves, halves = [], [], [], []
    for number, seed in enumerate(settings.seeds(settings.episodes)):
        plan = randomly(seed) if adapter.action is not None and adapter.remaining is not None else None
        episode = play(adapter, adapter.make(), seed, plan)
        prices = np.array(episode.prices)
        for k in range(_LAGS, len(prices) - 1):
            seen.append(np.asarray(episode.observations[k], dtype=float))
            past.append(prices[k - _LAGS : k + 1])
            moves.append(prices[k + 1] - prices[k])
            halves.append(number % 2 == 0)
        if len(moves) > 20_000:
            break
    if not moves or len(seen[0]) > _MOST_NUMBERS:
        size = f"{len(seen[0])} numbers" if seen else "no episode of five steps"
        return not_run(
            "foresight", f"observations must hold at most {_MOST_NUMBERS} numbers in episodes of five steps, got {size}"
        )
    x, y, lags, train = np.array(seen), np.array(moves), np.array(past), np.array(halves)
    if len(set(halves)) < 2:
        train = np.arange(len(y)) < len(y) // 2
    if not y[train].std() or not y[~train].std():
        return not_run("foresight", "the price does not move")
    if train.sum() < 4 * (x.shape[1] + _LAGS + 2):
        return not_run("foresight", f"{len(y)} moves of the price are too few for observations of {x.shape[1]} numbers")
    known = _explained(lags, y, train)
    both = _explained(np.hstack([lags, x]), y, train)
    text = (
        f"of the variance of the next move of the price, observations and past prices explain {100.0 * both:.0f} % out of "
        f"sample, past prices alone {100.0 * known:.0f} % ({int((~train).sum()):,} moves)"
    )
    numbers = {"observations": both, "past_prices": known, "moves": len(y)}
    if both - max(known, 0.0) > _GAIN:
        return failed(
            "foresight", f"{text}: unless a signal is meant to be shown, an observation knows the next price", **numbers
        )
    return passed("foresight", text, **numbers)


def _explained(x: Floats, y: Floats, train: NDArray[np.bool_]) -> float:
    """Return the part of the variance of `y` out of sample that a linear regression on `x` explains, at most 1."""
    mean, scale = x[train].mean(axis=0), x[train].std(axis=0)
    kept = np.isfinite(scale) & (scale > 1e-9 * (1.0 + np.abs(mean)))
    z = np.hstack([(x[:, kept] - mean[kept]) / scale[kept], np.ones((len(x), 1))])
    ridge = 1e-8 * train.sum() * np.eye(z.shape[1])
    weights = np.linalg.solve(z[train].T @ z[train] + ridge, z[train].T @ y[train])
    rest = y[~train] - z[~train] @ weights
    return 1.0 - float(np.mean(rest**2) / np.mean((y[~train] - y[train].mean()) ** 2))
