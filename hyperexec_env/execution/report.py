"""Post-trade reports (TCA): what an order cost, by source and against benchmarks. The report keeps what was recorded once,
works every number out when it is asked for, and prints itself.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.market.kernel import Impact, Slice, State, step
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder

__all__ = ["Benchmark", "Decomposition", "ExecutionReport", "Mark", "clock", "told"]

MEANINGS: Final = {
    "delay": "move of the mid from the decision to the start, on the filled shares",
    "spread": "half of the quoted spread",
    "temporary": "price paid against the mid before each fill, beyond the half-spread and half of the fill's own move",
    "transient": "own displacement of the price that recovers (model)",
    "permanent": "own displacement of the price that stays (model)",
    "timing": "move of the mid since the start that is not our own, on the filled shares",
    "opportunity": "move from the decision to the end, on the shares that were not filled",
}
"""What each component of the shortfall is, for a reader."""


class Mark(NamedTuple):
    """What was known of the market at a time while an order ran."""

    time: float
    """Seconds on the agent's clock."""
    mid: float
    """Currency per share."""
    volume: float = 0.0
    """Market volume since the mark before, shares (0: not known)."""
    vwap: float | None = None
    """Average price of that volume, currency per share; None: the mean of the mid before and this mid stands for it."""


class Decomposition(NamedTuple):
    """The shortfall by source (Perold 1988), bps of the paper notional X P0; the sum is the shortfall."""

    delay: float
    """Move of the mid from the decision to the start of the order, for the filled shares."""
    spread: float
    """Half of the quoted spread, as the configuration tells it."""
    temporary: float
    """Price paid against the mid just before each fill, beyond the half-spread and half of the fill's own linear move."""
    transient: float
    """Own displacement of the price that recovers, by the model; a fill pays half of what it adds itself."""
    permanent: float
    """Own displacement of the price that stays, by the model; a fill pays half of what it adds itself."""
    timing: float
    """Move of the mid since the start that is not our own displacement, for the filled shares."""
    opportunity: float
    """Move of the mid from the decision to the end, for the shares that were not filled."""


class Benchmark(NamedTuple):
    """A price that the average fill is held against."""

    price: float
    """Currency per share; nan: not known."""
    bps: float
    """Average fill against it, bps of the benchmark; positive is worse for us on either side; nan: not known."""


@dataclass(frozen=True)
class ExecutionReport:
    r"""What became of a parent order, and what it cost. It prints itself.

    All costs are in bps of the paper notional :math:`X P_0`, positive is a cost for buys and for sells. With the shares
    :math:`n_i`, price :math:`p_i` and mid :math:`m_i` just before each fill, the side :math:`s` and :math:`F = \sum n_i`,

    .. math::
        X P_0\,\mathrm{shortfall} = s \left[ \sum n_i p_i + (X - F) P_\mathrm{end} - X P_0 \right]
        = s \left[ F (P_\mathrm{start} - P_0) + \sum n_i (p_i - m_i) + \sum n_i (m_i - P_\mathrm{start})
        + (X - F) (P_\mathrm{end} - P_0) \right] .

    The first and the last term are delay and opportunity. Our own displacement of the mid follows the model of
    :mod:`hyperexec_env.market.kernel` with :math:`g = \gamma P_0 / \mathrm{ADV}`,
    :math:`\kappa = (\lambda - \gamma) P_0 / \mathrm{ADV}` and exponential recovery. The mid before a fill holds what earlier
    fills have left, and not the fill's own move, of which it pays half in :math:`p_i`: so the displacement before a fill is
    taken from the third term, and the half from the second, and both together are the permanent and the transient cost.
    What is left of the second term beyond the half-spread is temporary; what is left of the third is timing.

    A mid that was not reported with a fill is interpolated between the marks (and the mids of other fills) around it; where
    none is known it is the arrival price.
    """

    parent: ParentOrder
    children: tuple[ChildOrder, ...]
    """The children that were released, with their fills."""
    start: float
    """When the order was taken, seconds on the agent's clock."""
    end: float
    """When it was closed."""
    reason: str
    """filled, expired, cancelled, stopped, or failed (it could not be cut)."""
    marks: tuple[Mark, ...] = ()
    """The market while the order ran, by ascending time."""
    plan: tuple[tuple[float, float], ...] = ()
    """Times and the shares that the first plan had done by then, ascending."""
    plan_is_continuous: bool = False
    """Whether the plan runs on straight lines between its times (a rate of trading); else it steps up at each (children)."""
    config: ExecutionConfig = field(default_factory=ExecutionConfig)
    """Where the parameters of the model and the half-spread come from."""
    close_price: float | None = None
    """Closing price of the day, currency per share; None: not known, the last mid of the order stands for it."""
    date: str = ""
    """Day of the order, where the clock counts seconds after its midnight; empty: any other clock."""
    notes: tuple[str, ...] = ()
    """What a reader must know about where the data came from."""

    @cached_property
    def fills(self) -> tuple[Fill, ...]:
        """Every fill, by ascending time."""
        return tuple(sorted((fill for child in self.children for fill in child.fills), key=lambda fill: fill.time))

    @cached_property
    def filled(self) -> int:
        """Shares that have traded."""
        return sum(fill.quantity for fill in self.fills)

    @property
    def fill_rate(self) -> float:
        """Filled shares over the quantity of the order."""
        return self.filled / self.parent.quantity

    @property
    def forced(self) -> int:
        """Shares that the end of the order forced beyond what the plan or the participation cap allowed."""
        return sum(child.forced for child in self.children)

    @cached_property
    def average_price(self) -> float:
        """Average price of the fills, currency per share; nan without one."""
        filled = self.filled
        return math.fsum(fill.quantity * fill.price for fill in self.fills) / filled if filled else math.nan

    @cached_property
    def mids(self) -> tuple[tuple[float, float], ...]:
        """Times and mids that are known from the start on, the start first (the arrival price where nothing is known)."""
        known = [(mark.time, mark.mid) for mark in self.marks]
        known += [(fill.time, fill.mid) for fill in self.fills if fill.mid is not None]
        known.sort(key=lambda point: point[0])
        opening = _interpolate(known, self.start) if known and known[0][0] <= self.start else self.parent.arrival_price
        return ((self.start, opening), *(point for point in known if point[0] > self.start))

    def mid_at(self, time: float) -> float:
        """Return the mid at a time, interpolated; before the start that of the start, after the last one the last one."""
        return _interpolate(self.mids, time)

    @property
    def start_mid(self) -> float:
        """Mid at the start, currency per share; the arrival price where it is not known."""
        return self.mids[0][1]

    @cached_property
    def end_mid(self) -> float:
        """Last known mid of the order, currency per share: what the unfilled shares are marked at."""
        return self.mid_at(self.end)

    @cached_property
    def shortfall(self) -> float:
        """Implementation shortfall (Perold 1988), bps of the paper notional X P0."""
        parent = self.parent
        arrival = parent.arrival_price
        moves = [fill.quantity * (fill.price - arrival) for fill in self.fills]
        moves.append((parent.quantity - self.filled) * (self.end_mid - arrival))
        return parent.side * math.fsum(moves) * self._bps

    @cached_property
    def decomposition(self) -> Decomposition:
        """The shortfall by source, bps of the paper notional X P0."""
        parent, opening = self.parent, self.start_mid
        parts: dict[str, list[float]] = {key: [] for key in Decomposition._fields}
        impact, half_spread = self.impact, self.config.half_spread_bps * 1e-4 * parent.arrival_price
        state = State(float(self.filled), 0.0, 0.0)
        for fill, kept in zip(self.fills, self._kept(), strict=True):
            shares = float(fill.quantity)
            after, cost = step(impact, state, _still(half_spread, kept), shares)
            before = shares * (state.permanent + state.transient)
            mid = self.mid_at(fill.time) if fill.mid is None else fill.mid
            own_half = cost.permanent + cost.transient - before
            parts["spread"].append(cost.spread)
            parts["temporary"] += [parent.side * shares * (fill.price - mid), -cost.spread, -own_half]
            parts["transient"].append(cost.transient)
            parts["permanent"].append(cost.permanent)
            parts["timing"] += [parent.side * shares * (mid - opening), -before]
            state = after
        parts["delay"].append(parent.side * self.filled * (opening - parent.arrival_price))
        missed = parent.quantity - self.filled
        parts["opportunity"].append(parent.side * missed * (self.end_mid - parent.arrival_price))
        return Decomposition(**{key: math.fsum(values) * self._bps for key, values in parts.items()})

    @property
    def impact(self) -> Impact:
        """How our own trades move the price by the model, currency per share; zeros where the ADV is not known."""
        adv = self.parent.adv
        unit = self.parent.arrival_price / adv if adv else 0.0
        gamma = self.config.perm_impact_gamma
        return Impact(gamma * unit, (self.config.kyle_lambda - gamma) * unit, 1.0)

    @cached_property
    def market_volume(self) -> float:
        """Market volume from the start to the end, shares; nan where it is not known."""
        volume = math.fsum(mark.volume for mark in self.marks if self.start < mark.time <= self.end)
        return volume if volume > 0.0 else math.nan

    @property
    def participation(self) -> float:
        """Filled shares over the market volume from the start to the end; nan where that is not known."""
        return self.filled / self.market_volume

    @cached_property
    def vwap(self) -> float:
        """Volume-weighted average price of the market from the start to the end, currency per share; nan: not known."""
        before = [None, *self.marks]
        traded = [
            mark.volume * (_mean(last, mark) if mark.vwap is None else mark.vwap)
            for last, mark in zip(before, self.marks, strict=False)
            if self.start < mark.time <= self.end
        ]
        return math.fsum(traded) / self.market_volume

    @cached_property
    def twap(self) -> float:
        """Time-weighted average mid from the start to the end, currency per share; nan where no mark is known."""
        if not self.marks:
            return math.nan
        if not self.end > self.start:
            return self.end_mid
        path = [*(point for point in self.mids if point[0] < self.end), (self.end, self.end_mid)]
        area = math.fsum(0.5 * (a[1] + b[1]) * (b[0] - a[0]) for a, b in pairwise(path))
        return area / (self.end - self.start)

    @property
    def benchmarks(self) -> dict[str, Benchmark]:
        """The average fill against the arrival price, the VWAP and TWAP of the order's time, and the close."""
        close = self.end_mid if self.close_price is None else self.close_price
        prices = {"arrival": self.parent.arrival_price, "vwap": self.vwap, "twap": self.twap, "close": close}
        paid, side = self.average_price, self.parent.side
        return {name: Benchmark(price, 1e4 * side * (paid - price) / price) for name, price in prices.items()}

    @property
    def release_latency(self) -> float:
        """Mean seconds from the schedule time of a child to its release; nan where none is known."""
        latencies = [child.latency for child in self.children if child.released is not None]
        return math.fsum(latencies) / len(latencies) if latencies else math.nan

    @property
    def fill_latency(self) -> float:
        """Mean seconds from the release of a child to its fills, weighted by shares; nan where none is known."""
        known = [child for child in self.children if child.released is not None and child.fills]
        shares = sum(child.filled for child in known)
        return math.fsum(child.filled * child.fill_latency for child in known) / shares if shares else math.nan

    @cached_property
    def tracking_error(self) -> float:
        """Root mean square over the order's life of (done - planned) / X, in percent; nan without a plan.

        Between two of the times of plan and fills the gap is a straight line from a to b (a constant, where the plan steps):
        there the mean of its square is (a a + a b + b b) / 3.
        """
        if not self.plan or not self.end > self.start:
            return math.nan
        times, sums = np.array(self.plan).T
        filled_at = np.array([fill.time for fill in self.fills])
        edges = np.unique(np.clip(np.concatenate([times, filled_at, [self.start, self.end]]), self.start, self.end))
        done = np.cumsum([0.0, *(fill.quantity for fill in self.fills)])[np.searchsorted(filled_at, edges[:-1], "right")]
        if self.plan_is_continuous:
            planned = np.interp(edges, times, sums)
            a, b = done - planned[:-1], done - planned[1:]
        else:
            a = b = done - np.concatenate([[0.0], sums])[np.searchsorted(times, edges[:-1], "right")]
        mean_square = float(((a * a + a * b + b * b) / 3.0 * np.diff(edges)).sum()) / (self.end - self.start)
        return 100.0 * math.sqrt(mean_square) / self.parent.quantity

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the numbers rest on: the model, what is not known, and the notes."""
        config = self.config
        model = (
            f"told, not measured: half-spread {config.half_spread_bps:g} bps, perm_impact_gamma {config.perm_impact_gamma:g}, "
            f"kyle_lambda {config.kyle_lambda:g}, resilience {config.resilience:g} a day"
        )
        guessed = sum(fill.mid is None for fill in self.fills)
        source = "interpolated between known mids" if len(self.mids) > 1 else "not known and taken to be the arrival price"
        found = [
            ("the ADV is not known: transient and permanent stand under temporary and timing", not self.parent.adv),
            (f"the mid before {guessed:,} of {len(self.fills):,} fills is {source}", guessed),
            ("the closing price is not known: the last mid of the order stands for it", self.close_price is None),
        ]
        return (model, *(text for text, true in found if true), *self.notes)

    def when(self, time: float) -> str:
        """Return a time as a reader wants it: the clock time where the day is known, else seconds."""
        return clock(time) if self.date else f"{time:g} s"

    @property
    def headline(self) -> str:
        """The order in one line."""
        parent = self.parent
        paid = f" at {self.average_price:,.4f} on average" if self.filled else ""
        return (
            f"{parent.symbol}: {'buy' if parent.side > 0 else 'sell'} {parent.quantity:,} at an arrival price of "
            f"{parent.arrival_price:,.4f}: {self.reason}, {self.filled:,} shares ({self.fill_rate:.1%}){paid}"
        )

    @property
    def cost_table(self) -> list[tuple[str, float, float]]:
        """Name, bps and currency of each component, and of the shortfall."""
        costs = {**self.decomposition._asdict(), "shortfall": self.shortfall}
        return [(name, bps, bps / self._bps) for name, bps in costs.items()]

    @property
    def benchmark_table(self) -> list[tuple[str, float, float]]:
        """Name as a reader wants it, price and bps of each benchmark."""
        close = "last mid of the order" if self.close_price is None else "close of the day"
        names = {"arrival": "arrival price", "vwap": "interval VWAP", "twap": "interval TWAP", "close": close}
        return [(names[key], price, bps) for key, (price, bps) in self.benchmarks.items()]

    @property
    def measures(self) -> list[tuple[str, str]]:
        """How the order was worked: name and value as a reader wants them."""
        adv, volatility = self.parent.adv or math.nan, self.parent.volatility
        return [
            ("participation", told(100.0 * self.participation, "{:.2f} %")),
            ("market volume", told(self.market_volume, "{:,.0f} shares")),
            ("order / ADV", told(100.0 * self.parent.quantity / adv, "{:.2f} %")),
            ("volatility", told(math.nan if volatility is None else 100.0 * volatility, "{:.2f} % a day")),
            ("tracking error", told(self.tracking_error, "{:.2f} % of the order")),
            ("release latency", told(self.release_latency, "{:.3f} s")),
            ("fill latency", told(self.fill_latency, "{:.3f} s")),
            ("forced shares", f"{self.forced:,}"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None where a value is not known."""
        parent, config = self.parent, self.config
        model = ("half_spread_bps", "perm_impact_gamma", "kyle_lambda", "resilience", "day_seconds")
        return {
            **{key: getattr(parent, key) for key in ("id", "symbol", "side", "quantity", "arrival_price", "adv", "volatility")},
            **{key: getattr(self, key) for key in ("date", "start", "end", "reason", "filled", "fill_rate")},
            **{key: _plain(getattr(self, key)) for key in ("average_price", "start_mid", "end_mid", "close_price")},
            "shortfall_bps": self.shortfall,
            "shortfall_currency": self.shortfall / self._bps,
            "components_bps": self.decomposition._asdict(),
            "benchmarks": {key: {"price": _plain(price), "bps": _plain(bps)} for key, (price, bps) in self.benchmarks.items()},
            "market_volume": _plain(self.market_volume),
            "participation": _plain(self.participation),
            "tracking_error_percent": _plain(self.tracking_error),
            "release_latency_seconds": _plain(self.release_latency),
            "fill_latency_seconds": _plain(self.fill_latency),
            "forced_shares": self.forced,
            "model": {key: getattr(config, key) for key in model},
            "remarks": list(self.remarks),
            "fills": [fill._asdict() for fill in self.fills],
            "plan": [list(point) for point in self.plan],
            "plan_is_continuous": self.plan_is_continuous,
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def __str__(self) -> str:
        """Return the report as text."""
        span = f"{self.date} {self.when(self.start)} to {self.when(self.end)}, {len(self.fills):,} fills".strip()
        costs = [f"  {name:<22}{bps:>12,.2f}{cash:>18,.2f}" for name, bps, cash in self.cost_table]
        prices = [
            f"  {name:<22}{told(price, '{:,.4f}'):>12}{told(bps, '{:+,.2f}'):>18}" for name, price, bps in self.benchmark_table
        ]
        return "\n".join(
            [
                *(self.headline, span, ""),
                *(f"{'cost':<24}{'bps':>12}{'currency':>18}", *costs, ""),
                *(f"{'average fill against':<24}{'price':>12}{'bps':>18}", *prices, ""),
                *(f"{name:<24}{value:>30}" for name, value in self.measures),
                *("", "Costs in bps of the paper notional; positive is a cost for buys and for sells."),
                *(f"{text}." for text in self.remarks),
            ]
        )

    @property
    def _bps(self) -> float:
        """Bps of the paper notional for one unit of currency."""
        return 1e4 / self.parent.notional

    def _kept(self) -> Iterable[float]:
        """Return, for each fill, the share of the transient displacement that is left at the next one."""
        rate = self.config.resilience / self.config.day_seconds
        times = [fill.time for fill in self.fills]
        return (math.exp(-rate * (after - before)) for before, after in zip(times, [*times[1:], *times[-1:]], strict=True))


def clock(seconds: float) -> str:
    """Return seconds after midnight as a time of day, with milliseconds where there are any."""
    whole, milliseconds = divmod(round(seconds * 1e3), 1000)
    text = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{text}.{milliseconds:03d}" if milliseconds else text


def told(value: float, form: str) -> str:
    """Return a number in a form such as "{:.2f}", or "not known" where it is not finite."""
    return form.format(value) if math.isfinite(value) else "not known"


def _plain(value: float | None) -> float | None:
    """Return a number for JSON: None where it is not finite."""
    return None if value is None or not math.isfinite(value) else value


def _mean(last: Mark | None, mark: Mark) -> float:
    """Return the mean of two mids."""
    return mark.mid if last is None else 0.5 * (last.mid + mark.mid)


def _still(half_spread: float, kept: float) -> Slice:
    """Return a slice in which nothing but our own trade moves the price."""
    return Slice(
        volume=1.0,
        least=0.0,
        limit=math.inf,
        temporary_scale=0.0,
        half_spread=half_spread,
        transient_kept=kept,
        drift=0.0,
        innovation=0.0,
        risk=0.0,
    )


def _interpolate(path: list[tuple[float, float]] | tuple[tuple[float, float], ...], time: float) -> float:
    """Return the value of a path at a time: linear between its points, constant beyond; at a jump the value after it."""
    after = bisect_right(path, time, key=lambda point: point[0])
    if after in (0, len(path)):
        return path[after - 1 if after else 0][1]
    (t0, m0), (t1, m1) = path[after - 1], path[after]
    return m0 + (m1 - m0) * (time - t0) / (t1 - t0)
