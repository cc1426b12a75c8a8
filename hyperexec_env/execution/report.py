"""Post-trade transaction cost analysis (TCA): the cost of an order by source and against benchmarks.

A report stores the recorded data and computes every metric on access; ``print`` shows it as text.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.marks import Mark
from hyperexec_env.execution.online import Learned
from hyperexec_env.execution.sessions import Sessions
from hyperexec_env.execution.venue_order import VenueOrder
from hyperexec_env.execution.venue_report import VenueResult, venue_results, venue_text
from hyperexec_env.market.kernel import Impact, Slice, State, step
from hyperexec_env.orders import ChildOrder, Fill, ParentOrder

__all__ = ["Benchmark", "Decomposition", "ExecutionReport", "Mark", "clock", "format_or_unknown", "quiet_slice"]

Point = tuple[float, float]
"""Time and mid."""

_SMALLEST_WEIGHT: Final = 1e-300
"""Sum of weights, seconds or shares, below which their products with a price would underflow."""
MEANINGS: Final = {
    "delay": "move of the mid from the decision to the start, on the filled shares",
    "spread": "half of the quoted spread",
    "temporary": "fill price against the mid before each fill, beyond the half-spread and half of the fill's own move",
    "transient": "own displacement of the price that recovers (model)",
    "permanent": "own displacement of the price that persists (model)",
    "timing": "move of the mid since the start, without our own displacement, on the filled shares",
    "opportunity": "move of the mid from the decision to the end, on the unfilled shares",
    "fees": "fees of the broker, from the configuration, and of the venues",
    "total": "shortfall plus fees",
}
"""Explanation of each line of the table of costs, for the reader of a report."""


class Decomposition(NamedTuple):
    """The shortfall by source (Perold 1988), bps of the paper notional X P0; the components sum to the shortfall."""

    delay: float
    """Move of the mid from the decision to the start of the order, for the filled shares."""
    spread: float
    """Half of the quoted spread, from the configuration."""
    temporary: float
    """Fill price against the mid just before each fill, beyond the half-spread and half of the fill's own linear move."""
    transient: float
    """Own displacement of the price that recovers, by the model; a fill pays half of the displacement that it adds."""
    permanent: float
    """Own displacement of the price that persists, by the model; a fill pays half of the displacement that it adds."""
    timing: float
    """Move of the mid since the start, without our own displacement, for the filled shares."""
    opportunity: float
    """Move of the mid from the decision to the end, for the unfilled shares."""


class Benchmark(NamedTuple):
    """A benchmark price, and the average fill price compared with it."""

    price: float
    """Benchmark price, currency per share; nan: unknown."""
    bps: float
    """Average fill price minus the benchmark, bps of the benchmark; positive is a cost on either side; nan: unknown."""


@dataclass(frozen=True)
class ExecutionReport:
    r"""The outcome and the cost of a parent order; ``print`` shows it as text.

    All costs are in bps of the paper notional :math:`X P_0`; positive is a cost for buys and for sells. With the shares
    :math:`n_i`, price :math:`p_i` and mid :math:`m_i` just before each fill, the side :math:`s` and :math:`F = \sum n_i`,

    .. math::
        X P_0\,\mathrm{shortfall} = s \left[ \sum n_i p_i + (X - F) P_\mathrm{end} - X P_0 \right]
        = s \left[ F (P_\mathrm{start} - P_0) + \sum n_i (p_i - m_i) + \sum n_i (m_i - P_\mathrm{start})
        + (X - F) (P_\mathrm{end} - P_0) \right] .

    The first and the last term are delay and opportunity. Our own displacement of the mid follows the model of
    :mod:`hyperexec_env.market.kernel` with :math:`g = \gamma P_0 / \mathrm{ADV}`,
    :math:`\kappa = (\lambda - \gamma) P_0 / \mathrm{ADV}` and exponential recovery. The mid before a fill includes the
    displacement by earlier fills but not the fill's own move, half of which the fill pays in :math:`p_i`. The permanent and
    the transient cost are therefore the displacement before each fill, taken from the third term, plus half of each fill's own
    move, taken from the second term. The rest of the second term beyond the half-spread is temporary; the rest of the third
    term is timing.

    If a fill was reported without a mid, the mid is interpolated between the neighbouring marks and mids of other fills, or is
    the arrival price if no mid is known. Fees are not part of the shortfall, which compares prices; the total is their sum.
    For an order with sessions, recovery, market volume, TWAP and tracking error count trading time only.
    """

    parent: ParentOrder
    children: tuple[ChildOrder, ...]
    """Released children, with their fills."""
    start: float
    """Start of the order, seconds on the agent's clock."""
    end: float
    """Close of the order, seconds on the agent's clock."""
    reason: str
    """filled, expired, cancelled, stopped, or failed (the order could not be cut into children)."""
    marks: Sequence[Mark] = ()
    """Market observations over the life of the order, by ascending time; the reports of an agent share those of a symbol."""
    plan: tuple[tuple[float, float], ...] = ()
    """Cumulative shares of the first plan, as (time, shares), ascending."""
    plan_is_continuous: bool = False
    """Whether the plan is linear between its times (a trading rate); otherwise it steps up at each time (children)."""
    config: ExecutionConfig = field(default_factory=ExecutionConfig)
    """Source of the model parameters and of the half-spread."""
    close_price: float | None = None
    """Closing price of the day, currency per share; None: unknown, replaced by the last mid of the order."""
    date: str = ""
    """Date of the order if the clock counts seconds after midnight; empty for any other clock."""
    notes: tuple[str, ...] = ()
    """Notes on the source of the data, for the reader."""
    venue_orders: tuple[VenueOrder, ...] = ()
    """Orders of the children in venues, with their fills; empty without venues."""
    learned: Learned | None = None
    """What the agent had learned of the market when the order closed: prior, posterior and evidence; None without estimates."""

    @cached_property
    def fills(self) -> tuple[Fill, ...]:
        """All fills, by ascending time."""
        return tuple(sorted((fill for child in self.children for fill in child.fills), key=lambda fill: fill.time))

    @cached_property
    def filled(self) -> float:
        """Shares that have traded."""
        return self.parent.total(fill.quantity for fill in self.fills)

    @property
    def unfilled(self) -> float:
        """Shares that have not traded."""
        return self.parent.total((self.parent.quantity, -self.filled))

    @property
    def fill_rate(self) -> float:
        """Filled shares over the quantity of the order."""
        return self.filled / self.parent.quantity

    @property
    def forced(self) -> float:
        """Shares that completing the order at its end added beyond the plan or the participation cap."""
        return self.parent.total(child.forced for child in self.children)

    @cached_property
    def average_price(self) -> float:
        """Average price of the fills, currency per share; nan without fills."""
        filled = self.filled
        return math.fsum(fill.quantity * fill.price for fill in self.fills) / filled if filled else math.nan

    @property
    def mids(self) -> tuple[Point, ...]:
        """Known mids as (time, mid). The first is the mid at the start, or the arrival price if no earlier mid is known."""
        known = [*((mark.time, mark.mid) for mark in self.marks), *self._fill_mids]
        known.sort(key=_time)
        return ((self.start, self.start_mid), *(point for point in known if point[0] > self.start))

    @cached_property
    def _fill_mids(self) -> tuple[Point, ...]:
        """Mids just before the fills, where known, as (time, mid), by ascending time."""
        return tuple((fill.time, fill.mid) for fill in self.fills if fill.mid is not None)

    def _known_around(self, time: float) -> tuple[Point | None, Point | None]:
        """Return the last known (time, mid) at or before a time, and the first one after it; None if there is none.

        At equal times a fill follows a mark.
        """
        mark, fill = (bisect_right(points, time, key=_time) for points in (self.marks, self._fill_mids))
        before = [*self._fill_mids[max(fill - 1, 0) : fill], *(found[:2] for found in self.marks[max(mark - 1, 0) : mark])]
        after = [*(found[:2] for found in self.marks[mark : mark + 1]), *self._fill_mids[fill : fill + 1]]
        return max(before, key=_time, default=None), min(after, key=_time, default=None)

    def mid_at(self, time: float) -> float:
        """Return the interpolated mid at a time; before the start, the first mid; after the last mid, the last one."""
        if time < self.start:
            return self.start_mid
        before, after = self._known_around(time)
        if before is None or before[0] <= self.start:
            before = (self.start, self.start_mid)
        return _between(before, after, time)

    @cached_property
    def start_mid(self) -> float:
        """Mid at the start, currency per share; the arrival price if unknown."""
        before, after = self._known_around(self.start)
        return self.parent.arrival_price if before is None else _between(before, after, self.start)

    @cached_property
    def end_mid(self) -> float:
        """Last known mid of the order, currency per share; unfilled shares are marked at it."""
        return self.mid_at(self.end)

    @cached_property
    def shortfall(self) -> float:
        """Implementation shortfall (Perold 1988), bps of the paper notional X P0."""
        parent = self.parent
        arrival = parent.arrival_price
        moves = [fill.quantity * (fill.price - arrival) for fill in self.fills]
        moves.append(self.unfilled * (self.end_mid - arrival))
        return parent.side * math.fsum(moves) * self._bps

    @cached_property
    def decomposition(self) -> Decomposition:
        """The shortfall by source, bps of the paper notional X P0."""
        parent, opening = self.parent, self.start_mid
        parts: dict[str, list[float]] = {key: [] for key in Decomposition._fields}
        impact, half_spread = self.impact, self.config.half_spread_bps * 1e-4 * parent.arrival_price
        state = State(float(self.filled), 0.0, 0.0)
        for fill, decay in zip(self.fills, self._decays(), strict=True):
            shares = float(fill.quantity)
            after, cost = step(impact, state, quiet_slice(half_spread, decay), shares)
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
        parts["opportunity"].append(parent.side * self.unfilled * (self.end_mid - parent.arrival_price))
        return Decomposition(**{key: math.fsum(values) * self._bps for key, values in parts.items()})

    @cached_property
    def fees(self) -> float:
        """Fees, currency: of the configuration for each child with fills, at least its minimum, and those of the venues."""
        of_venues = (fill.fee for fill in self.fills)
        return math.fsum([*(self._fee(child) for child in self.children if child.fills), *of_venues])

    def _fee(self, child: ChildOrder) -> float:
        """Return the fee of a child with fills, currency."""
        config, paid = self.config, math.fsum(fill.quantity * fill.price for fill in child.fills)
        return max(config.fee_per_share * child.filled + 1e-4 * config.fee_bps * paid, config.min_fee)

    @property
    def fees_bps(self) -> float:
        """Fees, bps of the paper notional X P0."""
        return self.fees * self._bps

    @property
    def total(self) -> float:
        """Shortfall plus fees, bps of the paper notional X P0."""
        return self.shortfall + self.fees_bps

    @property
    def impact(self) -> Impact:
        """Impact model of our own trades, slopes in currency per share per share traded; zero slopes if the ADV is unknown."""
        adv = self.parent.adv
        unit = self.parent.arrival_price / adv if adv else 0.0
        gamma = self.config.perm_impact_gamma
        return Impact(gamma * unit, (self.config.kyle_lambda - gamma) * unit, 1.0)

    @property
    def _traded(self) -> Iterator[tuple[Mark | None, Mark, float]]:
        """The marks from the start to the end: the previous mark, the mark, and the market volume between them.

        For an order with sessions, a volume counts by the share of trading time in the time between the marks.
        """
        last: Mark | None = None
        for mark in self.marks:
            if self.start < mark.time <= self.end:
                volume = mark.volume
                if self._sessions is not None and last is not None and mark.time > last.time:
                    volume *= self.seconds_between(last.time, mark.time) / (mark.time - last.time)
                yield last, mark, volume
            last = mark

    @cached_property
    def _sessions(self) -> Sessions | None:
        """Sessions of the order; None if it has none."""
        return Sessions(self.parent.sessions) if self.parent.sessions else None

    def _trading_time(self, time: float) -> float:
        """Return the trading time at a time on the agent's clock."""
        return time if self._sessions is None else self._sessions.trading_time(time)

    def seconds_between(self, start: float, end: float) -> float:
        """Return the trading time between two times."""
        return self._trading_time(end) - self._trading_time(start)

    @property
    def _duration(self) -> float:
        """Trading time from the start to the end."""
        return self.seconds_between(self.start, self.end)

    @cached_property
    def market_volume(self) -> float:
        """Market volume from the start to the end, shares; nan if unknown."""
        volume = math.fsum(volume for _, _, volume in self._traded)
        return volume if volume > _SMALLEST_WEIGHT else math.nan

    @property
    def participation(self) -> float:
        """Filled shares over the market volume from the start to the end; nan if the volume is unknown."""
        return self.filled / self.market_volume

    @cached_property
    def vwap(self) -> float:
        """Volume-weighted average price of the market from start to end, currency per share; nan if the volume is unknown."""
        prices = ((volume, _mean(last, mark) if mark.vwap is None else mark.vwap) for last, mark, volume in self._traded)
        return math.fsum(volume * price for volume, price in prices) / self.market_volume

    @cached_property
    def twap(self) -> float:
        """Time-weighted average mid from the start to the end, currency per share; nan without marks."""
        if not self.marks:
            return math.nan
        if not self._duration > _SMALLEST_WEIGHT:
            return self.end_mid
        path = [*(point for point in self.mids if point[0] < self.end), (self.end, self.end_mid)]
        if self._sessions is not None:
            path = [(self._trading_time(time), mid) for time, mid in path]
        area = math.fsum(0.5 * (a[1] + b[1]) * (b[0] - a[0]) for a, b in pairwise(path))
        return area / self._duration

    @property
    def benchmarks(self) -> dict[str, Benchmark]:
        """Average fill price against the arrival price, the VWAP and TWAP over the life of the order, and the close."""
        close = self.end_mid if self.close_price is None else self.close_price
        prices = {"arrival": self.parent.arrival_price, "vwap": self.vwap, "twap": self.twap, "close": close}
        paid, side = self.average_price, self.parent.side
        return {name: Benchmark(price, 1e4 * side * (paid - price) / price) for name, price in prices.items()}

    @property
    def release_latency(self) -> float:
        """Mean seconds from the schedule time of a child to its release; nan if no release is known."""
        latencies = [child.latency for child in self.children if child.released is not None]
        return math.fsum(latencies) / len(latencies) if latencies else math.nan

    @property
    def fill_latency(self) -> float:
        """Share-weighted mean seconds from the release of a child to its fills; nan if no release is known."""
        known = [child for child in self.children if child.released is not None and child.fills]
        shares = sum(child.filled for child in known)
        return math.fsum(child.filled * child.fill_latency for child in known) / shares if shares else math.nan

    @cached_property
    def tracking_error(self) -> float:
        """Root mean square of (filled - planned shares) / X over the life of the order, percent; nan without a plan.

        Between consecutive times of plan and fills, the gap is linear from a to b (constant if the plan is a step function), so
        its mean square is (a a + a b + b b) / 3.
        """
        if not self.plan or not self._duration > 0.0:
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
        seconds = np.diff([self._trading_time(edge) for edge in edges.tolist()])
        mean_square = float(((a * a + a * b + b * b) / 3.0 * seconds).sum()) / self._duration
        return 100.0 * math.sqrt(mean_square) / self.parent.quantity

    @cached_property
    def venues(self) -> tuple[VenueResult, ...]:
        """What each venue did for the order; empty without venues."""
        return venue_results(self)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Assumptions behind the numbers: model parameters, missing data, and the notes."""
        config = self.config
        model = (
            f"assumed, not measured: half-spread {config.half_spread_bps:g} bps, "
            f"perm_impact_gamma {config.perm_impact_gamma:g}, kyle_lambda {config.kyle_lambda:g}, "
            f"resilience {config.resilience:g} a day"
        )
        guessed = sum(fill.mid is None for fill in self.fills)
        source = "interpolated between known mids" if len(self.mids) > 1 else "not known; the arrival price is used"
        found = [
            ("the ADV is not known: temporary and timing include the transient and the permanent cost", not self.parent.adv),
            (f"the mid before {guessed:,} of {len(self.fills):,} fills is {source}", guessed),
            ("the closing price is not known: the last mid of the order replaces it", self.close_price is None),
        ]
        return (model, *(text for text, true in found if true), *self.notes)

    def when(self, time: float) -> str:
        """Return a time as text: time of day if the date is known, otherwise seconds."""
        return clock(time) if self.date else f"{time:g} s"

    @property
    def headline(self) -> str:
        """Summary of the order in one line."""
        parent = self.parent
        paid = f" at {self.average_price:,.4f} on average" if self.filled else ""
        return (
            f"{parent.symbol}: {'buy' if parent.side > 0 else 'sell'} {parent.quantity:,} at an arrival price of "
            f"{parent.arrival_price:,.4f}: {self.reason}, {self.filled:,} shares ({self.fill_rate:.1%}){paid}"
        )

    @property
    def cost_table(self) -> list[tuple[str, float, float]]:
        """Name, bps and currency of each component, of the shortfall and, if the configuration has any, of fees and total."""
        costs = {**self.decomposition._asdict(), "shortfall": self.shortfall}
        if self.fees or self.config.fee_per_share or self.config.fee_bps or self.config.min_fee:
            costs |= {"fees": self.fees_bps, "total": self.total}
        return [(name, bps, bps / self._bps) for name, bps in costs.items()]

    @property
    def benchmark_table(self) -> list[tuple[str, float, float]]:
        """Display name, price and bps of each benchmark."""
        close = "last mid of the order" if self.close_price is None else "close of the day"
        names = {"arrival": "arrival price", "vwap": "interval VWAP", "twap": "interval TWAP", "close": close}
        return [(names[key], price, bps) for key, (price, bps) in self.benchmarks.items()]

    @property
    def measures(self) -> list[tuple[str, str]]:
        """Measures of the execution: display name and formatted value."""
        adv, volatility = self.parent.adv or math.nan, self.parent.volatility
        return [
            ("participation", format_or_unknown(100.0 * self.participation, "{:.2f} %")),
            ("market volume", format_or_unknown(self.market_volume, "{:,.0f} shares")),
            ("order / ADV", format_or_unknown(100.0 * self.parent.quantity / adv, "{:.2f} %")),
            ("volatility", format_or_unknown(math.nan if volatility is None else 100.0 * volatility, "{:.2f} % a day")),
            ("tracking error", format_or_unknown(self.tracking_error, "{:.2f} % of the order")),
            ("release latency", format_or_unknown(self.release_latency, "{:.3f} s")),
            ("fill latency", format_or_unknown(self.fill_latency, "{:.3f} s")),
            ("forced shares", f"{self.forced:,}"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; None for unknown values."""
        parent, config = self.parent, self.config
        model = (
            *("half_spread_bps", "perm_impact_gamma", "kyle_lambda", "resilience", "day_seconds"),
            *("fee_per_share", "fee_bps", "min_fee"),
        )
        return {
            **{key: getattr(parent, key) for key in ("id", "symbol", "side", "quantity", "lot_size", "arrival_price")},
            **{key: getattr(parent, key) for key in ("adv", "volatility")},
            **{key: getattr(self, key) for key in ("date", "start", "end", "reason", "filled", "fill_rate")},
            **{key: _plain(getattr(self, key)) for key in ("average_price", "start_mid", "end_mid", "close_price")},
            "shortfall_bps": self.shortfall,
            "shortfall_currency": self.shortfall / self._bps,
            "components_bps": self.decomposition._asdict(),
            "fees_bps": self.fees_bps,
            "fees_currency": self.fees,
            "total_bps": self.total,
            "benchmarks": {key: {"price": _plain(price), "bps": _plain(bps)} for key, (price, bps) in self.benchmarks.items()},
            "market_volume": _plain(self.market_volume),
            "participation": _plain(self.participation),
            "tracking_error_percent": _plain(self.tracking_error),
            "release_latency_seconds": _plain(self.release_latency),
            "fill_latency_seconds": _plain(self.fill_latency),
            "forced_shares": self.forced,
            "model": {key: getattr(config, key) for key in model},
            "remarks": list(self.remarks),
            "fills": [fill._asdict() if fill.venue else dict(zip(Fill._fields[:4], fill, strict=False)) for fill in self.fills],
            "plan": [list(point) for point in self.plan],
            "plan_is_continuous": self.plan_is_continuous,
            **({"venues": [one.values() for one in self.venues]} if self.venues else {}),
            **({} if self.learned is None else {"learned": self.learned.values}),
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def __str__(self) -> str:
        """Return the report as text."""
        span = f"{self.date} {self.when(self.start)} to {self.when(self.end)}, {len(self.fills):,} fills".strip()
        costs = [f"  {name:<22}{bps:>12,.2f}{cash:>18,.2f}" for name, bps, cash in self.cost_table]
        prices = [
            f"  {name:<22}{format_or_unknown(price, '{:,.4f}'):>12}{format_or_unknown(bps, '{:+,.2f}'):>18}"
            for name, price, bps in self.benchmark_table
        ]
        return "\n".join(
            [
                *(self.headline, span, ""),
                *(f"{'cost':<24}{'bps':>12}{'currency':>18}", *costs, ""),
                *(f"{'average fill against':<24}{'price':>12}{'bps':>18}", *prices, ""),
                *(f"{name:<24}{value:>30}" for name, value in self.measures),
                *("", *venue_text(self), "Costs in bps of the paper notional; positive is a cost for buys and for sells."),
                *(f"{text}." for text in self.remarks),
                *([] if self.learned is None else ["", self.learned.text]),
            ]
        )

    @property
    def _bps(self) -> float:
        """Bps of the paper notional per unit of currency."""
        return 1e4 / self.parent.notional

    def _decays(self) -> Iterable[float]:
        """Return, for each fill, the fraction of the transient displacement that remains at the next fill."""
        rate = self.config.resilience / self.config.day_seconds
        times = [self._trading_time(fill.time) for fill in self.fills]
        return (math.exp(-rate * (after - before)) for before, after in zip(times, [*times[1:], *times[-1:]], strict=True))


def clock(seconds: float) -> str:
    """Return seconds after midnight as a time of day, with milliseconds if they are not zero."""
    whole, milliseconds = divmod(round(seconds * 1e3), 1000)
    text = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"
    return f"{text}.{milliseconds:03d}" if milliseconds else text


def format_or_unknown(value: float, form: str) -> str:
    """Return a number in a format such as "{:.2f}", or "not known" if it is not finite."""
    return form.format(value) if math.isfinite(value) else "not known"


def _plain(value: float | None) -> float | None:
    """Return a number for JSON: None if it is not finite."""
    return None if value is None or not math.isfinite(value) else value


def _mean(last: Mark | None, mark: Mark) -> float:
    """Return the mean of the previous mid and this mid."""
    return mark.mid if last is None else 0.5 * (last.mid + mark.mid)


def quiet_slice(half_spread: float, decay: float) -> Slice:
    """Return a slice in which only our own trade moves the price."""
    return Slice(
        volume=1.0,
        least=0.0,
        limit=math.inf,
        temporary_scale=0.0,
        half_spread=half_spread,
        transient_decay=decay,
        drift=0.0,
        innovation=0.0,
        risk=0.0,
    )


def _between(before: Point, after: Point | None, time: float) -> float:
    """Return the value at a time between two points, linear; the value of the first one if there is no second one."""
    if after is None:
        return before[1]
    (t0, m0), (t1, m1) = before, after
    return m0 + (m1 - m0) * (time - t0) / (t1 - t0)


def _time(point: Mark | Point) -> float:
    """Return the time of a mark, or of a (time, mid)."""
    return point[0]
