"""The market compiled by numba (extra `fast`), from the same source as every other execution.

:func:`~hyperexec_env.market.path.follow`, :func:`~hyperexec_env.market.kernel.move`,
:func:`~hyperexec_env.market.predator.ambush` and the noise are compiled as they stand, for one lane at a time. What they call
and numba cannot read, because it looks at types or at whole arrays, has a compiled form here.

Lanes are worked on in tiles: a tile holds some fields of :data:`TILE` lanes, one field after the other, in one flat array. Each
pass over a tile is a short loop without branches in which all distances are known, so that the compiler works on several lanes
at once. numba is imported when :func:`twins` is called, and not before.
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
from hyperexec_env.market import kernel, noise, numeric, path, predator
from hyperexec_env.market.kernel import Cost
from hyperexec_env.market.model import Market
from hyperexec_env.market.path import Draws, World
from hyperexec_env.market.predator import Hunt
from hyperexec_env.market.regime import REGIME_NAMES

__all__ = [
    "BACKENDS",
    "TILE",
    "Kind",
    "Tables",
    "default_threads",
    "kind_of",
    "pack",
    "resolve_backend",
    "tables_of",
    "trade_tile",
    "unpack_tables",
]

Floats = NDArray[np.float64]

TILE: Final = 136
"""Lanes of a tile: all that a slice needs of them stays near the first cache of a processor. Not a power of two: the fields of
a lane would be kept in the same few places of the cache."""

MOST: Final = len(REGIME_NAMES)
"""The most regimes that a market can have: tables over them are as long."""

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
# what is looked up or drawn for a slice, and what it pays
BY_REGIME: Final = ("half_spread", "step_volatility", "step_drift", "temporary_scale", "transient_kept", "risk")
"""Tables of a market over its regimes."""
(HALF_SPREAD, STEP_VOLATILITY, STEP_DRIFT, TEMPORARY_SCALE, TRANSIENT_KEPT, RISK) = range(26, 32)
(MEAN_VOLUME, LEAST, CAP, FLOW_NOISE, NEWS, CROWD, PAID) = range(32, 39)
ROWS: Final = 39
(K, REGIME, FOLLOWING) = range(3)
INTEGERS: Final = 3
(FIRST_WORD, SECOND_WORD, CHANCE) = range(3)
WORDS: Final = 3
SINGLES: Final = 2

_FUSED: Final = "evaluation/fused.py"
_ALONE: Final = 4_096
"""Below so many lanes one thread works."""
_A_THREAD: Final = 2_048
"""Lanes for which a thread is worth it."""
_ZERO: Any = 0
_PRICE: Final = np.uint64(noise.PRICE + 1)
_VOLUME: Final = np.uint64(noise.VOLUME + 1)
_NEXT_REGIME: Final = np.uint64(noise.REGIME + noise.STREAMS + 1)


class Kind(NamedTuple):
    """What a compiled loop is made for: it is compiled once for each kind, and branches on these values cost nothing."""

    fingerprint: str
    """Hash of the source: a loop that was kept on disk is not used after a change."""
    beta: float
    transient_exponent: float
    flow_persistence: float
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
    predator, deviation of the log volume, and whether the realised cost is paid."""
    by_regime: Floats
    """Shape (6, MOST), flat: the tables :data:`BY_REGIME`."""
    mean_volume: Floats
    """Flat, by cell."""
    ends: Floats
    """What must trade in every slice but the last, and in the last; then what may trade, in participation."""
    thresholds: Floats
    """Shape (M - 1, MOST), flat: 32-bit integers, which are exact in this precision too."""


def pack(*parts: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return some arrays as one, and their edges in it: compiled code takes one array in a tenth of the time of a record."""
    return np.concatenate(parts), np.cumsum([0, *map(len, parts)])


def unpack_tables(packed: Any, edges: Any) -> Tables:
    """Return the tables, which were packed first."""
    return Tables(
        packed[edges[0] : edges[1]],
        packed[edges[1] : edges[2]],
        packed[edges[2] : edges[3]],
        packed[edges[3] : edges[4]],
        packed[edges[4] : edges[5]],
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
        path.geometric(scenario),
        market.drifting,
        market.capped,
        market.martingale,
        market.holding != 0.0,
        scenario.volume_noise != 0.0,
        market.hunted,
        scenario.complete,
    )


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
    scenario, count = market.scenario, market.regimes
    numbers = (
        *(scenario.arrival_price, scenario.flow_share, market.holding, market.by_flow, market.by_flow_noise, market.by_news),
        *(market.impact.permanent_slope, market.impact.transient_slope, scenario.predator, scenario.volume_noise, realised),
    )
    by_regime = [np.resize(getattr(market, name)[:count], MOST) for name in BY_REGIME]
    ends = [market.least[0], market.least[-1], market.cap[0], market.cap[-1]]
    if market.slices > 1 and not ((market.least[:-1] == ends[0]).all() and (market.cap[:-1] == ends[2]).all()):
        raise ValueError("a compiled market must ask the same of all slices but the last")
    return Tables(
        np.array(numbers, dtype=float),
        np.concatenate(by_regime),
        market.mean_volume.ravel(),
        np.array(ends),
        np.resize(market.next_thresholds.T, (MOST, count - 1)).T.ravel().astype(float),
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
        self.add(numeric, (), _minimum, _maximum, _between, _power, _signed)
        self.add(
            noise,
            ("mix", "polynomial", "polar", "chord", "sagitta", "normal_pair", "exponential"),
            _halves,
            _octave,
            _root,
            _power_of_two,
        )
        costs = ("expected_cost", "shortfall_cost", "realised_cost", "paid_cost")
        self.add(kernel, ("move", "close", *costs))
        self.add(predator, ("ahead", "watch", "ambush"))
        own = ("follow", "_next_flow", "_returns", "_move_price", "_meet", "volume_factor")
        self.add(path, own, _geometric, _next_regime)
        tiles = ("chosen", "unpack_tables", "draw_tile", "look_up", "next_regimes")
        self.add(sys.modules[__name__], tiles, by_kind=("trade_tile",))

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
            self._twins[id(getattr(module, name))] = names[name] = self._numba.njit(error_model="numpy")(function)
        for name in by_kind:
            self._by_kind[id(getattr(module, name))] = self._found(module, name), names

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
        names = {name: self._twins.get(id(value), value) for name, value in function.__globals__.items()}
        for name, value in function.__globals__.items():
            if id(value) in self._by_kind:
                original, around = self._by_kind[id(value)]
                own = _with_globals(original, {**around, "KIND": kind}, f"_{key}")
                names[name] = self._numba.njit(error_model="numpy")(own)
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
        return self._numba.njit(error_model="numpy")(_with_globals(function, names, f"_{key}"))


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


# --- passes over a tile: `n` lanes, at most TILE


def draw_tile(noisy: bool, numbers: Floats, keys: Any, ints: Any, words: Any, singles: Any, tile: Any, n: int) -> None:
    """Draw what nature draws for the slice of each lane, as :func:`~hyperexec_env.market.path.draw` does."""
    for j in range(n):
        start = keys[j] + np.uint64(ints[K * TILE + j]) * noise._STRIDE
        words[FIRST_WORD * TILE + j] = noise.mix(start + _PRICE * noise._GAMMA)
        words[SECOND_WORD * TILE + j] = noise.mix(start + _VOLUME * noise._GAMMA)
        words[CHANCE * TILE + j] = noise.mix(start + _NEXT_REGIME * noise._GAMMA) >> noise._UPPER
    for j in range(n):
        flow, news = noise.normal_pair(words[FIRST_WORD * TILE + j])
        singles[j] = flow
        singles[TILE + j] = news
    for j in range(n):
        tile[FLOW_NOISE * TILE + j] = singles[j]
        tile[NEWS * TILE + j] = singles[TILE + j]
    if noisy:
        for j in range(n):
            crowd, _ = noise.normal_pair(words[SECOND_WORD * TILE + j])
            singles[j] = crowd
        deviation = np.float32(numbers[9])
        for j in range(n):
            singles[j] = path.volume_factor(singles[j], deviation)
        for j in range(n):
            tile[CROWD * TILE + j] = singles[j]
    else:
        for j in range(n):
            tile[CROWD * TILE + j] = 1.0


def chosen(place: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any) -> Any:
    """Return one of six values: for so few, choosing is faster than fetching where one works on several lanes at once."""
    value = b if place == 1 else a
    value = c if place == 2 else value
    value = d if place == 3 else value
    value = e if place == 4 else value
    return f if place == 5 else value


def look_up(tables: Tables, slices: int, width: int, ints: Any, tile: Any, n: int) -> None:
    """Look the numbers of the slice and the regime of each lane up."""
    for table in range(len(BY_REGIME)):
        row, values = tile[(HALF_SPREAD + table) * TILE :], tables.by_regime[table * MOST :]
        a, b, c, d, e, f = values[0], values[1], values[2], values[3], values[4], values[5]
        for j in range(n):
            row[j] = chosen(ints[REGIME * TILE + j], a, b, c, d, e, f)
    for j in range(n):
        tile[MEAN_VOLUME * TILE + j] = tables.mean_volume[ints[K * TILE + j] * width + ints[REGIME * TILE + j]]
    least, least_last, cap, cap_last = tables.ends[0], tables.ends[1], tables.ends[2], tables.ends[3]
    for j in range(n):
        last = ints[K * TILE + j] == slices - 1
        tile[LEAST * TILE + j] = least_last if last else least
        tile[CAP * TILE + j] = cap_last if last else cap


def next_regimes(limits: Any, count: int, words: Any, ints: Any, n: int) -> None:
    """Move the regime of each lane on: the number of thresholds that the draw reaches."""
    for j in range(n):
        ints[FOLLOWING * TILE + j] = 0
    for row in range(count - 1):
        values = limits[row * MOST :]
        a, b, c, d, e, f = values[0], values[1], values[2], values[3], values[4], values[5]
        for j in range(n):
            reached = np.float64(words[CHANCE * TILE + j]) >= chosen(ints[REGIME * TILE + j], a, b, c, d, e, f)
            ints[FOLLOWING * TILE + j] += reached
    for j in range(n):
        ints[REGIME * TILE + j] = ints[FOLLOWING * TILE + j]


def trade_tile(
    tables: Tables, slices: int, regimes: int, keys: Any, ints: Any, words: Any, singles: Any, tile: Any, n: int
) -> None:
    """Trade what each lane asks for in its slice, book the cost, and move the world and the clock on."""
    numbers = tables.numbers
    draw_tile(KIND.noisy, numbers, keys, ints, words, singles, tile, n)
    look_up(tables, slices, regimes + 1, ints, tile, n)
    terms = Terms(KIND.geometric, numbers[0], KIND.flow_persistence, numbers[1])
    holding = numbers[2] if KIND.held else 0.0
    impact, paid_realised = (numbers[6], numbers[7], KIND.beta, KIND.transient_exponent), numbers[10] > 0.0
    for j in range(n):
        here: Any = Point(
            terms,
            tile[HALF_SPREAD * TILE + j],
            tile[STEP_VOLATILITY * TILE + j],
            tile[STEP_DRIFT * TILE + j],
            tile[TEMPORARY_SCALE * TILE + j],
            tile[TRANSIENT_KEPT * TILE + j],
            tile[RISK * TILE + j],
            tile[MEAN_VOLUME * TILE + j],
            tile[LEAST * TILE + j],
            tile[CAP * TILE + j],
            holding,
            numbers[3],
            numbers[4],
            numbers[5],
            KIND.drifting,
            KIND.capped,
            KIND.martingale,
        )
        drawn = Draws(tile[FLOW_NOISE * TILE + j], tile[NEWS * TILE + j], tile[CROWD * TILE + j], _ZERO)
        price, asked = tile[PRICE * TILE + j], tile[ASKED * TILE + j]
        met, world = path.follow(here, 0, 0, World(_ZERO, tile[FLOW * TILE + j], price), drawn, tile[SIDE * TILE + j])
        before = (tile[REMAINING * TILE + j], tile[PERMANENT * TILE + j], tile[TRANSIENT * TILE + j])
        if KIND.hunted:
            hunt = Hunt(tile[SIZE * TILE + j], tile[SINCE * TILE + j], tile[PERIOD * TILE + j], tile[LIKENESS * TILE + j])
            (after, cost), hunt = predator.ambush(impact, before, met, asked, hunt, numbers[8])
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
        tile[(COST + 4) * TILE + j] += drift
        tile[(COST + 5) * TILE + j] += timing
        tile[(COST + 6) * TILE + j] += risk
        tile[DRIFT_MOVE * TILE + j] += met.drift
        tile[TIMING_MOVE * TILE + j] += met.innovation
        tile[LAST_SHARES * TILE + j], tile[LAST_VOLUME * TILE + j] = before[0] - after[0], met.volume
        tile[PRICE_BEFORE * TILE + j], tile[PAID_BEFORE * TILE + j] = price, kernel.paid_cost(cost)
        realised, expected = kernel.realised_cost(cost), kernel.expected_cost(cost)
        tile[PAID * TILE + j] = realised if paid_realised else expected
    next_regimes(tables.thresholds, regimes, words, ints, n)
    for j in range(n):
        ints[K * TILE + j] += 1


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


def _geometric(scenario: Any) -> Any:
    return scenario.geometric


def _take(self: Any, place: Any) -> Any:
    return self


def _next_regime(market: Any, regime: Any, chance: Any) -> Any:
    return chance  # regimes move on together, as integers: see next_regimes


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
