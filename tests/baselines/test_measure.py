"""Measuring with a desk's own fills: orders in a simulated tape give back temporary impact, and choices are said."""

import json

import numpy as np
import pyarrow
import pytest
from pyarrow import csv

import hyperexec_env as hx
from hyperexec_env.baselines.measure import orders_of
from hyperexec_env.cli import main
from hyperexec_env.data.aggregate import bars_of_trades
from hyperexec_env.data.calibration import calibration_of
from hyperexec_env.data.format import Format
from hyperexec_env.data.measurement import assume_impact
from hyperexec_env.data.reader import read_quotes, read_trades
from hyperexec_env.data.sessions import sessions_of
from hyperexec_env.market.scenario import load_scenario

from ..tape import ADV, GAMMA, HALF, SECONDS, TRANSIENT, drawn_flow, joined, mid_of, quotes_of, times_of, trades_of

HOURS = Format(calendar="24/7", hours="10:00-16:00", tz="UTC")
WORDS = ["--calendar", "24/7", "--hours", "10:00-16:00", "--tz", "UTC"]
SCALE, BETA = 0.002, 0.6
"""Temporary impact at a participation of one, fraction of the price, and its exponent."""
CHILDREN = 10


def desk_day(rng, each):
    """Return side, shares and participation of the desk in each second of a day (rows: order), and the flow of the others."""
    others = drawn_flow(rng)
    volume = np.concatenate([[0.0], np.cumsum(np.abs(others))])
    orders = []
    for _ in range(each):
        gap = int(rng.integers(20, 120))
        first = int(rng.integers(120, SECONDS - gap * CHILDREN - 60))
        at = first + gap * np.arange(CHILDREN)
        v = 0.06 * np.exp(0.8 * rng.standard_normal())
        shares = np.maximum(np.round(v / (1.0 - v) * (volume[first + gap * CHILDREN] - volume[first]) / CHILDREN), 1.0)
        orders.append((at, rng.choice([-1.0, 1.0]), shares, v))
    return others, orders


def simulated(seed, days=5, each=40, scale=SCALE):
    """Return frames of trades, quotes and fills: the desk trades among the others, and the mid answers to both alike."""
    rng, price, frames = np.random.default_rng(seed), 50.0, []
    for day in range(days):
        others, orders = desk_day(rng, each)
        flow = others.copy()
        for at, side, shares, _ in orders:
            flow[at] += side * shares
        time, mid = times_of(day), mid_of(rng, flow, price)
        quotes, lit = quotes_of(time, mid), [tuple(trades_of(time, mid, others).values())]
        fills = []
        for number, (at, side, shares, v) in enumerate(orders):
            own = 0.5 * (GAMMA + TRANSIENT) * shares / ADV
            paid = mid[at] * (1.0 + side * (HALF * 1e-4 + own + scale * v**BETA))
            when = time[at] + np.timedelta64(600, "ms")
            count = len(at)
            lit.append((when, paid, np.full(count, shares), np.full(count, side)))
            fills.append((when, np.full(count, side * shares), paid, np.full(count, f"D{day}-{number}")))
        columns = [np.concatenate(parts) for parts in zip(*lit, strict=True)]
        rank = np.argsort(columns[0], kind="stable")
        trades = dict(zip(("ts", "price", "size", "side"), (values[rank] for values in columns), strict=True))
        trades["side"] = trades["side"].astype(int)
        own = dict(
            zip(("ts", "quantity", "price", "order_id"), (np.concatenate(p) for p in zip(*fills, strict=True)), strict=True)
        )
        frames.append((trades, quotes, own))
        price = mid[-1]
    return tuple(pyarrow.table(joined(part)) for part in zip(*frames, strict=True))


@pytest.fixture(scope="module")
def desk():
    """Frames of trades, quotes and fills of a week, and what is measured from them."""
    frames = simulated(0)
    tape = read_trades(frames[0], HOURS), read_quotes(frames[1], HOURS)
    return frames, tape, hx.measure(*tape, HOURS, fills=frames[2])


def within(figure, value, errors=3.0):
    return abs(figure.value - value) < errors * figure.error


def test_temporary_impact_is_that_of_the_desk(desk):
    _, _, found = desk
    scenario, law = found.scenario, found.temporary.fit
    assert found.temporary.orders == 200
    assert law.identified
    assert within(law.alpha, SCALE / scenario.volatility)
    assert within(law.beta, BETA)
    assert within(found.temporary.check.beta, BETA)
    assert within(found.temporary.gamma, GAMMA)
    assert scenario.temp_impact_alpha == pytest.approx(law.alpha.value, rel=1e-3)
    assert scenario.temp_impact_beta == pytest.approx(law.beta.value, rel=1e-3)
    for name in ("temp_impact_alpha", "temp_impact_beta"):
        assert scenario.provenance[name].startswith("200 own orders of 5 sessions")
        assert "standard error" in scenario.provenance[name]
    assert "temporary impact of 200 own orders of 5 sessions" in str(found)


def test_without_fills_temporary_impact_is_the_published_one_and_the_rest_is_the_same(desk):
    _, tape, found = desk
    plain = hx.measure(*tape, HOURS)
    assert (plain.scenario.temp_impact_alpha, plain.scenario.temp_impact_beta) == (0.142, 0.6)
    assert "standard error 0.0062" in plain.scenario.provenance["temp_impact_alpha"]
    assert "it needs a desk's own fills (--fills)" in str(plain)
    assert plain.to_dict()["temporary"] is None
    for name in ("kyle_lambda", "perm_impact_gamma", "half_spread_bps", "resilience", "volatility", "adv"):
        assert getattr(plain.scenario, name) == getattr(found.scenario, name)


def test_the_participation_and_the_prices_of_an_order_are_those_of_the_tape(desk):
    (trades, quotes, fills), tape, _ = desk
    orders = orders_of(fills, *tape, format=HOURS)
    times = fills["ts"].to_numpy()
    names = np.array(fills["order_id"].to_pylist())
    for at in (0, 57, 199):
        name = next(name for name in names if times[names == name].min() == orders.start[at].astype("datetime64[ns]"))
        own = np.flatnonzero(names == name)
        first, last = times[own].min(), times[own].max()
        mid = 0.5 * (quotes["bid"].to_numpy() + quotes["ask"].to_numpy())
        before, after = (
            mid[np.searchsorted(quotes["ts"].to_numpy(), when) - 1] for when in (first, last + np.timedelta64(30, "m"))
        )
        traded = (trades["ts"].to_numpy() >= first) & (trades["ts"].to_numpy() <= last)
        quantity, paid = fills["quantity"].to_numpy()[own], fills["price"].to_numpy()[own]
        side = np.sign(quantity[0])
        volume = trades["size"].to_numpy()[traded].sum() * CHILDREN / (CHILDREN - 1)
        assert orders.participation[at] == pytest.approx(np.abs(quantity).sum() / volume)
        assert orders.cost[at] == pytest.approx(side * (np.average(paid, weights=np.abs(quantity)) / before - 1.0))
        if last + np.timedelta64(30, "m") < first.astype("datetime64[D]") + np.timedelta64(16, "h"):
            assert orders.move[at] == pytest.approx(side * (after / before - 1.0))
        else:
            assert np.isnan(orders.move[at])


def test_bars_alone_with_fills_take_gamma_and_temporary_impact_from_the_orders(desk):
    (_, _, fills), (trades, _), _ = desk
    bars = bars_of_trades(trades)
    orders = orders_of(fills, bars=bars, format=HOURS)
    assert "mid is interpolated" in " ".join(orders.sources)
    found = assume_impact(calibration_of(sessions_of(bars, HOURS, lenient=True)), orders)
    assert found.temporary.check is None
    assert found.scenario.provenance["perm_impact_gamma"].startswith("price after ")
    assert found.scenario.perm_impact_gamma <= found.scenario.kyle_lambda
    assert "temporary impact of" in str(found)


def test_orders_that_cannot_be_used_are_left_out_and_counted(desk):
    (_, _, fills), tape, _ = desk
    rows = fills.slice(0, 25 * CHILDREN).to_pylist()
    day = rows[0]["ts"].date()
    rows[0]["ts"] = rows[0]["ts"].replace(day=day.day + 1)
    early = {**rows[1], "order_id": "early", "ts": rows[1]["ts"].replace(hour=9, minute=30)}
    single = {**rows[1], "order_id": "single"}
    late = {**rows[1], "order_id": "late", "ts": rows[1]["ts"].replace(month=8)}
    orders = orders_of(pyarrow.Table.from_pylist([*rows, early, single, late]), *tape, format=HOURS)
    assert len(orders.cost) == 24
    assert orders.left_out == {
        "fills of several sessions": 1,
        "fills outside the hours": 1,
        "fills at one moment, so that the market at the same time is unknown": 1,
        "no market data at their times": 1,
    }


def test_fills_of_another_zone_or_instrument_are_refused(desk):
    (_, _, fills), tape, _ = desk
    later = fills.set_column(0, "ts", pyarrow.array(fills["ts"].to_numpy() + np.timedelta64(5, "h")))
    with pytest.raises(ValueError, match="executions lie outside"):
        hx.measure(*tape, HOURS, fills=later)
    names = pyarrow.array(["A", "B"] * (len(fills) // 2))
    with pytest.raises(ValueError, match=r"several instruments \(A, B\); choose one with --symbol"):
        hx.measure(*tape, HOURS, fills=fills.append_column("symbol", names))
    with pytest.raises(ValueError, match="needs at least 20 orders, got 3"):
        hx.measure(*tape, HOURS, fills=fills.slice(0, 30))


def test_the_command_prints_temporary_impact_and_the_certificate(desk, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, frame in zip(("trades", "quotes", "fills"), desk[0], strict=True):
        csv.write_csv(frame, f"{name}.csv")
    words = ["measure", "--trades", "trades.csv", "--quotes", "quotes.csv", *WORDS, "--out", "out.toml"]
    assert main([*words, "--fills", "fills.csv"]) == 0
    text = capsys.readouterr().out
    assert "temporary impact of 200 own orders" in text
    assert "certificate: certified" in text
    assert load_scenario("out.toml").temp_impact_beta == desk[2].scenario.temp_impact_beta
    assert main([*words, "--fills", "fills.csv", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["certificate"]["sound"] is True
    assert found["temporary"]["fit"]["beta"]["value"] == pytest.approx(desk[2].temporary.fit.beta.value)
    assert found["moved"] == list(desk[2].moved)
