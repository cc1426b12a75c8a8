"""Realism: a market is like its own sessions, and each distortion is the miss of its fact."""

import json
from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow
import pytest

from hyperexec_env.baselines.card import card
from hyperexec_env.baselines.evaluate import evaluate
from hyperexec_env.baselines.realism import FACTS, _of_flow, facts_on_card, realism
from hyperexec_env.cli import main
from hyperexec_env.data.calibration import calibrate
from hyperexec_env.data.format import Format
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.data.tape import Flow
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, load_scenario
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


def test_a_volatility_curve_mends_the_volatility_over_the_day():
    curved = replace(SCENARIO, volatility_curve=(1.6, 1.2, 0.8, 0.7, 0.7, 0.8, 1.0, 1.3))
    sessions = read_sessions(bars_of(curved), HOURS, lenient=True)
    shape = {"volatility of the first eighth of the day", "volatility of the middle of the day"}
    assert shape <= set(realism(SCENARIO, sessions).missed)
    assert not shape & set(realism(curved, sessions).missed)
    assert not shape & set(realism(calibrate(sessions), sessions).missed)


# the card


def test_the_card_names_the_facts_that_miss_with_their_values(tmp_path):
    result = found(shaped)
    scenario = result.on_card(date(2026, 1, 31))
    assert scenario.hash == result.scenario.hash
    (tmp_path / "known.toml").write_text(scenario.to_toml(), encoding="utf-8")
    lines, sources = facts_on_card(load_scenario(tmp_path / "known.toml"))
    assert sources == dict(SCENARIO.provenance)
    head = f"is the market like the market? {len(result.missed)} of {len(FACTS)} facts miss; compared on 2026-01-31 with 250 "
    assert lines[0].startswith(f"{head}sessions {result.first} to {result.last}")
    assert lines[0].endswith(f", scenario {SCENARIO.hash}")
    assert len(lines) == 1 + len(result.missed) > 1
    for line, name in zip(lines[1:], result.missed, strict=True):
        fact = next(fact for fact in result.facts if fact.name == name)
        low, high = fact.real - 1.96 * fact.real_error, fact.real + 1.96 * fact.real_error
        values = f"simulated {fact.simulated:.3f}, real {fact.real:.3f} (95 % interval {low:.3f} to {high:.3f})"
        assert line.startswith(f"  {name} misses: {values}")
    printed = str(card(replace(scenario, slices=2, regimes={}, provenance=scenario.provenance)))
    assert "\n".join(lines[:2]) in printed


def test_the_card_says_that_the_scenario_has_changed_since_the_comparison():
    scenario = found().on_card()
    lines, _ = facts_on_card(replace(scenario, volume_noise=0.9))
    assert lines[-1] == "  the scenario has changed since the comparison: run hyperexec realism again"
    assert facts_on_card(SCENARIO) == ([], dict(SCENARIO.provenance))


def test_a_second_comparison_replaces_the_first():
    first = found(shaped).on_card(date(2026, 1, 1))
    sessions = read_sessions(bars_of(SCENARIO), HOURS, lenient=True)
    second = realism(first, sessions).on_card(date(2026, 2, 2))
    assert len(second.provenance) == len(first.provenance)
    assert "2026-02-02" in second.provenance["realism"]
    assert "misses" in first.provenance["realism: volatility of the first eighth of the day"]
    assert "agrees" in second.provenance["realism: volatility of the first eighth of the day"]


def test_a_board_points_to_the_comparison():
    scenario = replace(found().on_card(date(2026, 1, 31)), slices=3)
    board, plain = (
        evaluate(each, ["TWAP"], episodes=50, optimum=False) for each in (scenario, replace(scenario, provenance={}))
    )
    assert f"the market beside real sessions: {scenario.provenance['realism']} (the card names them)" in str(board)
    assert "beside real sessions" not in str(plain)


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
    assert main([*words, "--out", str(tmp_path / "known.toml")]) == 0
    assert "facts miss; compared on " in load_scenario(tmp_path / "known.toml").provenance["realism"]
    assert "facts miss" in capsys.readouterr().out
    assert main([*words, "--out", str(tmp_path / "known.txt")]) == 2
    assert "out must end in .toml" in capsys.readouterr().err
    assert main([*words, "--trades", str(tmp_path / "bars.csv")]) == 2
    assert "give --trades and --quotes together" in capsys.readouterr().err


def test_the_response_to_flow_is_that_of_its_propagator():
    """Half of the move by a flow goes back in the next slice; the simulated price keeps all of it."""
    rng = np.random.default_rng(3)
    flow, noise, steady = rng.standard_normal((40, 26)), rng.standard_normal((40, 26)), rng.standard_normal((2000, 26))
    moves = flow + 0.3 * noise
    moves[:, 1:] -= 0.5 * flow[:, :-1]
    real = Flow(moves.ravel(), flow.ravel(), np.repeat(np.arange(40), 26), 900.0)
    kept, signs = _of_flow(real, steady, steady)
    assert abs(kept.real - 0.5) < 3.0 * kept.real_error < 0.5
    assert kept.simulated == pytest.approx(1.0, abs=0.05)
    assert kept.misses
    assert abs(signs.real) < 3.0 * signs.real_error
    assert not signs.misses
    assert _of_flow(real._replace(day=np.zeros(40 * 26, int)), steady, steady) == []
