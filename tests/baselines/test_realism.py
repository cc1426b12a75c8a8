"""Realism: a market is like its own sessions, and each distortion is the miss of its fact."""

import json
from dataclasses import replace

import numpy as np
import pyarrow
import pytest

from hyperexec_env.baselines.realism import FACTS, realism
from hyperexec_env.cli import main
from hyperexec_env.data.format import Format
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

HOURS = Format(calendar="24/7", hours="09:30-16:00")
SCENARIO = replace(get_scenario("regime-day"), volatility=0.012, start_minute=0.0, horizon_minutes=390.0, slices=26)


def bars_of(scenario, days=250, seed=5, change=None):
    """Return a frame of 15-minute bars of simulated days."""
    path = draw_path(build_market(scenario), episode_keys(seed, np.arange(days)), 1)
    price, volume = path.world.price.T, path.slices.volume.T
    if change is not None:
        price, volume = change(np.random.default_rng(seed), price, volume)
    first = np.datetime64("2020-01-01T09:30", "us")
    stamps = first + (np.arange(days)[:, None] * 1440 + 15 * np.arange(26)).astype("timedelta64[m]")
    opening, closing = price[:, :-1].ravel(), price[:, 1:].ravel()
    return pyarrow.table(
        {
            "ts": stamps.ravel(),
            "open": opening,
            "high": np.maximum(opening, closing),
            "low": np.minimum(opening, closing),
            "close": closing,
            "volume": volume.ravel(),
        }
    )


def found(change=None, **options):
    return realism(SCENARIO, read_sessions(bars_of(SCENARIO, change=change, **options), HOURS, lenient=True))


def test_a_market_is_like_its_own_sessions():
    result = found()
    assert len(result.facts) == len(FACTS) >= 12
    assert len(result.missed) <= 1, result
    assert all(fact.real_error > 0.0 for fact in result.facts)


def persistent(rng, price, volume):
    """Give the daily level of volume a persistence over days."""
    level = np.zeros(len(volume))
    for day in range(1, len(volume)):
        level[day] = 0.8 * level[day - 1] + 0.3 * rng.standard_normal()
    return price, volume * np.exp(level)[:, None]


def shaped(rng, price, volume):
    """Make the first hour of the day volatile."""
    moves = np.diff(price, axis=1)
    moves[:, :4] *= 1.5
    return np.concatenate([price[:, :1], price[:, :1] + np.cumsum(moves, axis=1)], axis=1), volume


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (persistent, {"autocorrelation of daily volume, lag 1", "sd of log daily volume"}),
        (shaped, {"volatility of the first eighth of the day"}),
    ],
)
def test_a_distortion_is_the_miss_of_its_fact(change, names):
    assert names <= set(found(change).missed)


def test_daily_or_few_sessions_are_refused():
    with pytest.raises(ValueError, match="at least five sessions of bars within the day"):
        found(days=3)


def test_the_command_prints_the_table_and_draws_the_picture(tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="pictures need the extra plot")
    from pyarrow import csv

    csv.write_csv(bars_of(SCENARIO, 30), tmp_path / "bars.csv")
    (tmp_path / "day.toml").write_text(SCENARIO.to_toml())
    words = ["realism", str(tmp_path / "day.toml"), "--data", str(tmp_path / "bars.csv")]
    words += ["--calendar", "24/7", "--hours", "09:30-16:00"]
    assert main([*words, "--picture", str(tmp_path / "facts.png"), "--json", str(tmp_path / "facts.json")]) == 0
    assert "facts miss" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "facts.json").read_text())["facts"]) == len(FACTS)
    assert (tmp_path / "facts.png").read_bytes().startswith(b"\x89PNG")
    assert main([*words, "--trades", str(tmp_path / "bars.csv")]) == 2
    assert "give --trades and --quotes together" in capsys.readouterr().err
