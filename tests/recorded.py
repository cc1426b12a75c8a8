"""Simulated days as bars, for replays: their regimes, volumes and prices come from a scenario."""

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.data.format import Format
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

HOURS = Format(calendar="24/7", hours="09:30-16:00")
SCENARIO = replace(get_scenario("regime-day"), volatility=0.012, start_minute=0.0, horizon_minutes=390.0, slices=26)


def bars(days, scenario=SCENARIO, seed=3):
    """Return a frame of 15-minute bars of simulated days, whose level of volume doubles half-way."""
    pyarrow = pytest.importorskip("pyarrow", reason="bars are read by the extra data")
    path = draw_path(build_market(scenario), episode_keys(seed, np.arange(days)), 1)
    price, volume = path.world.price.T, path.slices.volume.T * np.where(np.arange(days) < days // 2, 1.0, 2.0)[:, None]
    first = np.datetime64("2020-01-01T09:30", "us")
    stamps = first + (np.arange(days)[:, None] * 1440 + 15 * np.arange(26)).astype("timedelta64[m]")
    opening, closing = price[:, :-1].ravel(), price[:, 1:].ravel()
    high, low = np.maximum(opening, closing), np.minimum(opening, closing)
    columns = {"open": opening, "high": high, "low": low, "close": closing, "volume": volume.ravel()}
    return pyarrow.table({"ts": stamps.ravel(), **columns})


def sessions_of_days(days=80, scenario=SCENARIO, seed=3):
    """Return the sessions of :func:`bars`."""
    return read_sessions(bars(days, scenario, seed), HOURS, lenient=True)


def changed(sessions, day, first, factor=2.0):
    """Return sessions whose moves and volumes from bar `first` of a session on are multiplied by a factor."""
    columns = {name: getattr(sessions, name).copy() for name in ("open", "high", "low", "close", "volume")}
    columns["volume"][day, first:] *= factor
    anchor = columns["open"][day, first]
    for name in ("open", "high", "low", "close"):
        columns[name][day, first:] = anchor * (columns[name][day, first:] / anchor) ** factor
    return replace(sessions, **columns)
