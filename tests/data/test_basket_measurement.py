"""Measurement of a basket: the tape of each asset, one resilience and ratio for all, the correlation of common returns."""

import json

import numpy as np
import pyarrow.csv
import pytest

import hyperexec_env as hx
from hyperexec_env.cli import main

from .test_measurement import DATA, frames, needs_data

WORDS = ["--calendar", "24/7", "--hours", "10:00-16:00"]


@pytest.fixture(scope="module")
def tapes(tmp_path_factory):
    """Files of trades and quotes of three assets, two of which share a tape but for the price."""
    folder = tmp_path_factory.mktemp("tapes")
    for name, seed in (("AAA", 0), ("BBB", 1), ("CCC", 2)):
        for kind, frame in zip(("trades", "quotes"), frames(seed), strict=True):
            pyarrow.csv.write_csv(frame, folder / f"{name}_{kind}.csv")
    return folder


def words(folder, names, *more):
    trades, quotes = ([str(folder / f"{name}_{kind}.csv") for name in names] for kind in ("trades", "quotes"))
    return ["measure", "--basket", "--trades", *trades, "--quotes", *quotes, *WORDS, *more]


def test_the_command_measures_each_asset_and_the_correlation(tapes, tmp_path, capsys):
    out = tmp_path / "list.toml"
    given = words(tapes, ("AAA", "BBB", "CCC"), "--orders", "BBB=-0.02", "--out", str(out), "--json", str(tmp_path / "a.json"))
    assert main(given) == 0
    basket, found = hx.get_scenario(str(out)), json.loads((tmp_path / "a.json").read_text())
    assert basket.symbols == ("AAA", "BBB", "CCC")
    assert basket.sides == (1, -1, 1)
    for asset in basket.assets:
        own = found["assets"][asset.name]["scenario"]
        assert asset.half_spread_bps == pytest.approx(own["half_spread_bps"])
        assert asset.kyle_multiple == pytest.approx(own["kyle_multiple"])
    speeds = [found["assets"][name]["scenario"]["resilience"] for name in basket.symbols]
    assert basket.assets[0].resilience == pytest.approx(np.exp(np.mean(np.log(speeds))), rel=2e-3)
    matrix = np.array(found["correlation"]["matrix"])
    assert np.linalg.eigvalsh(matrix)[0] > 0.0
    assert np.abs(matrix - np.eye(3)).max() < 0.25  # independent tapes of five days
    text = capsys.readouterr().out
    assert "geometric mean of AAA" in text
    assert "sound; none of" in text


@pytest.mark.parametrize(
    ("names", "more", "message"),
    [
        (("AAA",), (), "a basket needs trades and quotes of 2 to 50 assets"),
        (("AAA", "AAA"), (), "both hold AAA"),
        (("AAA", "BBB"), ("--orders", "DDD=0.1"), "unknown asset 'DDD' in the orders"),
        (("AAA", "BBB"), ("--side", "1"), "side must not be given with --basket"),
    ],
)
def test_a_bad_command_is_one_line(tapes, tmp_path, capsys, names, more, message):
    assert main(words(tapes, names, *more, "--out", str(tmp_path / "list.toml"))) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "list.toml").exists()


@needs_data
@pytest.mark.slow  # two million prints
def test_ibm_and_spy_of_a_week_of_2013_have_a_correlation_of_one_half(tmp_path):
    trades, quotes = (
        [str(DATA / folder / f"{name}_{kind}_20131007_20131011.csv.gz") for name in ("IBM", "SPY")]
        for folder, kind in (("us_equity_tick", "tick_trade"), ("us_equity_second", "second_quote"))
    )
    out = tmp_path / "two.toml"
    assert main(["measure", "--basket", "--trades", *trades, "--quotes", *quotes, "--out", str(out)]) == 0
    basket = hx.get_scenario(str(out))
    assert basket.matrix[0, 1] == pytest.approx(0.511, abs=0.001)
    assert basket.assets[0].resilience == basket.assets[1].resilience
