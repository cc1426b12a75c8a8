"""The report on a desk's own fills: its numbers against those of a hand, what is refused, and what the page draws."""

import csv
import gzip
import json
import os
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env import cli
from hyperexec_env.baselines import tca_page
from hyperexec_env.baselines.fills import read_fills
from hyperexec_env.baselines.market_day import read_day
from hyperexec_env.baselines.tca_page import page
from hyperexec_env.execution.report import ExecutionReport, Mark
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real bars: set HYPEREXEC_DATA to the folder that holds bars_1min/")
DAYS = ("2024-03-04", "2024-03-05", "2024-03-06")
HEADER = "ts,side,quantity,price"


def session(day, step=5, shift=0, seed=0, offset=""):
    """The rows of one session: prices that move, a volume that goes up and down and grows with the day."""
    rng = np.random.default_rng(seed)
    rows, price = [], 100.0
    for number, minute in enumerate(range(570, 960, step)):
        close = round(price + rng.normal(0.0, 0.05), 2)
        clock = minute + shift
        ts = f"{day}T{clock // 60:02d}:{clock % 60:02d}:00{offset}"
        rows.append(
            [
                ts,
                price,
                max(price, close) + 0.01,
                min(price, close) - 0.01,
                close,
                1000 + 10 * number + 300 * (number % 2) + seed,
            ]
        )
        price = close
    return rows


def bars(path, step=5, shift=0, spoil=None, offset=""):
    """Write three sessions; `spoil` takes a list of sessions and makes a fault."""
    days = [session(day, step, shift, seed, offset) for seed, day in enumerate(DAYS)]
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
    assert "<code>hyperexec tca fills.csv --market bars.csv --stamp start</code>" in drawn


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


def test_fills_at_the_vwap_of_the_market_cost_nothing_against_it(capsys, market):
    for side in ["buy", "sell"]:
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
    assert numbers(capsys, "--deadline", f"{DAYS[1]}T15:00", "--start", "10:00:59.125")["start"] == 36_059.125
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


def test_fractional_fills_are_whole_lots(capsys, market):
    price = market[6][1]
    fills(*(f"{DAYS[1]}T10:0{minute}:00,buy,0.1,{price!r}" for minute in range(3)))
    plain = numbers(capsys, "--lot-size", "0.1", "--quantity", "0.4")
    assert (plain["filled"], plain["quantity"], plain["lot_size"], plain["fill_rate"]) == (0.3, 0.4, 0.1, 0.3 / 0.4)
    assert plain["components_bps"]["opportunity"] == pytest.approx(0.25 * 1e4 * (plain["end_mid"] / price - 1.0))
    assert numbers(capsys, "--lot-size", "0.1")["reason"] == "filled"
    assert "fills.csv, line 2: quantity must be a whole number" in refused(capsys)
    assert "fills.csv, line 2: quantity must be a number in [0.25, " in refused(capsys, "--lot-size", "0.25")
    assert "fills.csv, line 2: quantity must be a multiple of the lot size 0.03" in refused(capsys, "--lot-size", "0.03")
    assert "quantity must be a multiple of the lot size 0.1, got 0.45" in refused(
        capsys, "--lot-size", "0.1", "--quantity", "0.45"
    )
    assert "lot_size must be a number in" in refused(capsys, "--lot-size", "0")


def test_fees_are_added_to_the_shortfall(capsys, market):
    order(market)
    free, plain = numbers(capsys), numbers(capsys, "--fee-per-share", "0.005", "--fee-bps", "1", "--min-fee", "2")
    paid = [fill["quantity"] * (0.005 + 1e-4 * fill["price"]) for fill in plain["fills"]]
    assert paid[0] < 2.0 < paid[1]
    assert plain["fees_currency"] == pytest.approx(2.0 + paid[1] + paid[2])
    assert plain["total_bps"] == pytest.approx(plain["shortfall_bps"] + plain["fees_bps"])
    assert (plain["shortfall_bps"], free["fees_bps"]) == (free["shortfall_bps"], 0.0)


def test_venues_of_the_file_are_reported_with_their_fees(capsys, market):
    order(market)
    rows = [f"{line},{more}" for line, more in zip(
        Path("fills.csv").read_text().splitlines()[1:], ("XNAS,2,0.3", "BATS,1,-0.4", "XNAS,removed,0.9"), strict=True
    )]  # fmt: skip
    fills(*rows, header=f"{HEADER},LastMkt,LastLiquidityInd,fee")
    plain = numbers(capsys)
    first, second = plain["venues"]
    assert (first["venue"], first["filled"], first["maker"], first["fees"]) == ("XNAS", 400, 0.0, pytest.approx(1.2))
    assert (second["venue"], second["filled"], second["maker"], second["fees"]) == ("BATS", 200, 1.0, pytest.approx(-0.4))
    assert plain["fees_currency"] == pytest.approx(0.8)
    assert first["fill_rate"] is first["fill_probability"] is first["price_improvement_bps"] is None
    _, text, _ = run(capsys, "--html", "order.html")
    assert "BATS" in text
    assert "<h2>Venues</h2>" in Path("order.html").read_text()


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

    def total(days):
        days[0][30][5] = 10**6

    bars(tmp_path / "bars.csv", spoil=total)
    plain = numbers(capsys)
    assert "sessions left out of the bars: 1 contaminated" in plain["remarks"]
    assert any("are estimated from 1 other session" in text for text in plain["remarks"])


def test_the_day_alone_tells_the_daily_volume(capsys, market, tmp_path):
    order(market)
    bars(tmp_path / "bars.csv", spoil=lambda days: days.__delitem__(slice(None, None, 2)))
    plain = numbers(capsys)
    assert plain["adv"] == sum(row[5] for row in market)
    assert any("the day of the order itself" in text for text in plain["remarks"])


def test_a_faulty_day_of_the_order_is_refused_with_its_line(capsys, market, tmp_path):
    order(market)

    def total(days):
        days[1][30][5] = 10**6

    bars(tmp_path / "bars.csv", spoil=total)
    said = refused(capsys)
    assert "bars.csv, line 110: 2024-03-05: the volume of 12:00 is" in said
    assert "the day of the order must be a full session" in said


def test_fills_outside_their_bar_are_told(capsys, market):
    order(market)
    assert not any("WARNING" in text for text in numbers(capsys)["remarks"])
    low = market[6][3]
    outside = f"{DAYS[1]}T10:01:00,buy,100,{low - 0.01:.2f}"
    fills(outside, f"{DAYS[1]}T10:02:00,buy,100,{low}")
    remarks = numbers(capsys)["remarks"]
    assert any(
        text.startswith("WARNING: 1 of 2 fills lie outside the low-high range of their bar, the first in fills.csv, ")
        for text in remarks
    )
    fills(outside, outside, f"{DAYS[1]}T10:02:00,buy,100,{low}")
    assert "2 of 3 executions lie outside the low-high range of their bars, the first in fills.csv, line 2" in refused(capsys)


def test_more_fills_than_the_market_traded_are_told(capsys, market):
    price = market[6][1]
    fills(f"{DAYS[1]}T10:00:00,buy,{market[6][5]},{price}")
    assert not any("market volume of their bars" in text for text in numbers(capsys)["remarks"])
    fills(f"{DAYS[1]}T10:00:00,buy,{market[6][5] + 1},{price}")
    assert any("exceed the market volume of their bars" in text for text in numbers(capsys)["remarks"])


def test_a_fill_on_the_edge_of_two_bars_may_be_of_either(market, tmp_path):
    def jump(days):
        for row in days[1][7:]:
            row[1:5] = [price + 5.0 for price in row[1:5]]

    market = bars(tmp_path / "bars.csv", spoil=jump)[1]
    day = read_day(["bars.csv"], DAYS[1])
    (_, _, high, low, _, _), (_, _, next_high, next_low, _, _) = market[6:8]
    for before, after in ((high, next_high), (low, next_low)):
        assert day.holds(36_300.0, before)
        assert day.holds(36_300.0, after)
        assert [day.holds(36_299.9, price) for price in (before, after)] == [True, False]
        assert [day.holds(36_300.1, price) for price in (before, after)] == [False, True]
    assert not day.holds(36_300.0, 0.5 * (high + next_low))
    assert not day.holds(36_300.0, next_high + 0.01)
    assert day.holds(34_200.0, market[0][1])
    assert not day.holds(34_200.0, market[-1][4])
    assert day.holds(57_600.0, market[-1][4])
    assert day.mid(57_600.0) == market[-1][4]


BAD = f"{DAYS[1]}T10:01:00,buy,100,100.0"


def test_a_bad_line_is_named(capsys, market):
    for line, message in [
        ("T,buy,100,100.0", "fills.csv, line 7: ts must be a date and time such as 2024-03-26T09:30:01.25, got 'T'"),
        (f"{DAYS[1]},buy,100,100.0", "fills.csv, line 7: ts must be a date and time"),
        (
            f"{DAYS[1]}T10:02:00,bye,100,100.0",
            "fills.csv, line 7: side must be buy, sell, B, S, BOT, SLD, SELL SHORT, 1, 2, -1 or the like, got 'bye'",
        ),
        (
            f"{DAYS[1]}T10:02:00,buy,0,100.0",
            "fills.csv, line 7: quantity must be a number in (0, 1e+15], got 0",
        ),
        (f"{DAYS[1]}T10:02:00,buy,1_00,100.0", "fills.csv, line 7: quantity must be a number, got '1_00'"),
        (f"{DAYS[1]}T10:02:00,buy,100,1_00.0", "fills.csv, line 7: price must be a number, got '1_00.0'"),
        (f"{DAYS[1]}T10:02:00,buy,many,100.0", "fills.csv, line 7: quantity must be a number, got 'many'"),
        (f"{DAYS[1]}T10:02:00,buy,100,nan", "fills.csv, line 7: price must be a number in (0, 1e+09], got nan"),
        (f"{DAYS[1]}T10:02:00,buy,100,-1", "fills.csv, line 7: price must be a number in (0, 1e+09], got -1"),
        (f"{DAYS[1]}T10:02:00,buy,100", "fills.csv, line 7: expected 4 values, got 3"),
        (f"{DAYS[1]}T10:02:00Z,buy,100,100.0", "fills.csv, line 7: ts must be a date and time like the others"),
    ]:
        fills(*[BAD] * 5, line)
        assert message in refused(capsys)


def test_a_bad_header_is_named(capsys, market):
    for header, line, message in [
        ("ts,side,number,price", BAD, "fills.csv: no column for quantity of fills (columns ts, side, number, price); name the"),
        ("when,side,quantity,price", BAD, "fills.csv: no column for ts of fills (columns when, side, quantity, price)"),
        (
            "ts,which,quantity,price",
            BAD,
            "fills.csv: no column for side of fills, and no quantity is negative; name the column",
        ),
        (HEADER + ",price", BAD + ",1", "fills.csv: column price must appear once, got it 2 times; choose one by number"),
        ("", "", "fills.csv, line 1: the file is empty"),
        (
            HEADER,
            "",
            "fills.csv: no row of data (two numbers or more) among the first 2 lines; line 1 is 'ts,side,quantity,price'",
        ),
        ("ts,\x1b[31mside,number,price", BAD, r"(columns ts, \x1b[31mside, number, price)"),
    ]:
        fills(line, header=header)
        assert message in refused(capsys)


def test_fills_outside_the_session_need_the_report_of_orders(capsys, market):
    good = f"{DAYS[1]}T10:00:00,buy,100,{market[6][1]}"
    for clock in ("09:29:59", "16:00:01"):
        fills(good, f"{DAYS[1]}T{clock},buy,100,100.0")
        said = f"fills.csv, line 3: ts must lie in the session, [09:30:00, 16:00:00], got {clock} UTC-05:00"
        assert said in refused(capsys, "--quantity", "200")
        assert "nearest price of their session: 1" in str(numbers(capsys)["remarks"])


def test_symbol_and_order_id_of_a_file_name_the_order(capsys, market):
    good = f"{DAYS[1]}T10:00:00,buy,100,{market[6][1]}"
    for column, value in (("symbol", "XYZ"), ("order_id", "7")):
        fills(f"{good},{value}", header=f"{HEADER},{column}")
        assert numbers(capsys)["id" if column == "order_id" else "symbol"] == value


def test_a_bad_option_is_one_clear_line(capsys, market):
    for words, message in [
        (("--quantity", "599"), "quantity must be at least the filled shares, 600 in fills.csv, got 599"),
        (("--quantity", "0"), "quantity must be a whole number in [1, 1000000000000000], got 0"),
        (("--arrival-price", "0"), "arrival_price must be a number in (0, 1e+09], got 0.0"),
        (("--arrival-price", "nan"), "arrival_price must be a number in (0, 1e+09], got nan"),
        (("--adv", "0"), "adv must be a number in (0, 1e+15] shares a day, got 0.0"),
        (("--decision", "25:00"), "decision must be a time such as 10:30, 10:30:05 or 2024-03-05T10:30:05, got '25:00'"),
        (("--decision", "09:00"), "decision must lie in [09:30:00, 10:00:00], got '09:00'"),
        (("--decision", "11:00"), "decision must lie in [09:30:00, 10:00:00], got '11:00'"),
        (("--decision", "2024-03-04T15:00:00"), "decision must be on 2024-03-05, the day of the fills"),
        (("--start", "10:02"), "fills.csv, line 2: ts must lie in start and close, [10:02:00, 16:00:00], got 10:01:00"),
        (("--start", "10:30"), "fills.csv, line 2: ts must lie in start and close, [10:30:00, 16:00:00], got 10:01:00"),
        (("--start", "16:00"), "start must be before the close, 16:00:00, got '16:00'"),
        (("--decision", "2024-03-05T10:00:00Z"), "decision must be in the time zone of the market, UTC-05:00"),
        (("--start", "10:00+00:00"), "start must be in the time zone of the market, UTC-05:00, or"),
        (("--symbol", "X\x1b[31mY"), r"symbol must be printable text, got 'X\x1b[31mY'"),
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
    ]:  # fmt: skip
        order(market)
        assert message in refused(capsys, *words)


def test_a_name_of_the_file_that_is_no_printable_text_is_refused(capsys, market):
    for value in ["X\x1b[31mY", '"X\nY"', "X\x9bY"]:
        for name in ["symbol", "order_id"]:
            fills(f"{BAD},{value}", header=f"{HEADER},{name}")
            said = refused(capsys)
            assert f"{name} must be printable text, got {value.strip(chr(34))!r}" in said
            assert said.strip().isprintable()


def test_a_file_may_have_any_name(capsys, market):
    order(market)
    os.rename("fills.csv", "a\x1b[31m.csv")
    code, out, _ = run(capsys, file="a\x1b[31m.csv")
    assert code == 0
    assert out.startswith(r"a\x1b[31m.csv: buy 600")


def test_lines_of_blanks_are_no_fills(capsys, market):
    order(market)
    plain = numbers(capsys)
    Path("fills.csv").write_text(Path("fills.csv").read_text().replace("\n", "\n  \n\n\t\n"))
    assert numbers(capsys) == plain


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("target", ["fills.csv", "./fills.csv", "bars.csv", "link.csv"])
def test_an_input_is_never_written_over(capsys, market, option, target):
    order(market)
    if target == "link.csv":
        Path(target).symlink_to("fills.csv")
    before = {path: path.read_bytes() for path in Path().iterdir()}
    code, out, err = run(capsys, option, target)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"cannot write {target}: it is one of the files that are read" in err
    assert {path: path.read_bytes() for path in Path().iterdir()} == before


# clocks


def in_zone(hours):
    """Write again the fills of 10:01:00, 10:06:30 and 10:12:15.250 in New York (UTC-05:00) by the clock of another zone."""
    there = timezone(timedelta(hours=hours))
    lines = Path("fills.csv").read_text().splitlines()
    for number, line in enumerate(lines[1:], start=1):
        stamp, rest = line.split(",", 1)
        lines[number] = f"{datetime.fromisoformat(stamp + '-05:00').astimezone(there).isoformat()},{rest}"
    Path("fills.csv").write_text("\n".join(lines))


def test_fills_of_another_zone_are_converted_to_the_clock_of_the_market(capsys, market):
    for hours in [0.0, -5.0, -4.0, 5.5, 8.75, -12.0]:
        order(market)
        Path("fills.csv").write_text(Path("fills.csv").read_text().replace("10:12:15", "10:12:15.250"))
        plain = numbers(capsys, "--decision", "09:50")
        in_zone(hours)
        converted = numbers(capsys, "--decision", f"{DAYS[1]}T09:50-05:00")
        naive, aware = plain.pop("remarks"), converted.pop("remarks")
        assert converted == plain
        assert "the times of the fills carry no offset and are taken to be in America/New_York" in str(naive)
        assert "the times of the fills are converted from UTC to UTC-05:00, the time zone of the market" in aware


def test_naive_fills_and_bars_may_be_of_different_zones(capsys, market, tmp_path):
    order(market)
    plain = numbers(capsys)
    in_zone(1.0)
    Path("fills.csv").write_text(Path("fills.csv").read_text().replace("+01:00", ""))
    found = numbers(capsys, "--fills-tz", "Europe/Paris")
    assert {**found, "remarks": 0} == {**plain, "remarks": 0}


def test_fills_of_a_wrong_zone_are_refused_with_the_right_one(capsys, market):
    order(market)
    in_zone(0.0)
    Path("fills.csv").write_text(Path("fills.csv").read_text().replace("+00:00", ""))
    said = refused(capsys)
    assert "3 of 3 executions lie outside the low-high range of their bars, the first in fills.csv, line 2" in said
    assert "they fit if their times are moved by -5 hours" in said
    assert "pass --fills-tz UTC" in said


def test_bars_that_are_stamped_at_their_end_are_recognised(capsys, market, tmp_path):
    order(market)
    plain = numbers(capsys)
    bars(tmp_path / "bars.csv", shift=5)
    assert cli.main(["tca", "fills.csv", "--market", "bars.csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == plain


def test_columns_of_the_order_take_the_place_of_options(capsys, market):
    order(market)
    words = ("--quantity", "800", "--decision", "09:50", "--start", "10:00", "--deadline", "10:20")
    plain = numbers(capsys, *words)
    lines = Path("fills.csv").read_text().splitlines()[1:]
    fills(*(f"{line},800,{DAYS[1]}T09:50:00,0.5" for line in lines), header=f"{HEADER},OrderQty,arrival_time,fee")
    found = numbers(capsys, *words[4:])
    assert {**found, "remarks": 0} == {**plain, "remarks": 0}
    assert "the fees of column fee are not in this report; the table of orders (--out) holds them" in found["remarks"]


GOLDEN = {
    "buy": (),
    "sell": (),
    "details": (*("--quantity", "800", "--decision", "09:50", "--start", "10:00"), "--deadline", "10:20", "--adv", "1000000"),
    "vwap plan and fees": (
        *("--plan", "VWAP", "--start", "09:30", "--deadline", "16:00"),
        *("--fee-bps", "1", "--min-fee", "2"),
    ),
    "model": ("--half-spread-bps", "2", "--kyle-lambda", "0.5", "--perm-impact-gamma", "0.1", "--resilience", "3"),
}
"""Options of the orders whose numbers `golden_tca.json` keeps, as the reader of one file of one order gave them."""


@pytest.mark.parametrize("name", GOLDEN)
def test_the_numbers_of_one_order_stay(capsys, market, name):
    order(market, "sell" if name == "sell" else "buy")
    golden = json.loads((Path(__file__).parent / "golden_tca.json").read_text())[name]
    plain = numbers(capsys, *GOLDEN[name])
    assert {key: plain[key] for key in golden} == golden
    assert {*plain} - {*golden} == {"remarks"}


# what an order is held against


def test_the_end_of_an_order_is_held_to_its_deadline(capsys, market):
    order(market)
    plain = numbers(capsys, "--deadline", "10:13")
    assert plain["end"] == 36_780.0
    assert plain["end_mid"] == pytest.approx(market[8][1] + 0.6 * (market[8][4] - market[8][1]))


def test_one_fill_and_even_fills_are_held_against_a_straight_plan(capsys, market):
    price = market[6][1]
    fills(f"{DAYS[1]}T10:02:30,buy,100,{price}")
    assert numbers(capsys)["tracking_error_percent"] == pytest.approx(100.0 / np.sqrt(12.0))
    fills(*(f"{DAYS[1]}T10:{k // 2:02d}:{30 * (k % 2) + 15},buy,10,{price}" for k in range(10)))
    plain = numbers(capsys)
    assert plain["plan_is_continuous"] is True
    assert plain["tracking_error_percent"] == pytest.approx(10.0 / np.sqrt(12.0))


@pytest.mark.parametrize("step", [1, 5])
def test_the_volatility_is_that_of_five_minute_returns_from_open_to_close(capsys, market, tmp_path, step):
    days = bars(tmp_path / "bars.csv", step=step)
    fills(f"{DAYS[1]}T10:00:00,buy,100,{days[1][30 // step][1]}")
    squares = []
    for number in (0, 2):
        closes = [row[4] for row in days[number]][5 // step - 1 :: 5 // step]
        assert len(closes) == 78
        squares.append((np.diff(np.log([days[number][0][1], *closes])) ** 2).sum())
    assert numbers(capsys)["volatility"] == pytest.approx(np.sqrt(np.mean(squares)), rel=1e-12)


def leave_out(*numbers):
    """Take bars out of the second session."""

    def spoil(days):
        days[1][:] = [row for number, row in enumerate(days[1]) if number not in numbers]

    return spoil


def test_bars_that_are_missing_are_told_and_the_unit_is_not_blamed(capsys, market, tmp_path):
    bars(tmp_path / "bars.csv", step=1, spoil=leave_out(*range(27, 35)))
    fills(f"{DAYS[1]}T10:01:00,buy,100,100.5")
    plain = numbers(capsys)
    assert plain["participation"] is None
    warnings = [text for text in plain["remarks"] if "WARNING" in text]
    assert warnings == [
        "WARNING: 8 of 390 bars of the day are missing, 1 of them between the first and the last fill; "
        "a missing bar has the last price and no volume"
    ]


def test_bars_that_are_missing_elsewhere_excuse_nothing(capsys, market, tmp_path):
    bars(tmp_path / "bars.csv", step=1, spoil=leave_out(40, 41))
    first = bars(tmp_path / "whole.csv", step=1)[1][31][1]
    fills(f"{DAYS[1]}T10:01:00,buy,100000,{first}")
    remarks = numbers(capsys)["remarks"]
    assert any(text.startswith("2 of 390 bars of the day are missing, 0 of them") for text in remarks)
    assert any("exceed the market volume of their bars: check the instrument and the unit" in text for text in remarks)


def test_a_part_of_the_day_is_reported_with_the_length_of_its_session(capsys, market, tmp_path):
    order(market)
    days = bars(tmp_path / "bars.csv")
    assert not any("minutes" in text for text in numbers(capsys)["remarks"])
    plain = numbers(capsys, "--hours", "09:30-13:00")
    assert plain["adv"] == np.mean([sum(row[5] for row in days[number][:42]) for number in (0, 2)])
    assert plain["close_price"] == market[41][4]
    assert plain["model"]["day_seconds"] == 12_600.0
    note = "sessions of 210 minutes, which are only a part of a longer trading day"
    assert f"ADV and volatility cover {note}" in plain["remarks"]
    assert f"volatility covers {note}" in numbers(capsys, "--hours", "09:30-13:00", "--adv", "1e6")["remarks"]


def test_a_day_that_the_bars_do_not_hold_is_named(capsys, market):
    fills("2024-03-07T10:01:00,buy,100,100.0")
    said = refused(capsys)
    assert "bars.csv: no session on 2024-03-07, the day of the fills; the sessions are from 2024-03-04 to 2024-03-06" in said


def test_a_file_of_fills_that_cannot_be_read_is_named(capsys, market):
    assert "cannot read fills.csv" in refused(capsys)
    Path("fills.csv").write_bytes(b"\xff\xfe\x00")
    assert "fills.csv, line 1: the file is empty" in refused(capsys)
    Path("fills.csv").write_bytes(b"ts\x00,side\x01")
    assert "fills.csv: not text; is it a file of data?" in refused(capsys)
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
    prices = [market[6 + k % 60 // 5][1] for k in range(count)]
    rows = [f"{DAYS[1]}T10:{k % 60:02d}:{k // 60:02d},sell,100,{prices[k]},<b>$x$</b>" for k in range(count)]
    fills(*rows, header=HEADER + ",symbol")
    assert run(capsys, "--html", "out.html")[0] == 0
    drawn = Path("out.html").read_text()
    assert "<b>" not in drawn
    assert "&lt;b&gt;$x$&lt;/b&gt;" in drawn
    assert ("The first 50 of" in drawn) == (count > 50)
    assert ("fills are merged" in drawn) == (count > 1000)


def test_the_page_of_an_order_of_which_nothing_is_known_is_drawn():
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    parent = ParentOrder(symbol="XYZ", side=-1, quantity=100, arrival_price=50.0)
    drawn = page(ExecutionReport(parent, (), 3.0, 3.0, "cancelled"))
    assert drawn.count("<svg") == 2
    assert "cancelled, 0 shares (0.0%); 3 s to 3 s" in drawn
    child = ChildOrder(parent, 0, 100, 4.0, 5.0, (Fill(6.0, 100, 49.9),))
    report = ExecutionReport(parent, (child,), 3.0, 33.0, "filled", plan=((3.0, 0.0), (10.0, 100.0)))
    assert "the mid before 1 of 1 fills is not known" in page(report)


@pytest.fixture
def drawn(monkeypatch):
    """The drawings of a page, in its order."""
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    drawings = []
    monkeypatch.setattr(tca_page, "svg", lambda drawing: drawings.append(drawing) or "<svg></svg>")
    return drawings


def line(axis, label):
    """Times and values of a line, and how it is drawn."""
    found = next(item for item in axis.lines if item.get_label() == label)
    return list(found.get_xdata()), list(found.get_ydata()), found.get_drawstyle()


def drawn_report(**more):
    """A sale of 1000 from 100 s to 200 s, of which 300 and 500 trade."""
    parent = ParentOrder(symbol="XYZ", side=-1, quantity=1000, arrival_price=50.0, adv=1e5)
    children = [
        ChildOrder(parent, k, n, at, None, (Fill(at, n, 49.9),)) for k, (at, n) in enumerate([(120.0, 300), (160.0, 500)])
    ]
    return ExecutionReport(parent, tuple(children), 100.0, 200.0, "expired", **more)


def test_the_picture_shows_what_is_left_of_the_order(drawn):
    page(drawn_report(marks=(Mark(80.0, 50.0), Mark(200.0, 49.5))))
    times, left, style = line(drawn[0].axes[0], "order")
    assert times == [80.0, 120.0, 160.0, 200.0]
    assert left == [100.0, 70.0, 20.0, 20.0]
    assert style == "steps-post"
    assert drawn[0].axes[0].get_xlim() == (80.0, 200.0)


@pytest.mark.parametrize(("continuous", "style"), [(True, "default"), (False, "steps-post")])
def test_the_picture_shows_the_plan_as_it_is_meant(drawn, continuous, style):
    plan = ((100.0, 0.0), (150.0, 400.0), (200.0, 1000.0))
    page(drawn_report(plan=plan, plan_is_continuous=continuous, marks=(Mark(80.0, 50.0), Mark(200.0, 49.5))))
    assert line(drawn[0].axes[0], "plan") == ([80.0, 100.0, 150.0, 200.0, 200.0], [100.0, 100.0, 60.0, 0.0, 0.0], style)


def test_the_plan_of_the_command_is_drawn_as_a_straight_line(capsys, market, drawn):
    order(market)
    assert run(capsys, "--html", "out.html")[0] == 0
    assert line(drawn[0].axes[0], "plan")[2] == "default"


def test_the_picture_shows_the_prices_and_each_fill(drawn):
    report = drawn_report(marks=(Mark(100.0, 50.0), Mark(200.0, 49.5, 1e4)))
    page(report)
    axis = drawn[0].axes[1]
    assert line(axis, "mid")[:2] == ([100.0, 200.0], [50.0, 49.5])
    for label, price in {"arrival price": 50.0, "interval VWAP": 49.75, "average fill": 49.9}.items():
        assert line(axis, label)[1] == pytest.approx([price, price])
    (dots,) = axis.collections
    assert dots.get_offsets().tolist() == [[120.0, pytest.approx(49.9)], [160.0, pytest.approx(49.9)]]
    small, large = dots.get_sizes()
    assert small / large == pytest.approx(300 / 500)


def test_each_bar_of_the_cascade_starts_where_the_one_above_ends(drawn):
    report = drawn_report(marks=(Mark(90.0, 50.2), Mark(100.0, 50.1), Mark(200.0, 49.5)))
    page(report)
    bars = drawn[1].axes[0].patches
    widths = [bar.get_width() for bar in bars]
    assert widths == pytest.approx([*report.decomposition, report.shortfall])
    assert all(abs(width) > 0.01 for width in widths)
    starts = [bar.get_x() for bar in bars]
    ends = [start + width for start, width in zip(starts, widths, strict=True)]
    assert starts == pytest.approx([0.0, *ends[:6], 0.0], abs=1e-9)
    assert ends[6] == pytest.approx(report.shortfall)


# real bars


def rows_of(file, day):
    with gzip.open(DATA / "bars_1min" / file, "rt") as text:
        return [row for row in csv.DictReader(text) if row["ts"].startswith(day)]


SPY = "SPY_1min_2024-03-26_2025-04-02_RTH.csv.gz"


def months_of(file, *months):
    """Write the rows of some months to a file in the folder; reading the whole year takes a second."""
    with gzip.open(DATA / "bars_1min" / file, "rt") as text:
        head, *rows = text
    Path("months.csv").write_text("".join([head, *(row for row in rows if row.startswith(months))]))
    return "months.csv"


@needs_data
@pytest.mark.parametrize(("name", "file", "day", "stamp", "others", "side"), [
    ("SPY", SPY, "2024-05-14", "start", 251, "buy"),
    ("AAPL", "AAPL_1min_2019-02-11_2019-02-15.csv.gz", "2019-02-13", "end", 4, "buy"),
    ("AAPL", "AAPL_1min_2019-02-11_2019-02-15.csv.gz", "2019-02-13", "end", 4, "sell"),
])  # fmt: skip
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
    assert any(f"estimated from {others} other sessions" in text for text in plain["remarks"])
    assert not any("WARNING" in text for text in plain["remarks"])


@needs_data
def test_a_day_that_closed_early_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fills("2024-07-03T10:01:00,buy,100,550.0")
    file = months_of(SPY, "2024-06", "2024-07")
    assert cli.main(["tca", "fills.csv", "--market", file, "--stamp", "start"]) == 2
    said = capsys.readouterr().err
    assert "(half day); the day of the order must be a full session; if the market closed early on that day" in said
    words = ["tca", "fills.csv", "--market", file, "--hours", "09:30-13:00", "--json"]
    assert cli.main(words) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["close_price"] == float(rows_of(SPY, "2024-07-03")[209]["close"])


@needs_data
def test_fills_in_universal_time_are_those_of_new_york(capsys, tmp_path, monkeypatch):
    """Summer and winter time."""
    monkeypatch.chdir(tmp_path)
    file = months_of(SPY, "2024-03", "2024-04", "2024-11", "2024-12")
    for day, ts, clock in (("2024-03-27", "14:00:20", 36_000.0), ("2024-12-03", "15:00:20", 36_000.0)):
        price = next(row["open"] for row in rows_of(SPY, day) if row["ts"][11:16] == "10:00")
        fills(f"{day}T{ts}+00:00,buy,100,{price}")
        assert cli.main(["tca", "fills.csv", "--market", file, "--json"]) == 0
        plain = json.loads(capsys.readouterr().out)
        assert (plain["start"], plain["arrival_price"]) == (clock, float(price))
        assert not any("WARNING" in text for text in plain["remarks"])
