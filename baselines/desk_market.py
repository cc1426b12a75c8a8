"""Market data for a blotter: find the files and rows of each instrument, and read them into one instrument at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from hyperexec_env.data.calendars import Calendar, calendar_of
from hyperexec_env.data.clock import find_stamp, settled_stamp
from hyperexec_env.data.days import CALENDAR_KINDS
from hyperexec_env.data.format import Format
from hyperexec_env.data.kinds import kind_of
from hyperexec_env.data.listings import Listing, Listings
from hyperexec_env.data.numbers import read_words
from hyperexec_env.data.raw import Raw, open_raw
from hyperexec_env.data.reader import read_bars, read_quotes, read_trades
from hyperexec_env.data.recognise import recognise
from hyperexec_env.data.sessions import NoSessions, Sessions, sessions_of
from hyperexec_env.data.sources import Data, Source, find_sources
from hyperexec_env.data.tables import Bars
from hyperexec_env.extras import need

from .instrument import Instrument, instrument_of

__all__ = ["DeskMarket", "checked_bars", "listed_calendar"]

KINDS: Final = ("bars", "trades", "quotes")
_READ: Final = {"bars": read_bars, "trades": read_trades, "quotes": read_quotes}


class DeskMarket:
    """The market data of the instruments of a blotter; one instrument at a time is in memory, unless a file holds several.

    Instruments are told apart by a column of symbols, otherwise by the names of the files (AAPL_1min.csv, aapl.parquet). Data
    without either belong to the only instrument of the blotter.

    Args:
        symbols: Symbols of the blotter; "" for executions without one.
        market: Bars; a file of trades or quotes is recognised as such.
        trades: Trades.
        quotes: Best bids and offers.
        format: How to read what the data do not say themselves.
        listings: Instruments with calendars of their own.

    Raises:
        ValueError: The data cannot be read, or none belongs to an instrument of the blotter.
        MissingExtra: The extra `data` is not installed.
    """

    def __init__(
        self,
        symbols: Sequence[str],
        market: Data = None,
        trades: Data = None,
        quotes: Data = None,
        format: Format | None = None,
        listings: Listings | None = None,
    ) -> None:
        self.format = format or Format()
        self.listings = listings or {}
        self.sessions: Sessions | None = None
        """Full sessions of the bars that were read last; None without bars or without a full session."""
        self.notes: list[str] = []
        """Sentences on instruments whose names differ."""
        self._symbols = list(symbols)
        self._unknown: set[str] = set()
        self._data: dict[str, dict[str, list[Any]]] = {symbol: {} for symbol in symbols}
        self._unnamed: list[tuple[str, Any]] = []
        for data, kind in ((market, ""), (trades, "trades"), (quotes, "quotes")):
            for source, item in _sources(data, kind or "market"):
                self._add(source, item, kind)
        if len(self._symbols) == 1 and not any(self._data.values()) and not self._unknown:
            for kind, item in self._unnamed:
                self._data[self._symbols[0]].setdefault(kind, []).append(item)
        self._unknown |= {str(item) for _, item in self._unnamed}
        if not any(self._data.values()):
            wanted, known = ", ".join(filter(None, self._symbols[:5])), ", ".join(sorted(self._unknown)[:5])
            raise ValueError(
                f"market: no data for {wanted or 'the executions'}"
                + (f"; the data hold {known}" if known else "; give --market, --trades or --quotes")
            )

    def calendar_of(self, symbol: str) -> Calendar:
        """Return the trading calendar of an instrument."""
        return listed_calendar(symbol, self.format, self.listings)

    def _format_of(self, symbol: str) -> Format:
        """Return how to read the data of an instrument."""
        calendar = self.listings.get(symbol, Listing()).calendar
        return replace(self.format, symbol="", calendar=calendar or self.format.calendar)

    def has(self, symbol: str) -> bool:
        """Return whether there are data for an instrument."""
        return bool(self._data.get(symbol))

    def instrument(self, symbol: str) -> Instrument:
        """Read the data of an instrument.

        Raises:
            ValueError: The data are faulty as a whole; the message names file, line and the option that helps.
        """
        found: dict[str, Any] = dict.fromkeys(KINDS)
        notes: list[str] = []
        for kind, items in self._data[symbol].items():
            table = self._read(kind, items, symbol)
            notes += [f"{kind}: {text}" for text in table.provenance.choices]
            found[kind] = table
        self.sessions, stamp = None, ""
        if found["bars"] is not None:
            self.sessions, stamp, more = checked_bars(found["bars"], self.calendar_of(symbol), self._format_of(symbol))
            notes += more
        bars = (found["bars"], stamp) if found["bars"] is not None else None
        return instrument_of(symbol, self.calendar_of(symbol), bars, found["trades"], found["quotes"], notes)

    def _read(self, kind: str, items: list[Any], symbol: str) -> Any:
        """Read data of one kind of an instrument."""
        read: Any = _READ[kind]
        rows = [item for item in items if isinstance(item, _Rows)]
        if not rows:
            return read(items, self._format_of(symbol))
        frames = [item.table if isinstance(item, _Rows) else item for item in items]
        try:
            table = read(frames, self._format_of(symbol))
        except ValueError:
            for item in rows:  # read the whole file again, so that the error names its line
                read(item.path, replace(self._format_of(symbol), symbol=item.word))
            raise
        files = zip(items, table.provenance.files, strict=True)
        names = tuple(item.name if isinstance(item, _Rows) else name for item, name in files)
        return replace(table, provenance=replace(table.provenance, files=names))

    def _add(self, source: Source, item: Any, kind: str) -> None:
        """Assign the data of a source to instruments."""
        raw = open_raw(source)
        kind, column = _kind_of(raw, kind, self.format)
        if column is None:
            symbol = self._symbol_of_name(source)
            if symbol is None:
                self._unnamed.append((kind, item))
            else:
                self._data[symbol].setdefault(kind, []).append(item)
            return
        for rows in _split(raw, item, column):
            if self._symbols == [""] and self.format.symbol in ("", rows.word):
                self._unknown.add(rows.word)
                if len(self._unknown) > 1:
                    known = ", ".join(sorted(self._unknown))
                    raise ValueError(f"{source.name}: several instruments ({known}); choose one with --symbol")
            symbol = self._symbol_of_word(rows.word)
            if symbol is None:
                self._unknown.add(rows.word)
            else:
                self._data[symbol].setdefault(kind, []).append(rows)

    def _symbol_of_word(self, word: str) -> str | None:
        """Return the symbol of the blotter that a symbol of the market is; None for another instrument."""
        if self._symbols == [""]:
            return "" if self.format.symbol in ("", word) else None
        return self._named(_plain(word))

    def _named(self, plain: str) -> str | None:
        """Return the symbol of the blotter with a plain name, with or without an exchange after it (BHP AU, BHP.AX)."""
        whole = next((symbol for symbol in self._symbols if symbol and _plain(symbol) == plain), None)
        if whole is not None:
            return whole
        part = next((symbol for symbol in self._symbols if symbol and _plain(re.split(r"[ .]", symbol)[0]) == plain), None)
        if part is not None:
            self.notes.append(f"{part} of the executions is taken to be {plain} of the market data")
        return part

    def _symbol_of_name(self, source: Source) -> str | None:
        """Return the symbol that the name of a file begins with or holds as a word; None for none of the blotter."""
        words = [_plain(word) for word in re.split(r"[_\-. ]+", source.stem)]
        starts = ["".join(words[:count]) for count in range(len(words), 0, -1)]
        for wanted in (*starts, *words):
            symbol = self._named(wanted)
            if symbol is not None:
                return symbol
        return None


def listed_calendar(symbol: str, format: Format, listings: Listings) -> Calendar:
    """Return the trading calendar of an instrument: that of its listing, else that of a format.

    Raises:
        ValueError: Hours are given beside a calendar of a listing.
    """
    own = listings.get(symbol, Listing()).calendar
    if own and format.hours and own != format.calendar:
        raise ValueError(f"hours must be left out where instruments have calendars of their own ({symbol}: {own})")
    return calendar_of(own or format.calendar, format.hours, format.tz)


def checked_bars(bars: Bars, calendar: Calendar, format: Format) -> tuple[Sessions | None, str, list[str]]:
    """Return the full sessions of bars (None without one), whether they are stamped at start or end, and sentences on them.

    Raises:
        ValueError: The bars are days.
    """
    files = ", ".join(bars.provenance.files[:3])
    if bars.is_daily:
        raise ValueError(f"{files}: daily bars do not resolve executions; give bars of 60 minutes at most, trades or quotes")
    try:
        sessions = sessions_of(bars, format, lenient=True)
    except NoSessions:  # a half day, or a few hours
        hours = calendar.sessions(int(bars.time.min()), int(bars.time.max()))
        return None, *settled_stamp(bars, *find_stamp(bars, hours), format)
    report = sessions.report
    faulty = [item for item in report.left_out if item.kind not in CALENDAR_KINDS]
    notes = (
        [f"faulty sessions of the bars: {len(faulty)}, for example {faulty[0]}; their volume may be wrong"] if faulty else []
    )
    return sessions, report.stamp, [*report.notes, *notes]


class _Rows:
    """The rows of one instrument in a file that holds several."""

    def __init__(self, name: str, table: Any, path: Any, word: str) -> None:
        self.name, self.table, self.path, self.word = name, table, path, word


def _plain(symbol: str) -> str:
    """Return a symbol in capitals without marks, to compare spellings such as BRK.B and BRK-B."""
    return re.sub(r"[^A-Z0-9]", "", symbol.upper())


def _sources(data: Data, what: str) -> list[tuple[Source, Any]]:
    """Return the sources of some data, each with what reads it again: its path, or the frame."""
    if data is None or (isinstance(data, (list, tuple)) and not data):
        return []
    found: list[tuple[Source, Any]] = []
    for item in list(data) if isinstance(data, (list, tuple)) else [data]:
        found += [(source, source.frame if source.form == "frame" else source.name) for source in find_sources(item, what)]
    members = [source for source, item in found if isinstance(item, str) and ".zip:" in source.name]
    if members and len(found) > 1 and any("symbol" not in _header(source) for source in members):
        raise ValueError(f"{members[0].name}: members of an archive hold no column symbol; unpack the archive")
    return [(source, source.name.split(".zip:")[0] + ".zip" if source in members else item) for source, item in found]


def _header(source: Source) -> list[str]:
    return [name.strip().lower() for name in open_raw(source).header]


def _kind_of(raw: Raw, kind: str, format: Format) -> tuple[str, int | None]:
    """Return the kind of data of a source, and the number of its column of symbols."""
    if "_message_" in raw.source.stem:
        return "trades", None
    kind = kind or kind_of([raw.source], format, KINDS)
    try:
        found = recognise(kind, raw, format.column_names, format.layout)
    except ValueError as error:
        raise ValueError(f"{raw.source.name}: {error}") from None
    return kind, found.columns.get("symbol") if raw.header else None


def _split(raw: Raw, path: Any, column: int) -> list[_Rows]:
    """Return the rows of each instrument of a source."""
    arrow = need("pyarrow", "data")
    names = [f"{name}" for name in raw.header]
    batches = [arrow.Table.from_arrays(batch, names=names) for batch in raw.batches(range(raw.width))]
    table = arrow.concat_tables(batches, promote_options="permissive").combine_chunks()
    words, places = read_words(arrow.concat_arrays(table.column(column).chunks))
    order = np.argsort(places, kind="stable")
    ends = np.flatnonzero(np.diff(places[order])) + 1
    parts = np.split(order, ends)
    return [_Rows(raw.source.name, table.take(part), path, words[int(places[part[0]])].strip()) for part in parts if len(part)]
