"""Calibration of baskets: a known correlation is recovered, shrinkage is the published formula, bad input is one error."""

import dataclasses
import itertools
import json

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.data.basket_calibration import calibrate_basket, read_assets
from hyperexec_env.data.calibration import calibration_of
from hyperexec_env.data.correlation import common_returns, estimate_correlation, shrunk_correlation
from hyperexec_env.data.sessions import read_sessions

from .conftest import make

TRUTH = np.array([[1.0, 0.7, 0.3], [0.7, 1.0, 0.1], [0.3, 0.1, 1.0]])
NAMES = ("AAA", "BBB", "CCC")


def correlated(first="2025-06-02", last="2025-07-11", truth=TRUTH, step=5):
    """Bars of assets whose returns have a known correlation, and gaps over the nights that are the same for all."""
    markets = [make(first, last, step=step, seed=seed) for seed in range(len(truth))]
    count = len(markets[0].time)
    moves = 0.001 * np.random.default_rng(1).standard_normal((count, len(truth))) @ np.linalg.cholesky(truth).T
    nights = np.where(np.diff(markets[0].day, prepend=0) > 0, 0.02, 0.0)  # would correlate all returns, if they counted
    for market, own in zip(markets, moves.T, strict=True):
        close = 100.0 * np.exp(np.cumsum(own + nights))
        market.open = close * np.exp(-own)
        market.close, market.high, market.low = close, np.maximum(close, market.open), np.minimum(close, market.open)
    return markets


def sessions_of(markets):
    return {name: read_sessions(market.frame()) for name, market in zip(NAMES, markets, strict=True)}


@pytest.fixture(scope="module")
def sessions():
    """Six weeks of bars of three assets."""
    return sessions_of(correlated())


def published(returns):
    """Return the correlation and the intensity of Ledoit and Wolf (2004, appendix), sum by sum as they are printed."""
    y = returns - returns.mean(axis=0)
    count, assets = len(y) - 1, y.shape[1]
    s = [[sum(y[:, i] * y[:, j]) / count for j in range(assets)] for i in range(assets)]
    r = [[s[i][j] / np.sqrt(s[i][i] * s[j][j]) for j in range(assets)] for i in range(assets)]
    mean = 2.0 / ((assets - 1) * assets) * sum(r[i][j] for i, j in itertools.combinations(range(assets), 2))
    pi = rho = gamma = 0.0
    for i, j in itertools.product(range(assets), repeat=2):
        f = s[i][i] if i == j else mean * np.sqrt(s[i][i] * s[j][j])
        own = (sum((y[:, i] * y[:, j] - s[i][j]) ** 2) - s[i][j] ** 2) / count  # n terms over n - 1
        pi, gamma = pi + own, gamma + (f - s[i][j]) ** 2
        if i == j:
            rho += own
            continue
        products = y[:, i] * y[:, j] - s[i][j]
        theta = [(sum((y[:, k] ** 2 - s[k][k]) * products) - s[k][k] * s[i][j]) / count for k in (i, j)]
        rho += 0.5 * mean * (np.sqrt(s[j][j] / s[i][i]) * theta[0] + np.sqrt(s[i][i] / s[j][j]) * theta[1])
    intensity = max(0.0, min((pi - rho) / gamma / count, 1.0))
    return [
        [1.0 if i == j else intensity * mean + (1 - intensity) * r[i][j] for j in range(assets)] for i in range(assets)
    ], intensity


@pytest.mark.fast
@pytest.mark.parametrize(("seed", "assets", "count"), [(0, 3, 400), (1, 4, 30), (2, 6, 5)])
def test_shrinkage_is_the_published_formula(seed, assets, count):
    rng = np.random.default_rng(seed)
    returns = rng.standard_normal((count, assets)) * rng.uniform(0.5, 2.0, assets) + rng.standard_normal((count, 1))
    expected, intensity = published(returns)
    found = shrunk_correlation(returns)
    assert found.intensity == pytest.approx(intensity, rel=1e-9)
    assert found.matrix == pytest.approx(np.array(expected), abs=1e-12)
    assert np.linalg.eigvalsh(found.matrix)[0] >= -1e-12


@pytest.mark.fast
def test_fewer_returns_than_assets_give_a_positive_definite_matrix():
    returns = np.random.default_rng(3).standard_normal((12, 20))
    found = shrunk_correlation(returns)
    assert np.linalg.eigvalsh(found.sample)[0] < 1e-12
    assert 0.3 < found.intensity <= 1.0
    assert np.linalg.eigvalsh(found.matrix)[0] > 0.1


@pytest.mark.fast
def test_two_assets_are_not_shrunk():
    returns = np.random.default_rng(4).standard_normal((50, 2))
    found = shrunk_correlation(returns)
    assert found.intensity == 0.0
    assert found.matrix[0, 1] == pytest.approx(np.corrcoef(returns.T)[0, 1], abs=1e-14)


def test_a_known_correlation_is_recovered_within_its_error(sessions):
    found = estimate_correlation(sessions)
    pairs = np.triu_indices(3, 1)
    error = found.errors[pairs]
    count = found.returns.intervals
    assert count == 78 * len(found.returns.dates) == found.returns.possible
    assert (np.abs(found.shrunk.matrix - TRUTH)[pairs] < 3.0 * error).all()
    assert error == pytest.approx((1.0 - TRUTH[pairs] ** 2) / np.sqrt(count), rel=0.4)  # of independent normal returns
    assert found.shrunk.intensity < 0.01


def test_a_calibrated_basket_is_each_asset_as_it_is_calibrated_alone(sessions):
    found = calibrate_basket(sessions, "list", shares={"BBB": -0.02}, slices=13)
    basket = found.scenario
    assert basket.symbols == NAMES
    assert basket.sides == (1, -1, 1)
    for asset, share in zip(basket.assets, (0.04, 0.02, 0.04), strict=True):
        assert asset.quantity == pytest.approx(share * asset.adv, abs=1.0)
    alone = calibration_of(sessions["BBB"], with_errors=False).scenario
    for field in ("adv", "volatility", "volume_curve", "volatility_curve", "arrival_price", "kyle_lambda", "flow_share"):
        assert getattr(basket.assets[1], field) == getattr(alone, field), field
    assert basket.slices == 13
    assert basket.risk_aversion == pytest.approx(2.0 / basket.notional, rel=1e-5)
    assert np.abs(basket.matrix - found.correlation.shrunk.matrix).max() < 1e-6
    assert hx.BasketScenario.from_toml(basket.to_toml()).hash == basket.hash
    assert "5 minutes" in basket.provenance["correlation"]
    assert basket.provenance["cross_impact"].startswith("assumed")
    assert found.notices == ()
    assert "cross_impact 0.5: assumed" in str(found)


def test_intervals_without_trades_of_an_asset_are_left_out_for_all():
    markets = correlated("2025-07-07", "2025-07-09")
    gap = markets[1].at(1, 100)
    markets[1] = markets[1].only(np.arange(len(markets[1].time)) != gap)
    markets[2].volume[markets[2].at(0, 0)] = 0.0
    found = common_returns(sessions_of(markets))
    assert [len(day) for day in found.days] == [76, 76, 78]  # a bar ends one interval and begins the next
    whole = common_returns(sessions_of(correlated("2025-07-07", "2025-07-09")))
    kept = np.setdiff1d(np.arange(78), [20, 21])
    assert found.days[1] == pytest.approx(whole.days[1][kept], abs=1e-12)


def test_sessions_are_matched_by_date():
    early, late = correlated("2025-07-07", "2025-07-18"), correlated("2025-07-07", "2025-07-18")
    mixed = [early[0].only(early[0].day < 7), early[1].only(early[1].day >= 3), late[2]]
    found = common_returns(sessions_of(mixed))
    assert len(found.dates) == 4
    assert np.concatenate(found.days) == pytest.approx(np.concatenate(common_returns(sessions_of(early)).days[3:7]), abs=1e-12)


def test_bad_input_is_one_clear_error(sessions):
    one, two = sessions["AAA"], sessions["BBB"]
    other = sessions_of(correlated("2025-09-02", "2025-09-05"))["BBB"]
    thirty = sessions_of(correlated("2025-07-07", "2025-07-11", step=30))["BBB"]
    still = dataclasses.replace(two, open=np.full_like(two.open, 9.0), close=np.full_like(two.close, 9.0))
    for given, order, message in (
        ({"AAA": one}, {}, "2 to 50 assets, got 1"),
        ({"AAA": one, "BBB": other}, {}, r"at least two common sessions, got 0: AAA 2025-06-02 to .*, BBB 2025-09-02"),
        ({"AAA": one, "BBB": one}, {}, "AAA and BBB have the same returns"),
        ({"AAA": one, "BBB": thirty}, {}, r"bar_minutes must be equal for all assets, got 5 \(AAA\) and 30 \(BBB\)"),
        ({"AAA": one, "BBB": still}, {}, "BBB: its prices do not move"),
        ({"AAA": one, "BBB": dataclasses.replace(two, has_volume=False)}, {}, "BBB: the bars hold no volume"),
        ({"AAA": one, "BBB": two}, {"shares": {"AAB": 0.1}}, "unknown asset 'AAB' in the orders; did you mean 'AAA'"),
        ({"AAA": one, "BBB": two}, {"shares": {"AAA": 0.0}}, "order of AAA must not be 0"),
        ({"AAA": one, "BBB": two}, {"quantity": 5.0}, "quantity must not be given for all assets"),
        ({"AAA": one, "BBB": two}, {"regimes": 1}, "regimes must not be given"),
    ):
        with pytest.raises(ValueError, match=message):
            calibrate_basket(given, **order)


def write(path, market):
    """Write bars as a file."""
    table = market.frame().to_pydict()
    rows = zip(*table.values(), strict=True)
    path.write_text("\n".join([",".join(table), *(",".join(map(str, row)) for row in rows)]) + "\n")


def test_the_command_writes_a_basket(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, market in zip(("AAA_5min", "BBB_5min", "AAA_again"), correlated("2025-07-07", "2025-07-10"), strict=True):
        write(tmp_path / f"{name}.csv", market)
    words = ["calibrate", "AAA_5min.csv", "BBB_5min.csv", "--basket", "--orders", "BBB=-0.01", "--stamp", "start"]
    assert cli.main([*words, "--out", "two.toml", "--json", "two.json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("warning: only 4 common sessions")
    assert "two assets have one correlation" in out
    basket = hx.get_basket("two.toml")
    assert (basket.name, basket.symbols, basket.sides) == ("two", ("AAA", "BBB"), (1, -1))
    assert "few sessions" in basket.description
    plain = json.loads((tmp_path / "two.json").read_text())
    assert plain["correlation"]["matrix"][0][1] == pytest.approx(basket.matrix[0, 1], abs=1e-6)
    files = ["AAA_5min.csv", "BBB_5min.csv", "AAA_again.csv"]
    assert list(read_assets(files, hx.Format(stamp="start"))) == [name[:-4] for name in files]  # AAA would name two
    for given, message in (
        (words[:2] + words[3:], "2 to 50 assets, a file or folder for each, got 1"),
        ([*words[:2], *words[1:]], "both hold AAA"),
        ([*words, "--quantity", "5"], "quantity must not be given with --basket"),
        ([*words, "--orders", "AAA"], "orders must be pairs such as AAPL=0.04"),
        (["calibrate", "AAA_5min.csv", "--orders", "AAA=1"], "orders must be empty without --basket"),
    ):
        assert cli.main([*given, "--out", "none.toml"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none.toml").exists()
