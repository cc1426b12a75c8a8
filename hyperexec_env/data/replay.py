"""Real days for a replay: read them, split them by day, calibrate to the first part, and record all of them.

The order of time is kept: the scenario is calibrated to the sessions of the training part alone, `purged` sessions lie between
two parts, and the volume of a day is scaled by the mean volume of the twenty sessions before it. In a day, the regime that is
shown in a slice is the most likely one given the returns of the earlier slices (Hamilton 1989).

Prepared days are bars of full sessions in a parquet file (:func:`write_days`) that every reader of bars understands. Its
metadata hold the calendar; a column `half_spread_bps` holds the quoted spread.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically
from hyperexec_env.market.days import Days
from hyperexec_env.market.recording import Recording, record_days
from hyperexec_env.market.tables import build_market

from .calibration import calibration_of
from .figures import Figures, Samples, estimate, samples_of
from .format import Format
from .reader import read_quotes
from .regime_fit import predicted_regimes
from .sessions import Sessions, read_sessions
from .sources import Data
from .tables import Quotes
from .tape import usable_quotes
from .zones import MINUTE

__all__ = [
    *("PAST", "PURGED", "TRAIN", "VALIDATION", "quoted_spreads", "read_days", "read_replay", "recording_of", "symbol_of"),
    "write_days",
]

Floats = NDArray[np.float64]

PAST: Final = 20
"""Sessions before a day whose mean volume scales the volume of the day."""
TRAIN: Final = 0.6
VALIDATION: Final = 0.2
"""Default shares of the sessions."""
PURGED: Final = 1
"""Default number of sessions between two parts."""
_KEY: Final = b"hyperexec"
"""Key of the metadata of a file of prepared days."""
_SPREAD: Final = "half_spread_bps"
_COLUMNS: Final = ("ts", "open", "high", "low", "close", "volume")


def read_replay(
    data: Data,
    *,
    quotes: Data | None = None,
    format: Format | None = None,
    train: float = TRAIN,
    validation: float = VALIDATION,
    purged: int = PURGED,
    symbol: str = "",
    **order: Any,
) -> Recording:
    """Read real days of one instrument, calibrate a scenario to the first of them, and record all.

    Args:
        data: Bars of less than a day with a volume, or a file of prepared days; see
            :func:`~hyperexec_env.data.sessions.read_sessions`. Faulty sessions are left out.
        quotes: Best bids and offers of the same days, whose spread each slice then costs; None: the spread is the scenario's,
            or that of the prepared days.
        format: How to read what the data do not say themselves.
        train: Share of the sessions to which the scenario is calibrated, and on which policies train.
        validation: Share of the sessions on which checkpoints are chosen; the rest is the test.
        purged: Number of sessions between two parts, which no part has.
        symbol: Name of the instrument (default: from the name of the file).
        **order: Fields that replace calibrated or default values, such as ``quantity`` or ``kyle_lambda``.

    Raises:
        ValueError: The data cannot be read, have no volume, are daily, or are too few for the parts.
        MissingExtra: The extra `data` is not installed.
    """
    sessions, spreads = read_days(data, format)
    if quotes is not None:
        spreads = quoted_spreads(sessions, read_quotes(quotes, format))
    symbol = symbol or symbol_of(sessions.report.files[0])
    return recording_of(sessions, spreads, train=train, validation=validation, purged=purged, symbol=symbol, **order)


def read_days(data: Data, format: Format | None = None) -> tuple[Sessions, Floats | None]:
    """Return full sessions of bars, and half of the quoted spread of each bar, bps, of a file of prepared days (else None)."""
    found = _prepared(data)
    if found is None:
        return read_sessions(data, format, lenient=True), None
    about, spread = found
    names = tuple(f"{name}={name}" for name in _COLUMNS)
    stated = Format(calendar=about["calendar"], hours=about["hours"], tz=about["tz"], stamp="start", columns=names)
    sessions = read_sessions(data, stated, lenient=True)
    if len(spread) != int((~sessions.missing).sum()):
        raise ValueError(f"{data}: the prepared days hold {len(spread):,} bars, of which not all are read; prepare them again")
    spreads = np.full(sessions.missing.shape, np.nan)
    spreads[~sessions.missing] = spread
    return sessions, None if np.isnan(spread).all() else spreads


def _prepared(data: Data) -> tuple[dict[str, str], Floats] | None:
    """Return the metadata and the spreads of a file of prepared days; None for other data."""
    items = [data] if isinstance(data, (str, os.PathLike)) else list(data) if isinstance(data, (list, tuple)) else []
    if len(items) != 1 or not str(items[0]).endswith(".parquet") or not Path(items[0]).is_file():
        return None
    parquet, arrow = need("pyarrow.parquet", "data"), need("pyarrow", "data")
    try:
        about = (parquet.read_schema(items[0]).metadata or {}).get(_KEY)
        if about is None:
            return None
        spread = parquet.read_table(items[0], columns=[_SPREAD]).column(_SPREAD).to_numpy(zero_copy_only=False)
        return json.loads(about), np.asarray(spread, dtype=np.float64)
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise ValueError(f"cannot read the prepared days {items[0]}: {error}") from None


def write_days(sessions: Sessions, spreads: Floats | None, path: str | os.PathLike[str]) -> None:
    """Write sessions as a file of prepared days: their bars in UTC, the spread of each bar, and the calendar.

    Args:
        sessions: Sessions of bars of less than a day.
        spreads: Half of the quoted spread of each bar, bps, NaN where it is not known, shape (session, bar); or None.
        path: The file to write, with the ending .parquet.

    Raises:
        ValueError: The file has another ending or cannot be written, or the bars are days.
    """
    if not str(path).endswith(".parquet"):
        raise ValueError(f"out must be a file with the ending .parquet, got {str(path)!r}")
    _check_bars(sessions)
    arrow, parquet = need("pyarrow", "data"), need("pyarrow.parquet", "data")
    present = ~sessions.missing
    times = [[item.time_of(float(edge)) for edge in sessions.edges[:-1]] for item in sessions.hours]
    columns = {name: getattr(sessions, name)[present] for name in _COLUMNS[1:]}
    spread = np.full(present.shape, np.nan) if spreads is None else spreads
    stamps = arrow.array(np.array(times)[present], arrow.timestamp("ns", tz="UTC"))
    calendar = sessions.calendar
    hours = "" if calendar.hours is None else "-".join(map(_clock, calendar.hours))
    about = {"calendar": calendar.name, "hours": hours, "tz": calendar.zone if calendar.name == "24/7" and hours else ""}
    table = arrow.table({"ts": stamps, **columns, _SPREAD: spread[present]})
    content = io.BytesIO()
    parquet.write_table(table.replace_schema_metadata({_KEY: json.dumps(about)}), content)
    write_atomically(path, content.getvalue())


def _clock(minute: int) -> str:
    """Return minutes after midnight, negative on the evening before, as a time of day."""
    return f"{minute % 1440 // 60:02d}:{minute % 60:02d}" if minute != 1440 else "24:00"


def _check_bars(sessions: Sessions) -> None:
    """Raise ValueError if the bars are days or have no volume."""
    names = ", ".join(sessions.report.files)
    if sessions.bar_minutes == 1440:
        raise ValueError(f"{names}: replay needs bars of less than a day, got daily bars")
    if not sessions.has_volume:
        raise ValueError(f"{names}: replay needs bars with a volume, got none")


def symbol_of(file: str | os.PathLike[str]) -> str:
    """Return the name of an instrument from the name of its file, up to the first mark that is not a letter or digit."""
    name = Path(file).name
    end = next((at for at, letter in enumerate(name) if not letter.isalnum()), len(name))
    return name[:end] or "replay"


def quoted_spreads(sessions: Sessions, quotes: Quotes) -> Floats:
    """Return half of the quoted spread of each bar, bps of the mid, shape (session, bar): the mean over the minutes of the bar.

    A minute has the last quote at its end, NaN before the first quote of a session. Crossed quotes and stubs are not used.
    """
    good, _ = usable_quotes(quotes)
    time, bid, ask = quotes.valid_from[good], quotes.bid[good], quotes.ask[good]
    half = 1e4 * (ask - bid) / (ask + bid)
    found = np.full(sessions.close.shape, np.nan)
    for day, item in enumerate(sessions.hours):
        first, past = np.searchsorted(time, (item.open, item.close + 1)).tolist()
        rows = slice(first, past)
        if first == past:
            continue
        minutes = np.arange(1.0, sessions.day_minutes + 1.0)
        ends = np.array([item.time_of(minute - 1.0) for minute in minutes.tolist()]) + MINUTE
        last = np.searchsorted(time[rows], ends, side="right") - 1
        known = last >= 0
        bar = np.searchsorted(sessions.edges, minutes - 0.5, side="right") - 1
        bars = sessions.close.shape[1]
        count = np.bincount(bar[known], minlength=bars)
        total = np.bincount(bar[known], half[rows][last[known]], bars)
        found[day] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    if np.isnan(found).all():
        raise ValueError(f"{', '.join(quotes.provenance.files)}: no quote lies within the sessions of the bars")
    return found


def recording_of(
    sessions: Sessions,
    spreads: Floats | None = None,
    *,
    train: float = TRAIN,
    validation: float = VALIDATION,
    purged: int = PURGED,
    symbol: str = "replay",
    **order: Any,
) -> Recording:
    """Return the recording of sessions; see :func:`read_replay`. `spreads` are those of :func:`quoted_spreads`."""
    _check_bars(sessions)
    parts = _parts(len(sessions.dates), train, validation, purged)
    before, samples = _chosen(sessions, parts[0]), samples_of(sessions)
    figures = estimate(samples_of(before))
    scenario = calibration_of(before, symbol or "replay", figures=figures, with_errors=False, **order).scenario
    if scenario.slices != samples.slices or scenario.horizon_minutes != scenario.day_minutes:
        raise ValueError(f"slices must be {samples.slices} over the whole day: those are the slices of the bars")
    market = build_market(scenario)
    regimes = _regimes(samples, figures, market.regimes)
    volume = samples.volume * scenario.adv / _usual_volume(samples)[:, None]
    half = None if spreads is None else _by_slice(sessions, spreads, samples.slices)
    empty = np.flatnonzero(samples.volume.min(axis=1) <= 0.0)

    def recorded(part: NDArray[np.int64]) -> Days:
        days = np.setdiff1d(part, [0, *empty])  # the first session has no past volume
        chosen = None if half is None else half[days]
        dates = [sessions.dates[day] for day in days]
        return record_days(market, dates, samples.returns[days], volume[days], regimes[days], chosen)

    return Recording(
        scenario,
        recorded(parts[0]),
        recorded(parts[1]),
        recorded(parts[2]),
        calibrated=(sessions.dates[0], sessions.dates[parts[0][-1]], len(parts[0])),
        symbol=symbol,
        notes=tuple(_notes(empty, half)),
    )


def _notes(empty: NDArray[np.int64], half: Floats | None) -> Iterator[str]:
    """Yield a sentence on sessions that are not replayed, and one on quotes."""
    if len(empty):
        yield f"{len(empty)} sessions with a slice without volume are not replayed"
    if half is not None:
        known = int((~np.isnan(half).any(axis=1)).sum())
        yield f"{known} of {len(half)} sessions have quotes in every slice; the spread of other slices is the scenario's"


def _parts(
    count: int, train: float, validation: float, purged: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the sessions of training, validation and test.

    Raises:
        ValueError: A share is out of range, or a part has too few sessions.
    """
    check_number("train", train, low=0.0, high=1.0, open_low=True)
    check_number("validation", validation, low=0.0, high=1.0)
    check_integer("purged", purged, low=0, high=1000)
    first, second = round(train * count), round((train + validation) * count)
    middle = np.arange(first + purged, second) if validation else np.arange(0)
    last = np.arange((second if validation else first) + purged, count)
    if first < 2 or len(last) < 2 or (validation and not len(middle)):
        sizes = f"{first}, {len(middle)} and {len(last)} of {count}"
        raise ValueError(
            "replay needs two sessions for the calibration, one for the validation (or --validation 0) and two for the test, "
            f"got {sizes} (train {train:g}, validation {validation:g}, purged {purged})"
        )
    return np.arange(first), middle, last


def _regimes(samples: Samples, figures: Figures, regimes: int) -> NDArray[np.int64]:
    """Return the regime that is shown in each slice, shape (session, slice).

    Raises:
        ValueError: The scenario has other regimes than the fit.
    """
    if regimes == 1 or figures.fit is None:
        return np.zeros(samples.returns.shape, dtype=np.int64)
    if len(figures.fit.law) != regimes:
        raise ValueError(f"regimes must be the {len(figures.fit.law)} of the calibration, or one, got {regimes}")
    return np.asarray(predicted_regimes(samples.returns / figures.usual_size, figures.fit).argmax(axis=2))


def _usual_volume(samples: Samples) -> Floats:
    """Return the mean daily volume of the :data:`PAST` sessions before each session, shape (session,); the first is its own."""
    daily = samples.volume.sum(axis=1)
    return np.array([daily[max(0, day - PAST) : max(day, 1)].mean() for day in range(len(daily))])


def _by_slice(sessions: Sessions, spreads: Floats, slices: int) -> Floats:
    """Return the mean over the bars of each slice, shape (session, slice); NaN where no bar has a spread."""
    middle = 0.5 * (sessions.edges[1:] + sessions.edges[:-1])
    at = np.minimum((middle * slices / sessions.day_minutes).astype(np.int64), slices - 1)
    known = ~np.isnan(spreads)
    total, count = (
        np.stack([np.bincount(at, row, slices) for row in values]) for values in (np.where(known, spreads, 0.0), known)
    )
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _chosen(sessions: Sessions, days: Sequence[int] | NDArray[np.int64]) -> Sessions:
    """Return some of the sessions, in their order; the report is that of all."""
    columns: dict[str, Any] = {
        name: getattr(sessions, name)[days] for name in ("open", "high", "low", "close", "volume", "missing")
    }
    columns |= {name: tuple(getattr(sessions, name)[day] for day in days) for name in ("dates", "hours")}
    return replace(sessions, **columns)
