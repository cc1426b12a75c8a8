"""A toy for the backends: counters that are fed coins, pay for them by a tariff, and are opened and closed.

Each machine type stands in a record that lanes remember, in one that is the same for all, and in one that is looked up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from hyperexec_env.backends.generate import write
from hyperexec_env.backends.layout import TILE, Layout, pack, stored_as
from hyperexec_env.backends.plan import Add, For, Look, Pass, Pick, Program, Refuse, Repeat, Show, Unless
from hyperexec_env.records import Constant, Half, Real, Single, Whole, Word, numbered, reached

ONE = np.uint64(1)
Limits: Any = numbered("Limits", 3, Whole)
FACTOR = 3.0
FIRST = 0.25


class Kind(NamedTuple):
    loud: Constant
    factor: Constant


class House(NamedTuple):
    """The same for all counters."""

    step: Real
    kind: Kind
    rows: Whole
    times: Whole
    salt: Word
    share: Single
    code: Half


class Purse(NamedTuple):
    balance: Real
    debt: Real


class Counter(NamedTuple):
    small: Single
    count: Whole
    purse: Purse
    key: Word
    half: Half
    full: Whole


class Note(NamedTuple):
    tag: Real
    step: Real
    told: Real


class Tariff(NamedTuple):
    price: Real
    share: Single
    bonus: Whole
    mask: Word
    code: Half
    limits: Limits


class Level(NamedTuple):
    level: Real


class Coin(NamedTuple):
    value: Real


class Chosen(NamedTuple):
    flag: Whole


class Charge(NamedTuple):
    price: Real
    rounded: Single
    steps: Whole
    word: Word


class Paid(NamedTuple):
    amount: Real
    full: Any


class Seen(NamedTuple):
    balance: Single
    count: Single


class Closed(NamedTuple):
    purse: Purse
    key: Word
    count: Real


def half_of(value):
    return 0.5 * value


def first_small():
    return np.float32(half_of(FIRST))


def open_counter(house: House) -> tuple[Counter, Note]:
    zero = 0.0
    return Counter(first_small(), 0, Purse(zero, zero), house.salt, house.code, 0), Note(7.0, house.step, zero)


def open_full(house: House) -> tuple[Counter, Note]:
    counter, note = open_counter(house)
    return Counter(counter.small, counter.count, counter.purse, counter.key, counter.half, 1), note


def one_each(house: House) -> tuple[int, float]:
    return 1, 1.0


def tariff_row(house: House, counter: Counter) -> int:
    return counter.count % house.rows


def level_row(house: House, counter: Counter, tariff: Tariff) -> int:
    return reached(counter.count, tariff.limits)


def charge(house: House, counter: Counter, tariff: Tariff, level: Level, coin: Coin) -> Charge:
    price = tariff.price * level.level + house.step * coin.value
    if house.kind.loud:
        price = price * house.kind.factor
    return Charge(price, np.float32(price) * tariff.share, tariff.bonus + 1, counter.key ^ tariff.mask)


def feed(house: House, counter: Counter, note: Note, tariff: Tariff, charge: Charge, coin: Coin) -> tuple[Counter, Note, Paid]:
    balance = counter.purse.balance + coin.value - charge.price
    debt = counter.purse.debt + note.tag * note.step
    count = counter.count + charge.steps
    key = charge.word + ONE
    fed = Counter(charge.rounded + house.share, count, Purse(balance, debt), key, tariff.code, (count > 9) * 1)
    return fed, Note(note.tag, note.step, note.told + coin.value), Paid(charge.price, fed.full)


def pay_nothing() -> Paid:
    return Paid(0.0, 0)


def close_counter(counter: Counter) -> Closed:
    return Closed(counter.purse, counter.key, counter.count)


def see(counter: Counter) -> Seen:
    return Seen(np.float32(counter.purse.balance), np.float32(counter.count))


def picture_row(house: House, counter: Counter) -> int:
    return counter.count % 4


def by_row(house: House, counter: Counter, coin: Coin) -> tuple[int, float]:
    return counter.count % house.rows, coin.value


def weigh(weights, counter: Counter, coin: Coin) -> Coin:
    return Coin(coin.value * weights[0] + weights[1])


def weighed(weights, house: House, counter: Counter, coin: Coin) -> tuple[int, float]:
    return counter.count % house.rows, coin.value * weights[0] + weights[1]


LOOKS = (Look(tariff_row, Tariff), Look(level_row, Level))
SHOW = Show("seen", "pictures", picture_row, Seen)
FED = (*LOOKS, Pass(charge), Pass(feed))

PLANS = {
    "open": (Pick("chosen", Chosen, "flag"), For("chosen", Pass(open_counter)), Pass(see), SHOW),
    "begin": (Pass(open_counter),),
    "feed": (
        Refuse(Coin, "value", -8.0, 8.0),
        Pick("resting", Counter, "full"),
        Unless("resting", *FED),
        For("resting", Pass(open_counter), Pass(pay_nothing)),
        Pick("full", Counter, "full"),
        For("full", Pass(close_counter)),
        Pass(see),
        SHOW,
    ),
    "last": (
        *LOOKS,
        Pass(charge, feed),
        Pick("full", Counter, "full"),
        For("full", Pass(close_counter), Pass(see), Show("last", "pictures", picture_row, Seen), Pass(open_counter)),
        Show("bare", "pictures", picture_row),
    ),
    "often": (
        Repeat(House, "times", Add("sums", by_row), *FED, Pass(see), SHOW),
        Add("sums", by_row),
    ),
}


def program(plan: str = "", **changes: Any) -> Program:
    """Return the program of the toy, or of one of its plans."""
    rng = np.random.default_rng(5)
    rows, kind = changes.pop("rows", 5), changes.pop("kind", Kind(True, FACTOR))
    limits = Limits(*(np.sort(rng.integers(0, 12, (rows, 3)), axis=1).T))
    tariff = Tariff(
        rng.uniform(0.1, 2.0, rows),
        rng.uniform(0.1, 2.0, rows).astype(np.float32),
        rng.integers(0, 3, rows),
        rng.integers(0, 2**64, rows, dtype=np.uint64),
        rng.integers(0, 2**32, rows, dtype=np.uint32),
        limits,
    )
    plans = {plan: PLANS[plan]} if plan else PLANS
    house = House(0.1, kind, rows, 3, np.uint64(2**64 - 977), np.float32(0.3), np.uint32(2**32 - 5))
    values: dict[str, Any] = {
        "plans": plans,
        "kept": (Counter, Note),
        "given": {House: house},
        "inputs": {Coin: "coins", Chosen: "chosen"},
        "outputs": {Paid: ("amount", "full")},
        "listed": {Closed: "closed"},
        "tables": {Tariff: tariff, Level: Level(np.array([1.0, 0.5, 0.25, 0.125]))},
        "rows": {"pictures": rng.uniform(-1.0, 1.0, (4, 3)).astype(np.float32)},
        "fixed": {(Note, "tag"): 7.0, (Note, "step"): (House, "step")},
    }
    return Program(**{**values, **changes})


def arrays_for(lanes: int, parts: int = 1) -> dict[str, Any]:
    """Return the arrays that the plans write into."""
    return {
        "seen": np.zeros((lanes, 5), np.float32),
        "last": np.zeros((lanes, 5), np.float32),
        "bare": np.zeros((lanes, 3), np.float32),
        "amount": np.zeros(lanes),
        "full": np.zeros(lanes, np.bool_),
        "closed": np.zeros((lanes, 4)),
        "sums": np.zeros((parts, 5)),
    }


def numba_range(*bounds):
    """Range whose numbers have the type of its bound, as in numba; numpy below 2 adds unsigned and Python ints as floats."""
    return map(np.uint64, range(*bounds)) if isinstance(bounds[0], np.uint64) else range(*bounds)


class TextLanes:
    """Lanes that run the text of the loops in Python."""

    def __init__(self, program, lanes):
        self.program, self.lanes, self.layout, self.parts = program, lanes, Layout(program), [(0, lanes)]
        self.loops = {name: write(name, self.layout) for name in program.plans}
        self.given, self.tables = pack(program, self.layout)
        self.rows = {name: rows.ravel() for name, rows in program.rows.items()}
        self.rows |= program.weights
        columns, tiles, self.own = self.layout.columns, -(-lanes // TILE), ()
        self.kept = np.zeros((tiles, columns["kept"] * TILE))
        self.scratch = np.zeros(columns["draft"] * TILE + 1), np.zeros(columns["single"] * TILE, np.float32)
        if program.members:
            packed = zip(*(pack(member, self.layout) for member in program.members), strict=True)
            kept, draft = (np.zeros((count, columns[name] * TILE)) for count, name in self._buffers(tiles))
            self.own = (*map(np.stack, packed), kept, draft)
            for name in program.members[0].rows:
                self.rows[name] = np.stack([member.rows[name].ravel() for member in program.members])

    def _buffers(self, tiles):
        count = len(self.program.members)
        return (tiles * count, "own_kept"), (count, "own_draft")

    def run(self, name, arrays):
        loop = self.loops[name]
        names = {"np": np, "inf": np.inf}
        for line in loop.lines:
            own = {"np": np, "inf": np.inf, "range": numba_range, **line.names, **line.constants}
            exec(line.text, own)  # noqa: S102 - the text was written here
            names[line.name] = own[line.name]
        exec(loop.driver.text, names)  # noqa: S102
        chosen = [arrays[key] if key in arrays else self.rows[key] for key in loop.arrays]
        chosen = [array[0] if key in loop.sums else array for key, array in zip(loop.arrays, chosen, strict=True)]
        buffers = self.given, self.tables, self.kept, *self.scratch, np.zeros(2 * TILE, np.int64), *self.own
        return [names[name](*buffers, *chosen, 0, self.lanes)]

    def record(self, kind):
        columns = self.layout.kept_columns(kind)
        found = {}
        for path, (column, machine) in columns.items():
            values = self.kept.view(stored_as(machine))[:, column * TILE : (column + 1) * TILE]
            found[path] = values.ravel()[: self.lanes].astype(machine)
        return found
