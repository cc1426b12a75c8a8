"""The market compiled by numba (extra `fast`), from the same source as every other execution.

:func:`~hyperexec_env.market.path.follow`, :func:`~hyperexec_env.market.kernel.move`,
:func:`~hyperexec_env.market.predator.ambush` and the noise are compiled as they stand, for one lane at a time. What they call
and numba cannot read, because it looks at types or at whole arrays, has a compiled form here.

Lanes live in tiles: a tile holds what :data:`TILE` lanes remember, one field after the other, in a flat array of numbers and
one of integers; what is only needed within a slice stands in a :class:`Draft` that all tiles use in turn. Each pass over a tile
is a short loop without branches in which all distances are known, so that the compiler works on several lanes at once. Where
all lanes of a tile stand in the same slice, as they do unless orders end early, tables are read once for the tile. numba is
imported when :func:`twins` is called, and not before.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from math import sqrt
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.extras import need
from hyperexec_env.files import cache_folder
from hyperexec_env.market import account, kernel, noise, numeric, path, predator
from hyperexec_env.market.account import Account
from hyperexec_env.market.kernel import Cost, Impact, State
from hyperexec_env.market.model import Market
from hyperexec_env.market.path import Draws, World
from hyperexec_env.market.predator import Hunt
from hyperexec_env.market.regime import REGIME_NAMES

__all__ = [
    "BACKENDS",
    "TILE",
    "Draft",
    "Kind",
    "Tables",
    "apart",
    "begin_tile",
    "default_threads",
    "hold_tile",
    "kind_of",
    "look_up_tile",
    "new_draft",
    "pack",
    "resolve_backend",
    "settle_tile",
    "tables_of",
    "trade_tile",
    "unpack",
    "unpack_tables",
]

Floats = NDArray[np.float64]

TILE: Final = 264
"""Lanes of a tile: what a slice needs of them stays within the second cache of a processor. Not a power of two: the fields of a
lane would be kept in the same few places of the cache."""

SIZES: Final = (1, len(REGIME_NAMES))
"""Regimes that a loop can be made for: one, or as many as a market can have; tables over regimes are as long."""

FIELDS: Final = (
    *("flow", "price", "remaining", "permanent", "transient", "size", "since", "period", "likeness"),
    *(f"cost_{name}" for name in Cost._fields),
    *("drift_move", "timing_move", "side", "quantity", "scale"),
    *("last_shares", "last_volume", "price_before", "paid_before", "asked"),
)
"""What a lane remembers, in numbers: the world, our state, the predator's memory, the account, the order, the slice before."""
(FLOW, PRICE, REMAINING, PERMANENT, TRANSIENT, SIZE, SINCE, PERIOD, LIKENESS) = range(9)
COST: Final = 9
(DRIFT_MOVE, TIMING_MOVE, SIDE, QUANTITY, SCALE) = range(16, 21)
(LAST_SHARES, LAST_VOLUME, PRICE_BEFORE, PAID_BEFORE, ASKED) = range(21, 26)
ROWS: Final = len(FIELDS)
# what is looked up for a slice, and what it pays: the numbers of a draft
BY_REGIME: Final = ("half_spread", "step_volatility", "step_drift", "temporary_scale", "transient_kept", "risk")
"""Tables of a market over its regimes."""
(HALF_SPREAD, STEP_VOLATILITY, STEP_DRIFT, TEMPORARY_SCALE, TRANSIENT_KEPT, RISK) = range(6)
(MEAN_VOLUME, PAID) = range(6, 8)
DRAFTS: Final = 8
# the numbers of a market
(ARRIVAL, FLOW_SHARE, HOLDING, BY_FLOW, BY_FLOW_NOISE, BY_NEWS, PERMANENT_SLOPE, TRANSIENT_SLOPE) = range(8)
(PREDATOR, DEVIATION, REALISED, SLICES, REGIMES, LARGEST) = range(8, 14)
(K, REGIME, KEY) = range(3)
INTEGERS: Final = 3
"""What a lane remembers, in integers: its slice, its regime and, bit for bit, its key."""
(FIRST_WORD, SECOND_WORD, CHANCE) = range(3)
WORDS: Final = 3
(FLOW_NOISE, NEWS, CROWD) = range(3)
SINGLES: Final = 3
SETTLED: Final = 14
"""What is said of an episode that ended."""

_FUSED: Final = "evaluation/fused.py"
_ALONE: Final = 4_096
"""Below so many lanes one thread works."""
_A_THREAD: Final = 2_048
"""Lanes for which a thread is worth it."""
_ZERO: Any = 0
_PRICE: Final = np.uint64(noise.PRICE + 1)
_VOLUME: Final = np.uint64(noise.VOLUME + 1)
_REGIME: Final = np.uint64(noise.REGIME + 1)
_ORDER: Final = np.uint64(noise.ORDER + 1)
_NEXT_REGIME: Final = np.uint64(noise.REGIME + noise.STREAMS + 1)


class Kind(NamedTuple):
    """What a compiled loop is made for: it is compiled once for each kind, and branches on these values cost nothing."""

    fingerprint: str
    """Hash of the source: a loop that was kept on disk is not used after a change."""
    beta: float
    transient_exponent: float
    flow_persistence: float
    regimes: int
    """One of :data:`SIZES`."""
    geometric: bool
    drifting: bool
    capped: bool
    martingale: bool
    held: bool
    """Whether holding has a price."""
    noisy: bool
    """Whether the volume is noisy."""
    hunted: bool
    complete: bool
    """Whether the end of the order forces what is left."""


KIND: Any = None
"""The kind of the loop that is compiled: it is set in the names of the twins, see :meth:`Twins.build`."""


class Tables(NamedTuple):
    """The numbers of a market, in arrays that numba knows."""

    numbers: Floats
    """Arrival price, flow share, holding, by flow, by flow noise, by news, permanent slope, transient slope, strength of the
    predator, deviation of the log volume, whether the realised cost is paid, slices, regimes, and the cap of the participation
    (infinity where there is none)."""
    by_regime: Floats
    """Shape (6, regimes of the kind), flat: the tables :data:`BY_REGIME`."""
    mean_volume: Floats
    """Flat, by cell."""
    ends: Floats
    """What must trade in every slice but the last, and in the last; then what may trade, in participation."""
    thresholds: Floats
    """Shape (regimes of the kind - 1, regimes of the kind), flat: 32-bit integers, which are exact in this precision too;
    those that the market does not have are never reached."""
    start: Floats
    """Thresholds of the first regime, as many."""


class Draft(NamedTuple):
    """What is worked out for a slice and not kept: for the lanes of a tile, one thing after the other."""

    numbers: Floats
    words: NDArray[np.uint64]
    singles: NDArray[np.float32]


def pack(*parts: Floats) -> Floats:
    """Return some arrays as one, after their edges in it: compiled code takes one array in a tenth of the time of a record.

    A row of a table may be read beyond its end, as far as there can be regimes; what stands there is not used.
    """
    edges = np.cumsum([len(parts) + 1, *map(len, parts)])
    return np.concatenate([edges.astype(float), *parts, np.zeros(SIZES[-1])])


def unpack(packed: Any, part: int) -> Any:
    """Return one of the arrays that were packed."""
    return packed[int(packed[part]) : int(packed[part + 1])]


def unpack_tables(packed: Any) -> Tables:
    """Return the tables, which were packed first."""
    return Tables(
        unpack(packed, 0), unpack(packed, 1), unpack(packed, 2), unpack(packed, 3), unpack(packed, 4), unpack(packed, 5)
    )


class Terms(NamedTuple):
    """What the path reads of a scenario, in types that numba knows."""

    geometric: bool
    arrival_price: float
    flow_persistence: float
    flow_share: float


class Point(NamedTuple):
    """A :class:`~hyperexec_env.market.model.Market` in one slice and one regime; fields of the same name mean the same.

    Its tables are single numbers. Compiled code may `take` from a number, whatever the place, and gets the number.
    """

    scenario: Terms
    half_spread: float
    step_volatility: float
    step_drift: float
    temporary_scale: float
    transient_kept: float
    risk: float
    mean_volume: float
    least: float
    cap: float
    holding: float
    by_flow: float
    by_flow_noise: float
    by_news: float
    drifting: bool
    capped: bool
    martingale: bool


def kind_of(market: Market) -> Kind:
    """Return the kind of a market."""
    scenario, impact = market.scenario, market.impact
    return Kind(
        _fingerprint(),
        float(impact.beta),
        float(impact.transient_exponent),
        float(scenario.flow_persistence),
        _size(market),
        path.geometric(scenario),
        market.drifting,
        market.capped,
        market.martingale,
        market.holding != 0.0,
        scenario.volume_noise != 0.0,
        market.hunted,
        scenario.complete,
    )


def _size(market: Market) -> int:
    """Return for how many regimes the loops of a market are made."""
    return next(size for size in SIZES if size >= market.regimes)


@cache
def _fingerprint() -> str:
    """Hash the source of all that is compiled."""
    package = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for file in [*sorted((package / "market").glob("*.py")), *sorted((package / "envs").glob("*.py")), package / _FUSED]:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def tables_of(market: Market, realised: bool = False) -> Tables:
    """Return the numbers of a market, and whether the realised cost is paid."""
    scenario, count, size = market.scenario, market.regimes, _size(market)
    numbers = (
        *(scenario.arrival_price, scenario.flow_share, market.holding, market.by_flow, market.by_flow_noise, market.by_news),
        *(market.impact.permanent_slope, market.impact.transient_slope, scenario.predator, scenario.volume_noise, realised),
        *(market.slices, count, np.inf if scenario.max_participation is None else scenario.max_participation),
    )
    by_regime = [np.resize(getattr(market, name)[:count], size) for name in BY_REGIME]
    thresholds = np.full((size - 1, size), np.inf)
    thresholds[: count - 1, :count] = market.next_thresholds
    start = np.full(size - 1, np.inf)
    start[: count - 1] = market.start_thresholds[:, 0]
    ends = [market.least[0], market.least[-1], market.cap[0], market.cap[-1]]
    if market.slices > 1 and not ((market.least[:-1] == ends[0]).all() and (market.cap[:-1] == ends[2]).all()):
        raise ValueError("a compiled market must ask the same of all slices but the last")
    return Tables(
        np.array(numbers, dtype=float),
        np.concatenate(by_regime),
        market.mean_volume.ravel(),
        np.array(ends),
        thresholds.ravel(),
        start,
    )


BACKENDS: Final = ("auto", "numba", "numpy")
"""How the market may be executed; auto: by numba where it is installed."""


def resolve_backend(name: str) -> str:
    """Return "numba" or "numpy".

    Raises:
        MissingExtra: "numba" is asked for and not installed.
        ValueError: No such backend.
    """
    if check_choice("backend", name, BACKENDS) == "auto":
        return "numba" if find_spec("numba") else "numpy"
    if name == "numba":
        need("numba", "fast")
    return name


def default_threads(lanes: int) -> int:
    """Return how many threads should share some lanes: one where waiting for a second could take longer than the work."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 1 if lanes < _ALONE else max(1, min(processors, lanes // _A_THREAD))


class Twins:
    """Functions of the package in a form that numba reads: their own code, with compiled forms in place of what it cannot read.

    Raises:
        MissingExtra: numba is not installed.
    """

    def __init__(self) -> None:
        """Make the twins of the market."""
        self._numba = need("numba", "fast")
        self._twins: dict[int, Any] = {}
        self._by_kind: dict[int, tuple[Any, dict[str, Any]]] = {}
        self._genuine = True
        """Whether all functions stand where they should: one that somebody put in place of another is not kept on disk."""
        need("numba.extending", "fast").overload_method(self._numba.types.Float, "take", strict=False)(
            lambda self, place: _take
        )
        self.add(numeric, (), _minimum, _maximum, _between, _power, _signed, _present)
        self.add(
            noise,
            ("mix", "key", "polynomial", "polar", "chord", "sagitta", "normal_pair", "exponential"),
            _halves,
            _octave,
            _root,
            _power_of_two,
        )
        costs = ("expected_cost", "shortfall_cost", "realised_cost", "paid_cost")
        self.add(kernel, ("move", "close", *costs))
        self.add(account, ("forced_shares", "settle_in_bps"))
        self.add(predator, ("ahead", "watch", "ambush"))
        own = ("follow", "_next_flow", "_returns", "_move_price", "_meet", "volume_factor")
        self.add(path, own, _geometric, _next_regime)
        choosing = ("first_few", "chosen", "look_up_tile", "look_up_regimes", "next_regimes_tile")
        tiles = ("unpack", "unpack_tables", "new_draft", "hold_tile", "apart", "draw_tile", "begin_tile")
        self.add(sys.modules[__name__], tiles, by_kind=(*choosing, "trade_tile", "settle_tile"))

    def add(
        self, module: ModuleType, functions: tuple[str, ...], *forms: Callable[..., Any], by_kind: tuple[str, ...] = ()
    ) -> None:
        """Make twins of functions of a module.

        Args:
            module: The module.
            functions: Names of those that numba can read.
            forms: Compiled forms of others; a form has the name of its function, or one underscore more.
            by_kind: Names of those that are made anew for each kind of loop, see :meth:`build`.
        """
        names = self._module(module)
        made: dict[str, Any] = {name: _with_globals(self._found(module, name), names) for name in functions}
        made |= {form.__name__ if hasattr(module, form.__name__) else form.__name__[1:]: form for form in forms}
        for name, function in made.items():
            self._twins[id(getattr(module, name))] = names[name] = self._inline(function)
        for name in by_kind:
            self._by_kind[id(getattr(module, name))] = self._found(module, name), names

    def _inline(self, function: Any) -> Any:
        """Compile a function into those that call it: a call that hands arrays on takes as long as a lane."""
        return self._numba.njit(error_model="numpy", forceinline=True)(function)

    def _found(self, module: ModuleType, name: str) -> Any:
        """Return a function of a module, and notice if it does not stand there."""
        function = getattr(module, name)
        self._genuine &= function.__code__.co_filename == module.__file__
        return function

    def _module(self, module: ModuleType) -> dict[str, Any]:
        """Return the names of the twin of a module."""
        if id(module) not in self._twins:
            twin = self._twins[id(module)] = ModuleType(module.__name__)
            vars(twin).update({name: self._twins.get(id(value), value) for name, value in vars(module).items()})
        names: dict[str, Any] = vars(self._twins[id(module)])
        return names

    def build(self, function: Any, kind: Kind, keep: bool = True, **given: Callable[..., Any]) -> Any:
        """Compile a function, and keep the result on disk where that is possible and wanted; it runs without Python's lock.

        `kind` must be among the names that the function has from around it: by them it is found on disk. Functions that are
        given are compiled too, and called by their names. Each loop has a folder of its own: numba numbers the files of a
        folder, and two processes that compile at the same time would take the same numbers.
        """
        closed_over = [cell.cell_contents for cell in function.__closure__ or ()]
        key = hashlib.sha256(repr([function.__module__, function.__qualname__, closed_over]).encode()).hexdigest()[:16]
        made = dict(self._twins)
        for place, (original, around) in self._by_kind.items():  # each may call those before it
            names = {name: made.get(id(value), value) for name, value in around.items()}
            own = _with_globals(original, {**names, "KIND": kind}, f"_{key}")
            made[place] = self._inline(own)
        names = {name: made.get(id(value), value) for name, value in function.__globals__.items()}
        names |= {name: self._with_its_own(value, key) for name, value in given.items()}
        twin, options = _with_globals(function, names, f"_{key}"), {"error_model": "numpy", "nogil": True}
        if not (keep and self._genuine):
            return self._numba.njit(**options)(twin)
        config = self._numba.config
        kept = config.CACHE_DIR
        try:
            config.CACHE_DIR = str(Path(kept or cache_folder() / "compiled") / key)
            Path(config.CACHE_DIR).mkdir(parents=True, exist_ok=True)
            return self._numba.njit(cache=True, **options)(twin)
        except (OSError, RuntimeError):  # there is no folder to keep it in
            return self._numba.njit(**options)(twin)
        finally:
            config.CACHE_DIR = kept

    def _with_its_own(self, function: Any, key: str) -> Any:
        """Compile a function and those of its module that it calls."""
        names = dict(function.__globals__)
        for name in function.__code__.co_names:
            if isinstance(names.get(name), FunctionType):
                names[name] = self._with_its_own(names[name], key)
        return self._inline(_with_globals(function, names, f"_{key}"))


def _with_globals(function: Any, names: dict[str, Any], mark: str = "") -> FunctionType:
    """Return a function of the same code for which the global names mean something else; `mark` is put behind its name.

    Two functions of one name and different code must not meet in a process. numba tells them apart by a number that it counts
    up as it compiles; where one of them was compiled in another process and is read from disk, the numbers can be the same,
    and the linker would take the one for the other.
    """
    twin = FunctionType(function.__code__, names, function.__name__ + mark, function.__defaults__, function.__closure__)
    twin.__qualname__ = function.__qualname__ + mark
    return twin


@cache
def twins() -> Twins:
    """Return the twins, made once."""
    return Twins()


# --- passes over a tile: `n` lanes, at most TILE; `whole` and `tile` hold what they remember


def new_draft() -> Draft:
    """Return a draft for one tile at a time."""
    return Draft(np.empty(DRAFTS * TILE), np.empty(WORDS * TILE, np.uint64), np.empty(SINGLES * TILE, np.float32))


def hold_tile(slices: int, whole: Any, n: int) -> None:
    """Hold lanes whose end was interrupted, and which were not begun anew, in the last slice: beyond it tables end."""
    for j in range(n):
        whole[K * TILE + j] = min(whole[K * TILE + j], slices - 1)


def apart(whole: Any, n: int) -> bool:
    """Return whether the lanes of a tile stand in different slices."""
    others = 0
    for j in range(n):
        others += whole[K * TILE + j] != whole[K * TILE]
    return others > 0


def draw_tile(noisy: bool, deviation: Any, whole: Any, draft: Draft, n: int) -> None:
    """Draw what nature draws for the slice of each lane, as :func:`~hyperexec_env.market.path.draw` does."""
    words, singles = draft.words, draft.singles
    for j in range(n):
        start: Any = np.uint64(whole[KEY * TILE + j]) + np.uint64(whole[K * TILE + j]) * noise._STRIDE
        words[FIRST_WORD * TILE + j] = noise.mix(start + _PRICE * noise._GAMMA)
        words[SECOND_WORD * TILE + j] = noise.mix(start + _VOLUME * noise._GAMMA)
        words[CHANCE * TILE + j] = noise.mix(start + _NEXT_REGIME * noise._GAMMA) >> noise._UPPER
    for j in range(n):
        flow, news = noise.normal_pair(words[FIRST_WORD * TILE + j])
        singles[FLOW_NOISE * TILE + j] = flow
        singles[NEWS * TILE + j] = news
    if noisy:
        for j in range(n):
            crowd, _ = noise.normal_pair(words[SECOND_WORD * TILE + j])
            singles[CROWD * TILE + j] = crowd
        for j in range(n):
            singles[CROWD * TILE + j] = path.volume_factor(singles[CROWD * TILE + j], np.float32(deviation))


def first_few(values: Any) -> Any:
    """Return six numbers, as many as there can be regimes; the last that there is stands for those that there are not."""
    last = KIND.regimes - 1
    return values[0], values[min(1, last)], values[min(2, last)], values[min(3, last)], values[min(4, last)], values[last]


def chosen(place: Any, values: Any) -> Any:
    """Return one of the first few: choosing is faster than fetching where one works on several lanes at once."""
    if KIND.regimes == 1:
        return values[0]
    odd, second = (place & 1) == 1, (place & 2) == 2
    value = values[1] if odd else values[0]
    other = values[3] if odd else values[2]
    last = values[5] if odd else values[4]
    value = other if second else value
    return last if place > 3 else value


def look_up_regimes(by_regime: Any, whole: Any, found: Any, n: int) -> None:
    """Look the tables :data:`BY_REGIME` up for each lane, all at once: they share the choice."""
    size = KIND.regimes
    a, b, c = first_few(by_regime), first_few(by_regime[size:]), first_few(by_regime[2 * size :])
    d, e, f = first_few(by_regime[3 * size :]), first_few(by_regime[4 * size :]), first_few(by_regime[5 * size :])
    for j in range(n):
        regime = whole[REGIME * TILE + j]
        found[HALF_SPREAD * TILE + j] = chosen(regime, a)
        found[STEP_VOLATILITY * TILE + j] = chosen(regime, b)
        if KIND.drifting:
            found[STEP_DRIFT * TILE + j] = chosen(regime, c)
        found[TEMPORARY_SCALE * TILE + j] = chosen(regime, d)
        found[TRANSIENT_KEPT * TILE + j] = chosen(regime, e)
        found[RISK * TILE + j] = chosen(regime, f)


def look_up_tile(table: Any, width: int, column: int, scattered: bool, whole: Any, found: Any, n: int) -> None:
    """Look a number up for each lane, by its slice and a column of the table; column -1: that of its regime."""
    row = table[whole[K * TILE] * width :]
    if scattered:
        for j in range(n):
            place = whole[REGIME * TILE + j] if column < 0 else column
            found[j] = table[whole[K * TILE + j] * width + place]
    elif column < 0:
        values = first_few(row)
        for j in range(n):
            found[j] = chosen(whole[REGIME * TILE + j], values)
    else:
        value = row[column]
        for j in range(n):
            found[j] = value


def next_regimes_tile(limits: Any, words: Any, whole: Any, n: int) -> None:
    """Move the regime of each lane on: the number of thresholds that the draw reaches."""
    if KIND.regimes == 1:
        return
    size = KIND.regimes
    first, second, third = first_few(limits), first_few(limits[size:]), first_few(limits[2 * size :])
    fourth, fifth = first_few(limits[3 * size :]), first_few(limits[4 * size :])
    for j in range(n):
        chance, regime = np.float64(words[CHANCE * TILE + j]), whole[REGIME * TILE + j]
        reached = (chance >= chosen(regime, first)) + (chance >= chosen(regime, second))
        reached += (chance >= chosen(regime, third)) + (chance >= chosen(regime, fourth))
        whole[REGIME * TILE + j] = reached + (chance >= chosen(regime, fifth))


def trade_tile(tables: Tables, scattered: bool, whole: Any, tile: Any, draft: Draft, n: int) -> None:
    """Trade what each lane asks for in its slice, book the cost, and move the world and the clock on.

    Args:
        tables: The numbers of the market.
        scattered: Whether the lanes stand in different slices.
        whole: What the lanes remember, in integers.
        tile: What the lanes remember, in numbers.
        draft: What is worked out on the way.
        n: Number of lanes.
    """
    numbers, singles, drafted = tables.numbers, draft.singles, draft.numbers
    slices, width = int(numbers[SLICES]), int(numbers[REGIMES]) + 1
    draw_tile(KIND.noisy, numbers[DEVIATION], whole, draft, n)
    look_up_regimes(tables.by_regime, whole, drafted, n)
    look_up_tile(tables.mean_volume, width, -1, scattered, whole, drafted[MEAN_VOLUME * TILE :], n)
    least, least_last, cap, cap_last = tables.ends[0], tables.ends[1], tables.ends[2], tables.ends[3]
    terms = Terms(KIND.geometric, numbers[ARRIVAL], KIND.flow_persistence, numbers[FLOW_SHARE])
    holding = numbers[HOLDING] if KIND.held else 0.0
    impact = (numbers[PERMANENT_SLOPE], numbers[TRANSIENT_SLOPE], KIND.beta, KIND.transient_exponent)
    paid_realised = numbers[REALISED] > 0.0
    for j in range(n):
        last = whole[K * TILE + j] == slices - 1
        here: Any = Point(
            terms,
            drafted[HALF_SPREAD * TILE + j],
            drafted[STEP_VOLATILITY * TILE + j],
            drafted[STEP_DRIFT * TILE + j] if KIND.drifting else 0.0,
            drafted[TEMPORARY_SCALE * TILE + j],
            drafted[TRANSIENT_KEPT * TILE + j],
            drafted[RISK * TILE + j],
            drafted[MEAN_VOLUME * TILE + j],
            least_last if last else least,
            cap_last if last else cap,
            holding,
            numbers[BY_FLOW],
            numbers[BY_FLOW_NOISE],
            numbers[BY_NEWS],
            KIND.drifting,
            KIND.capped,
            KIND.martingale,
        )
        crowd: Any = np.float64(singles[CROWD * TILE + j]) if KIND.noisy else 1.0
        flow: Any = np.float64(singles[FLOW_NOISE * TILE + j])
        news: Any = np.float64(singles[NEWS * TILE + j])
        drawn = Draws(flow, news, crowd, _ZERO)
        price, asked = tile[PRICE * TILE + j], tile[ASKED * TILE + j]
        met, world = path.follow(here, 0, 0, World(_ZERO, tile[FLOW * TILE + j], price), drawn, tile[SIDE * TILE + j])
        before = (tile[REMAINING * TILE + j], tile[PERMANENT * TILE + j], tile[TRANSIENT * TILE + j])
        if KIND.hunted:
            hunt = Hunt(tile[SIZE * TILE + j], tile[SINCE * TILE + j], tile[PERIOD * TILE + j], tile[LIKENESS * TILE + j])
            (after, cost), hunt = predator.ambush(impact, before, met, asked, hunt, numbers[PREDATOR])
            tile[SIZE * TILE + j], tile[SINCE * TILE + j] = hunt.size, hunt.since
            tile[PERIOD * TILE + j], tile[LIKENESS * TILE + j] = hunt.period, hunt.likeness
        else:
            after, cost = kernel.move(impact, before, met, asked)
        tile[FLOW * TILE + j], tile[PRICE * TILE + j] = world.flow, world.price
        tile[REMAINING * TILE + j], tile[PERMANENT * TILE + j], tile[TRANSIENT * TILE + j] = after
        permanent, transient, temporary, spread, drift, timing, risk = cost
        tile[COST * TILE + j] += permanent
        tile[(COST + 1) * TILE + j] += transient
        tile[(COST + 2) * TILE + j] += temporary
        tile[(COST + 3) * TILE + j] += spread
        if not KIND.martingale:
            tile[(COST + 4) * TILE + j] += drift
        tile[(COST + 5) * TILE + j] += timing
        tile[(COST + 6) * TILE + j] += risk
        if not KIND.complete:
            tile[DRIFT_MOVE * TILE + j] += met.drift
            tile[TIMING_MOVE * TILE + j] += met.innovation
        tile[LAST_SHARES * TILE + j], tile[LAST_VOLUME * TILE + j] = before[0] - after[0], met.volume
        tile[PRICE_BEFORE * TILE + j], tile[PAID_BEFORE * TILE + j] = price, kernel.paid_cost(cost)
        realised, expected = kernel.realised_cost(cost), kernel.expected_cost(cost)
        drafted[PAID * TILE + j] = realised if paid_realised else expected
    next_regimes_tile(tables.thresholds, draft.words, whole, n)
    for j in range(n):
        whole[K * TILE + j] += 1


# --- the ends of an episode


def begin_tile(
    tables: Tables, side: Any, quantity: Any, last_volume: float, whole: Any, tile: Any, draft: Draft, n: int
) -> None:
    """Begin the episodes of a tile, whose keys are set, as :func:`~hyperexec_env.market.path.begin` does.

    Args:
        tables: The numbers of the market.
        side: Sides, one for each lane, or one for all.
        quantity: Quantities, likewise.
        last_volume: What the slice before the first is said to have traded.
        whole: What the lanes remember, in integers.
        tile: What the lanes remember, in numbers.
        draft: What is worked out on the way.
        n: Number of lanes.
    """
    words, singles, price = draft.words, draft.singles, tables.numbers[ARRIVAL]
    for j in range(n):
        key: Any = np.uint64(whole[KEY * TILE + j])
        words[FIRST_WORD * TILE + j] = noise.mix(key + _ORDER * noise._GAMMA)
        words[CHANCE * TILE + j] = noise.mix(key + _REGIME * noise._GAMMA) >> noise._UPPER
    for j in range(n):
        flow, _ = noise.normal_pair(words[FIRST_WORD * TILE + j])
        singles[FLOW_NOISE * TILE + j] = flow
    for j in range(n):
        whole[K * TILE + j], whole[REGIME * TILE + j] = 0, 0
    for threshold in tables.start:
        for j in range(n):
            whole[REGIME * TILE + j] += np.float64(words[CHANCE * TILE + j]) >= threshold
    for row in range(PERMANENT, SIDE):
        for j in range(n):
            tile[row * TILE + j] = 0.0
    one_side, one_quantity = side[0], quantity[0]
    for j in range(n):
        tile[SIDE * TILE + j] = side[j] if len(side) > 1 else one_side
        tile[QUANTITY * TILE + j] = quantity[j] if len(quantity) > 1 else one_quantity
    for j in range(n):
        tile[FLOW * TILE + j], tile[PRICE * TILE + j] = singles[FLOW_NOISE * TILE + j], price
        tile[REMAINING * TILE + j], tile[LAST_VOLUME * TILE + j] = tile[QUANTITY * TILE + j], last_volume
        tile[LAST_SHARES * TILE + j] = 0.0
        tile[SCALE * TILE + j] = -1e4 / (tile[QUANTITY * TILE + j] * price)


def settle_tile(tables: Tables, whole: Any, tile: Any, settled: Any, n: int) -> None:
    """Settle the account of each lane of a tile: the statement, the share that the end forced, side and quantity."""
    numbers, slices = tables.numbers, int(tables.numbers[SLICES])
    impact = Impact(numbers[PERMANENT_SLOPE], numbers[TRANSIENT_SLOPE], KIND.beta, KIND.transient_exponent)
    for j in range(n):
        quantity, bps, c = tile[QUANTITY * TILE + j], -tile[SCALE * TILE + j], COST * TILE + j
        cost = Cost(
            tile[c] * bps,
            tile[c + TILE] * bps,
            tile[c + 2 * TILE] * bps,
            tile[c + 3 * TILE] * bps,
            tile[c + 4 * TILE] * bps,
            tile[c + 5 * TILE] * bps,
            tile[c + 6 * TILE] * bps,
        )
        state = State(0.0, 0.0, 0.0)
        if not KIND.complete:
            state = State(tile[REMAINING * TILE + j], tile[PERMANENT * TILE + j], tile[TRANSIENT * TILE + j])
        booked = Account(cost, tile[DRIFT_MOVE * TILE + j], tile[TIMING_MOVE * TILE + j])
        shortfall, objective, expected, risk, by_source = account.settle_in_bps(booked, impact, state, quantity, bps)
        spread, temporary, transient, permanent, timing, drift, opportunity = by_source
        least = tables.ends[1] if whole[K * TILE + j] == slices else tables.ends[0]
        asked, volume, traded = tile[ASKED * TILE + j], tile[LAST_VOLUME * TILE + j], tile[LAST_SHARES * TILE + j]
        forced = account.forced_shares(least, volume, numbers[LARGEST], asked, traded) / quantity
        settled[j], settled[TILE + j], settled[2 * TILE + j], settled[3 * TILE + j] = shortfall, objective, expected, risk
        settled[4 * TILE + j], settled[5 * TILE + j], settled[6 * TILE + j] = spread, temporary, transient
        settled[7 * TILE + j], settled[8 * TILE + j], settled[9 * TILE + j] = permanent, timing, drift
        settled[10 * TILE + j], settled[11 * TILE + j] = opportunity, forced
        settled[12 * TILE + j], settled[13 * TILE + j] = tile[SIDE * TILE + j], quantity


# --- compiled forms, for one number


def _minimum(a: Any, b: Any) -> Any:
    return a if a < b else b


def _maximum(a: Any, b: Any) -> Any:
    return a if a > b else b


def _between(value: Any, low: Any, high: Any, cap: Any) -> Any:
    value = value if value > low else low
    value = value if value < high else high
    return value if value < cap else cap


def _power(base: Any, exponent: Any) -> Any:
    if exponent == 1.5:
        return base * sqrt(base)
    if exponent == 2.0:
        return base * base
    return sqrt(base) if exponent == 0.5 else base**exponent


def _signed(side: Any, value: Any) -> Any:
    return value if side > 0.0 else -value


def _present(value: Any) -> Any:
    return value != 0.0


def _geometric(scenario: Any) -> Any:
    return scenario.geometric


def _take(self: Any, place: Any) -> Any:
    return self


def _next_regime(market: Any, regime: Any, chance: Any) -> Any:
    return chance  # regimes move on together, as integers: see next_regimes_tile


def _halves(word: Any) -> Any:
    upper, lower = np.uint32(word >> noise._UPPER), np.uint32(word & np.uint64(0xFFFFFFFF))
    return np.float32(upper), np.float32(np.int32(lower))


def _octave(number: Any) -> Any:
    bits = np.int32(np.float32(number).view(np.int32) - noise._ROOT_HALF)
    power = np.float32(np.int32(bits >> noise._FRACTION_BITS))
    return power, np.int32((bits & noise._FRACTION) + noise._ROOT_HALF).view(np.float32)


def _root(number: Any) -> Any:
    return np.sqrt(number)


def _power_of_two(whole: Any) -> Any:
    return np.int32((np.int32(whole) + noise._EXPONENT_OF_ONE) << noise._FRACTION_BITS).view(np.float32)
