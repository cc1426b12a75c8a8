"""How data are to be read where they do not say it themselves: layout, columns, time zone, calendar, stamp."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from hyperexec_env.arguments import option
from hyperexec_env.checks import check_choice

__all__ = ["Format"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """How to read files and data frames. An empty value is determined from the data, and the report names the result.

    Raises:
        ValueError: A value is invalid; the message names it.
    """

    layout: str = option("", "layout of the data (default: recognised from header and values; see `hyperexec data layouts`)")
    columns: tuple[str, ...] = option(
        (), "columns by name or number (from 1), such as ts=Time,close=Last (default: by layout)", each=True
    )
    tz: str = option("", "time zone of stamps without an offset, such as UTC (default: by layout, else that of the calendar)")
    calendar: str = option("XNYS", "trading calendar: XNYS, XTKS, XHKG, CME, 24/7 ... (a code of exchange_calendars)")
    hours: str = option("", "trading hours that replace those of the calendar, such as 09:30-16:00")
    stamp: str = option("", "whether the time of a bar is its start or its end (default: determined)", choices=("start", "end"))
    symbol: str = option("", "instrument to read where the data hold several")
    date: str = option("", "day of the data where neither rows nor file name hold it, such as 2024-03-26")
    since: str = option("", "first day to use, such as 2024-11-05 (default: all days)")
    until: str = option("", "last day to use (default: all days)")
    dates: str = option("", "order of day, month and year where it is ambiguous", choices=("dmy", "mdy", "ymd"))
    decimal: str = option("", "decimal mark where it is ambiguous", choices=("point", "comma"))

    def __post_init__(self) -> None:
        """Check the values."""
        for name, choices in (("stamp", ("start", "end")), ("dates", ("dmy", "mdy", "ymd")), ("decimal", ("point", "comma"))):
            if getattr(self, name):
                check_choice(name, getattr(self, name), choices)
        for name in ("date", "since", "until"):
            if getattr(self, name) and not _is_day(getattr(self, name)):
                raise ValueError(f"{name} must be a day such as 2024-03-26, got {getattr(self, name)!r}")
        if self.since and self.until and self.since > self.until:
            raise ValueError(f"until must not be before since ({self.since}), got {self.until!r}")
        _ = self.column_names

    @property
    def column_names(self) -> dict[str, str]:
        """Return the given columns as field -> name or number of the column."""
        given: dict[str, str] = {}
        for text in self.columns:
            for pair in text.split(","):
                field, mark, name = pair.partition("=")
                if not (mark and field.strip() and name.strip()):
                    raise ValueError(f"columns must be pairs such as ts=Time,close=Last, got {pair!r}")
                if given.get(field.strip(), name.strip()) != name.strip():
                    raise ValueError(f"columns must name one column for {field.strip()}, got {given[field.strip()]} and {name}")
                given[field.strip()] = name.strip()
        return given


def _is_day(text: str) -> bool:
    """Return whether a text is a day of the calendar, such as 2024-03-26."""
    try:
        return str(date.fromisoformat(text)) == text
    except ValueError:
        return False
