"""The command that learns across orders: a week of a simulated desk, in two batches and at once, from the tape."""

import json

import numpy as np
import pytest
from pyarrow import csv

import hyperexec_env as hx
from hyperexec_env.baselines.learn import learn
from hyperexec_env.cli import main
from hyperexec_env.data.reader import read_quotes, read_trades
from hyperexec_env.market.prior import impact_prior
from hyperexec_env.market.scenario import load_scenario

from ..tape import GAMMA
from .test_measure import BETA, HOURS, SCALE, WORDS, simulated

NAMES = ("alpha", "gamma", "kappa")


@pytest.fixture(scope="module")
def desk():
    """Frames of trades, quotes and fills of a week, the tape, and the market measured from it without the fills."""
    frames = simulated(3)
    tape = read_trades(frames[0], HOURS), read_quotes(frames[1], HOURS)
    return frames, tape, hx.measure(*tape, HOURS).scenario


def test_learning_finds_the_impact_of_the_desk(desk):
    (_, _, fills), tape, prior = desk
    found = learn(fills, prior, *tape, format=HOURS, impact_sd=1.0)
    assert prior.temp_impact_beta == BETA
    alpha, gamma, _ = found.rows
    assert abs(alpha.mean - SCALE / prior.volatility) < 3.0 * alpha.sd < 3.0 * alpha.prior_sd
    assert abs(gamma.mean - GAMMA) < 3.0 * gamma.sd
    assert "200 own orders of 5 sessions" in found.scenario.provenance["temp_impact_alpha"]
    assert 0.8 < found.evidence.scale(found.after.mean) < 1.25


def test_a_prior_that_is_too_sure_of_itself_is_named(desk):
    """The published alpha has the error of its regression, and this desk pays thrice as much."""
    (_, _, fills), tape, prior = desk
    found = learn(fills, prior, *tape, format=HOURS)
    assert "WARNING: alpha moved by" in str(found)
    assert prior.temp_impact_alpha < found.scenario.temp_impact_alpha < SCALE / prior.volatility


def test_the_command_learns_in_batches_what_it_learns_at_once(desk, tmp_path, monkeypatch, capsys):
    (trades, quotes, fills), _, prior = desk
    monkeypatch.chdir(tmp_path)
    days = fills["ts"].to_numpy().astype("datetime64[D]")
    early = days < np.sort(np.unique(days))[2]
    for name, table in {
        "t.csv": trades,
        "q.csv": quotes,
        "all.csv": fills,
        "early.csv": fills.filter(early),
        "late.csv": fills.filter(~early),
    }.items():
        csv.write_csv(table, name)
    (tmp_path / "prior.toml").write_text(prior.to_toml())
    market = ["--trades", "t.csv", "--quotes", "q.csv", *WORDS]
    for fills_file, before, after in (
        ("all.csv", "prior.toml", "whole.toml"),
        ("early.csv", "prior.toml", "first.toml"),
        ("late.csv", "first.toml", "second.toml"),
    ):
        code = main(["learn", fills_file, "--prior", before, "--out", after, *market, "--json", "found.json"])
        assert code == 0
    whole, second = (impact_prior(load_scenario(tmp_path / name), NAMES) for name in ("whole.toml", "second.toml"))
    assert second.mean == pytest.approx(whole.mean, rel=1e-8)
    assert second.covariance == pytest.approx(whole.covariance, rel=1e-7, abs=1e-15)
    plain = json.loads((tmp_path / "found.json").read_text())
    assert plain["prior"] == "first"
    assert [row["name"] for row in plain["learned"]] == list(NAMES)
    assert load_scenario(tmp_path / "second.toml").name == "second"
    assert "own orders of 5 sessions" in capsys.readouterr().out


def test_the_command_needs_the_market_of_the_fills(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fills.csv").write_text("time,side,quantity,price\n2026-03-02 10:00:00,buy,1,1\n")
    for words, message in (
        (["--out", "x.toml"], "give the market of the fills"),
        (["--out", "x.csv", "--bars", "fills.csv"], "out must end in .toml"),
        (["--out", "x.toml", "--trades", "fills.csv"], "give --trades and --quotes together"),
    ):
        assert main(["learn", "fills.csv", "--prior", "regime-day", *words]) == 2
        assert message in capsys.readouterr().err


def test_a_market_that_no_reader_returned_is_refused(desk):
    (_, _, fills), _, prior = desk
    for name, wanted in (("source", "Trades or Book"), ("quotes", "Quotes"), ("bars", "Bars")):
        with pytest.raises(TypeError, match=f"{name} must be {wanted} that a reader returns, got 'market.csv'"):
            learn(fills, prior, **{name: "market.csv"})


def test_a_prior_whose_transient_impact_is_not_linear_is_refused(desk):
    (_, _, fills), tape, _ = desk
    with pytest.raises(
        ValueError, match=r"transient_exponent of the prior must be 1, got 0\.5: the equations of the orders are"
    ):
        learn(fills, "geo-compat", *tape, format=HOURS)
