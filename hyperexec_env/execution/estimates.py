"""Pre-trade estimates: what an order is going to cost, as one number and as a distribution.

:func:`estimate_impact` is the back of the envelope: an order that trades at a steady pace, by the three numbers of the desk's
impact model. :func:`estimate_schedule` puts a schedule into the market of a scenario: in closed form where there is one, else
by simulation.
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
from hyperexec_env.execution.children import whole_shares
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.schedules import Weights
from hyperexec_env.market.account import Components, Statement, book, open_account, settle
from hyperexec_env.market.kernel import Slice, State, step
from hyperexec_env.market.model import Market, build_market
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import Draws, World, draw_path, follow
from hyperexec_env.market.predator import Hunt, trade
from hyperexec_env.market.regime import UNKNOWN
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.orders import MAX_SHARES, Order, ParentOrder

__all__ = ["CostEstimate", "MarketImpactEstimate", "estimate_impact", "estimate_schedule", "planned_shares"]

Floats = NDArray[np.float64]

GIVEN: Final = "given"
"""What stands for the algorithm of a schedule that the caller gives."""
LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""The probabilities of the quantiles that an estimate prints."""
_CELLS: Final = 1 << 17
"""Slices times episodes that are drawn at once: bounds the memory, changes no result."""
_DEFAULT: Final = ExecutionConfig()


class MarketImpactEstimate(NamedTuple):
    """What an order costs that trades at a steady pace, by :func:`estimate_impact`; bps of the arrival price."""

    side: int
    """+1 buy, -1 sell."""
    quantity: int
    """Whole shares, Q."""
    arrival_price: float
    """P0, currency per share."""
    participation: float
    """Q / V: shares over the market volume while they trade."""
    days: float
    """How long that takes, T = V / ADV, days of average volume."""
    temporary_bps: float
    """Temporary impact, which every share pays: alpha sigma (Q / V)^beta."""
    permanent_bps: float
    """Permanent move of the price, gamma Q / ADV, the whole of it; the order pays half."""
    kyle_bps: float
    """Move of the price by Kyle's lambda, lambda Q / ADV: the permanent part and what decays again, before it decays. It is
    reported beside the cost and never added to it: the permanent part would count twice."""
    risk_bps: float
    """Standard deviation of the shortfall of a steady pace, sigma sqrt(T / 3) (Almgren and Chriss 2000)."""

    @property
    def cost_bps(self) -> float:
        """Expected cost: the temporary impact and half of the permanent move."""
        return self.temporary_bps + 0.5 * self.permanent_bps

    @property
    def cost(self) -> float:
        """Expected cost of the whole order, currency."""
        return 1e-4 * self.cost_bps * self.quantity * self.arrival_price

    @property
    def expected_price(self) -> float:
        """Expected average price, currency per share: above the arrival price for a buy, below it for a sell."""
        return self.arrival_price * (1.0 + self.side * 1e-4 * self.cost_bps)

    def to_dict(self) -> dict[str, float]:
        """Return every number under its name, as plain Python numbers."""
        derived = {"cost_bps": self.cost_bps, "cost": self.cost, "expected_price": self.expected_price}
        plain = {name: float(value) for name, value in {**self._asdict(), **derived}.items()}
        return {**plain, "side": int(self.side), "quantity": self.quantity}

    def __str__(self) -> str:
        """Return the estimate as text."""
        lines = (
            f"{_words(self.side, self.quantity, self.arrival_price)}, {100.0 * self.participation:.3g} % of the market volume "
            f"over {self.days:.3g} days",
            f"  cost        {self.cost_bps:10.2f} bps = temporary {self.temporary_bps:.2f} + half of permanent "
            f"{self.permanent_bps:.2f}; {self.cost:,.2f} in currency",
            f"  price       {self.expected_price:10.4f} expected on average",
            f"  risk        {self.risk_bps:10.2f} bps (one standard deviation)",
            f"  Kyle's move {self.kyle_bps:10.2f} bps (holds the permanent one; no part of the cost)",
        )
        return "\n".join(lines)


_record: Callable[[type[MarketImpactEstimate], tuple[Any, ...]], MarketImpactEstimate] = tuple.__new__
"""Makes the record in half the time of a call of its class."""


def estimate_impact(
    quantity: int,
    arrival_price: float,
    daily_volatility: float,
    volume: float,
    adv: float,
    *,
    side: int = 1,
    config: ExecutionConfig = _DEFAULT,
) -> MarketImpactEstimate:
    """Estimate what an order costs that trades at a steady pace.

    The form is that of Almgren, Thum, Hauptmann and Li (2005): J = I / 2 + alpha sigma (Q / V)^beta, where the permanent
    move I = gamma Q / ADV is linear. With the parameters of :func:`~hyperexec_env.execution.presets.almgren_2005` it gives
    their published costs. The spread is not in it.

    Args:
        quantity: Whole shares, from 1 to :data:`~hyperexec_env.orders.MAX_SHARES`.
        arrival_price: Currency per share, positive.
        daily_volatility: Volatility sigma, fraction per square root of a day, positive.
        volume: Market volume V while the order trades, shares (not the size of an average trade, and not that of a day
            unless the order takes one).
        adv: Average daily volume, shares.
        side: +1 buy, -1 sell.
        config: Where alpha, beta, gamma and Kyle's lambda come from.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """
    if type(quantity) is not int:
        quantity = check_integer("quantity", quantity, low=1, high=MAX_SHARES)
    try:
        if (
            1 <= quantity <= MAX_SHARES
            and 0.0 < arrival_price <= 1e9
            and 0.0 < daily_volatility <= 10.0
            and 1e-6 <= volume <= 1e15
            and 1e-6 <= adv <= 1e15
            and (side == 1 or side == -1)
        ):
            share, days, in_adv = quantity / volume, volume / adv, 1e4 * quantity / adv
            volatility = 1e4 * daily_volatility
            temporary = config.temp_impact_alpha * volatility * share**config.temp_impact_beta
            permanent, kyle = config.perm_impact_gamma * in_adv, config.kyle_lambda * in_adv
            risk = volatility * math.sqrt(days / 3.0)
            fields = (side, quantity, arrival_price, share, days, temporary, permanent, kyle, risk)
            return _record(MarketImpactEstimate, fields)
    except (TypeError, ValueError):  # not a number: said below
        pass
    raise _wrong_value(quantity, arrival_price, daily_volatility, volume, adv, side)


def _wrong_value(quantity: Any, arrival_price: Any, daily_volatility: Any, volume: Any, adv: Any, side: Any) -> ValueError:
    """Find out which value :func:`estimate_impact` was given wrongly, and say so."""
    try:
        check_integer("quantity", quantity, low=1, high=MAX_SHARES)
        check_number("arrival_price", arrival_price, high=1e9, low=0.0, open_low=True, unit="currency per share")
        unit = "fraction per square root of a day"
        check_number("daily_volatility", daily_volatility, low=0.0, high=10.0, open_low=True, unit=unit)
        check_number("volume", volume, low=1e-6, high=1e15, unit="shares")
        check_number("adv", adv, low=1e-6, high=1e15, unit="shares a day")
    except ValueError as error:
        return error
    return ValueError(f"side must be +1 (buy) or -1 (sell), got {side!r}")


@dataclass(frozen=True, eq=False, kw_only=True)
class CostEstimate:
    """The distribution of the implementation shortfall of a schedule, before it trades; bps of the arrival notional."""

    scenario: str
    """Name of the scenario whose market it meets."""
    algorithm: str
    """What planned the schedule; :data:`GIVEN` where the caller did."""
    side: int
    """+1 buy, -1 sell."""
    quantity: int
    """Whole shares, X."""
    arrival_price: float
    """P0, currency per share."""
    shares: tuple[float, ...]
    """The schedule: shares of each slice, length N."""
    mean_bps: float
    """Expected shortfall, the permanent cost g X^2 / 2 included."""
    error_bps: float
    """Standard error of the mean; 0 in closed form. A simulation leaves the zero-mean price moves out of the mean."""
    sd_bps: float
    """Standard deviation of the shortfall."""
    objective_bps: float
    """Expected objective J: the risk term included, g X^2 / 2 left out."""
    components_bps: Mapping[str, float]
    """Expected shortfall by source; the sum is the mean."""
    method: str
    """How it was found: closed form or simulation, and where the quantiles come from."""
    sample: Floats | None = None
    """Simulated shortfalls, ascending; None where the law is normal."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean; a point in closed form."""
        return self.mean_bps - 1.96 * self.error_bps, self.mean_bps + 1.96 * self.error_bps

    @property
    def cost(self) -> float:
        """Expected shortfall of the whole order, currency."""
        return 1e-4 * self.mean_bps * self.quantity * self.arrival_price

    @property
    def expected_price(self) -> float:
        """Arrival price and the expected shortfall of a share, currency per share."""
        return self.arrival_price * (1.0 + self.side * 1e-4 * self.mean_bps)

    @property
    def quantiles(self) -> dict[float, float]:
        """Quantiles of the shortfall at :data:`LEVELS`."""
        return {level: self.quantile(level) for level in LEVELS}

    def quantile(self, level: float) -> float:
        """Return the shortfall that is not exceeded with a probability.

        Raises:
            ValueError: The level is not between 0 and 1.
        """
        if not 0.0 < check_number("level", level, low=0.0, high=1.0) < 1.0:
            raise ValueError(f"level must be a number in (0, 1), got {level!r}")
        if self.sample is not None:
            return float(np.quantile(self.sample, level))
        return self.mean_bps + self.sd_bps * NormalDist().inv_cdf(level)

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers, lists and texts (not the sample)."""
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
            f"{self.algorithm}: {_words(self.side, self.quantity, self.arrival_price)} in {self.scenario} "
            f"({len(self.shares)} slices)",
            f"  shortfall   {self.mean_bps:10.2f} bps{within}; {self.cost:,.2f} in currency",
            f"  risk        {self.sd_bps:10.2f} bps (one standard deviation)",
            "  quantiles   " + "   ".join(f"{100.0 * level:g} %: {value:.2f}" for level, value in self.quantiles.items()),
            "  components  " + "   ".join(f"{name} {value:.2f}" for name, value in self.components_bps.items() if value),
            f"  objective   {self.objective_bps:10.2f} bps (with the price of risk, without the permanent cost)",
            f"  {self.method}",
        )
        return "\n".join(lines)


def _words(side: int, quantity: float, price: float) -> str:
    return f"{'buy' if side > 0 else 'sell'} {quantity:,.0f} at {price:,g}"


def planned_shares(parent: ParentOrder, scenario: ScenarioLike, algorithm: str | None = None) -> tuple[int, ...]:
    """Plan an order on the slices of a scenario: whole shares of each slice, length N, before any hiding.

    What depends on the day is taken as it looks beforehand: POV trades in proportion to the expected volume, and Adaptive
    plans for a regime that it is not told, TWAP in ten children, each in the slice of the middle of its interval.

    Args:
        parent: The order.
        scenario: Where the slices, the expected volume and the price of risk come from.
        algorithm: Name of an algorithm; None: the parent's, or Adaptive.

    Raises:
        ValueError: No such algorithm; the message names the nearest one.
    """
    market = build_market(_scenario_of(parent, get_scenario(scenario)))
    name = check_algorithm("algorithm", algorithm or parent.algorithm or ADAPTIVE)
    if name == ADAPTIVE:
        weights = schedules.twap_in_children(market.slices, resolve(name, UNKNOWN, market.slices)[1])
    else:
        weights = ALGORITHMS[name](market_outlook(market, _DEFAULT.urgency if parent.urgency is None else parent.urgency))
    return tuple(whole_shares(parent.quantity, weights))


def _scenario_of(parent: ParentOrder, scenario: Scenario) -> Scenario:
    """Return the scenario with the order of the parent."""
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
    and 5, with the lognormal volume and the AR(1) flow of the scenario): mean and standard deviation are exact, and the law is
    normal where the volume does not fluctuate. Where it does, the quantiles are those of normal laws around the costs of
    drawn volumes. Elsewhere everything is simulated; what a cap forbids is then carried forward in proportion to the rest of
    the schedule.

    Args:
        parent: Side, quantity, arrival price, algorithm and urgency.
        scenario: The market, the slices and the price of risk: a name, a dict, a file or a scenario.
        shares: Shares of each slice, length N, whole or not, with the parent's quantity as their sum; None: as planned.
        algorithm: What plans the schedule (see :func:`planned_shares`); None: the parent's, or Adaptive.
        episodes: Number of episodes of a simulation, 2 to 10,000,000.
        seed: Seed of a simulation, 0 to 2^64 - 1; episodes of one seed are the same for every schedule.

    Raises:
        ValueError: A value is out of range, or both a schedule and an algorithm are given.
    """
    check_integer("episodes", episodes, low=2, high=10_000_000)
    check_integer("seed", seed, low=0, high=2**64 - 1)
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


def _checked_shares(shares: Any, quantity: int, slices: int) -> Weights:
    """Return a schedule that the caller gives as an array, shape (N,)."""
    checked = np.array(check_numbers("shares", shares, low=0.0, high=MAX_SHARES, length=slices))
    if abs(checked.sum() - quantity) > 1e-9 * quantity:
        raise ValueError(f"shares must sum to the quantity of the order ({quantity}), got {checked.sum():.15g}")
    return checked


def _trade(market: Market, slices: Slice, fractions: Weights) -> tuple[Statement, Floats]:
    """Trade a fraction of what remains in each slice.

    Returns:
        The statement without the zero-mean moves of the price, and what these cost, bps; both over episodes.
    """
    scenario = market.scenario
    order = Order(float(scenario.side), scenario.quantity)
    zero = np.zeros(slices.volume.shape[1])
    state, account = State(zero + order.quantity, zero, zero), open_account()
    hunt = Hunt(zero, zero, zero, zero)
    for k, fraction in enumerate(fractions):
        slice, shares = Slice(*(values[k] for values in slices)), state.remaining * fraction
        state, cost, hunt = trade(market.impact, state, slice, shares, hunt, scenario.predator)
        account = book(account, cost, slice.drift, slice.innovation)
    timing = account.cost.timing * (1e4 / scenario.notional)
    expected = account._replace(cost=account.cost._replace(timing=zero), timing_move=zero)
    return settle(expected, market.impact, state, order, scenario.arrival_price), timing


class _Sample(NamedTuple):
    """Simulated episodes; bps."""

    expected: Floats
    """Shortfall without the zero-mean moves of the price, (episodes,)."""
    timing: Floats
    """What these moves cost, (episodes,)."""
    objective: float
    """Mean of the objective J."""
    components: dict[str, float]
    """Mean of the shortfall by source."""


def _simulate(market: Market, plan: Weights, episodes: int, seed: int) -> _Sample:
    """Trade a schedule on drawn paths, batch after batch."""
    fractions, batch = schedules.of_remaining(plan), max(1, _CELLS // market.slices)
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
    """Return whether mean and variance are known: the shares are sure to trade, and the price moves are normal.

    A predator does no harm to that: it follows from the shares.
    """
    scenario = market.scenario
    if market.regimes > 1 or scenario.price_model != "abm" or (market.capped and scenario.volume_noise):
        return False
    return bool((plan <= market.cap * market.mean_volume[:-1, 0]).all())


def _closed_form(market: Market, plan: Weights, episodes: int, seed: int) -> dict[str, Any]:
    """Return the values of an estimate: exact, but for quantiles that have to be simulated."""
    bps, slices = 1e4 / market.scenario.notional, _expected_slices(market)
    statement, _ = _trade(market, slices, schedules.of_remaining(plan))
    temporary, moves = _variances(market, slices, plan)
    method, sample = "closed form", None
    if temporary > 0.0:
        quiet = build_market(replace(market.scenario, flow_persistence=0.0))  # the moves of all flow are in the sd already
        sample = _mixture(_simulate(quiet, plan, episodes, seed).expected, math.sqrt(moves) * bps)
        method = f"closed form; quantiles from the volumes of {episodes:,} episodes of seed {seed}"
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
    """Return a sample, ascending, of normal laws of one sd around drawn means: draw i has the normal quantile (i + 1/2) / n."""
    law, count = NormalDist(), len(means)
    return np.sort(means + sd * np.array([law.inv_cdf((i + 0.5) / count) for i in range(count)]))


def _expected_slices(market: Market) -> Slice:
    """Return the slices of which the cost is the expected one, each field (N, 1), for one regime and an arithmetic price.

    Nature draws nothing; the temporary impact is raised by E[eps^-beta] = exp(beta (beta + 1) s^2 / 2), where the volume is
    lognormal with a mean of one and a log-sd of s.
    """
    column, zero = np.arange(market.slices)[:, None], np.zeros((market.slices, 1))
    world = World(np.zeros_like(column), zero, zero + market.scenario.arrival_price)
    draws = Draws(zero, zero, 1.0, np.zeros(zero.shape, np.uint64))
    slices, _ = follow(market, column, column * (market.regimes + 1), world, draws, float(market.scenario.side))
    beta, noise = market.impact.beta, market.scenario.volume_noise
    raised = slices.temporary_scale * math.exp(0.5 * beta * (beta + 1.0) * noise**2)
    return Slice(*(np.broadcast_to(values, zero.shape) for values in slices._replace(temporary_scale=raised)))


def _variances(market: Market, slices: Slice, plan: Weights) -> tuple[float, float]:
    """Return the variance of the temporary cost and of the price moves, squared currency.

    A temporary cost is lognormal with a log-sd of beta s. The price moves are paid on what remains after each trade; the share
    of them that comes from order flow is AR(1).
    """
    scenario = market.scenario
    before = np.cumsum(plan[::-1])[::-1]
    one_sd = np.full(market.slices, market.step_volatility[0] * scenario.arrival_price)
    flat = Slice(*(values[:, 0] for values in slices))._replace(innovation=one_sd)
    _, cost = step(market.impact, State(before, 0.0 * before, 0.0 * before), flat, plan)
    temporary = math.expm1((market.impact.beta * scenario.volume_noise) ** 2) * float(cost.temporary @ cost.temporary)
    independent, flow = float(cost.timing @ cost.timing), scenario.flow_share
    return temporary, independent + 2.0 * flow * _covariance(cost.timing.tolist(), scenario.flow_persistence)


def _covariance(weights: list[float], kept: float) -> float:
    """Return the sum of w_j w_k kept^(k - j) over j < k: the covariances of an AR(1) process of variance one."""
    total = carried = 0.0
    for before, weight in pairwise(weights):
        carried = kept * (carried + before)
        total += weight * carried
    return total
