"""The report on a desk's own fills: its numbers against those of a hand, what is refused, and the page."""

import csv
import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from baselines.fills import read_fills
from baselines.market_day import read_day
from baselines.tca_page import page
from hyperexec_env import cli
from hyperexec_env.execution.report import ExecutionReport
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real bars: set HYPEREXEC_DATA to the folder that holds bars_1min/")
DAYS = ("2024-03-04", "2024-03-05", "2024-03-06")
HEADER = "ts,side,quantity,price"


def session(day, step=5, shift=0, seed=0):
    """The rows of one session: prices that move, a volume that grows with the day."""
    rng = np.random.default_rng(seed)
    rows, price = [], 100.0
    for number, minute in enumerate(range(570, 960, step)):
        close = round(price + rng.normal(0.0, 0.05), 2)
        clock = minute + shift
        ts = f"{day}T{clock // 60:02d}:{clock % 60:02d}:00"
        rows.append([ts, price, max(price, close) + 0.01, min(price, close) - 0.01, close, 1000 + 10 * number + seed])
        price = close
    return rows


def bars(path, step=5, shift=0, spoil=None):
    """Write three sessions; `spoil` takes a list of sessions and makes a fault."""
    days = [session(day, step, shift, seed) for seed, day in enumerate(DAYS)]
    if spoil:
        spoil(days)
    lines = [",".join(map(str, row)) for rows in days for row in rows]
    path.write_text("\n".join(["ts,open,high,low,close,volume", *lines]) + "\n")
    return days


@pytest.fixture
def market(tmp_path, monkeypatch):
    """A folder with bars.csv, and the rows of the second session, the day of the orders."""
    monkeypatch.chdir(tmp_path)
    return bars(tmp_path / "bars.csv")[1]


def fills(*lines, header=HEADER, name="fills.csv"):
    Path(name).write_text("\n".join([header, *lines]) + "\n")


def order(market, side="buy", clocks=("10:01:00", "10:06:30", "10:12:15")):
    """Write fills of 100, 200, ... shares at the mid of their bars."""
    lines = []
    for number, clock in enumerate(clocks, start=1):
        hours, minutes, seconds = map(int, clock.split(":"))
        at = hours * 60 + minutes + seconds / 60.0 - 570
        _, first, _, _, last, _ = market[int(at // 5)]
        lines.append(f"{DAYS[1]}T{clock},{side},{100 * number},{first + (at % 5) / 5 * (last - first)!r}")
    fills(*lines)


def run(capsys, *words, file="fills.csv"):
    """Run the command; return exit code, standard output and standard error."""
    try:
        code = cli.main(["tca", file, "--market", "bars.csv", "--stamp", "start", *words])
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def numbers(capsys, *words):
    """The report as plain values."""
    code, out, err = run(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out)


def refused(capsys, *words):
    """The one line with which bad input is refused, before anything is written."""
    before = sorted(Path().iterdir())
    code, out, err = run(capsys, *words, "--json", "out.json")
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert sorted(Path().iterdir()) == before
    return err


def test_the_report_is_text_json_and_a_page(capsys, market):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    order(market)
    code, out, _ = run(capsys, "--json", "out.json", "--html", "out.html")
    assert code == 0
    assert out.startswith("fills.csv: buy 600 at an arrival price of ")
    assert "wrote out.html" in out
    plain = json.loads(Path("out.json").read_text())
    assert plain["date"] == DAYS[1]
    assert sum(plain["components_bps"].values()) == pytest.approx(plain["shortfall_bps"], rel=0.0, abs=1e-9)
    drawn = Path("out.html").read_text()
    assert drawn.count("<svg") == drawn.count("</svg>") == 2
    for foreign in ("<script", "src=", "@import", 'href="http', "url(http"):
        assert foreign not in drawn
    assert "<code>hyperexec tca fills.csv --market bars.csv</code>" in drawn


def test_json_to_standard_output_is_nothing_but_json(capsys, market):
    order(market)
    assert numbers(capsys)["filled"] == 600


def test_the_numbers_are_those_of_a_hand(capsys, market):
    """Fills at the mid of their bars, decided two bars before the start, a quarter left undone; ADV given."""
    order(market)
    words = ("--quantity", "800", "--decision", "09:50", "--start", "10:00", "--deadline", "10:20", "--adv", "1000000")
    plain = numbers(capsys, *words, "--half-spread-bps", "0.5")
    bar = {row[0][11:16]: row[1:] for row in market}
    mid = {
        clock: bar[begin][0] + part * (bar[begin][3] - bar[begin][0])
        for clock, begin, part in (("a", "10:00", 0.2), ("b", "10:05", 0.3), ("c", "10:10", 0.45))
    }
    arrival, start, end = bar["09:50"][0], bar["10:00"][0], bar["10:15"][3]
    assert (plain["arrival_price"], plain["start_mid"], plain["end_mid"]) == (arrival, start, end)
    cash = {"delay": 600 * (start - arrival), "spread": 600 * 0.5e-4 * arrival, "opportunity": 200 * (end - arrival)}
    shares, times = {"a": 100, "b": 200, "c": 300}, {"a": 60.0, "b": 390.0, "c": 735.0}
    g, kappa, permanent, transient, now = 0.2 * arrival / 1e6, 0.1 * arrival / 1e6, 0.0, 0.0, 60.0
    cash |= {"permanent": 0.0, "transient": 0.0, "timing": 0.0, "temporary": -cash["spread"]}
    for key, n in shares.items():
        transient *= np.exp(-10.0 * (times[key] - now) / 23_400.0)
        cash["permanent"] += n * (permanent + g * n / 2)
        cash["transient"] += n * (transient + kappa * n / 2)
        cash["temporary"] -= n * (g + kappa) * n / 2
        cash["timing"] += n * (mid[key] - start - permanent - transient)
        permanent, transient, now = permanent + g * n, transient + kappa * n, times[key]
    notional = 800 * arrival
    assert plain["components_bps"] == pytest.approx({key: 1e4 * value / notional for key, value in cash.items()}, abs=1e-9)
    average = sum(n * mid[key] for key, n in shares.items()) / 600
    inside = [bar[clock] for clock in ("10:00", "10:05", "10:10", "10:15")]
    prices = {
        "arrival": arrival,
        "vwap": sum((h + low + c) / 3 * v for _, h, low, c, v in inside) / sum(row[4] for row in inside),
        "twap": sum((row[0] + row[3]) / 2 for row in inside) / 4,
        "close": market[-1][4],
    }
    for key, price in prices.items():
        assert plain["benchmarks"][key] == pytest.approx({"price": price, "bps": 1e4 * (average / price - 1)}, abs=1e-8)
    assert plain["market_volume"] == sum(row[4] for row in inside)
    assert plain["participation"] == pytest.approx(600 / plain["market_volume"])
    assert (plain["reason"], plain["fill_rate"]) == ("expired", 0.75)


def test_a_sale_at_the_same_prices_turns_the_signs(capsys, market):
    order(market)
    buy = numbers(capsys, "--decision", "09:50", "--half-spread-bps", "0", "--kyle-lambda", "0", "--perm-impact-gamma", "0")
    order(market, "sell")
    sale = numbers(capsys, "--decision", "09:50", "--half-spread-bps", "0", "--kyle-lambda", "0", "--perm-impact-gamma", "0")
    assert sale["shortfall_bps"] == pytest.approx(-buy["shortfall_bps"])
    assert sale["components_bps"] == pytest.approx({key: -value for key, value in buy["components_bps"].items()}, abs=1e-9)
    for key, benchmark in buy["benchmarks"].items():
        assert sale["benchmarks"][key] == pytest.approx({"price": benchmark["price"], "bps": -benchmark["bps"]})


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_fills_at_the_vwap_of_the_market_cost_nothing_against_it(capsys, market, side):
    order(market)
    vwap = numbers(capsys)["benchmarks"]["vwap"]["price"]
    fills(f"{DAYS[1]}T10:01:00,{side},100,{vwap!r}", f"{DAYS[1]}T10:14:00,{side},500,{vwap!r}")
    assert numbers(capsys)["benchmarks"]["vwap"]["bps"] == pytest.approx(0.0, abs=1e-9)


def test_without_times_the_order_takes_the_bars_of_its_fills(capsys, market):
    order(market)
    plain = numbers(capsys)
    assert (plain["start"], plain["end"]) == (36_000.0, 36_900.0)
    assert plain["arrival_price"] == plain["start_mid"] == market[6][1]
    assert plain["components_bps"]["delay"] == 0.0
    assert (plain["reason"], plain["fill_rate"]) == ("filled", 1.0)


def test_an_order_that_is_done_ends_with_the_bar_of_its_last_fill(capsys, market):
    order(market)
    plain = numbers(capsys, "--deadline", "15:00", "--start", "10:01")
    assert (plain["start"], plain["end"]) == (36_060.0, 36_900.0)
    assert plain["plan"][-1] == [54_000.0, 600.0]
    part = 0.8 * market[6][5] + market[7][5] + market[8][5]
    assert plain["market_volume"] == pytest.approx(part)


def test_end_stamps_give_the_same_report(capsys, market, tmp_path):
    order(market)
    start = numbers(capsys)
    bars(tmp_path / "bars.csv", shift=5)
    end = numbers(capsys, "--stamp", "end")
    assert end == start


def test_compressed_fills_in_any_order_and_spelling_are_read(market):
    order(market)
    plain = read_fills("fills.csv")
    lines = Path("fills.csv").read_text().splitlines()
    mixed = [lines[0].upper(), *(line.replace("buy", side) for line, side in zip(lines[:0:-1], ("+1", "B", "1"), strict=True))]
    Path("other.csv.gz").write_bytes(gzip.compress("\r\n".join(mixed).encode()))
    other = read_fills("other.csv.gz")
    assert [fill[1:] for fill in other.fills] == [fill[1:] for fill in plain.fills]
    assert (other.side, other.date) == (plain.side, plain.date) == (1, DAYS[1])


def test_the_other_sessions_tell_the_daily_volume_and_its_curve(capsys, market):
    order(market)
    days = [session(day, seed=seed) for seed, day in enumerate(DAYS)]
    volume = np.array([[row[5] for row in days[number]] for number in (0, 2)], dtype=float)
    plain = numbers(capsys, "--plan", "VWAP", "--start", "09:30", "--deadline", "16:00")
    assert plain["adv"] == volume.sum(axis=1).mean()
    curve = (volume / volume.sum(axis=1, keepdims=True)).mean(axis=0)
    assert [shares for _, shares in plain["plan"]] == pytest.approx([0.0, *600 * np.cumsum(curve)])
    even = numbers(capsys, "--start", "09:30", "--deadline", "16:00")["plan"]
    assert [shares for _, shares in even] == pytest.approx(np.linspace(0.0, 600.0, 79))


def test_a_faulty_other_day_is_left_out_and_told(capsys, market, tmp_path):
    order(market)

    def no_volume(days):
        days[0][30][5] = 0

    bars(tmp_path / "bars.csv", spoil=no_volume)
    plain = numbers(capsys)
    assert "sessions of the bars that were left out: 1 contaminated" in plain["remarks"]
    assert any("are those of 1 other session" in text for text in plain["remarks"])


def test_the_day_alone_tells_the_daily_volume(capsys, market, tmp_path):
    order(market)
    bars(tmp_path / "bars.csv", spoil=lambda days: days.__delitem__(slice(None, None, 2)))
    plain = numbers(capsys)
    assert plain["adv"] == sum(row[5] for row in market)
    assert any("the day of the order itself" in text for text in plain["remarks"])


def test_a_faulty_day_of_the_order_is_refused_with_its_line(capsys, market, tmp_path):
    order(market)

    def no_volume(days):
        days[1][30][5] = 0

    bars(tmp_path / "bars.csv", spoil=no_volume)
    said = refused(capsys)
    assert "bars.csv, line 110: 2024-03-05: the volume of 12:00 is 0" in said
    assert "the day of the order must be a full session" in said


def test_fills_outside_their_bar_are_told(capsys, market):
    order(market)
    assert not any("WARNING" in text for text in numbers(capsys)["remarks"])
    low = market[6][3]
    fills(f"{DAYS[1]}T10:01:00,buy,100,{low - 0.01:.2f}", f"{DAYS[1]}T10:02:00,buy,100,{low}")
    remarks = numbers(capsys)["remarks"]
    assert any(
        text.startswith("WARNING: 1 of 2 fills lie outside the low to high of their bar, the first on line 2")
        for text in remarks
    )


def test_more_fills_than_the_market_traded_are_told(capsys, market):
    price = market[6][1]
    fills(f"{DAYS[1]}T10:00:00,buy,{market[6][5]},{price}")
    assert not any("market volume of their bars" in text for text in numbers(capsys)["remarks"])
    fills(f"{DAYS[1]}T10:00:00,buy,{market[6][5] + 1},{price}")
    assert any("more than the market volume of their bars" in text for text in numbers(capsys)["remarks"])


def test_a_fill_on_the_edge_of_two_bars_may_be_of_either(market):
    day = read_day(["bars.csv"], "start", DAYS[1])
    (_, _, high, low, _, _), (_, _, next_high, next_low, _, _) = market[6:8]
    for price in (high, low, next_high, next_low):
        assert day.holds(36_300.0, price)
    assert day.holds(57_600.0, market[-1][4])
    assert day.mid(57_600.0) == market[-1][4]


BAD = f"{DAYS[1]}T10:01:00,buy,100,100.0"


@pytest.mark.parametrize(("line", "message"), [
    ("T,buy,100,100.0", "fills.csv, line 3: ts must be a date and time such as 2024-03-26T09:30:01.25, got 'T'"),
    (f"{DAYS[1]},buy,100,100.0", "fills.csv, line 3: ts must be a date and time"),
    (f"{DAYS[1]}T10:02:00,bye,100,100.0", "fills.csv, line 3: side must be buy, sell, +1 or -1, got 'bye'"),
    (f"{DAYS[1]}T10:02:00,buy,0,100.0", "fills.csv, line 3: quantity must be a whole number in [1, 1000000000000000], got 0"),
    (f"{DAYS[1]}T10:02:00,buy,1.5,100.0", "fills.csv, line 3: quantity must be a whole number in"),
    (f"{DAYS[1]}T10:02:00,buy,many,100.0", "line 3: quantity must be a whole number in [1, 1000000000000000], got 'many'"),
    (f"{DAYS[1]}T10:02:00,buy,100,nan", "fills.csv, line 3: price must be a number in (0, 1e+09], got nan"),
    (f"{DAYS[1]}T10:02:00,buy,100,-1", "fills.csv, line 3: price must be a number in (0, 1e+09], got -1"),
    (f"{DAYS[1]}T10:02:00,buy,100", "fills.csv, line 3: 3 values for the 4 columns of the header"),
    (f"{DAYS[1]}T10:02:00,sell,100,100.0", "fills.csv, line 3: side is -1, on line 2 it is 1; a report is about one order"),
    (f"{DAYS[2]}T10:02:00,buy,100,100.0", "fills.csv, line 3: date is '2024-03-06', on line 2 it is '2024-03-05'"),
    (f"{DAYS[1]}T10:02:00Z,buy,100,100.0", "fills.csv, line 3: offset is '+0000', on line 2 it is ''"),
    (f"{DAYS[1]}T09:29:59,buy,100,100.0", "fills.csv, line 3: ts must lie in the session, [09:30:00, 16:00:00], got 09:29:59"),
    (f"{DAYS[1]}T16:00:01,buy,100,100.0", "fills.csv, line 3: ts must lie in the session, [09:30:00, 16:00:00], got 16:00:01"),
])  # fmt: skip
def test_a_bad_line_is_named(capsys, market, line, message):
    fills(BAD, line)
    assert message in refused(capsys)


@pytest.mark.parametrize(("header", "message"), [
    ("ts,side,shares,price", "fills.csv, line 1: missing column quantity (found: ts, side, shares, price)"),
    ("", "fills.csv, line 1: missing column ts, side, quantity, price (found: nothing)"),
    (HEADER + ",price", "fills.csv, line 1: the column price stands there 2 times"),
    (HEADER, "fills.csv: no fills"),
])  # fmt: skip
def test_a_bad_header_is_named(capsys, market, header, message):
    fills(header=header)
    assert message in refused(capsys)


@pytest.mark.parametrize(("column", "values"), [("symbol", ("XYZ", "ABC")), ("order_id", ("7", "8"))])
def test_two_orders_in_one_file_are_refused(capsys, market, column, values):
    fills(*(f"{BAD},{value}" for value in (values[0], *values)), header=f"{HEADER},{column}")
    said = refused(capsys)
    assert f"fills.csv, line 4: {column} is {values[1]!r}, on line 2 it is {values[0]!r}" in said
    fills(f"{BAD},{values[0]}", header=f"{HEADER},{column}")
    assert numbers(capsys)["id" if column == "order_id" else "symbol"] == values[0]


@pytest.mark.parametrize(("words", "message"), [
    (("--quantity", "599"), "quantity must be at least what was filled, 600 shares in fills.csv, got 599"),
    (("--quantity", "0"), "quantity must be a whole number in [1, 1000000000000000], got 0"),
    (("--arrival-price", "0"), "arrival_price must be a number in (0, 1e+09], got 0.0"),
    (("--arrival-price", "nan"), "arrival_price must be a number in (0, 1e+09], got nan"),
    (("--adv", "0"), "adv must be a number in (0, 1e+15] shares a day, got 0.0"),
    (("--decision", "25:00"), "decision must be a time such as 10:30, 10:30:05 or 2024-03-05T10:30:05, got '25:00'"),
    (("--decision", "09:00"), "decision must lie in [09:30:00, 10:00:00], got '09:00'"),
    (("--decision", "11:00"), "decision must lie in [09:30:00, 10:00:00], got '11:00'"),
    (("--decision", "2024-03-04T15:00:00"), "decision must be on 2024-03-05, the day of the fills"),
    (("--start", "10:02"), "fills.csv, line 2: ts must lie in start and deadline, [10:02:00, 10:15:00], got 10:01:00"),
    (("--deadline", "10:12"), "fills.csv, line 4: ts must lie in start and deadline, [10:00:00, 10:12:00], got 10:12:15"),
    (("--deadline", "10:00"), "deadline must be after the start, 10:00:00, got '10:00'"),
    (("--deadline", "16:01"), "deadline must lie in [10:00:00, 16:00:00], got '16:01'"),
    (("--half-spread-bps", "-1"), "half_spread_bps must be a number in [0, 5000], got -1.0"),
    (("--kyle-lambda", "0.1"), "kyle_lambda must be at least perm_impact_gamma (0.2)"),
    (("--plan", "VWP"), "invalid choice: 'VWP'; did you mean 'VWAP'?"),
    (("--market", "none.csv"), "cannot read none.csv"),
    (("--html", "no/such/x.html"), "cannot write no/such/x.html"),
    (("--html", "out.json"), "json and html must be two files, got 'out.json' twice"),
    (("--html", "-"), "html must be a file, got '-'"),
    (("--stamp", "end"), "--stamp start"),
])  # fmt: skip
def test_a_bad_option_is_one_clear_line(capsys, market, words, message):
    order(market)
    assert message in refused(capsys, *words)


def test_a_day_that_the_bars_do_not_hold_is_named(capsys, market):
    fills("2024-03-07T10:01:00,buy,100,100.0")
    said = refused(capsys)
    assert (
        "bars.csv: no session of 2024-03-07, the day of the fills; its sessions are those of 2024-03-04 to 2024-03-06" in said
    )


def test_a_file_of_fills_that_cannot_be_read_is_named(capsys, market):
    assert "cannot read fills.csv" in refused(capsys)
    Path("fills.csv").write_bytes(b"\xff\xfe\x00")
    assert "fills.csv, after line 0: not text in UTF-8" in refused(capsys)
    Path("fills.csv.gz").write_bytes(gzip.compress(b"ts,side")[:-6])
    code, _, err = run(capsys, file="fills.csv.gz")
    assert (code, err.count("\n")) == (2, 1)
    assert "damaged or cut off" in err


def test_a_decision_before_the_session_needs_its_price(capsys, market):
    order(market)
    plain = numbers(capsys, "--decision", "08:00", "--arrival-price", "99.5")
    assert plain["arrival_price"] == 99.5
    assert plain["components_bps"]["delay"] == pytest.approx(1e4 * (market[6][1] / 99.5 - 1.0))


def test_a_page_without_matplotlib_is_refused_before_the_work(capsys, market, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert 'matplotlib is not installed: pip install "hyperexec-env[plot]"' in refused(capsys, "--html", "out.html")
    order(market)
    assert numbers(capsys)["filled"] == 600


@pytest.mark.parametrize("count", [1, 60, 1500])
def test_the_page_shows_what_a_file_names_as_text_and_the_first_fills(capsys, market, count):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    rows = [f"{DAYS[1]}T10:{k % 60:02d}:{k // 60:02d},sell,100,100.0,<b>$x$</b>" for k in range(count)]
    fills(*rows, header=HEADER + ",symbol")
    assert run(capsys, "--html", "out.html")[0] == 0
    drawn = Path("out.html").read_text()
    assert "<b>" not in drawn
    assert "&lt;b&gt;$x$&lt;/b&gt;" in drawn
    assert ("The first 50 of" in drawn) == (count > 50)
    assert ("drawn together" in drawn) == (count > 1000)


def test_the_page_of_an_order_of_which_nothing_is_known_is_drawn():
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    parent = ParentOrder(symbol="XYZ", side=-1, quantity=100, arrival_price=50.0)
    drawn = page(ExecutionReport(parent, (), 3.0, 3.0, "cancelled"))
    assert drawn.count("<svg") == 2
    assert "cancelled, 0 shares (0.0%); 3 s to 3 s" in drawn
    child = ChildOrder(parent, 0, 100, 4.0, 5.0, (Fill(6.0, 100, 49.9),))
    report = ExecutionReport(parent, (child,), 3.0, 33.0, "filled", plan=((3.0, 0.0), (10.0, 100.0)))
    assert "the mid before 1 of 1 fills is not known" in page(report)


# real bars


def rows_of(file, day):
    with gzip.open(DATA / "bars_1min" / file, "rt") as text:
        return [row for row in csv.DictReader(text) if row["ts"].startswith(day)]


@needs_data
@pytest.mark.parametrize(("name", "file", "day", "stamp", "others"), [
    ("SPY", "SPY_1min_2024-03-26_2025-04-02_RTH.csv.gz", "2024-05-14", "start", 245),
    ("AAPL", "AAPL_1min_2019-02-11_2019-02-15.csv.gz", "2019-02-13", "end", 4),
])  # fmt: skip
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_order_in_a_real_market(capsys, tmp_path, monkeypatch, name, file, day, stamp, others, side):
    """A desk trades 100 shares at the close of each of 30 minutes; the numbers are worked out from the rows of the file."""
    monkeypatch.chdir(tmp_path)
    sign = {"buy": 1.0, "sell": -1.0}[side]
    rows = rows_of(file, day)
    first = next(k for k, row in enumerate(rows) if row["ts"][11:16] == ("10:00" if stamp == "start" else "10:01"))
    window = rows[first : first + 30]
    price = {key: np.array([float(row[key]) for row in window]) for key in ("open", "high", "low", "close", "volume")}
    fills(*(f"{day} 10:{minute:02d}:59.999999,{side},100,{paid!r}" for minute, paid in enumerate(price["close"].tolist())))
    words = ["tca", "fills.csv", "--market", str(DATA / "bars_1min" / file), "--stamp", stamp, "--symbol", name, "--json"]
    assert cli.main(words) == 0
    plain = json.loads(capsys.readouterr().out)
    average, arrival = price["close"].mean(), price["open"][0]
    assert plain["arrival_price"] == arrival
    assert plain["shortfall_bps"] == pytest.approx(sign * 1e4 * (average / arrival - 1.0))
    assert sum(plain["components_bps"].values()) == pytest.approx(plain["shortfall_bps"], rel=0.0, abs=1e-9)
    own_half = 1e4 * 0.5 * 0.3 * 100 / plain["adv"]
    assert plain["components_bps"]["temporary"] == pytest.approx(-1.0 - own_half, abs=1e-4)  # paid the mid
    vwap = (price["high"] + price["low"] + price["close"]) / 3.0 @ price["volume"] / price["volume"].sum()
    twap = (0.5 * (price["open"] + price["close"])).mean()
    for key, benchmark in {"vwap": vwap, "twap": twap, "close": float(rows[389]["close"])}.items():
        assert plain["benchmarks"][key]["price"] == pytest.approx(benchmark)
        assert plain["benchmarks"][key]["bps"] == pytest.approx(sign * 1e4 * (average / benchmark - 1.0))
    assert plain["participation"] == pytest.approx(3000 / price["volume"].sum())
    assert any(f"of {others} other sessions" in text for text in plain["remarks"])
    assert not any("WARNING" in text for text in plain["remarks"])


@needs_data
def test_a_day_that_closed_early_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fills("2024-07-03T10:01:00,buy,100,550.0")
    file = DATA / "bars_1min" / "SPY_1min_2024-03-26_2025-04-02_RTH.csv.gz"
    assert cli.main(["tca", "fills.csv", "--market", str(file), "--stamp", "start"]) == 2
    said = capsys.readouterr().err
    assert "(early close); the day of the order must be a full session" in said
