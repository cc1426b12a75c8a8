"""The costs of many orders: laws, agreement with an independent computation, files of any form, clocks, and what is refused."""

import csv
import gzip
import json
import os
import zipfile
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.baselines.blotter_page import blotter_page
from hyperexec_env.baselines.order_costs import MEASURES, Settings
from hyperexec_env.baselines.venue_costs import VENUE_MEASURES, VenueCosts, add_costs
from hyperexec_env.data.format import Format

pa = pytest.importorskip("pyarrow", reason="needs the extra `data`")
pytest.importorskip("exchange_calendars", reason="needs the extra `data`")

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(
    not DATA.is_dir(), reason="real ticks: set HYPEREXEC_DATA to the folder that holds us_equity_tick/"
)
DAY = "2024-03-05"
OPEN = datetime(2024, 3, 5, 14, 30, tzinfo=UTC)
SECONDS = 23_400


class Market:
    """A synthetic session: quotes about every two seconds, trades about every three, and their bars of one minute."""

    def __init__(self, name="XYZ", seed=0, opening=OPEN, seconds=SECONDS, start=100.0):
        rng = np.random.default_rng(seed)
        self.name, self.opening = name, opening
        self.quote_time = np.concatenate([[0.0], np.sort(rng.choice(np.arange(1, seconds * 10), seconds // 2, False)) / 10.0])
        self.mid = np.round(start * np.exp(np.cumsum(rng.normal(0.0, 5e-5, len(self.quote_time)))), 2)
        self.half = rng.choice([0.01, 0.02], len(self.mid))
        self.trade_time = np.sort(rng.choice(np.arange(1, seconds * 10), seconds // 3, False)) / 10.0 + 0.05
        self.trade_size = rng.integers(1, 20, len(self.trade_time)) * 100.0
        at = np.searchsorted(self.quote_time, self.trade_time, "right") - 1
        self.trade_price = np.round(self.mid[at] + rng.choice([-1.0, 1.0], len(at)) * self.half[at], 2)

    def mid_at(self, second, before=False):
        return self.mid[np.searchsorted(self.quote_time, second, "left" if before else "right") - 1]

    def stamp(self, second):
        return (self.opening + timedelta(milliseconds=round(second * 1000))).isoformat(timespec="milliseconds")

    def quotes(self, name="quotes.csv"):
        rows = zip(self.quote_time, self.mid - self.half, self.mid + self.half, strict=True)
        write(name, "ts,bid,ask", [f"{self.stamp(t)},{b:.4f},{a:.4f}" for t, b, a in rows])

    def trades(self, name="trades.csv"):
        rows = zip(self.trade_time, self.trade_price, self.trade_size, strict=True)
        write(name, "ts,price,size", [f"{self.stamp(t)},{p:.2f},{q:.0f}" for t, p, q in rows])

    def bars(self, symbol=""):
        """Rows of the bars: start in minutes, open, high, low, close, volume."""
        rows, last = [], self.trade_price[0]
        for minute in range(int(self.quote_time[-1] // 60) + 1):
            inside = (self.trade_time >= 60 * minute) & (self.trade_time < 60 * (minute + 1))
            price = self.trade_price[inside] if inside.any() else np.array([last])
            last = price[-1]
            values = (price[0], price.max(), price.min(), last, self.trade_size[inside].sum())
            stamp = (self.opening + timedelta(minutes=minute)).isoformat()
            rows.append(",".join([stamp, *([symbol] if symbol else []), *(f"{value:.2f}" for value in values)]))
        return rows

    def fills(self, count, seed, side=None):
        """Executions at trades of the market: (second, side, shares, price)."""
        rng = np.random.default_rng(seed)
        at = np.sort(rng.choice(np.arange(300, len(self.trade_time) - 1500), count, False))
        sign = side or rng.choice([1, -1])
        return [(float(self.trade_time[k]), sign, float(rng.integers(1, 9) * 10), float(self.trade_price[k])) for k in at]


def write(name, header, lines):
    Path(name).write_text("\n".join([header, *lines]) + "\n")


HEADER = "ts,symbol,side,quantity,price,order_id,exec_id,broker,algorithm"


def blotter(name, markets, orders=6, count=5, **more):
    """Write orders in some markets; return the lines below the header, and the fills of each order."""
    lines, found = [], []
    for number in range(orders):
        market = markets[number % len(markets)]
        fills = market.fills(count, 100 + number, **more)
        found.append((market, fills))
        for k, (second, side, shares, price) in enumerate(fills):
            word, broker = "BOT" if side > 0 else "SLD", ("GS", "MS")[number % 2]
            row = (market.stamp(second), market.name, word, f"{shares:g}", f"{price!r}", f"O{number}", f"E{number}-{k}", broker)
            lines.append(",".join([*row, ("VWAP", "IS", "POV")[number % 3]]))
    write(name, HEADER, lines)
    return lines, found


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def market(folder):
    """One market with trades, quotes and bars, and six orders in it."""
    found = Market()
    found.quotes()
    found.trades()
    write("bars.csv", "ts,open,high,low,close,volume", found.bars())
    blotter("fills.csv", [found])
    return found


def table(report):
    columns = report.rows()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


# an independent computation


def by_hand(market, fills):
    """Costs of an order from quotes and trades, worked out fill by fill."""
    side = fills[0][1]
    shares, paid = sum(f[2] for f in fills), sum(f[2] * f[3] for f in fills)
    average, first, last = paid / shares, fills[0][0], fills[-1][0]
    arrival = market.mid_at(first, before=True)
    inside = (market.trade_time >= first) & (market.trade_time <= last)
    volume = market.trade_size[inside].sum()
    vwap = (market.trade_size[inside] * market.trade_price[inside]).sum() / volume
    edges = np.concatenate([[first], market.quote_time[(market.quote_time > first) & (market.quote_time < last)], [last]])
    twap = sum(market.mid_at(a) * (b - a) for a, b in pairwise(edges)) / (last - first)
    values = {"arrival_bps": arrival, "vwap_bps": vwap, "twap_bps": twap, "close_bps": market.mid[-1]}
    for rate in (5, 10, 20):
        left, cash = 100.0 * shares / rate, 0.0
        for t, size, price in zip(market.trade_time, market.trade_size, market.trade_price, strict=True):
            if t >= first and left > 0.0:
                cash, left = cash + min(size, left) * price, left - min(size, left)
        values[f"pwp{rate}_bps"] = cash / (100.0 * shares / rate)
    result = {name: 1e4 * side * (average / price - 1.0) for name, price in values.items()}
    result["shortfall_bps"] = result["arrival_bps"]
    horizons = {"1s": 1.0, "10s": 10.0, "1m": 60.0, "5m": 300.0, "30m": 1800.0}
    for name, span in {**horizons, "close": None}.items():
        weights, moves = [], []
        for t, _, q, p in fills:
            later = SECONDS if span is None else t + span
            if later <= SECONDS:
                weights.append(q * p)
                moves.append(1e4 * side * (p - market.mid_at(later)) / market.mid_at(t, before=True))
        result[f"markout_{name}_bps"] = np.average(moves, weights=weights)
        end = SECONDS if span is None else last + span
        if end <= SECONDS:
            result[f"reversion_{name}_bps"] = 1e4 * side * (1.0 - market.mid_at(end) / market.mid_at(last))
    weights = [q * p for _, _, q, p in fills]
    before = np.array([market.mid_at(t, before=True) for t, *_ in fills])
    half = np.array([market.half[np.searchsorted(market.quote_time, t, "left") - 1] for t, *_ in fills])
    price = np.array([p for *_, p in fills])
    result["effective_spread_bps"] = np.average(2e4 * side * (price - before) / before, weights=weights)
    result["quoted_spread_bps"] = np.average(2e4 * half / before, weights=weights)
    result["realised_spread_bps"] = 2.0 * result["markout_5m_bps"]
    result["participation_percent"] = 100.0 * shares / volume
    result["duration_seconds"] = last - first
    return result


def test_every_measure_is_that_of_a_hand_from_quotes_and_trades(market):
    report = hx.tca_blotter("fills.csv", trades="trades.csv", quotes="quotes.csv")
    _, orders = blotter("again.csv", [market])
    hands = [by_hand(*order) for order in orders]
    found = {row["order_id"]: row for row in table(report)}
    assert len(found) == 6
    for number, hand in enumerate(hands):
        row = found[f"O{number}"]
        for name, value in hand.items():
            assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-7), (number, name)
        assert {name for name in MEASURES if row[name] is None} == {*MEASURES} - {*hand} - {"fees_bps", "total_bps"}


def test_every_measure_is_that_of_a_hand_from_bars(market):
    """Mid: linear between open and close of a bar; volume: the typical price, spread evenly over the bar."""
    report = hx.tca_blotter("fills.csv", "bars.csv")
    rows = np.array([[float(value) for value in row.split(",")[1:]] for row in market.bars()])
    first, high, low, last, volume = rows.T

    def mid(second):
        at = min(int(second // 60), len(rows) - 1)
        return first[at] + (second - 60 * at) / 60 * (last[at] - first[at])

    _, orders = blotter("again.csv", [market])
    found = {row["order_id"]: row for row in table(report)}
    for number, (_, fills) in enumerate(orders):
        side, shares = fills[0][1], sum(f[2] for f in fills)
        average = sum(f[2] * f[3] for f in fills) / shares
        bars = slice(int(fills[0][0] // 60), int(fills[-1][0] // 60) + 1)
        typical = (high + low + last) / 3.0
        target, volumes = 10.0 * shares, volume[bars.start :]
        whole = np.cumsum(volumes)
        k = int(np.searchsorted(whole, target))
        taken = np.append(volumes[:k], target - (whole[k - 1] if k else 0.0))
        prices = {
            "arrival_bps": first[bars.start],
            "vwap_bps": (typical[bars] * volume[bars]).sum() / volume[bars].sum(),
            "twap_bps": (0.5 * (first[bars] + last[bars])).mean(),
            "close_bps": last[-1],
            "pwp10_bps": (taken * typical[bars.start : bars.start + k + 1]).sum() / target,
        }
        row = found[f"O{number}"]
        for name, price in prices.items():
            assert row[name] == pytest.approx(1e4 * side * (average / price - 1.0), abs=1e-7), (number, name)
        assert row["participation_percent"] == pytest.approx(100.0 * shares / volume[bars].sum())
        moves = [1e4 * side * (p - mid(t + 300.0)) / mid(t) for t, _, _, p in fills]
        assert row["markout_5m_bps"] == pytest.approx(np.average(moves, weights=[q * p for _, _, q, p in fills]), abs=1e-7)
        assert row["reversion_1m_bps"] == pytest.approx(
            1e4 * side * (1.0 - mid(fills[-1][0] + 60) / mid(fills[-1][0])), abs=1e-7
        )
        assert row["markout_1s_bps"] is None  # a bar of a minute does not resolve it
        assert row["effective_spread_bps"] is None


def test_bars_trades_and_quotes_of_one_tape_agree_within_what_they_resolve(market):
    """Mid against last trade differ by a half-spread of 1 to 2 bps; bars move the arrival to the start of the minute."""
    reports = {
        "quotes": hx.tca_blotter("fills.csv", trades="trades.csv", quotes="quotes.csv"),
        "trades": hx.tca_blotter("fills.csv", trades="trades.csv"),
        "bars": hx.tca_blotter("fills.csv", "bars.csv"),
    }
    rows = {key: table(report) for key, report in reports.items()}
    for exact, trade, bar in zip(*rows.values(), strict=True):
        assert exact["vwap"] == trade["vwap"]
        assert trade["arrival_bps"] == pytest.approx(exact["arrival_bps"], abs=2.01)
        assert trade["twap_bps"] == pytest.approx(exact["twap_bps"], abs=0.5)
        assert bar["vwap_bps"] == pytest.approx(exact["vwap_bps"], abs=1.5)
        assert bar["twap_bps"] == pytest.approx(exact["twap_bps"], abs=1.5)
        assert bar["close_bps"] == pytest.approx(exact["close_bps"], abs=2.01)
        assert bar["markout_30m_bps"] == pytest.approx(exact["markout_30m_bps"], abs=3.0)
        assert (trade["effective_spread_bps"], bar["effective_spread_bps"]) == (None, None)
    assert "the mid is that of the quotes, market VWAP uses prices of trades" in reports["quotes"].remarks


def test_market_data_of_any_kind_are_recognised(market):
    given = hx.tca_blotter("fills.csv", trades="trades.csv", quotes="quotes.csv")
    found = hx.tca_blotter("fills.csv", ["quotes.csv", "trades.csv"])
    assert table(found) == table(given)


# laws


def numbers(report):
    """The measures of all orders, shape (order, measure)."""
    return np.array([report.values[name] for name in MEASURES]).T


def test_splitting_fills_leaves_the_numbers_of_an_order(market):
    whole = hx.tca_blotter("fills.csv", trades="trades.csv", quotes="quotes.csv")
    lines = []
    for line in Path("fills.csv").read_text().splitlines()[1:]:
        cells = line.split(",")
        share = float(cells[3])
        lines += [",".join([*cells[:3], repr(k * share), *cells[4:6], f"{cells[6]}-{k}", *cells[7:]]) for k in (0.25, 0.75)]
    write("parts.csv", HEADER, lines)
    parts = hx.tca_blotter("parts.csv", trades="trades.csv", quotes="quotes.csv")
    np.testing.assert_allclose(numbers(parts), numbers(whole), rtol=1e-9, atol=1e-9)
    assert parts.values["fills"].tolist() == [10.0] * 6


def test_a_sale_at_the_same_prices_turns_every_sign(market):
    blotter("buys.csv", [market], side=1)
    buys = hx.tca_blotter("buys.csv", trades="trades.csv", quotes="quotes.csv")
    write("sales.csv", HEADER, Path("buys.csv").read_text().replace("BOT", "SLD").splitlines()[1:])
    sales = hx.tca_blotter("sales.csv", trades="trades.csv", quotes="quotes.csv")
    for name in MEASURES:
        same = name in ("participation_percent", "duration_seconds", "quoted_spread_bps")
        np.testing.assert_allclose(sales.values[name], buys.values[name] * (1.0 if same else -1.0), rtol=1e-12, err_msg=name)


def test_totals_are_the_sums_of_the_orders(market):
    report = hx.tca_blotter("fills.csv", "bars.csv", settings=Settings(fee_bps=1.0))
    cash = sum(row["shortfall"] for row in table(report))
    assert report.totals["shortfall"] == pytest.approx(cash)
    assert report.mean("shortfall_bps").mean == pytest.approx(1e4 * cash / report.totals["notional"])
    for group in ("broker", "algorithm", "symbol", "side", "time of day"):
        keys = np.array(report.keys(group))
        parts = [report.mean("total_bps", keys == key).mean * report.notional[keys == key].sum() for key in set(keys.tolist())]
        assert 1e-4 * sum(parts) == pytest.approx(report.totals["total"])


def test_the_standard_error_is_that_of_a_weighted_mean(market):
    report = hx.tca_blotter("fills.csv", "bars.csv")
    cost, weight = report.values["shortfall_bps"], report.notional
    mean = np.average(cost, weights=weight)
    error = np.sqrt(6.0 / 5.0 * np.sum((weight * (cost - mean)) ** 2)) / weight.sum()
    assert report.mean("shortfall_bps") == (pytest.approx(mean), pytest.approx(error), 6)


def test_a_fee_adds_exactly(market):
    free = hx.tca_blotter("fills.csv", "bars.csv")
    paid = hx.tca_blotter("fills.csv", "bars.csv", settings=Settings(fee_bps=2.0, fee_per_share=0.01, min_fee=1.0))
    fills = [line.split(",") for line in Path("fills.csv").read_text().splitlines()[1:]]
    for row, bare in zip(table(paid), table(free), strict=True):
        own = [(float(cells[3]), float(cells[4])) for cells in fills if cells[5] == row["order_id"]]
        fees = sum(max(q * 0.01 + 2e-4 * q * p, 1.0) for q, p in own)
        assert row["fees"] == pytest.approx(fees)
        assert row["shortfall_bps"] == bare["shortfall_bps"]
        assert row["total_bps"] - bare["total_bps"] == pytest.approx(1e4 * fees / (row["ordered"] * row["arrival_price"]))
    write("fees.csv", HEADER + ",Commission", [f"{','.join(cells)},{-0.5}" for cells in fills])
    column = hx.tca_blotter("fees.csv", "bars.csv")
    assert column.values["fees"].tolist() == [2.5] * 6
    assert "all fees are negative numbers and are taken as costs" in column.remarks
    with pytest.raises(ValueError, match=r"hold fees \(column Commission\): leave out fee_per_share"):
        hx.tca_blotter("fees.csv", "bars.csv", settings=Settings(fee_bps=2.0))


def test_an_arrival_that_is_missing_is_the_first_execution(market):
    lines = [line.split(",") for line in Path("fills.csv").read_text().splitlines()[1:]]
    early = (datetime.fromisoformat(lines[0][0]) - timedelta(minutes=2)).isoformat()
    write("some.csv", HEADER + ",arrival", [",".join([*c, early if c[5] == "O0" else ""]) for c in lines])
    plain, some = (
        {row["order_id"]: row for row in table(hx.tca_blotter(name, "bars.csv"))} for name in ("fills.csv", "some.csv")
    )
    assert some["O0"]["arrival_price"] != plain["O0"]["arrival_price"]
    first = min(datetime.fromisoformat(c[0]) for c in lines if c[5] == "O1")
    assert datetime.fromisoformat(some["O1"]["start"]) == first
    assert some["O1"]["average_price"] == plain["O1"]["average_price"]


def test_unfilled_shares_cost_the_move_of_the_mid(market):
    fills = market.fills(5, 3, side=1)
    lines = [f"{market.stamp(t)},buy,{q:g},{p!r},O1,1000" for t, _, q, p in fills]
    write("part.csv", "ts,side,LastQty,price,order_id,OrderQty", lines)
    (row,) = table(hx.tca_blotter("part.csv", trades="trades.csv", quotes="quotes.csv"))
    filled = sum(f[2] for f in fills)
    arrival, end = market.mid_at(fills[0][0], before=True), market.mid_at(fills[-1][0])
    cash = sum(q * (p - arrival) for _, _, q, p in fills) + (1000.0 - filled) * (end - arrival)
    assert (row["ordered"], row["filled"]) == (1000.0, filled)
    assert row["shortfall"] == pytest.approx(cash)
    assert row["shortfall_bps"] == pytest.approx(1e4 * cash / (1000.0 * arrival))


def test_an_arrival_of_its_own_is_the_benchmark(market):
    fills = market.fills(5, 3, side=-1)
    early = fills[0][0] - 200.0
    rows = [f"{market.stamp(t)},sell,{q:g},{p!r},O1,{market.stamp(early)}" for t, _, q, p in fills]
    write("timed.csv", "ts,side,qty,price,order_id,arrival_time", rows)
    (row,) = table(hx.tca_blotter("timed.csv", trades="trades.csv", quotes="quotes.csv"))
    assert row["arrival_price"] == pytest.approx(market.mid_at(early), rel=1e-12)
    write("late.csv", "ts,side,qty,price,order_id,arrival_time", [rows[0].replace(market.stamp(early), market.stamp(20_000.0))])
    with pytest.raises(ValueError, match=r"late\.csv, line 2: the arrival of the order is .* s after its first fill"):
        hx.tca_blotter("late.csv", trades="trades.csv", quotes="quotes.csv")


# files of any form


def test_forms_of_files_and_frames_give_the_same_costs(market, folder):
    plain = table(hx.tca_blotter("fills.csv", "bars.csv"))
    text = Path("fills.csv").read_text()
    Path("fills.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile("fills.zip", "w") as archive:
        archive.write("fills.csv")
    Path("fills.txt").write_text(text.replace(",", "\t"))
    rows = list(csv.DictReader(text.splitlines()))
    Path("fills.json").write_text(json.dumps(rows))
    Path("fills.jsonl").write_text("\n".join(map(json.dumps, rows)))
    frame = pa.Table.from_pylist(
        [
            {**row, "quantity": float(row["quantity"]), "price": float(row["price"]), "ts": datetime.fromisoformat(row["ts"])}
            for row in rows
        ]
    )
    pytest.importorskip("pyarrow.parquet").write_table(frame, "fills.parquet")
    shuffled = text.splitlines()
    write("reversed.csv", shuffled[0], shuffled[:0:-1])
    half = len(shuffled) // 2
    write("part1.csv", shuffled[0], shuffled[1:half])
    write("part2.csv", shuffled[0], shuffled[half:])
    for data in (
        "fills.csv.gz",
        "fills.zip",
        "fills.txt",
        "fills.json",
        "fills.jsonl",
        "fills.parquet",
        frame,
        "reversed.csv",
        "part?.csv",
    ):
        assert table(hx.tca_blotter(data, "bars.csv")) == plain, data
    polars = pytest.importorskip("polars")
    assert table(hx.tca_blotter(polars.from_arrow(frame), "bars.csv")) == plain


# orders


def test_without_order_ids_symbol_side_session_and_broker_make_an_order(market):
    plain = hx.tca_blotter("fills.csv", "bars.csv")
    lines = [line.split(",") for line in Path("fills.csv").read_text().splitlines()[1:]]
    write("noid.csv", "ts,symbol,side,quantity,price,broker", [",".join([*c[:5], c[7]]) for c in lines])
    report = hx.tca_blotter("noid.csv", "bars.csv")
    keys = {(c[2], c[7]) for c in lines}
    assert len(report) == len(keys) < len(plain)
    assert report.values["fills"].sum() == 30
    assert "30 executions have no order id: those of one symbol, side, session and broker are one order" in report.remarks


def test_an_order_id_of_both_sides_is_two_orders(market):
    lines = [line.split(",") for line in Path("fills.csv").read_text().splitlines()[1:]]
    write("one.csv", HEADER, [",".join([*c[:5], "SAME", *c[6:]]) for c in lines])
    report = hx.tca_blotter("one.csv", "bars.csv")
    assert sorted(row["side"] for row in table(report)) == ["buy", "sell"]
    assert "1 order ids occur with several symbols or sides: each combination is an order" in report.remarks
    assert {row["broker"] for row in table(report)} == {"several"}


def test_an_order_over_two_days_counts_trading_time_only(folder):
    days = [Market(seed=0), Market(seed=1, opening=OPEN + timedelta(days=1))]
    write("bars.csv", "ts,open,high,low,close,volume", [row for day in days for row in day.bars()])
    fills = [days[0].fills(3, 1, side=1)[-1], days[1].fills(3, 1, side=1)[0]]
    write(
        "fills.csv",
        "ts,side,qty,price,order_id",
        [f"{d.stamp(t)},B,{q:g},{p!r},O1" for d, (t, _, q, p) in zip(days, fills, strict=True)],
    )
    (row,) = table(hx.tca_blotter("fills.csv", "bars.csv"))
    assert row["duration_seconds"] == pytest.approx(SECONDS - fills[0][0] + fills[1][0])
    volume = [np.array([float(line.split(",")[-1]) for line in day.bars()]) for day in days]
    traded = volume[0][int(fills[0][0] // 60) :].sum() + volume[1][: int(fills[1][0] // 60) + 1].sum()
    assert row["market_volume"] == pytest.approx(traded)
    mids = [np.array([[float(line.split(",")[at]) for at in (1, 4)] for line in day.bars()]).mean(axis=1) for day in days]
    path = np.concatenate([mids[0][int(fills[0][0] // 60) :], mids[1][: int(fills[1][0] // 60) + 1]])
    assert row["twap"] == pytest.approx(path.mean())


def test_symbols_are_told_apart_by_column_or_by_file_name(folder):
    markets = [Market("AAA", 1), Market("BRK.B", 2, start=300.0)]
    blotter("fills.csv", markets)
    header = "ts,open,high,low,close,volume"
    Path("bars").mkdir()
    write("bars/aaa_1min_2024.csv", header, markets[0].bars())
    write("bars/BRK-B.csv", header, markets[1].bars())
    rows = [row for pair in zip(*(market.bars(market.name) for market in markets), strict=True) for row in pair]
    write("all.csv", header.replace("ts,", "ts,ticker,"), rows)
    by_name, by_column = (hx.tca_blotter("fills.csv", data) for data in ("bars", "all.csv"))
    assert table(by_name) == table(by_column)
    assert {row["symbol"] for row in table(by_name)} == {"AAA", "BRK.B"}
    alone = hx.tca_blotter("fills.csv", "bars/BRK-B.csv")
    assert {row["symbol"] for row in table(alone)} == {"BRK.B"}
    assert "WARNING: without costs: AAA: no market data (3 orders, 15 executions)" in alone.remarks
    chosen = hx.tca_blotter("fills.csv", "bars", format=Format(symbol="AAA"))
    assert {row["symbol"] for row in table(chosen)} == {"AAA"}
    write("other.csv", header, markets[0].bars())
    with pytest.raises(ValueError, match=r"market: no data for AAA, BRK.B; the data hold other\.csv"):
        hx.tca_blotter("fills.csv", "other.csv")
    rows[100] = rows[100].replace(rows[100].split(",")[3], "-5")
    write("all.csv", header.replace("ts,", "ts,ticker,"), rows)
    with pytest.raises(ValueError, match=r"all\.csv, line 102: high must be a number above 0, got -5"):
        hx.tca_blotter("fills.csv", "all.csv")


# clocks


def test_a_session_on_both_sides_of_midnight_in_universal_time_is_one_day(folder):
    """Sydney trades from 23:00 to 05:00 UTC in summer."""
    market = Market("BHP", 3, datetime(2024, 3, 4, 23, 0, tzinfo=UTC), 6 * 3600)
    write("bars.csv", "ts,open,high,low,close,volume", market.bars())
    seconds = [900.0, 3000.0, 4500.0, 9000.0]
    mid = [market.trade_price[np.searchsorted(market.trade_time, second)] for second in seconds]
    stamps = [market.stamp(market.trade_time[np.searchsorted(market.trade_time, second)]) for second in seconds]
    assert {stamp[:10] for stamp in stamps} == {"2024-03-04", "2024-03-05"}
    write("fills.csv", "ts,symbol,side,qty,price", [f"{t},BHP,B,100,{p}" for t, p in zip(stamps, mid, strict=True)])
    report = hx.tca_blotter("fills.csv", "bars.csv", format=Format(calendar="XASX"))
    (row,) = table(report)
    assert (row["date"], row["fills"], row["fills_outside"]) == ("2024-03-05", 4, 0)
    assert report.hour == ("10:00-11:00",)
    assert not report.moved.any()


def test_a_change_of_clocks_between_two_days_moves_nothing(folder):
    """New York goes to summer time on 2024-03-10; fills are naive New York times, bars are in UTC."""
    days = [
        Market(seed=4, opening=datetime(2024, 3, 8, 14, 30, tzinfo=UTC)),
        Market(seed=5, opening=datetime(2024, 3, 11, 13, 30, tzinfo=UTC)),
    ]
    write("bars.csv", "ts,open,high,low,close,volume", [row for day in days for row in day.bars()])
    zone = ZoneInfo("America/New_York")
    lines, hands = [], []
    for number, day in enumerate(days):
        for t, _, q, p in day.fills(6, 8, side=1):
            local = (day.opening + timedelta(seconds=t)).astimezone(zone)
            lines.append(f"{local:%Y-%m-%d %H:%M:%S.%f},B,{q:g},{p!r},O{number}")
        hands.append(day)
    write("fills.csv", "ts,side,qty,price,order_id", lines)
    report = hx.tca_blotter("fills.csv", "bars.csv")
    assert not report.outside.any()
    assert [row["date"] for row in table(report)] == ["2024-03-08", "2024-03-11"]
    assert "are taken to be in America/New_York, the zone of the calendar XNYS; pass --fills-tz" in report.remarks[0]


def test_fills_outside_the_hours_use_bars_that_hold_them_or_the_session(folder):
    market = Market(seed=6)
    early = Market(seed=7, opening=OPEN - timedelta(hours=1), seconds=3600)
    header = "ts,open,high,low,close,volume"
    write("session.csv", header, market.bars())
    write("whole.csv", header, [*early.bars(), *market.bars()])
    close = market.trade_price[-1]
    before = float(early.bars()[30].split(",")[1])
    write("fills.csv", "ts,side,qty,price,order_id", [
        f"{market.stamp(-1800)},B,100,{before},PRE",
        f"{market.stamp(0)},B,100,{market.trade_price[0]},CROSS",
        f"{market.stamp(SECONDS + 5)},S,100,{close},CLOSE",
    ])  # fmt: skip
    held, moved = (
        {row["order_id"]: row for row in table(hx.tca_blotter("fills.csv", data))} for data in ("whole.csv", "session.csv")
    )
    assert held["PRE"]["arrival_price"] == before
    assert moved["PRE"]["arrival_price"] == market.trade_price[0]
    assert moved["CROSS"]["arrival_bps"] == 0.0
    assert moved["CLOSE"]["close_bps"] == pytest.approx(0.0)
    assert hx.tca_blotter("fills.csv", "session.csv").moved.tolist() == [1, 0, 1]
    said = "which the market data do not hold, are compared with the nearest price of their session: 2"
    assert any(said in text for text in hx.tca_blotter("fills.csv", "session.csv").remarks)


def test_names_of_an_instrument_with_its_exchange_find_its_data(market):
    write("BHP.csv", "ts,open,high,low,close,volume", market.bars())
    for name in ("BHP.AX", "BHP AU Equity", "bhp"):
        write("named.csv", HEADER, Path("fills.csv").read_text().replace("XYZ", name).splitlines()[1:])
        report = hx.tca_blotter("named.csv", ["BHP.csv"])
        assert len(report) == 6
        assert (f"{name} of the executions is taken to be BHP of the market data" in report.remarks) == (name != "bhp")


def test_days_without_market_data_are_counted(market):
    line = (
        Path("fills.csv").read_text().splitlines()[1].replace(DAY, "2024-03-12").replace("O0", "FAR").replace("E0-0", "E-far")
    )
    write("more.csv", HEADER, [*Path("fills.csv").read_text().splitlines()[1:], line])
    report = hx.tca_blotter("more.csv", "bars.csv")
    assert len(report) == 6
    assert "without costs: XYZ: no market data at the time of a fill, as in more.csv, line 32 (1 orders, 1 executions)" in str(
        report.remarks
    )
    write("far.csv", HEADER, [line])
    with pytest.raises(
        ValueError, match=r"far\.csv: no order has market data at its times; XYZ: no market data at the time of a fill"
    ):
        hx.tca_blotter("far.csv", "bars.csv")


# what does not fit


def changed(change):
    """Write the fills with changed cells of time, quantity and price."""
    lines = [line.split(",") for line in Path("fills.csv").read_text().splitlines()[1:]]
    write("changed.csv", HEADER, [",".join(change(list(cells))) for cells in lines])
    return "changed.csv"


def scaled(factor):
    return lambda cells: [*cells[:4], repr(factor * float(cells[4])), *cells[5:]]


def later(hours, naive=False):
    def change(cells):
        moment = datetime.fromisoformat(cells[0]) + timedelta(hours=hours)
        return [moment.isoformat()[: -6 if naive else None], *cells[1:]]

    return change


MISFITS = {
    "pence": (scaled(100.0), "their prices are 100 times those of the market: check the unit of the price (pence, cents)"),
    "split": (scaled(4.0), "their prices are 4 times those of the market: a split of 4:1, or adjusted prices"),
    "reverse split": (scaled(0.1), "their prices are 0.1 times those of the market: a split of 1:10, or adjusted prices"),
    "instrument": (scaled(1.23), "% from the market at the median: check the instrument, the day, the time zone"),
    "an hour": (later(1.0), "they fit if their times are moved by -1 hours: check the time zone; pass --fills-tz for"),
    "UTC as local": (later(0.0, naive=True), "moved by -5 hours: check the time zone; the executions are probably in UTC:"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_executions_that_do_not_fit_are_refused_with_the_likely_cause(market, name):
    change, message = MISFITS[name]
    with pytest.raises(
        ValueError, match=r"^XYZ: \d+ of \d+ executions lie outside .*, the first in changed.csv, line \d+: "
    ) as error:
        hx.tca_blotter(changed(change), "bars.csv")
    assert message in str(error.value)
    for data in ({"trades": "trades.csv"}, {"quotes": "quotes.csv"}):
        with pytest.raises(ValueError, match="executions lie outside") as error:
            hx.tca_blotter("changed.csv", **data)
        assert message in str(error.value)


def test_bars_with_the_wrong_stamp_are_refused(folder):
    market = Market(seed=9)
    market.trade_price = np.round(100.0 + market.trade_time / 300.0, 2)  # a trend: each minute has a range of its own
    fills = market.fills(40, 2, side=1)
    write("fills.csv", "ts,side,qty,price,order_id", [f"{market.stamp(t)},B,{q:g},{p!r},O1" for t, _, q, p in fills])
    trend = [row.split(",") for row in market.bars()[5:-5]]  # neither open nor close tells the stamp
    write("bars.csv", "ts,open,high,low,close,volume", [",".join(row) for row in trend])
    with pytest.raises(ValueError, match=r"of 40 executions lie outside .* pass --stamp start"):
        hx.tca_blotter("fills.csv", "bars.csv", format=Format(stamp="end"))
    assert not hx.tca_blotter("fills.csv", "bars.csv").outside.any()


def test_an_instrument_that_does_not_fit_may_be_left_out(folder):
    markets = [Market("AAA", 1), Market("BBB", 2)]
    blotter("fills.csv", markets)
    for market in markets:
        write(f"{market.name}.csv", "ts,open,high,low,close,volume", market.bars())
    changed(lambda cells: scaled(2.0)(cells) if cells[1] == "BBB" else cells)
    with pytest.raises(
        ValueError, match=r"^BBB: 15 of 15 executions .* a split of 2:1.*; pass --lenient to leave such an instrument out"
    ):
        hx.tca_blotter("changed.csv", ["AAA.csv", "BBB.csv"])
    report = hx.tca_blotter("changed.csv", ["AAA.csv", "BBB.csv"], lenient=True)
    assert {row["symbol"] for row in table(report)} == {"AAA"}
    assert any("WARNING: without costs: BBB: 15 of 15 executions" in text for text in report.remarks)


def test_a_few_fills_that_do_not_fit_are_outliers(market):
    lines = Path("fills.csv").read_text().splitlines()[1:]
    cells = lines[12].split(",")
    lines[12] = ",".join([*cells[:4], repr(1.05 * float(cells[4])), *cells[5:]])
    write("few.csv", HEADER, lines)
    report = hx.tca_blotter("few.csv", "bars.csv")
    assert report.texts["order_id"][report.outliers[0]] == "O2"
    assert "fills outside the range of their bars: 1" in report.flags[report.outliers[0]]
    assert any(
        "WARNING: fills outside the low-high range of their bars: 1 of 30, in 1 orders" in text for text in report.remarks
    )


def test_currencies_are_not_added(market):
    lines = Path("fills.csv").read_text().splitlines()[1:]
    write("fx.csv", HEADER + ",currency", [f"{line},{'USD' if number else 'JPY'}" for number, line in enumerate(lines)])
    with pytest.raises(ValueError, match=r"fx\.csv: executions in several currencies \(JPY, USD\), whose costs have no sum"):
        hx.tca_blotter("fx.csv", "bars.csv")


def test_daily_bars_are_refused(market):
    write("daily.csv", "date,open,high,low,close,volume", [f"2024-03-0{k},100,101,99,100,1000" for k in (4, 5, 6, 7)])
    with pytest.raises(ValueError, match=r"daily\.csv: daily bars do not resolve executions"):
        hx.tca_blotter("fills.csv", "daily.csv")
    with pytest.raises(ValueError, match="give --market, --trades or --quotes"):
        hx.tca_blotter("fills.csv")


# the command


def run(capsys, *words):
    code = cli.main(["tca", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_writes_table_page_and_json(capsys, market):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    code, out, err = run(
        capsys, "fills.csv", "--market", "bars.csv", "--out", "orders.csv", "--html", "page.html", "--json", "out.json"
    )
    assert (code, err) == (0, "")
    assert out.startswith("6 orders, 30 executions, 1 instruments, 2024-03-05 to 2024-03-05: notional ")
    rows = list(csv.DictReader(Path("orders.csv").read_text().splitlines()))
    plain = json.loads(Path("out.json").read_text())
    assert [float(row["shortfall_bps"]) for row in rows] == [row["shortfall_bps"] for row in plain["table"]]
    assert rows[0]["effective_spread_bps"] == ""
    page = Path("page.html").read_text()
    assert page.count("<svg") == page.count("</svg>") == 5  # costs, broker, algorithm, side, time of day
    for foreign in ("<script", "src=", "@import", 'href="http', "url(http"):
        assert foreign not in page
    for name in MEASURES:
        assert f"<b>{name}</b>" in page
    assert page.index("Outliers") < page.index("By broker") < page.index("Definitions")
    assert "<code>hyperexec tca fills.csv --market bars.csv</code>" in page


def test_the_command_takes_columns_of_executions_and_of_bars(capsys, market):
    plain = json.loads((run(capsys, "fills.csv", "--market", "bars.csv", "--json"))[1])
    write("odd.csv", "a,b,c,d,e,f,g,h,i", Path("fills.csv").read_text().splitlines()[1:])
    write("odd_bars.csv", "p,q,r,s,t,u", market.bars())
    given = ("--columns", "ts=a,symbol=b,side=c,quantity=d", "--columns", "price=e,order_id=f,exec_id=g,broker=8,algorithm=9")
    bars = ("--market", "odd_bars.csv", "--market-columns", "ts=p,open=q,high=r,low=s,close=t,volume=u")
    code, out, err = run(capsys, *given, "odd.csv", *bars, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["table"] == plain["table"]


def test_tables_of_all_forms_are_the_same(market):
    report = hx.tca_blotter("fills.csv", "bars.csv")
    for name in ("orders.parquet", "orders.json", "orders.csv"):
        report.write(name)
    parquet = pytest.importorskip("pyarrow.parquet").read_table("orders.parquet").to_pylist()
    assert parquet == json.loads(Path("orders.json").read_text()) == table(report)
    with pytest.raises(ValueError, match=r"out must be a file that ends in \.parquet, \.csv, \.json, got 'x\.txt'"):
        report.write("x.txt")


def test_one_order_is_reported_in_detail_unless_a_table_is_wanted(capsys, market):
    blotter("one.csv", [market], orders=1)
    assert run(capsys, "one.csv", "--market", "bars.csv")[1].startswith("XYZ: ")
    code, out, _ = run(capsys, "one.csv", "--market", "bars.csv", "--out", "orders.json")
    assert (code, out.split(",")[0]) == (0, "1 orders")
    assert run(capsys, "one.csv", "--quotes", "quotes.csv", "--trades", "trades.csv")[1].startswith("1 orders")


def test_options_of_one_order_are_refused_for_several(capsys, market):
    code, out, err = run(capsys, "fills.csv", "--market", "bars.csv", "--quantity", "100")
    assert (code, out) == (2, "")
    assert "quantity is an option of the report of one order of one day" in err
    code, _, err = run(capsys, "fills.csv", "--market", "bars.csv", "--out", "x.txt")
    assert (code, "out must be a file that ends in" in err) == (2, True)
    code, _, err = run(capsys, "fills.csv", "--market", "*.csv", "--out", "bars.csv")
    assert (code, "it is one of the files that are read" in err) == (2, True)


def test_the_page_of_many_groups_shows_the_largest(market):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    lines = [line.split(",") for line in Path("fills.csv").read_text().splitlines()[1:]]
    write("many.csv", HEADER, [",".join([*c[:5], f"O{k}", *c[6:7], f"<b>$x_{k}$", c[8]]) for k, c in enumerate(lines)])
    page = blotter_page(hx.tca_blotter("many.csv", "bars.csv"))
    assert "<b>$x" not in page
    assert "&lt;b&gt;$x_7$" in page


def test_a_closing_quote_of_a_bar_counts_from_its_end(market):
    """A vendor's bars of one second, stamped at their start, hold the last quote of the second."""
    seconds = np.arange(SECONDS)
    rows = zip(seconds, market.mid_at(seconds + 0.999), strict=True)
    write(
        "seconds.csv",
        "ts,bid_close,ask_close",
        [f"{market.stamp(float(t))},{mid - 0.01:.4f},{mid + 0.01:.4f}" for t, mid in rows],
    )
    report = hx.tca_blotter("fills.csv", quotes="seconds.csv")
    fills = [line.split(",") for line in Path("fills.csv").read_text().splitlines()[1:]]
    for row in table(report):
        first = min(datetime.fromisoformat(c[0]) for c in fills if c[5] == row["order_id"])
        second = (first - OPEN).total_seconds()
        assert row["arrival_price"] == pytest.approx(market.mid_at(np.floor(second) - 0.001))
    assert any("quotes are the last ones of intervals of 1 s, and are valid from their ends" in text for text in report.remarks)


def test_a_lunch_break_is_no_trading_time(folder):
    """Hong Kong trades from 09:30 to 12:00 and from 13:00 to 16:00."""
    morning = Market("0700", 3, datetime(2024, 3, 5, 1, 30, tzinfo=UTC), 9000)
    noon = Market("0700", 4, datetime(2024, 3, 5, 5, 0, tzinfo=UTC), 10_800)
    write("bars.csv", "ts,open,high,low,close,volume", [*morning.bars()[:150], *noon.bars()[:180]])
    fills = [(morning, morning.fills(3, 1, side=1)[-1]), (noon, noon.fills(3, 1, side=1)[0])]
    lines = [f"{half.stamp(t)},0700,B,{q:g},{p!r},O1" for half, (t, _, q, p) in fills]
    write("fills.csv", "ts,symbol,side,qty,price,order_id", lines)
    (row,) = table(hx.tca_blotter("fills.csv", "bars.csv", format=Format(calendar="XHKG")))
    (_, first), (_, last) = fills
    assert row["duration_seconds"] == pytest.approx(9000 - first[0] + last[0])
    paths = [[np.mean([float(row.split(",")[at]) for at in (1, 4)]) for row in half.bars()] for half in (morning, noon)]
    inside = [*paths[0][int(first[0] // 60) : 150], *paths[1][: int(last[0] // 60) + 1]]
    assert row["twap"] == pytest.approx(np.mean(inside))
    assert row["fills_outside"] == 0


def test_a_half_day_ends_at_its_close(folder):
    """New York closes at 13:00 on 2024-07-03."""
    market = Market(seed=3, opening=datetime(2024, 7, 3, 13, 30, tzinfo=UTC), seconds=12_600)
    write("bars.csv", "ts,open,high,low,close,volume", market.bars()[:210])
    late = float(market.trade_time[np.searchsorted(market.trade_time, 11_400.0)])
    price = float(market.trade_price[np.searchsorted(market.trade_time, 11_400.0)])
    write(
        "fills.csv",
        "ts,side,qty,price,order_id",
        [f"{market.stamp(late)},B,100,{price},O1", f"{market.stamp(late)},B,1,{price},O2"],
    )
    report = hx.tca_blotter("fills.csv", "bars.csv")
    row = table(report)[0]
    assert row["markout_30m_bps"] is None
    close = float(market.bars()[209].split(",")[4])
    assert row["close_bps"] == pytest.approx(1e4 * (price / close - 1.0))


def test_a_market_that_never_closes_and_fractions_of_a_coin(folder):
    market = Market("BTC", 5, datetime(2024, 3, 5, 0, 0, tzinfo=UTC), 86_400)
    write("bars.csv", "ts,open,high,low,close,volume", market.bars()[:1440])
    fills = market.fills(4, 2, side=-1)
    write(
        "fills.csv",
        "ts,side,qty,price,order_id",
        [f"{market.stamp(t)},S,{q / 1e4!r},{p!r},O{k % 2}" for k, (t, _, q, p) in enumerate(fills)],
    )
    report = hx.tca_blotter("fills.csv", "bars.csv", format=Format(calendar="24/7"))
    assert [row["date"] for row in table(report)] == ["2024-03-05"] * 2
    assert sum(row["filled"] for row in table(report)) == pytest.approx(sum(q for _, _, q, _ in fills) / 1e4)
    assert not report.outside.any()


@needs_data
def test_orders_on_a_real_tape(folder):
    """Executions that are prints of IBM, stamped in UTC; VWAP and markouts are worked out from the rows of the file."""
    tape = DATA / "us_equity_tick" / "IBM_tick_trade_20131007_20131011.csv.gz"
    with gzip.open(tape, "rt") as text:
        rows = [row for row in csv.DictReader(text) if row["date"] == "20131008" and row["suspicious"] == "0"]
    ms, price, size = (np.array([float(row[key]) for row in rows]) for key in ("ms", "price", "size"))
    midnight = datetime(2013, 10, 8, tzinfo=ZoneInfo("America/New_York"))
    lines, hands = [], []
    for number, first in enumerate((36_000_000, 41_400_000, 50_000_000)):
        at = np.searchsorted(ms, first) + np.arange(0, 400, 40)
        side = (1, -1)[number % 2]
        for k in at:
            stamp = (midnight + timedelta(milliseconds=ms[k])).astimezone(UTC).isoformat()
            lines.append(f"{stamp},IBM,{side * size[k]:g},{price[k]},O{number}")
        inside = (ms >= ms[at[0]]) & (ms <= ms[at[-1]])
        later = price[np.searchsorted(ms, ms[at] + 300_000, "right") - 1]
        before = price[np.searchsorted(ms, ms[at], "left") - 1]
        average = np.average(price[at], weights=size[at])
        vwap = np.average(price[inside], weights=size[inside])
        markout = np.average(side * (price[at] - later) / before, weights=size[at] * price[at])
        hands.append((1e4 * side * (average / vwap - 1.0), 1e4 * markout))
    write("fills.csv", "ts,symbol,qty,price,order_id", lines)
    report = hx.tca_blotter("fills.csv", trades=str(tape))
    for row, (against_vwap, markout) in zip(table(report), hands, strict=True):
        assert row["vwap_bps"] == pytest.approx(against_vwap, abs=1e-7)
        assert row["markout_5m_bps"] == pytest.approx(markout, abs=1e-7)
    bars = hx.tca_blotter("fills.csv", str(DATA / "us_equity_minute" / "IBM_minute_trade_20131004_20131011.csv.gz"))
    assert np.abs(bars.values["vwap_bps"] - report.values["vwap_bps"]).max() < 3.0


def test_the_report_of_one_order_has_the_same_benchmarks(capsys, market):
    blotter("one.csv", [market], orders=1)
    assert cli.main(["tca", "one.csv", "--market", "bars.csv", "--json", "--fee-bps", "1"]) == 0
    one = json.loads(capsys.readouterr().out)
    (row,) = table(hx.tca_blotter("one.csv", "bars.csv", settings=Settings(fee_bps=1.0)))
    for name in ("arrival", "vwap", "twap", "close"):
        assert row[f"{name}_bps"] == pytest.approx(one["benchmarks"][name]["bps"], abs=1e-8)
    for name in ("shortfall_bps", "fees_bps", "total_bps", "market_volume", "average_price", "arrival_price", "filled"):
        assert row[name] == pytest.approx(one[name])
    assert row["participation_percent"] == pytest.approx(100.0 * one["participation"])


def test_a_quote_at_the_time_of_a_fill_is_its_effect_not_its_benchmark(folder):
    write("quotes.csv", "ts,bid,ask", [
        "2024-03-05T15:00:00.5Z,99.9,100.1", "2024-03-05T15:00:01Z,100.4,100.6",
        "2024-03-05T15:03:00Z,100.9,101.1", "2024-03-05T15:20:00Z,100.9,101.1",
    ])  # fmt: skip
    write("fills.csv", "ts,side,qty,price", ["2024-03-05T15:00:01Z,B,100,100.1"])
    (row,) = table(hx.tca_blotter("fills.csv", quotes="quotes.csv"))
    assert row["arrival_price"] == 100.0
    assert row["effective_spread_bps"] == pytest.approx(2e4 * 0.1 / 100.0)
    assert row["quoted_spread_bps"] == pytest.approx(20.0)
    assert row["markout_1m_bps"] == pytest.approx(1e4 * (100.1 - 100.5) / 100.0)
    assert row["reversion_5m_bps"] == pytest.approx(1e4 * (100.5 - 101.0) / 100.5)


def test_prints_that_the_vendor_doubts_count_for_nothing(market):
    header, *lines = Path("trades.csv").read_text().splitlines()
    fills = [line.split(",")[0] for line in Path("fills.csv").read_text().splitlines()[1:]]
    doubted = [
        f"{datetime.fromisoformat(min(fills)) + timedelta(seconds=k):%Y-%m-%dT%H:%M:%S.%f}+00:00,500.0,1e6,1" for k in range(9)
    ]
    write("doubted.csv", header + ",suspicious", sorted([*(f"{line},0" for line in lines), *doubted]))
    plain, found = (table(hx.tca_blotter("fills.csv", trades=name)) for name in ("trades.csv", "doubted.csv"))
    assert found == plain


def test_a_horizon_beyond_the_close_is_absent_although_the_market_trades_on(folder):
    market = Market(seed=6)
    after = Market(seed=7, opening=OPEN + timedelta(seconds=SECONDS), seconds=7200)
    write("bars.csv", "ts,open,high,low,close,volume", [*market.bars()[:390], *after.bars()[:120]])
    at = int(np.searchsorted(market.trade_time, SECONDS - 600.0))
    write("fills.csv", "ts,side,qty,price", [f"{market.stamp(market.trade_time[at])},B,100,{market.trade_price[at]}"])
    (row,) = table(hx.tca_blotter("fills.csv", "bars.csv"))
    assert (row["markout_5m_bps"] is None, row["markout_30m_bps"], row["reversion_30m_bps"]) == (False, None, None)


# by venue


def with_venues(name, rows, venues=("XNAS", "BATS", "")):
    """Write fills with a venue and a fee each; return the venue and the fee of each line."""
    marks = [(venues[number % len(venues)], round(0.1 * (number % 4) - 0.1, 2)) for number in range(len(rows))]
    write(name, f"{HEADER},LastMkt,fee", [f"{row},{venue},{fee}" for row, (venue, fee) in zip(rows, marks, strict=True)])
    return marks


def test_executions_are_summed_by_venue_as_by_hand(market):
    rows, orders = blotter("fills.csv", [market])
    marks = with_venues("fills.csv", rows)
    report = hx.tca_blotter("fills.csv", trades="trades.csv", quotes="quotes.csv")
    fills = [fill for _, found in orders for fill in found]
    assert set(report.venues) == {"XNAS", "BATS", "not given"}
    for venue, costs in report.venues.items():
        mine = [(fill, fee) for fill, (name, fee) in zip(fills, marks, strict=True) if (name or "not given") == venue]
        notional = [shares * price for (_, _, shares, price), _ in mine]
        assert costs.fills == len(mine)
        assert costs.notional == pytest.approx(sum(notional))
        assert costs.fees == pytest.approx(sum(fee for _, fee in mine))
        before = [market.mid_at(second, before=True) for (second, *_), _ in mine]
        spreads = [2e4 * side * (price - mid) / mid for ((_, side, _, price), _), mid in zip(mine, before, strict=True)]
        assert costs.mean("effective_spread_bps") == pytest.approx(np.average(spreads, weights=notional))
        later = [market.mid_at(second + 60) for (second, *_), _ in mine]
        moved = [1e4 * f[1] * (f[3] - after) / mid for (f, _), after, mid in zip(mine, later, before, strict=True)]
        assert costs.mean("markout_1m_bps") == pytest.approx(np.average(moved, weights=notional))
    assert sum(costs.shares for costs in report.venues.values()) == pytest.approx(sum(report.values["filled"]))
    assert sum(costs.fees for costs in report.venues.values()) == pytest.approx(report.totals["fees"])
    assert any(line.startswith("XNAS ") for line in str(report).splitlines())
    assert set(report.to_dict()["venues"]) == set(report.venues)


def test_a_blotter_without_venues_has_no_table_of_them(market):
    report = hx.tca_blotter("fills.csv", trades="trades.csv", quotes="quotes.csv")
    assert report.venues == {}
    assert "venues" not in report.to_dict()
    assert "effective spread  " not in str(report)


def test_the_venues_of_two_instruments_are_those_of_both_together():
    sums = dict.fromkeys(VENUE_MEASURES, (2.0, 4.0))
    one = VenueCosts(1, 10.0, 100.0, 0.5, sums)
    other = VenueCosts(2, 20.0, 300.0, -0.1, dict.fromkeys(VENUE_MEASURES, (6.0, 12.0)))
    both = add_costs({"A": one, "B": one}, {"A": other})
    assert both["B"] == one
    assert both["A"][:4] == (3, 30.0, 400.0, pytest.approx(0.4))
    assert both["A"].mean("markout_1m_bps") == 0.5
    assert both["A"].fees_bps == pytest.approx(10.0)
