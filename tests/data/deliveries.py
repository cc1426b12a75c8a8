"""Bars as vendors deliver them: the bars, ways to write them, and the record of a delivery; loaded by the tests of layouts."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np

from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_bars

NEW_YORK = "America/New_York"
STAMP = "%Y-%m-%d %H:%M:%S"


class Bar(NamedTuple):
    """One bar; the time is its start in UTC."""

    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


def moment(day: str, clock: str, zone: str = NEW_YORK) -> datetime:
    return datetime.fromisoformat(f"{day} {clock}").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def bars(*starts: datetime, digits: int = 2, volume: float = 1.0) -> list[Bar]:
    rng = np.random.default_rng(7)
    made = []
    for start in starts:
        first, last = (round(float(price), digits) for price in rng.normal(170.0, 1.0, 2))
        high, low = round(max(first, last) + 0.07, digits), round(min(first, last) - 0.05, digits)
        made.append(Bar(start, first, high, low, last, round(float(rng.integers(1_000, 900_000)) * volume, 5)))
    return made


MINUTES = bars(*(moment(day, f"09:{30 + at}") for day in ("2024-03-08", "2024-03-11") for at in range(6)))
"""Minutes of two days, between which New York changes its clocks."""
ONE_DAY = MINUTES[6:]
DAYS = bars(*(moment(f"2024-03-{day:02d}", "00:00") for day in (7, 8, 11, 12, 13)))
CRYPTO = bars(*(datetime(2025, 1, 1, 0, at, tzinfo=UTC) for at in range(8)), volume=1e-5)


@dataclass(frozen=True)
class Delivery:
    """Some bars as a vendor delivers them, and what must be read."""

    name: str
    content: str | bytes
    layout: str = "columns by name"
    expected: list[Bar] = field(default_factory=lambda: MINUTES)
    zone: str = NEW_YORK
    stamp: str = ""
    file: str = "bars.csv"
    minutes: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    has_volume: bool = True
    choice: str = ""
    """Words of a choice that the provenance says."""


def table(header: str, rows: list[Bar], line: Callable[[Bar], str], end: str = "\n") -> str:
    return end.join([*([header] if header else []), *map(line, rows)]) + end


def when(bar: Bar, form: str, zone: str = NEW_YORK, shift: int = 0) -> str:
    return (bar.time + timedelta(minutes=shift)).astimezone(ZoneInfo(zone)).strftime(form)


def epoch(bar: Bar, scale: int = 1) -> int:
    return int(bar.time.timestamp()) * scale


def shares(bar: Bar) -> str:
    return f"{bar.volume:.0f}"


def ohlc(bar: Bar, separator: str = ",") -> str:
    return separator.join(map(str, bar[1:5]))


def ohlcv(bar: Bar, separator: str = ",") -> str:
    return ohlc(bar, separator) + separator + (shares(bar) if bar.volume == int(bar.volume) else str(bar.volume))


def stamped(form: str, zone: str = NEW_YORK, mark: str = ",", shift: int = 0, tail: str = "") -> Callable[[Bar], str]:
    """Return a function that writes a bar as stamp, prices and volume."""
    return lambda bar: when(bar, form, zone, shift) + mark + ohlcv(bar, mark) + tail


def prices(bar: Bar, names: str, digits: int = 2) -> dict[str, str]:
    """Return the values of a bar as JSON writes them as text."""
    texts = [*(f"{price:.{digits}f}" for price in bar[1:5]), shares(bar)]
    return dict(zip(names.split(","), texts, strict=True))


def fixed(bar: Bar, scale: int) -> str:
    return ",".join(str(round(price * scale)) for price in bar[1:5])


def german(value: float) -> str:
    return str(value).replace(".", ",")


def zipped(name: str, content: str) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return target.getvalue()


def kline(bar: Bar, scale: int) -> str:
    start = epoch(bar, scale)
    return f"{start},{ohlcv(bar)},{start + 60 * scale - 1},1234.5,77,0.5,6.25,0"


def objects(rows: list[Bar], time: Callable[[Bar], Any], names: str, **more: Any) -> list[dict[str, Any]]:
    keys = names.split()
    return [{keys[0]: time(bar), **dict(zip(keys[1:6], bar[1:], strict=True)), **more} for bar in rows]


NEWEST_FIRST = MINUTES[::-1]
THREE_ROWS = "Price,Close,High,Low,Open,Volume\nTicker,AAPL,AAPL,AAPL,AAPL,AAPL\n"
MASSIVE = "ticker,volume,open,close,high,low,window_start,transactions"
DATABENTO = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol"
KLINES = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
STOOQ = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>"
MT5 = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
OTHER = MINUTES[0]._replace(open=9.0, high=9.5, low=8.5, close=9.25)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def nanoseconds(moments: list[datetime]) -> list[int]:
    return [round(moment.timestamp()) * 10**9 for moment in moments]


def check(folder: Path, delivery: Delivery) -> None:
    """Write a delivery to a folder, read it, and compare."""
    path = write(folder, delivery.file, delivery.content)
    table = read_bars(path, Format(**delivery.options))
    shift = timedelta(minutes=delivery.minutes if delivery.stamp == "end" else 0)
    assert table.time.tolist() == nanoseconds([bar.time + shift for bar in delivery.expected])
    for key in ("open", "high", "low", "close", "volume"):
        assert getattr(table, key).tolist() == [getattr(bar, key) for bar in delivery.expected], key
    origin = table.provenance
    assert (origin.layout, origin.zone, table.stamp) == (delivery.layout, delivery.zone, delivery.stamp)
    assert (table.minutes, table.has_volume) == (delivery.minutes, delivery.has_volume)
    assert delivery.choice in " ".join(origin.choices)
