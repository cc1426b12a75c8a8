"""Reading executions: columns of any names, words for sides, clocks, executions that do not count, and what is refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.data.format import Format

pytest.importorskip("pyarrow", reason="needs the extra `data`")
pytest.importorskip("exchange_calendars", reason="needs the extra `data`")

HEADER = "ts,symbol,side,quantity,price,order_id,exec_id,broker,algorithm"


def write(name, header, lines):
    Path(name).write_text("\n".join([header, *lines]) + "\n")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fills(folder):
    """A file of 30 executions of six orders of both sides."""
    lines = []
    for k in range(30):
        moment = datetime(2024, 3, 5, 15, tzinfo=UTC) + timedelta(seconds=97.25 * k)
        side, broker, order = ("BOT", "SLD")[k // 5 % 2], ("GS", "MS")[k // 5 % 2], k // 5
        row = (moment.isoformat(timespec="milliseconds"), "XYZ", side, f"{10 + k}", f"{100 + k / 100:.2f}", f"O{order}")
        lines.append(",".join([*row, f"E{order}-{k % 5}", broker, ("VWAP", "IS", "POV")[order % 3]]))
    write("fills.csv", HEADER, lines)
    return lines


def content(blotter):
    """The executions of a blotter, in any order of those at one time."""
    columns = [getattr(blotter, name).tolist() for name in ("time", "side", "quantity", "price")]
    labels = [blotter.symbol, blotter.order_id, blotter.broker, blotter.algorithm]
    return sorted(zip(*columns, *([label.of(at) for at in range(len(blotter))] for label in labels), strict=True))


SIDES = [
    ("B", "S"),
    ("BOT", "SLD"),
    ("buy", "SELL SHORT"),
    ("Buy", "sell_short"),
    ("1", "2"),
    ("1", "5"),
    ("+1", "-1"),
    ("BUY_TO_COVER", "SSHORT"),
]


@pytest.mark.parametrize("words", SIDES)
def test_words_for_sides_are_read(fills, words):
    plain = hx.read_blotter("fills.csv")
    write("other.csv", HEADER, Path("fills.csv").read_text().replace("BOT", words[0]).replace("SLD", words[1]).splitlines()[1:])
    assert hx.read_blotter("other.csv").side.tolist() == plain.side.tolist()
    assert {*plain.side.tolist()} == {1, -1}


def test_signed_quantities_and_fractions_are_read(fills):
    plain = hx.read_blotter("fills.csv")
    lines = [line.split(",") for line in fills]
    write("signed.csv", "ts,symbol,qty,price", [f"{c[0]},{c[1]},{'-' * (c[2] == 'SLD')}{c[3]}.125,{c[4]}" for c in lines])
    signed = hx.read_blotter("signed.csv")
    assert signed.side.tolist() == plain.side.tolist()
    assert signed.quantity.tolist() == (plain.quantity + 0.125).tolist()


NAMES = [
    "TransactTime,Symbol,Side,LastQty,LastPx,ClOrdID,ExecID,ExecBroker,Algo",
    "60,55,54,32,31,11,17,76,847",
    "60_TransactTime,55_Symbol,54_Side,32_LastQty,31_LastPx,37_OrderID,17_ExecID,76_ExecBroker,847_TargetStrategy",
    "Fill Time,Ticker,B/S,Filled Qty,Fill Price,Parent Order ID,Fill ID,Broker Name,Strategy",
    "Timestamp,Security,Buy_Sell,Shares,Avg Price,Order No,Trade ID,Counterparty,Algorithm",
]


@pytest.mark.parametrize("header", NAMES)
def test_columns_of_usual_names_are_read(fills, header):
    lines = fills
    plain = hx.read_blotter("fills.csv")
    write("other.csv", header, lines)
    other = hx.read_blotter("other.csv")
    for name in ("time", "side", "quantity", "price"):
        assert getattr(other, name).tolist() == getattr(plain, name).tolist(), name
    for name in ("symbol", "order_id", "broker", "algorithm"):
        assert getattr(other, name).words == getattr(plain, name).words, name


def test_columns_may_be_named(fills):
    write("odd.csv", "a,b,c,d,e,f,g,h,i", fills)
    given = Format(columns=("ts=a", "symbol=b", "side=c", "quantity=d", "price=5", "order_id=f"))
    assert hx.read_blotter("odd.csv", given).order_id.words == hx.read_blotter("fills.csv").order_id.words


def test_fix_stamps_are_universal_time(fills):
    plain = hx.read_blotter("fills.csv")
    lines = [line.split(",") for line in fills]
    times = [datetime.fromisoformat(cells[0]).strftime("%Y%m%d-%H:%M:%S.%f")[:-3] for cells in lines]
    write("fix.csv", "TransactTime,Side,LastQty,LastPx", [f"{t},1,{c[3]},{c[4]}" for t, c in zip(times, lines, strict=True)])
    found = hx.read_blotter("fix.csv")
    assert found.time.tolist() == plain.time.tolist()
    assert "are taken to be in UTC, as usual for fix; pass --fills-tz" in found.provenance.choices[0]


@pytest.mark.parametrize("unit", [1, 10**3, 10**6, 10**9])
def test_epochs_are_read(fills, unit):
    plain = hx.read_blotter("fills.csv")
    lines = [line.split(",") for line in fills]
    whole = [round(1000 * datetime.fromisoformat(cells[0]).timestamp()) for cells in lines]
    write(
        "epoch.csv", "time,side,qty,price", [f"{t * unit // 1000},B,{c[3]},{c[4]}" for t, c in zip(whole, lines, strict=True)]
    )
    assert np.abs(hx.read_blotter("epoch.csv").time - plain.time).max() <= (1e9 if unit == 1 else 0)


def test_date_and_time_may_be_two_columns(fills):
    lines = [line.split(",") for line in fills]
    clocks = [datetime.fromisoformat(c[0]).astimezone(ZoneInfo("America/New_York")) for c in lines]
    rows = [f"{t:%m/%d/%Y},{t:%H:%M:%S.%f},{c[2]},{c[3]},{c[4]}" for t, c in zip(clocks, lines, strict=True)]
    write("two.csv", "Trade Date,Exec Time,Side,Qty,Price", rows)
    assert hx.read_blotter("two.csv", Format(dates="mdy")).time.tolist() == hx.read_blotter("fills.csv").time.tolist()


def test_executions_given_twice_are_counted_once(fills):
    plain = hx.read_blotter("fills.csv")
    write("twice.csv", HEADER, [*fills, *fills[:7]])
    found = hx.read_blotter("twice.csv")
    assert content(found) == content(plain)
    assert found.provenance.dropped == {"executions given twice (exec_id)": 7}


def test_cancelled_executions_are_taken_out_and_corrected_ones_replaced(fills):
    typed = [f"{line},F," for line in fills]
    cells = fills[3].split(",")
    wrong = ",".join([*cells[:4], "150.0", *cells[5:]]) + ",F,"
    right = ",".join([*cells[:6], "E-new", *cells[7:]]) + f",G,{cells[6]}"
    bad = fills[4].replace("E0-4", "E-bad") + ",F,"
    bust = fills[4].replace("E0-4", "E-bust") + ",H,E-bad"
    order = ",".join([*cells[:3], "0", "0", *cells[5:6], "", *cells[7:]]) + ",4,"
    write("typed.csv", HEADER + ",ExecType,ExecRefID", [*typed[:3], wrong, *typed[4:], right, bad, bust, order])
    found = hx.read_blotter("typed.csv")
    assert content(found) == content(hx.read_blotter("fills.csv"))
    assert found.provenance.dropped == {
        "messages that are no executions": 1,
        "corrected executions": 1,
        "cancelled executions": 1,
        "cancellations": 1,
    }


def test_a_cancellation_with_the_id_of_its_execution_takes_it_out(fills):
    lines = [f"{line},trade" for line in fills]
    write("bust.csv", HEADER + ",exec_type", [*lines, lines[0].replace("trade", "Trade Cancel")])
    found = hx.read_blotter("bust.csv")
    assert len(found) == len(lines) - 1
    assert found.provenance.dropped == {"cancelled executions": 1, "cancellations": 1}


def test_one_id_with_two_prices_is_refused(fills):
    lines = fills
    write("two.csv", HEADER, [*lines, lines[0].replace(",O0", "9,O0")])
    with pytest.raises(
        ValueError, match=r"two\.csv, line 32: exec_id 'E0-0' is that of line 2 too, with price .* mark corrections"
    ):
        hx.read_blotter("two.csv")


GOOD = "2024-03-05T15:00:00Z,XYZ,B,100,100.0,O1,E1,GS,VWAP"


BAD = {
    "side": (
        GOOD.replace(",B,", ",bye,"),
        "line 7: side must be buy, sell, B, S, BOT, SLD, SELL SHORT, 1, 2, -1 or the like, got 'bye'",
    ),
    "no side": (GOOD.replace(",B,", ",,"), "line 7: side is missing"),
    "sign": (GOOD.replace(",100,", ",-100,"), "line 7: quantity -100 contradicts side 'B'"),
    "quantity": (GOOD.replace(",100,", ",0,"), "line 7: quantity must be a number in (0, 1e+15], got 0"),
    "words": (GOOD.replace(",100,", ",many,"), "line 7: quantity must be a number, got 'many'"),
    "price": (GOOD.replace("100.0", "-3"), "line 7: price must be a number in (0, 1e+09], got -3"),
    "no price": (GOOD.replace("100.0", ""), "line 7: price must be a number in (0, 1e+09], got nan"),
    "time": (
        GOOD.replace("15:00:00Z", ""),
        "line 7: ts must be a date and time like the others, got '2024-03-05T'",
    ),
    "day": (
        GOOD.replace("T15:00:00Z", ""),
        "line 7: ts must be a date and time such as 2024-03-26T09:30:01.25, got '2024-03-05'",
    ),
    "zone": (GOOD.replace("00Z", "00"), "ts must be a date and time like the others, got"),
    "control": (GOOD.replace("GS", "\x1b[31m"), "line 7: broker must be printable text, got '\\x1b[31m'"),
    "values": (GOOD + ",x", "line 7: expected 9 values, got 10"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_are_refused_with_file_line_and_value(folder, name):
    line, message = BAD[name]
    write("bad.csv", HEADER, [*(GOOD.replace("E1", f"E{k}") for k in range(2, 7)), line])
    with pytest.raises(ValueError, match=r"^bad\.csv, ") as error:
        hx.read_blotter("bad.csv")
    assert message in str(error.value)


def test_equal_executions_without_an_id_count_and_are_said(fills):
    bare = [",".join([*line.split(",")[:6], *line.split(",")[7:]]) for line in fills]
    header = HEADER.replace("exec_id,", "")
    write("bare.csv", header, [*bare, *bare[:2]])
    found = hx.read_blotter("bare.csv")
    assert len(found) == 32
    said = "executions that equal another one in time, quantity, price and order count too, for want of an exec_id: 2"
    assert said in found.provenance.choices
    write("bare.csv", header, bare)
    assert not any("for want of an exec_id" in text for text in hx.read_blotter("bare.csv").provenance.choices)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("OrderQty", "1e400", "ordered must be a number in (0, 1e+15], got inf"),
        ("arrival_price", "-3", "arrival_price must be a number in (0, 1e+09], got -3"),
        ("fee", "1e99", "fee must be a number of at most 1e+12, got 1e+99"),
    ],
)
def test_optional_numbers_may_be_missing_but_not_out_of_range(fills, field, value, message):
    lines = [f"{line},{value if k == 3 else ''}" for k, line in enumerate(fills)]
    write("more.csv", f"{HEADER},{field}", lines)
    with pytest.raises(ValueError, match=r"^more\.csv, line 5: ") as error:
        hx.read_blotter("more.csv")
    assert message in str(error.value)
    write("more.csv", f"{HEADER},{field}", [f"{line},{5000 if k == 3 else ''}" for k, line in enumerate(fills)])
    assert content(hx.read_blotter("more.csv")) == content(hx.read_blotter("fills.csv"))
