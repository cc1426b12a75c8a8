"""Pre-trade cost estimates of an order: expected impact, and the distribution of the shortfall of a schedule.

:func:`estimate_impact` is a back-of-the-envelope estimate of an order that trades at a constant rate, from the temporary,
permanent and Kyle coefficients. :func:`estimate_schedule` estimates the shortfall of a schedule in the market of a scenario,
in closed form if one exists and otherwise by simulation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import NormalDist
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer, check_number, check_numbers
from hyperexec_env.execution import schedules
from hyperexec_env.execution.algorithms import ADAPTIVE, ALGORITHMS, check_algorithm, market_outlook, resolve
from hyperexec_env.execution.children import merge_small_pieces, smallest_lots, whole_shares
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.market.account import Statement, book, open_account, settle
from hyperexec_env.market.kernel import Components, Slice, State, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import World, draw_path, expected_slice
from hyperexec_env.market.predator import PredatorMemory, trade
from hyperexec_env.market.regime import UNKNOWN
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.tables import Market, build_market
from hyperexec_env.market.volume_noise import neutral_ratio
from hyperexec_env.orders import (
    MAX_SHARES,
    MAX_VOLATILITY,
    Order,
    ParentOrder,
    check_lot_size,
    check_quantity,
    lots_of,
    shares_of,
)

__all__ = ["CostEstimate", "LearnedCost", "MarketImpactEstimate", "estimate_impact", "estimate_schedule", "planned_shares"]

Floats = NDArray[np.float64]

GIVEN: Final = "given"
"""Name of the algorithm of an estimate whose schedule the caller provides."""
LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Probability levels of the quantiles of an estimate."""
_CELLS: Final = 1 << 17
"""Slices times episodes per batch: bounds the memory; results do not depend on it."""
_DEFAULT: Final = ExecutionConfig()


class LearnedCost(NamedTuple):
    """What a desk has learned of the cost of an order, beside its mean."""

    interval_bps: tuple[float, float]
    """90 % interval of the expected cost."""
    prior_bps: float
    """Expected cost before any evidence."""
    slippage_bins: int
    """Bins whose own slippage is evidence on alpha."""
    flow_bins: int
    """Bins whose order flow is evidence on lambda."""


class MarketImpactEstimate(NamedTuple):
    """Cost of an order that trades at a constant rate, from :func:`estimate_impact`; bps of the arrival price."""

    side: int
    """+1 buy, -1 sell."""
    quantity: float
    """Shares, Q; an int if the lot size is whole."""
    arrival_price: float
    """P0, currency per share."""
    participation: float
    """Q / V: shares over the market volume during the execution."""
    days: float
    """Duration of the execution, T = V / ADV, days of average volume."""
    temporary_bps: float
    """Temporary impact, paid by every share: alpha sigma (Q / V)^beta."""
    permanent_bps: float
    """Total permanent move of the price, gamma Q / ADV; the order pays half of it."""
    kyle_bps: float
    """Move of the price by Kyle's lambda, lambda Q / ADV: permanent plus transient impact, before any decay. It is
    reported beside the cost but is not part of it, because the permanent part would count twice."""
    risk_bps: float
    """Standard deviation of the shortfall at a constant rate, sigma sqrt(T / 3) (Almgren and Chriss 2000)."""
    learned: LearnedCost | None = None
    """Interval, prior and evidence of an estimate from what a desk has learned; None for one from fixed parameters."""

    @property
    def cost_bps(self) -> float:
        """Expected cost: temporary impact plus half of the permanent move."""
        return self.temporary_bps + 0.5 * self.permanent_bps

    @property
    def cost(self) -> float:
        """Expected cost of the whole order, currency."""
        return 1e-4 * self.cost_bps * self.quantity * self.arrival_price

    @property
    def expected_price(self) -> float:
        """Expected average price, currency per share: above the arrival price for a buy, below it for a sell."""
        return self.arrival_price * (1.0 + self.side * 1e-4 * self.cost_bps)

    def to_dict(self) -> dict[str, Any]:
        """Return all values by name, as plain Python numbers."""
        derived = {"cost_bps": self.cost_bps, "cost": self.cost, "expected_price": self.expected_price}
        numbers = {name: value for name, value in self._asdict().items() if name != "learned"}
        plain: dict[str, Any] = {name: float(value) for name, value in {**numbers, **derived}.items()}
        learned = {} if self.learned is None else {"learned": self.learned._asdict()}
        return {**plain, "side": int(self.side), "quantity": self.quantity, **learned}

    def __str__(self) -> str:
        """Return the estimate as text."""
        lines = [
            f"{_title(self.side, self.quantity, self.arrival_price)}, {100.0 * self.participation:.3g} % of the market volume "
            f"over {self.days:.3g} days",
            f"  cost        {self.cost_bps:10.2f} bps = temporary {self.temporary_bps:.2f} + half of permanent "
            f"{self.permanent_bps:.2f}; {self.cost:,.2f} in currency",
            f"  price       {self.expected_price:10.4f} expected on average",
            f"  risk        {self.risk_bps:10.2f} bps (one standard deviation)",
            f"  Kyle's move {self.kyle_bps:10.2f} bps (includes the permanent move; not part of the cost)",
        ]
        if self.learned is not None:
            (low, high), prior, slippage, flow = self.learned
            evidence = f"evidence: slippage of {slippage} bins, flow of {flow}"
            lines.append(f"  learned     {low:10.2f} to {high:.2f} bps with 90 %; prior {prior:.2f}; {evidence}")
        return "\n".join(lines)


_record: Callable[[type[MarketImpactEstimate], tuple[Any, ...]], MarketImpactEstimate] = tuple.__new__
"""Builds the record in half the time of calling its class."""


def estimate_impact(
    quantity: float,
    arrival_price: float,
    daily_volatility: float,
    volume: float,
    adv: float,
    *,
    side: int = 1,
    lot_size: float = 1,
    config: ExecutionConfig = _DEFAULT,
) -> MarketImpactEstimate:
    """Estimate the cost of an order that trades at a constant rate, without the spread and the fees.

    The functional form is that of Almgren, Thum, Hauptmann and Li (2005): J = I / 2 + alpha sigma (Q / V)^beta with a linear
    permanent move I = gamma Q / ADV. The parameters of :func:`~hyperexec_env.execution.presets.almgren_2005` reproduce their
    published costs.

    Args:
        quantity: Shares, a whole number of lots, at most :data:`~hyperexec_env.orders.MAX_SHARES`.
        arrival_price: Currency per share, positive.
        daily_volatility: Volatility sigma, fraction per square root of a day, positive.
        volume: Market volume V during the execution, shares (not the size of an average trade; the daily volume only if the
            execution takes a day).
        adv: Average daily volume, shares.
        side: +1 buy, -1 sell.
        lot_size: Shares of a lot, as in :class:`~hyperexec_env.orders.ParentOrder`.
        config: Source of alpha, beta, gamma and Kyle's lambda.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """
    if type(quantity) is not int or lot_size != 1:
        lot_size = check_lot_size(lot_size)
        quantity = check_quantity("quantity", quantity, lot_size)
    try:
        if (
            0 < quantity <= MAX_SHARES
            and 0.0 < arrival_price <= 1e9
            and 0.0 < daily_volatility <= MAX_VOLATILITY
            and 1e-6 <= volume <= 1e15
            and 1e-6 <= adv <= 1e15
            and (side == 1 or side == -1)
        ):
            share, days, in_adv = quantity / volume, volume / adv, 1e4 * quantity / adv
            volatility = 1e4 * daily_volatility
            temporary = config.temp_impact_alpha * volatility * share**config.temp_impact_beta
            permanent, kyle = config.perm_impact_gamma * in_adv, config.kyle_lambda * in_adv
            risk = volatility * math.sqrt(days / 3.0)
            fields = (side, quantity, arrival_price, share, days, temporary, permanent, kyle, risk, None)
            return _record(MarketImpactEstimate, fields)
    except (TypeError, ValueError):  # not a number: `_wrong_value` names it
        pass
    raise _wrong_value(quantity, lot_size, arrival_price, daily_volatility, volume, adv, side)


def _wrong_value(
    quantity: Any, lot_size: float, arrival_price: Any, daily_volatility: Any, volume: Any, adv: Any, side: Any
) -> ValueError:
    """Return the error that names the invalid argument of :func:`estimate_impact`."""
    try:
        check_quantity("quantity", quantity, lot_size)
        check_number("arrival_price", arrival_price, high=1e9, low=0.0, open_low=True, unit="currency per share")
        unit = "fraction per square root of a day"
        check_number("daily_volatility", daily_volatility, low=0.0, high=MAX_VOLATILITY, open_low=True, unit=unit)
        check_number("volume", volume, low=1e-6, high=1e15, unit="shares")
        check_number("adv", adv, low=1e-6, high=1e15, unit="shares a day")
    except ValueError as error:
        return error
    return ValueError(f"side must be +1 (buy) or -1 (sell), got {side!r}")


@dataclass(frozen=True, eq=False, kw_only=True)
class CostEstimate:
    """Pre-trade distribution of the implementation shortfall of a schedule; bps of the arrival notional."""

    scenario: str
    """Name of the scenario that defines the market."""
    algorithm: str
    """Algorithm that planned the schedule; :data:`GIVEN` if the caller provided it."""
    side: int
    """+1 buy, -1 sell."""
    quantity: float
    """Shares, X; an int if the lot size is whole."""
    arrival_price: float
    """P0, currency per share."""
    shares: tuple[float, ...]
    """The schedule: shares of each slice, length N."""
    mean_bps: float
    """Expected shortfall, including the permanent cost g X^2 / 2."""
    error_bps: float
    """Standard error of the mean; 0 in closed form. A simulation excludes the zero-mean price moves from the mean."""
    sd_bps: float
    """Standard deviation of the shortfall."""
    objective_bps: float
    """Expected objective J: includes the risk term, excludes g X^2 / 2."""
    components_bps: Mapping[str, float]
    """Expected shortfall by source; the components sum to the mean."""
    method: str
    """Method of the estimate: closed form or simulation, and the source of the quantiles."""
    sample: Floats | None = None
    """Simulated shortfalls, ascending; None if the distribution is normal."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the mean; degenerate in closed form."""
        return self.mean_bps - 1.96 * self.error_bps, self.mean_bps + 1.96 * self.error_bps

    @property
    def cost(self) -> float:
        """Expected shortfall of the whole order, currency."""
        return 1e-4 * self.mean_bps * self.quantity * self.arrival_price

    @property
    def expected_price(self) -> float:
        """Arrival price plus (for a sell, minus) the expected shortfall per share, currency per share."""
        return self.arrival_price * (1.0 + self.side * 1e-4 * self.mean_bps)

    @property
    def quantiles(self) -> dict[float, float]:
        """Quantiles of the shortfall at :data:`LEVELS`."""
        return {level: self.quantile(level) for level in LEVELS}

    def quantile(self, level: float) -> float:
        """Return the quantile of the shortfall at a probability level.

        Raises:
            ValueError: The level is not strictly between 0 and 1.
        """
        if not 0.0 < check_number("level", level, low=0.0, high=1.0, unit="probability") < 1.0:
            raise ValueError(f"level must be a number in (0, 1), got {level!r}")
        if self.sample is not None:
            return float(np.quantile(self.sample, level))
        return self.mean_bps + self.sd_bps * NormalDist().inv_cdf(level)

    def to_dict(self) -> dict[str, Any]:
        """Return the values as plain numbers, lists and texts, without the sample."""
        names = ("scenario", "algorithm", "side", "quantity", "arrival_price", "mean_bps", "error_bps", "sd_bps")
        return {
            **{name: getattr(self, name) for name in names},
            "objective_bps": self.objective_bps,
            "quantiles_bps": {f"{level:g}": value for level, value in self.quantiles.items()},
            "components_bps": dict(self.components_bps),
            "cost": self.cost,
            "expected_price": self.expected_price,
            "method": self.method,
            "shares": list(self.shares),
        }

    def __str__(self) -> str:
        """Return the estimate as text."""
        low, high = self.interval
        within = f", 95 % interval {low:.2f} to {high:.2f}" if self.error_bps else ""
        lines = (
            f"{self.algorithm}: {_title(self.side, self.quantity, self.arrival_price)} in {self.scenario} "
            f"({len(self.shares)} slices)",
            f"  shortfall   {self.mean_bps:10.2f} bps{within}; {self.cost:,.2f} in currency",
            f"  risk        {self.sd_bps:10.2f} bps (one standard deviation)",
            "  quantiles   " + "   ".join(f"{100.0 * level:g} %: {value:.2f}" for level, value in self.quantiles.items()),
            "  components  " + "   ".join(f"{name} {value:.2f}" for name, value in self.components_bps.items() if value),
            f"  objective   {self.objective_bps:10.2f} bps (includes the risk term, excludes the permanent cost)",
            f"  {self.method}",
        )
        return "\n".join(lines)


def _title(side: int, quantity: float, price: float) -> str:
    return f"{'buy' if side > 0 else 'sell'} {quantity:,} at {price:,g}"


def planned_shares(parent: ParentOrder, scenario: ScenarioLike, algorithm: str | None = None) -> tuple[float, ...]:
    """Return the planned shares of an order in each slice of a scenario: whole lots, length N, without hiding.

    The plan uses only pre-trade information: POV trades in proportion to the expected volume, and Adaptive plans for an unknown
    regime, as TWAP with ten children, each in the slice that contains the middle of its interval.

    Args:
        parent: The order.
        scenario: Source of the slices, the expected volume and the price of risk.
        algorithm: Name of an algorithm; None: that of the parent, or else Adaptive.

    Raises:
        ValueError: The algorithm is unknown; the message names the nearest one.
    """
    market = build_market(_scenario_of(parent, get_scenario(scenario)))
    name = check_algorithm("algorithm", algorithm or parent.algorithm or ADAPTIVE)
    if name == ADAPTIVE:
        weights = schedules.twap_in_children(market.slices, resolve(name, UNKNOWN, market.slices)[1])
    else:
        weights = ALGORITHMS[name](market_outlook(market, _DEFAULT.urgency if parent.urgency is None else parent.urgency))
    pieces = whole_shares(lots_of(parent.quantity, parent.lot_size), weights)
    return tuple(shares_of(lots, parent.lot_size) for lots in merge_small_pieces(pieces, smallest_lots(parent)))


def _scenario_of(parent: ParentOrder, scenario: Scenario) -> Scenario:
    """Return the scenario with side, quantity and arrival price of the parent."""
    order = {"side": parent.side, "quantity": float(parent.quantity), "arrival_price": parent.arrival_price}
    return replace(scenario, **order)  # type: ignore[arg-type]


def estimate_schedule(
    parent: ParentOrder,
    scenario: ScenarioLike,
    shares: Sequence[float] | None = None,
    *,
    algorithm: str | None = None,
    episodes: int = 10_000,
    seed: int = 0,
) -> CostEstimate:
    """Estimate the distribution of the implementation shortfall of a schedule in the market of a scenario.

    A closed form exists for one regime, an arithmetic price and no cap that can bind (Almgren and Chriss 2000, equations 4
    and 5, extended by the lognormal volume and the AR(1) flow of the scenario). Mean and standard deviation are then exact; the
    distribution is normal if the volume is deterministic, and otherwise the quantiles come from a mixture of normal
    distributions around the costs of sampled volumes. All other cases are simulated; shares that a cap holds back are carried
    forward in proportion to the rest of the schedule.

    Args:
        parent: Side, quantity, arrival price, algorithm and urgency.
        scenario: The market, the slices and the price of risk: a name, a dict, a file or a scenario.
        shares: Shares of each slice, length N, not necessarily whole, that sum to the quantity; None: planned by the algorithm.
        algorithm: Algorithm of the schedule (see :func:`planned_shares`); None: that of the parent, or else Adaptive.
        episodes: Number of simulated episodes, 2 to 10,000,000.
        seed: Seed of the simulation, 0 to 2^63 - 1; a seed gives every schedule the same episodes.

    Raises:
        ValueError: A value is out of range, or both a schedule and an algorithm are given.
    """
    check_integer("episodes", episodes, low=2, high=10_000_000)
    check_integer("seed", seed, low=0, high=2**63 - 1)
    if shares is not None and algorithm is not None:
        raise ValueError(f"algorithm must be None where shares are given, got {algorithm!r}")
    world = _scenario_of(parent, get_scenario(scenario))
    if shares is None:
        name, plan = algorithm or parent.algorithm or ADAPTIVE, np.array(planned_shares(parent, world, algorithm), dtype=float)
    else:
        name, plan = GIVEN, _checked_shares(shares, parent.quantity, world.slices)
    market = build_market(world)
    estimate = _closed_form if _has_closed_form(market, plan) else _simulation
    return CostEstimate(
        scenario=world.name,
        algorithm=name,
        side=parent.side,
        quantity=parent.quantity,
        arrival_price=parent.arrival_price,
        shares=tuple(plan.tolist()),
        **estimate(market, plan, int(episodes), int(seed)),
    )


def _checked_shares(shares: Any, quantity: float, slices: int) -> Weights:
    """Check a schedule of the caller and return it as an array, shape (N,)."""
    checked = np.array(check_numbers("shares", shares, low=0.0, high=MAX_SHARES, length=slices))
    if abs(checked.sum() - quantity) > 1e-9 * quantity:
        raise ValueError(f"shares must sum to the quantity of the order ({quantity}), got {checked.sum():.15g}")
    return checked


def _trade(market: Market, slices: Slice, fractions: Weights) -> tuple[Statement, Floats]:
    """Trade a fraction of the remaining shares in each slice.

    Returns:
        The statement without the zero-mean price moves, and the cost of these moves in bps; both over episodes.
    """
    scenario = market.scenario
    order = Order(float(scenario.side), scenario.quantity)
    zero = np.zeros(slices.volume.shape[1])
    state, account = State(zero + order.quantity, zero, zero), open_account()
    memory = PredatorMemory(zero, zero, zero, zero)
    for k, fraction in enumerate(fractions):
        slice, shares = Slice(*(values[k] for values in slices)), state.remaining * fraction
        state, cost, memory = trade(market.impact, state, slice, shares, memory, scenario.predator)
        account = book(account, cost, slice.drift, slice.innovation)
    timing = account.cost.timing * (1e4 / scenario.notional)
    expected = account._replace(cost=account.cost._replace(timing=zero), timing_move=zero)
    return settle(expected, market.impact, state, order, scenario.arrival_price), timing


class _Sample(NamedTuple):
    """Simulated episodes; bps."""

    expected: Floats
    """Shortfall without the zero-mean price moves, shape (episodes,)."""
    timing: Floats
    """Cost of the zero-mean price moves, shape (episodes,)."""
    objective: float
    """Mean of the objective J."""
    components: dict[str, float]
    """Mean of the shortfall by source."""


def _simulate(market: Market, plan: Weights, episodes: int, seed: int) -> _Sample:
    """Trade a schedule on random paths, in batches."""
    fractions, batch = schedules.fractions_of_remaining(plan), max(1, _CELLS // market.slices)
    expected, timing, objective = np.empty(episodes), np.empty(episodes), 0.0
    components = dict.fromkeys(Components._fields, 0.0)
    for first in range(0, episodes, batch):
        part = np.arange(first, min(first + batch, episodes))
        path = draw_path(market, episode_keys(seed, part), float(market.scenario.side))
        statement, timing[part] = _trade(market, path.slices, fractions)
        expected[part] = statement.shortfall
        objective += float(statement.objective.sum()) / episodes
        for name, values in statement.components._asdict().items():
            components[name] += float(np.broadcast_to(values, part.shape).sum()) / episodes
    return _Sample(expected, timing, objective, components)


def _simulation(market: Market, plan: Weights, episodes: int, seed: int) -> dict[str, Any]:
    """Return the values of an estimate from simulated episodes."""
    sample = _simulate(market, plan, episodes, seed)
    shortfall = np.sort(sample.expected + sample.timing)
    return {
        "mean_bps": float(sample.expected.mean()),
        "error_bps": float(sample.expected.std(ddof=1)) / math.sqrt(episodes),
        "sd_bps": float(shortfall.std(ddof=1)),
        "objective_bps": sample.objective,
        "components_bps": sample.components,
        "method": f"simulation ({episodes:,} episodes of seed {seed})",
        "sample": shortfall,
    }


def _has_closed_form(market: Market, plan: Weights) -> bool:
    """Return whether mean and variance have a closed form: all planned shares trade, and price moves are normal.

    A predator does not prevent a closed form, because its position is a function of the shares.
    """
    scenario = market.scenario
    spec = market.numbers.spec
    random_volume = spec.noisy_volume or spec.varying_level
    if spec.unknown_kyle:  # its moves of the price are a mixture of normal distributions
        return False
    if market.regimes > 1 or scenario.price_model != "abm" or (spec.capped and random_volume):
        return False
    return bool((plan <= market.cap * market.mean_volume[:-1, 0]).all())


def _closed_form(market: Market, plan: Weights, episodes: int, seed: int) -> dict[str, Any]:
    """Return the values of an estimate in closed form; only the quantiles may need simulated volumes."""
    bps, slices = 1e4 / market.scenario.notional, _expected_slices(market)
    statement, _ = _trade(market, slices, schedules.fractions_of_remaining(plan))
    temporary, moves = _variances(market, slices, plan)
    method, sample = "closed form", None
    if temporary > 0.0:
        quiet = build_market(replace(market.scenario, flow_persistence=0.0, drift_sd=0.0))  # `moves` holds flow and drift
        sample = _mixture(_simulate(quiet, plan, episodes, seed).expected, math.sqrt(moves) * bps)
        method = f"closed form; quantiles from the temporary costs of {episodes:,} episodes of seed {seed}"
    return {
        "mean_bps": float(statement.shortfall[0]),
        "error_bps": 0.0,
        "sd_bps": math.sqrt(temporary + moves) * bps,
        "objective_bps": float(statement.objective[0]),
        "components_bps": {name: float(np.ravel(value)[0]) for name, value in statement.components._asdict().items()},
        "method": method,
        "sample": sample,
    }


def _mixture(means: Floats, sd: float) -> Floats:
    """Return an ascending sample: sampled means plus a normal term whose i-th value is the quantile at (i + 1/2) / n."""
    law, count = NormalDist(), len(means)
    return np.sort(means + sd * np.array([law.inv_cdf((i + 0.5) / count) for i in range(count)]))


def _expected_slices(market: Market) -> Slice:
    """Return slices whose cost is the expected cost, each field (N, 1), for one regime and an arithmetic price.

    Random draws are replaced by their means, and the temporary impact is scaled by E[f^-beta] = exp(beta (beta + 1) s^2 / 2):
    the volume factor f, shock times level, is lognormal with mean one, and s^2 is the sum of their log variances.
    """
    column, zero = np.arange(market.slices)[:, None], np.zeros((market.slices, 1))
    neutral = neutral_ratio(market.numbers)
    world = World(np.zeros_like(column), zero, zero + market.scenario.arrival_price, zero + 1.0, zero + neutral)
    slices = expected_slice(market, column, world)
    beta, noise, level = market.impact.beta, market.scenario.volume_noise, market.scenario.volume_level_sd
    raised = slices.temporary_scale * math.exp(0.5 * beta * (beta + 1.0) * (noise**2 + level**2))
    return Slice(*(np.broadcast_to(values, zero.shape) for values in slices._replace(temporary_scale=raised)))


def _variances(market: Market, slices: Slice, plan: Weights) -> tuple[float, float]:
    """Return the variance of the temporary cost and of the price moves, squared currency.

    The temporary cost of a slice is lognormal with log variance beta^2 (s^2 + s0^2), of which the volume level, common to all
    slices, contributes beta^2 s0^2; the noise of the log volume is AR(1). An unknown temporary impact multiplies it by 1 - s or
    1 + s. Price moves are paid on the remaining shares after each trade; the part that comes from order flow is AR(1), and the
    part that comes from an unknown drift is common to all slices.
    """
    scenario, beta = market.scenario, market.impact.beta
    before = np.cumsum(plan[::-1])[::-1]
    one_sd = market.step_volatility[:, 0] * scenario.arrival_price
    flat = Slice(*(values[:, 0] for values in slices))._replace(innovation=one_sd)
    _, cost = step(market.impact, State(before, 0.0 * before, 0.0 * before), flat, plan)
    common, own = (beta * scenario.volume_level_sd) ** 2, (beta * scenario.volume_noise) ** 2
    temporary = math.exp(common) * math.expm1(own) * float(cost.temporary @ cost.temporary)
    temporary += math.expm1(common) * float(cost.temporary.sum()) ** 2
    if scenario.volume_persistence:
        temporary += math.exp(common) * _memory_variance(cost.temporary, own, scenario.volume_persistence)
    mean, factor = float(cost.temporary.sum()), scenario.temp_impact_sd**2
    temporary = (1.0 + factor) * temporary + factor * mean**2
    independent, flow = float(cost.timing @ cost.timing), scenario.flow_share
    drift = scenario.drift_sd * market.tau * scenario.arrival_price * float((before - plan).sum())
    moves = independent + 2.0 * flow * _covariance(cost.timing.tolist(), scenario.flow_persistence)
    return temporary, moves + drift**2


def _memory_variance(costs: Weights, variance: float, phi: float) -> float:
    """Return the sum of c_j c_k (exp(v phi^|j - k|) - 1) over j != k: covariances of lognormal costs whose logs are AR(1)."""
    total, power = 0.0, 1.0
    for lag in range(1, len(costs)):
        power *= phi
        if abs(power) * variance < 1e-18:
            break
        total += 2.0 * math.expm1(variance * power) * float(costs[lag:] @ costs[:-lag])
    return total


def _covariance(weights: list[float], phi: float) -> float:
    """Return the sum of w_j w_k phi^(k - j) over j < k: the weighted covariances of an AR(1) process of unit variance."""
    total = carried = 0.0
    for before, weight in pairwise(weights):
        carried = phi * (carried + before)
        total += weight * carried
    return total
