"""Text files of data: encoding, separator, lines before the data, header, and the rows in columnar batches."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

from hyperexec_env.extras import need

from .sources import NoTable, Source, damage
from .stamps import stamp_kind

__all__ = ["BLOCK", "NULLS", "Dialect", "line_of_row", "read_text", "sniff"]

BLOCK: Final = 2**23
"""Bytes that are parsed at a time; a longer line is refused."""
NULLS: Final = ("", "null", "NULL", "NaN", "nan", "None", "N/A", "n/a", "NA", "-", "--", ".")
"""Values of a text file that stand for no value."""
_SAMPLE: Final = 2**18
"""Bytes of the beginning of a file that determine its dialect."""
_EAST_ASIAN: Final = {"cp932": "終値", "gb18030": "收盘", "big5": "收盤", "cp949": "종가"}
"""Encodings of East Asia, with the word for a close that a header in them holds."""
_HEAD: Final = 60
"""Lines of the sample among which the header and the first row of data are searched."""
_SEPARATORS: Final = ("\t", ";", "|", ",", " ")
"""Separators; the first of two that fit alike is taken, so that a comma next to a semicolon is a decimal mark."""
_NUMBER: Final = re.compile(r"[-+$€£]?[\d.,' ]*\d[\d.,]*([eE][-+]?\d+)?[KMB%]?")
_TWS: Final = re.compile(
    r"\bDate: ?([^,]+), ?Open: ?([^,]+), ?High: ?([^,]+), ?Low: ?([^,]+), ?Close: ?([^,]+), ?Volume: ?([^,\s]+)"
)


class Dialect(NamedTuple):
    """The form of a text file."""

    encoding: str
    separator: str
    skip: int
    """Lines before the first row of data."""
    header: tuple[str, ...]
    """Names of the columns; empty if the file has none."""
    tickers: tuple[str, ...]
    """Instrument of each column, where a row below the header names it; otherwise empty."""
    width: int
    """Number of columns."""
    sample: tuple[tuple[str, ...], ...]
    """First rows of data."""
    is_log: bool = False
    """Whether the lines are log lines of Interactive Brokers' API (Date: ..., Open: ...)."""


def sniff(source: Source) -> Dialect:
    """Return the dialect of a text file, determined from its beginning.

    Raises:
        ValueError: The file is empty, is not text, or holds no row of data.
    """
    try:
        with source.open() as file:
            content = file.read(_SAMPLE)
    except (OSError, EOFError) as error:
        raise damage(source.name, error) from None
    encoding = _encoding(source, content)
    text = content.decode(encoding, errors="ignore").removeprefix("\ufeff")
    lines = re.split("\r\n|\n|\r", text)
    lines = lines[:-1] if len(lines) > 1 and (len(content) == _SAMPLE or not lines[-1]) else lines
    if not text.strip():
        raise NoTable(f"{source.name}, line 1: the file is empty")
    if text.lstrip().startswith("<") and re.match(r"\s*<(!doctype|html|\?xml)", text, re.IGNORECASE):
        raise ValueError(f"{source.name}, line 1: an HTML or XML page, not a file of data")
    if sum(bool(_TWS.search(line)) for line in lines[:_HEAD]) >= 0.5 * min(len(lines), _HEAD):
        rows = tuple(match.groups() for line in lines if (match := _TWS.search(line)))
        return Dialect(encoding, ",", 0, ("Date", "Open", "High", "Low", "Close", "Volume"), (), 6, rows, is_log=True)
    return _table(source, encoding, lines)


def _table(source: Source, encoding: str, lines: list[str]) -> Dialect:
    """Return the dialect of a table from its first lines."""
    separator = max(_SEPARATORS, key=lambda mark: _fit(lines[:_HEAD], mark))
    rows = [_split(line, separator) for line in lines]
    first = next((at for at, row in enumerate(rows[:_HEAD]) if _is_data_row(row)), None)
    if first is None:
        shown, head = " ".join(lines[0].split())[:60], min(len(lines), _HEAD)
        raise NoTable(f"{source.name}: no row of data (two numbers or more) among the first {head} lines; line 1 is {shown!r}")
    width = len(rows[first])
    above = [row for row in rows[:first] if any(row)]
    sample = tuple(tuple(row) for row in rows[first:] if len(row) == width)
    header, tickers = _header(above, width, sample)
    return Dialect(encoding, separator, first, header, tickers, width, sample)


def _header(above: list[list[str]], width: int, sample: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the columns, and the instrument of each, from the rows above the data."""
    rows = [row for row in above if len(row) == width]
    if not rows:
        return _short_header(above, sample), ()
    if len(rows) >= 2 and rows[-1][0] and not any(rows[-1][1:]):  # Price,Close,... / Ticker,AAPL,... / Date,,...
        tickers = rows[-2][1:] if len(rows) >= 3 else [""] * (width - 1)
        return (rows[-1][0], *rows[-min(len(rows), 3)][1:]), ("", *tickers)
    return tuple(rows[-1]), ()


def _short_header(above: list[list[str]], sample: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Return the names of a header that lacks one name: that of an index (R), or of what follows a separator at the end."""
    width = len(sample[0])
    if not above or len(above[-1]) != width - 1 or width < 4:
        return ()
    return tuple([*above[-1], ""] if not any(row[-1] for row in sample) else ["", *above[-1]])


def _encoding(source: Source, content: bytes) -> str:
    """Return the encoding of a text."""
    for mark, name in ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig")):
        if content.startswith(mark):
            return name
    even, odd = content[0:2000:2].count(0), content[1:2000:2].count(0)
    length = len(content[:2000])
    if max(even, odd) > 0.3 * length and min(even, odd) < 0.05 * length:
        return "utf-16-le" if odd > even else "utf-16-be"
    if even or odd:
        raise ValueError(f"{source.name}: not text; is it a file of data?")
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(content) - 4:
            return next((name for name, word in _EAST_ASIAN.items() if word.encode(name) in content), "cp1252")
    return "utf-8"


def _fit(lines: Sequence[str], separator: str) -> float:
    """Return how well a separator splits some lines: the number of columns, weighted by the share of lines that have it."""
    widths = [len(_split(line, separator)) for line in lines if line.strip()]
    if not widths:
        return 0.0
    width = max(set(widths), key=widths.count)
    return 0.0 if width == 1 else (widths.count(width) / len(widths)) ** 2 * min(width, 12) * (0.5 if separator == " " else 1.0)


def _split(line: str, separator: str) -> list[str]:
    """Return the values of a line, without blanks around them."""
    try:
        return [value.strip() for value in next(csv.reader([line], delimiter=separator), [])]
    except csv.Error:
        return [line]


def _is_data_row(row: Sequence[str]) -> bool:
    """Return whether a row holds data rather than names: two numbers, and three or most of its values are numbers or stamps."""
    given = [value for value in row if value not in NULLS]
    numbers = sum(bool(_NUMBER.fullmatch(value)) for value in given)
    stamps = sum(bool(stamp_kind(value)) for value in given if not _NUMBER.fullmatch(value))
    return numbers >= 2 and numbers + stamps >= min(3, 0.5 * len(given))


def read_text(source: Source, dialect: Dialect, columns: Sequence[int], skipped: list[str]) -> Iterator[list[Any]]:
    """Yield batches of some columns of a text file, as pyarrow arrays of strings; values without a meaning are null.

    Lines of words with too few values, such as a footer, are no rows; they are appended to `skipped`.

    Raises:
        ValueError: The file is damaged, or a line has too few or too many values; the message names the line.
    """
    arrow, reader = need("pyarrow", "data"), need("pyarrow.csv", "data")
    faults: list[Any] = []

    def refuse(row: Any) -> str:
        if not row.text.strip():
            return "skip"
        if row.actual_columns < row.expected_columns and _is_words(row.text, dialect.separator):
            skipped.append(row.text.strip())
            return "skip"
        faults.append(row)
        return "error"

    rows = 0
    try:
        with _content(source, dialect) as content:
            parsing = reader.ParseOptions(delimiter=dialect.separator, invalid_row_handler=refuse)
            for batch in reader.open_csv(content, _reading(dialect), parsing, _conversion(dialect, columns)):
                rows += batch.num_rows
                yield batch.columns
    except arrow.ArrowInvalid as error:
        line = line_of_row(source, dialect, rows, skipped)
        if faults:
            wrong = faults[0]
            at = _line_with(source, dialect, str(wrong.text), line)
            raise ValueError(
                f"{source.name}, line {at}: expected {wrong.expected_columns} values, got {wrong.actual_columns}"
            ) from None
        if "straddl" in str(error):
            raise ValueError(f"{source.name}, after line {line - 1}: a line of more than {BLOCK:,} bytes") from None
        raise damage(source.name, error, line - 1) from None
    except (OSError, EOFError, UnicodeError) as error:
        raise damage(source.name, error, line_of_row(source, dialect, rows, skipped) - 1 if rows else 0) from None


def _is_words(line: str, separator: str) -> bool:
    """Return whether a line holds neither a number nor a stamp."""
    return not any(_NUMBER.fullmatch(value) or stamp_kind(value) for value in _split(line, separator) if value)


def _reading(dialect: Dialect) -> Any:
    """Return how pyarrow reads the blocks of a text file."""
    return need("pyarrow.csv", "data").ReadOptions(
        use_threads=False,
        block_size=BLOCK,
        skip_rows=0 if dialect.is_log else dialect.skip,
        column_names=[f"c{index}" for index in range(dialect.width)],
        encoding="utf-8" if dialect.is_log else dialect.encoding.replace("-sig", ""),
    )


def _conversion(dialect: Dialect, columns: Sequence[int]) -> Any:
    """Return how pyarrow converts the values of a text file: to strings, or null."""
    names = [f"c{index}" for index in range(dialect.width)]
    return need("pyarrow.csv", "data").ConvertOptions(
        check_utf8=True,
        column_types=dict.fromkeys(names, need("pyarrow", "data").string()),
        include_columns=[names[index] for index in columns],
        null_values=list(NULLS),
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )


def _content(source: Source, dialect: Dialect) -> Any:
    """Open the content of a text file for pyarrow."""
    if dialect.is_log:
        with io.TextIOWrapper(source.open(), encoding=dialect.encoding) as text:
            matches = [_TWS.search(line) for line in text]
        rows = [",".join(value.strip() for value in match.groups()) for match in matches if match]
        return io.BytesIO("\n".join(rows).encode())
    return _Closing(source.open(), source.name, dialect.encoding.startswith("utf-8"))


class _Closing:
    """A file for pyarrow, which closes what it reads through a Python object; refuses what is not UTF-8, if it should be."""

    def __init__(self, file: BinaryIO, name: str, is_utf8: bool) -> None:
        self.file = file
        self.closed = False
        self._name, self._lines = name, 1
        self._decoder = codecs.getincrementaldecoder("utf-8")() if is_utf8 else None

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; raise ValueError with the line of bytes that are not text."""
        data = self.file.read(size)
        if self._decoder:
            try:
                self._decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                line = self._lines + data[: error.start].count(b"\n")
                raise ValueError(f"{self._name}, line {line}: not text; is it a file of data?") from None
            self._lines += data.count(b"\n")
        return data

    def close(self) -> None:
        """Close the file."""
        self.closed = True
        self.file.close()

    def __enter__(self) -> _Closing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def line_of_row(source: Source, dialect: Dialect, row: int, skipped: Sequence[str]) -> int:
    """Return the number of the line (from 1) of a row of data (from 0); blank lines and those `skipped` are not rows."""
    left, others = row, set(skipped)
    try:
        with source.open() as file, io.TextIOWrapper(file, encoding=dialect.encoding, errors="replace") as text:
            for number, line in enumerate(text, start=1):
                counts = _TWS.search(line) if dialect.is_log else number > dialect.skip and line.strip()
                if counts and (not others or line.strip() not in others):
                    if not left:
                        return number
                    left -= 1
    except (OSError, EOFError):
        pass
    return dialect.skip + row + 1


def _line_with(source: Source, dialect: Dialect, text: str, first: int) -> int:
    """Return the number of the first line from `first` on that holds a text."""
    wanted = text.strip("\r\n")
    try:
        with source.open() as file, io.TextIOWrapper(file, encoding=dialect.encoding, errors="replace") as content:
            for number, line in enumerate(content, start=1):
                if number >= first and line.strip("\r\n") == wanted:
                    return number
    except (OSError, EOFError):
        pass
    return first
