"""Executions among the rows of a blotter: duplicates, cancellations, corrections, messages without a trade, and sides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .numbers import SIDES

__all__ = ["find_executions", "side_of"]

Columns = Mapping[str, NDArray[Any]]
Words = Mapping[str, Sequence[str]]
Where = Callable[[int], str]

FILL, CANCEL, CORRECT, OTHER = 0, 1, 2, 3
_TYPES: Final = {
    **dict.fromkeys(
        ("", "f", "1", "2", "trade", "fill", "filled", "full fill", "execution", "executed", "exec", "partial"), FILL
    ),
    **dict.fromkeys(("partial fill", "partially filled", "partial filled", "pfill", "new trade"), FILL),
    **dict.fromkeys(
        ("h", "trade cancel", "cancel trade", "bust", "busted", "trade bust", "bust trade", "trade cancelled"), CANCEL
    ),
    **dict.fromkeys(("cancel", "canceled", "cancelled", "4"), CANCEL),
    **dict.fromkeys(
        ("g", "correct", "corrected", "correction", "trade correct", "trade correction", "amend", "amended"), CORRECT
    ),
}
"""Words of an execution type; 1, 2, 4, F, G and H are the codes of FIX tag 150. Any other word is no execution."""
_TRANSACTIONS: Final = {"": FILL, "0": FILL, "new": FILL, "1": CANCEL, "cancel": CANCEL, "2": CORRECT, "correct": CORRECT}
"""Words and codes of FIX tag 20."""
_MORE_SIDES: Final = {
    **dict.fromkeys(("bl", "bto", "buy to open", "buy long", "buy minus", "3", "bc", "buy cover", "purchase"), 1),
    **dict.fromkeys(("sl", "sto", "stc", "sell to open", "sell to close", "sell long", "sell plus", "4", "sht", "sale"), -1),
    **dict.fromkeys(("sellshort", "short sell", "short sale", "sell short", "sse"), -1),
    "buy to close": 1,
    "buytocover": 1,
}


def find_executions(columns: Columns, words: Words, where: Where) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Return the rows that are executions and still count, and the number of the other rows by reason.

    A row counts unless its execution type (FIX tags 150 and 20) is no trade, it repeats an execution id with the same time,
    quantity and price, or a later row cancels or corrects it.

    Raises:
        ValueError: No execution is left, or two executions of a day have one id but different quantities or prices.
    """
    kinds = _kinds(columns, words)
    dropped: Counter[str] = Counter()
    trades = np.flatnonzero(kinds != OTHER)
    dropped["messages that are no executions"] = len(kinds) - len(trades)
    if "exec_id" in columns:
        trades, doubles = _without_duplicates(trades, kinds, columns, words, where)
        dropped["executions given twice (exec_id)"] = doubles
    taken = _taken_out(trades, kinds, columns, words, dropped)
    kept = np.asarray(trades[~np.isin(trades, taken) & (kinds[trades] != CANCEL)])
    if not len(kept):
        raise ValueError(f"{where(0).rpartition(',')[0]}: no execution is left of {len(kinds):,} rows")
    return kept, {reason: count for reason, count in dropped.items() if count}


def _kinds(columns: Columns, words: Words) -> NDArray[np.int64]:
    """Return the kind of each row: fill, cancel, correct or other."""
    kinds = np.full(len(columns["time"]), FILL)
    for field, known in (("exec_type", _TYPES), ("exec_trans_type", _TRANSACTIONS)):
        if field in columns:
            found = np.array([known.get(_plain(word), OTHER) for word in words[field]])[columns[field]]
            kinds = np.where(kinds == FILL, found, kinds)
    empty = ~(np.abs(columns["quantity"]) > 0.0) & (kinds != FILL)  # such as the cancellation of an order
    return np.asarray(np.where(empty, OTHER, kinds))


def _without_duplicates(
    trades: NDArray[np.int64], kinds: NDArray[np.int64], columns: Columns, words: Words, where: Where
) -> tuple[NDArray[np.int64], int]:
    """Return the rows without those that repeat an execution, and their number."""
    ids = columns["exec_id"]
    nothing = [at for at, word in enumerate(words["exec_id"]) if not word]
    named = trades[~np.isin(ids[trades], nothing)]
    zero = np.zeros(len(ids), np.int64)
    day = columns["time"] // (86_400 * 10**9)
    key = [kinds, columns.get("broker", zero), columns.get("symbol", zero), day, ids]
    order = named[np.lexsort([named, *(values[named] for values in key)])]
    same = (
        np.logical_and.reduce([values[order[1:]] == values[order[:-1]] for values in key]) if len(order) > 1 else zero[:0] > 0
    )
    again, first = order[1:][same], order[:-1][same]
    for field in ("quantity", "price"):
        wrong = columns[field][again] != columns[field][first]
        if wrong.any():
            at, before = int(again[wrong][0]), int(first[wrong][0])
            raise ValueError(
                f"{where(at)}: exec_id {words['exec_id'][ids[at]]!r} is that of {where(before).rpartition(', ')[2]} too, with "
                f"{field} {columns[field][before]:g} and not {columns[field][at]:g}; mark corrections by exec_type, or name "
                "the right column with --columns exec_id=NAME"
            )
    return np.asarray(trades[~np.isin(trades, again)]), len(again)


def _taken_out(
    trades: NDArray[np.int64], kinds: NDArray[np.int64], columns: Columns, words: Words, dropped: Counter[str]
) -> NDArray[np.int64]:
    """Return the rows that later rows cancel or correct; count them."""
    changes = np.asarray(trades[(kinds[trades] == CANCEL) | (kinds[trades] == CORRECT)])
    if not len(changes):
        return changes
    texts = {field: words[field] for field in ("exec_id", "exec_ref_id") if field in columns}
    rows: dict[str, int] = {}
    if "exec_id" in columns:
        rows = {texts["exec_id"][columns["exec_id"][at]]: at for at in trades[kinds[trades] != CANCEL].tolist()}
        rows.update({texts["exec_id"][columns["exec_id"][at]]: at for at in trades[kinds[trades] == FILL].tolist()})
    taken = []
    for at in changes.tolist():
        named = [texts[field][columns[field][at]] for field in ("exec_ref_id", "exec_id") if field in texts]
        target = next((rows[name] for name in named if name and name in rows and rows[name] != at), None)
        kind = "cancelled" if kinds[at] == CANCEL else "corrected"
        if target is None:
            dropped[f"{kind[:-2]} messages whose execution is not among the rows"] += kinds[at] == CANCEL
        else:
            taken.append(target)
            dropped[f"{kind} executions"] += 1
            dropped["cancellations"] += kinds[at] == CANCEL
    return np.array(taken, dtype=np.int64)


def side_of(columns: Columns, words: Words, where: Where) -> NDArray[np.int8]:
    """Return the side of each execution from its word, or from the sign of its quantity.

    Raises:
        ValueError: A word is not a side, word and sign contradict each other, or neither tells the side.
    """
    sign = np.sign(columns["quantity"]).astype(np.int8)
    if "side" not in columns:
        if not (sign < 0).any():
            raise ValueError(
                f"{where(0).rpartition(',')[0]}: no column for side of fills, and no quantity is negative; name the column "
                "with --columns side=NAME, or write sales with negative quantities"
            )
        return sign
    codes = np.zeros(len(words["side"]), np.int8)
    for index, word in enumerate(words["side"]):
        found = _side(word)
        rows = columns["side"] == index
        if found is None and rows.any():
            raise ValueError(
                f"{where(int(rows.argmax()))}: side must be buy, sell, B, S, BOT, SLD, SELL SHORT, 1, 2, -1 or the like, "
                f"got {word[:60]!r}"
            )
        codes[index] = found or 0
    side = codes[columns["side"]]
    wrong = (side == 1) & (sign < 0)
    if wrong.any():
        at = int(wrong.argmax())
        raise ValueError(
            f"{where(at)}: quantity {columns['quantity'][at]:g} contradicts side {words['side'][columns['side'][at]]!r}"
        )
    side = np.where(side == 0, np.where(sign < 0, -1, 0), side).astype(np.int8)
    if (side == 0).any():
        raise ValueError(f"{where(int((side == 0).argmax()))}: side is missing")
    return side


def _side(word: str) -> int | None:
    """Return the side of a word: 1, -1, 0 for unknown, None for no side."""
    plain = word.strip().lower()
    spaced = _plain(word)
    known = {**SIDES, **_MORE_SIDES}
    return known.get(plain, known.get(spaced))


def _plain(word: str) -> str:
    """Return a word in lower case with single blanks for underscores, hyphens and slashes."""
    return re.sub(r"[\s_/-]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word)).strip().lower()
