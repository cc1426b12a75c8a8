"""Crash-safe store of evaluated outcomes: one SQLite file, one row (cell) per policy, scenario and batch of episodes.

A row holds the raw bytes of the outcome's arrays and a SHA-256; nothing is ever pickled. When :meth:`Store.put` returns, the
row is on the disk, even if the process is killed. A second, different outcome for the same cell raises
:class:`DeterminismAlarm`, and the stored row does not change.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import shown
from hyperexec_env.evaluation.identity import Cell
from hyperexec_env.evaluation.rollout import Outcome
from hyperexec_env.files import check_target, printable
from hyperexec_env.market.account import Statement
from hyperexec_env.market.kernel import Components
from hyperexec_env.market.scenarios import AnyScenario, complete_scenario

__all__ = ["DamagedCell", "DeterminismAlarm", "Store", "decode_outcome", "difference", "encode_outcome"]

_MAGIC: Final = b"SQLite format 3\0"
_APPLICATION: Final = int.from_bytes(b"HxSt", "big")
_FORMAT: Final = 1
_TIMEOUT: Final = 60.0  # seconds to wait for a lock of another process
_TABLES: Final = (
    "CREATE TABLE scenarios (hash TEXT PRIMARY KEY, content TEXT NOT NULL)",
    "CREATE TABLE cells (engine TEXT NOT NULL, scenario TEXT NOT NULL, seed INTEGER NOT NULL, first INTEGER NOT NULL,"
    " episodes INTEGER NOT NULL, policy TEXT NOT NULL, hidden INTEGER NOT NULL, name TEXT NOT NULL, path_hash TEXT NOT NULL,"
    " header TEXT NOT NULL, sha256 TEXT NOT NULL, data BLOB NOT NULL,"
    " PRIMARY KEY (engine, scenario, seed, first, episodes, policy, hidden))",
)
_KEY: Final = "engine = ? AND scenario = ? AND seed = ? AND first = ? AND episodes = ? AND policy = ? AND hidden = ?"
_DTYPES: Final = ("<f8", "<i8")
_LARGEST: Final = 2**28
"""Largest size of a value in a row, and of the arrays of a row, bytes."""
_MOST_EPISODES: Final = 2**20
"""Largest number of episodes of a cell."""
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, MemoryError, zlib.error)
"""Errors that the content of a damaged row raises."""
_TOTALS: Final = tuple(name for name in Statement._fields if name != "components")
"""Fields of a statement that are arrays."""


class DeterminismAlarm(RuntimeError):
    """The same code computed two different outcomes for the same cell."""


class DamagedCell(ValueError):
    """The stored row of a cell is damaged: it is not the row that was written."""


class _Record(NamedTuple):
    """Columns of a row that hold the outcome."""

    path_hash: str
    header: str
    sha256: str
    data: bytes


class Store:
    """Store of outcomes in one file; a context manager. Several processes may open the file at once, on a local disk.

    Args:
        path: The file; created if it does not exist.

    Raises:
        ValueError: The file cannot be opened or created, or is not a store; such a file is not changed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        check_target(path)
        _check_file_type(self.path)
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise ValueError(f"cannot use the store {self.path}: the file may not be written to")
        with self._sqlite_errors():
            self._connection = sqlite3.connect(os.path.abspath(self.path), timeout=_TIMEOUT, isolation_level=None)
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST)
            try:
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def get(self, cell: Cell) -> Outcome | None:
        """Return the outcome of a cell, or None where the cell is not stored.

        Raises:
            DamagedCell: The stored row is damaged.
            ValueError: The file cannot be read.
        """
        with self._sqlite_errors():
            query = f"SELECT path_hash, header, sha256, data FROM cells WHERE {_KEY}"  # noqa: S608 - a constant
            row = self._connection.execute(query, cell).fetchone()
        return None if row is None else self._decoded(cell, _Record(*row))

    def put(self, cell: Cell, outcome: Outcome, scenario: AnyScenario, name: str) -> None:
        """Store the outcome of a cell; when this method returns, the outcome is on the disk.

        Stored outcomes must agree with the new one: the same cell must have the same outcome, a cell of the same policy with
        fewer or more episodes must agree on the shared episodes, and cells of the same episodes must have the same market hash.

        Args:
            cell: The cell.
            outcome: Outcome of the cell.
            scenario: The scenario, stored so that :func:`~hyperexec_env.evaluation.verification.verify` can recompute the cell.
            name: Display name of the policy.

        Raises:
            DeterminismAlarm: A stored outcome disagrees; the store does not change.
            DamagedCell: A stored outcome of the same policy is damaged.
            ValueError: The file cannot be written.
        """
        if cell.episodes > _MOST_EPISODES:
            raise ValueError(f"a cell may have {_MOST_EPISODES:,} episodes, got {cell.episodes:,}; use a smaller batch")
        record = _encoded(cell, outcome)
        content = json.dumps(scenario.to_dict())
        with self._sqlite_errors(), self._transaction():
            if self._is_stored(cell, outcome, record, f"{name} on scenario {scenario.name}"):
                return
            self._connection.execute("INSERT OR IGNORE INTO scenarios VALUES (?, ?)", (cell.scenario, content))
            values = (*cell, name, *record)
            self._connection.execute(f"INSERT INTO cells VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608

    def cells(self) -> list[tuple[Cell, str]]:
        """Return every cell with the name of its policy; cells of the same episodes are adjacent.

        Raises:
            DamagedCell: The key of a row is not one that this class writes.
            ValueError: The file cannot be read.
        """
        with self._sqlite_errors():
            rows = self._connection.execute(
                "SELECT engine, scenario, seed, first, episodes, policy, hidden, name FROM cells"
                " ORDER BY engine, scenario, seed, first, episodes, name, policy, hidden"
            ).fetchall()
        for row in rows:
            if not _is_key(*row):
                raise DamagedCell(f"the store {self.path} is damaged: it holds a row with the key {shown(row)}")
        return [(Cell._make((*key, bool(hidden))), name) for *key, hidden, name in rows]

    def scenario(self, digest: str) -> AnyScenario:
        """Return the scenario, or the basket, with a given hash.

        Raises:
            ValueError: The scenario is not stored, or its row is damaged.
        """
        with self._sqlite_errors():
            row = self._connection.execute("SELECT content FROM scenarios WHERE hash = ?", (digest,)).fetchone()
        try:
            found = complete_scenario(json.loads(row[0])) if row else None
        except _UNREADABLE:
            found = None
        if found is None or found.hash != digest:
            raise ValueError(f"the store {self.path} holds no intact scenario {digest}")
        return found

    def check(self) -> None:
        """Check the integrity of the whole file.

        Raises:
            ValueError: The structure of the file is damaged.
        """
        with self._sqlite_errors():
            (found,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
        if found != "ok":
            raise ValueError(f"the store {self.path} is damaged: {found}")

    def _is_stored(self, cell: Cell, outcome: Outcome, record: _Record, label: str) -> bool:
        """Return whether the cell is stored already; raise :class:`DeterminismAlarm` where a stored outcome disagrees."""
        known = False
        for episodes, *columns in self._connection.execute(
            "SELECT episodes, path_hash, header, sha256, data FROM cells"
            " WHERE engine = ? AND scenario = ? AND seed = ? AND first = ? AND policy = ? AND hidden = ?",
            (*cell[:4], cell.policy, cell.hidden),
        ):
            stored, stored_cell = _Record(*columns), cell._replace(episodes=episodes)
            known = known or stored_cell == cell
            if stored_cell == cell and stored == record:
                continue
            found = difference(self._decoded(stored_cell, stored), outcome)
            if found:
                raise DeterminismAlarm(_alarm(cell, label, f"the result differs from the stored one: {found}"))
        market = self._connection.execute(
            "SELECT name FROM cells WHERE engine = ? AND scenario = ? AND seed = ? AND first = ? AND episodes = ?"
            " AND path_hash <> ? LIMIT 1",
            (*cell[:5], record.path_hash),
        ).fetchone()
        if market:
            fault = f"the market differs from the stored market of policy {printable(market[0])}"
            raise DeterminismAlarm(_alarm(cell, label, fault))
        return known

    def _decoded(self, cell: Cell, record: _Record) -> Outcome:
        try:
            return _decoded(cell, record)
        except _UNREADABLE as error:
            raise DamagedCell(
                f"the store {self.path} is damaged: scenario {cell.scenario}, policy {cell.policy}, seed {cell.seed}, "
                f"{cell.episodes} episodes from {cell.first}: {error}"
            ) from None

    def _prepare(self) -> None:
        """Create the tables in an empty file; raise ValueError for another kind of database."""
        self._connection.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            application, form = (self._pragma(name) for name in ("application_id", "user_version"))
            (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not tables and not application:
                for statement in (*_TABLES, f"PRAGMA application_id = {_APPLICATION}", f"PRAGMA user_version = {_FORMAT}"):
                    self._connection.execute(statement)
            elif application != _APPLICATION:
                raise ValueError(_FOREIGN.format(self.path))
            elif form != _FORMAT:
                raise ValueError(f"the store {self.path} must have format {_FORMAT}, got {form}; give another file")
        if self._switched_to_wal() != "wal":
            raise ValueError(f"cannot use the store {self.path}: its disk does not allow a write-ahead log")

    def _switched_to_wal(self) -> str:
        """Switch to the write-ahead log and return the journal mode; retry, since SQLite does not wait for locks here."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            try:
                return str(self._pragma("journal_mode = WAL"))
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _pragma(self, text: str) -> Any:
        return self._connection.execute(f"PRAGMA {text}").fetchone()[0]

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """Run the block as the only writer; commit at the end, or roll back on an exception."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextlib.contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        """Raise errors of SQLite as ValueError with one line."""
        try:
            yield
        except sqlite3.Error as error:
            raise ValueError(f"cannot use the store {self.path}: {error}") from None


_FOREIGN: Final = "{} is not a store of results; give another file (this one was not changed)"


def _check_file_type(path: Path) -> None:
    """Raise ValueError for a file that is not a store, without opening it as a database."""
    try:
        with open(path, "rb") as file:
            head = file.read(100)
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None
    if not head or os.path.exists(f"{path}-journal"):  # new, or its creation was interrupted: SQLite rolls that back
        return
    if head[:16] != _MAGIC or int.from_bytes(head[68:72], "big") != _APPLICATION:
        raise ValueError(_FOREIGN.format(path))


def _is_key(engine: Any, scenario: Any, seed: Any, first: Any, episodes: Any, policy: Any, hidden: Any, name: Any) -> bool:
    """Return whether values from the file are the key of a cell, and the name of its policy."""
    texts, integers = (engine, scenario, policy, name), (seed, first, episodes, hidden)
    if not all(type(text) is str for text in texts) or not all(type(number) is int for number in integers):
        return False
    return min(integers) >= 0 and 1 <= episodes <= _MOST_EPISODES and hidden in (0, 1)


def _alarm(cell: Cell, label: str, fault: str) -> str:
    """Return the message of a :class:`DeterminismAlarm`."""
    last = cell.first + cell.episodes - 1
    return (
        f"{printable(label)} ({cell.scenario}), policy {cell.policy}, seed {cell.seed}, episodes {cell.first} to {last}: "
        f"{fault}. The same code must give the same result; the stored one was not changed"
    )


def difference(stored: Outcome, found: Outcome) -> str:
    """Return a description of the first bitwise difference of two outcomes; "" where they are equal.

    Both start at the same episode. If one outcome has more episodes, only the shared episodes are compared.
    """
    left, right = _arrays(stored), _arrays(found)
    shared = min(len(stored.forced), len(found.forced))
    same_length = len(stored.forced) == len(found.forced)
    for name in left:
        if name == "inventory" and not same_length:  # a sum over all episodes
            continue
        a, b = (values if name == "inventory" else values[:shared] for values in (left[name], right[name]))
        if a.shape != b.shape or a.dtype != b.dtype:
            return f"{name} has shape {b.shape}, not {a.shape}"
        bits = (np.ascontiguousarray(a).view(np.uint64) != np.ascontiguousarray(b).view(np.uint64)).ravel()
        if bits.any():
            place = int(bits.argmax())
            return f"{int(bits.sum())} of {len(bits)} values of {name}, first {a.flat[place]!r} and {b.flat[place]!r}"
    return "the hash of the market" if same_length and stored.path_hash != found.path_hash else ""


# --- encoding of an outcome


def _arrays(outcome: Outcome) -> dict[str, NDArray[Any]]:
    """Return the arrays of an outcome by name.

    Raises:
        TypeError: Two arrays have the same name.
    """
    values = dict(
        **{name: getattr(outcome.statement, name) for name in _TOTALS},
        **outcome.statement.components._asdict(),
        forced=outcome.forced,
        start_regime=outcome.start_regime,
        inventory=outcome.inventory,
    )
    return {name: np.asarray(array, "<i8" if name == "start_regime" else "<f8") for name, array in values.items()}


def _outcome(arrays: dict[str, NDArray[Any]], path_hash: str) -> Outcome:
    """Return the outcome with the given arrays; the inverse of :func:`_arrays`."""
    components = Components(**{name: arrays[name] for name in Components._fields})
    statement = Statement(**{name: arrays[name] for name in _TOTALS}, components=components)
    return Outcome(statement, arrays["forced"], arrays["start_regime"], arrays["inventory"], path_hash)


def encode_outcome(outcome: Outcome) -> tuple[list[list[Any]], bytes]:
    """Return the names, types and shapes of the arrays of an outcome, and their bytes, one array after the other."""
    arrays = _arrays(outcome)
    return [[name, values.dtype.str, list(values.shape)] for name, values in arrays.items()], b"".join(
        values.tobytes() for values in arrays.values()
    )


def decode_outcome(described: Any, raw: bytes, path_hash: str) -> Outcome:
    """Return the outcome with the given arrays, which are read-only; the inverse of :func:`encode_outcome`.

    Raises:
        ValueError: The bytes do not fit the description. Any error of :data:`_UNREADABLE`: The description is damaged.
    """
    sizes = _sizes(described)
    if len(raw) != sum(sizes):
        raise ValueError(f"the arrays take {sum(sizes):,} bytes, got {len(raw):,}")
    arrays, start = {}, 0
    for (name, dtype, shape), size in zip(described, sizes, strict=True):
        arrays[name] = np.frombuffer(raw[start : start + size], dtype).reshape(tuple(shape))
        start += size
    return _outcome(arrays, path_hash)


def _sizes(described: Any) -> list[int]:
    """Return the size of each described array, bytes.

    Raises:
        ValueError: A type or a shape is invalid, or the arrays are too large.
    """
    if any(dtype not in _DTYPES or any(type(n) is not int or n < 0 for n in shape) for _, dtype, shape in described):
        raise ValueError("the header holds an unknown type or a bad shape")
    sizes = [8 * math.prod(shape) for _, _, shape in described]
    if sum(sizes) > _LARGEST:
        raise ValueError(f"the arrays must take at most {_LARGEST:,} bytes, got {shown(sum(sizes))}")
    return sizes


def _encoded(cell: Cell, outcome: Outcome) -> _Record:
    described, raw = encode_outcome(outcome)
    header = json.dumps(described)
    return _Record(outcome.path_hash, header, _sha256(cell, outcome.path_hash, header, raw), zlib.compress(raw, 1))


def _decoded(cell: Cell, record: _Record) -> Outcome:
    """Return the outcome of a record; its arrays are read-only.

    Raises:
        ValueError: The record is damaged or belongs to another cell.
    """
    described = json.loads(record.header)
    size = sum(_sizes(described))
    raw = zlib.decompressobj().decompress(record.data, size + 1)
    if len(raw) != size or _sha256(cell, record.path_hash, record.header, raw) != record.sha256:
        raise ValueError("the SHA-256 of the row does not match its content")
    return decode_outcome(described, raw, record.path_hash)


def _sha256(cell: Cell, path_hash: str, header: str, raw: bytes) -> str:
    """Return the SHA-256 of a row; it covers the key, so that a row copied to another key is detected."""
    digest = hashlib.sha256(json.dumps([*cell[:6], int(cell.hidden), path_hash, header]).encode())
    digest.update(raw)
    return digest.hexdigest()
