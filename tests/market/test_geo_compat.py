"""The published environment whose fault `geo-compat` keeps: its recursion, written again, and what it pays for.

One-minute bars, q shares in a bar of V shares, an impact state with a memory of 64.3 minutes:

    I'   = exp(-1 / 64.3) I + 7.3e-5 sqrt(q / V)
    fill = price (1 + s I')                          after the own trade

Gatheral (2010): impact that is not linear must not decay exponentially. Here whoever trades in lumps pays less.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.market.kernel import Cost, Slice, State, fill_price, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

SCENARIO = get_scenario("geo-compat")
PUSH, MEMORY, BARS, BAR_VOLUME = 7.3e-5, 64.3, 120, 5_000_000.0 / 390.0


def published_fills(schedule, side=1, price=100.0):
    """Fill price of each bar at a constant price."""
    impact, fills = 0.0, []
    for shares in schedule:
        impact = math.exp(-1.0 / MEMORY) * impact + PUSH * math.sqrt(shares / BAR_VOLUME)
        fills.append(price * (1.0 + side * impact))
    return fills


def published_cost(schedule):
    """What a schedule costs beyond the arrival price, currency."""
    return sum(shares * (fill - 100.0) for shares, fill in zip(schedule, published_fills(schedule), strict=True))


def slices_of(scenario):
    """The slices of an episode as floats; the price stands still."""
    path = draw_path(build_market(scenario), episode_keys(0, [0]), 1.0)
    rows = (Slice(*map(float, row)) for row in zip(*(values[:, 0] for values in path.slices), strict=True))
    return [row._replace(innovation=0.0) for row in rows]


def kernel_cost(schedule, scenario=SCENARIO):
    """Play a schedule through the kernel; return its cost by component, currency."""
    impact, state, costs = build_market(scenario).impact, State(scenario.quantity, 0.0, 0.0), []
    for row, shares in zip(slices_of(scenario), schedule, strict=True):
        state, cost = step(impact, state, row, float(shares))
        costs.append(cost)
    assert state.remaining == 0.0
    return Cost(*map(sum, zip(*costs, strict=True)))


def every(bars, count=BARS, quantity=SCENARIO.quantity):
    """Equal children in every so many bars, the first in bar `bars - 1`; every bar is POV, the volume being constant."""
    schedule = np.zeros(count)
    schedule[bars - 1 :: bars] = quantity * bars / count
    return schedule


def random_schedules(count):
    """Schedules with bars of nothing, of a little and of much."""
    return np.random.default_rng(0).dirichlet(np.full(BARS, 0.2), count) * SCENARIO.quantity


def test_the_order_is_five_percent_of_the_volume_of_its_120_minutes():
    assert len(slices_of(SCENARIO)) == BARS
    for row in slices_of(SCENARIO):
        assert row.volume == pytest.approx(BAR_VOLUME)
    assert SCENARIO.quantity == pytest.approx(0.05 * BAR_VOLUME * BARS)


@pytest.mark.parametrize("schedule", [every(1), every(15), every(120), *random_schedules(5)])
def test_the_kernel_costs_what_the_published_recursion_costs(schedule):
    """Half of the own push comes as temporary impact, which here is the same square root."""
    cost = kernel_cost(schedule)
    assert cost.expected == pytest.approx(published_cost(schedule), rel=1e-11)
    assert cost.transient + cost.temporary == pytest.approx(cost.expected, rel=1e-12)


@pytest.mark.parametrize("side", [1, -1])
def test_each_fill_of_the_kernel_is_the_published_fill(side):
    schedule = 1.0 + random_schedules(1)[0]
    impact, state = build_market(SCENARIO).impact, State(float(schedule.sum()), 0.0, 0.0)
    for row, shares, published in zip(slices_of(SCENARIO), schedule.tolist(), published_fills(schedule, side), strict=True):
        free = row._replace(least=0.0)
        assert fill_price(impact, state, free, shares, 100.0, side) == pytest.approx(published, rel=1e-12)
        state, _ = step(impact, state, free, shares)


def test_trading_every_fifteenth_minute_costs_a_third_of_a_steady_pace():
    """That is what is wrong with the market: whoever lumps the same shares saves 0.688 of what POV costs."""
    lumps, pov = kernel_cost(every(15)).expected, kernel_cost(every(1)).expected
    assert 0.68 < 1.0 - lumps / pov < 0.70
    assert 1.0 - lumps / pov == pytest.approx(1.0 - published_cost(every(15)) / published_cost(every(1)), rel=1e-9)


def test_the_cost_of_the_same_pace_doubles_where_bars_are_cut_in_two():
    """Where V is the volume of the bar, the number of pushes doubles and the size of each stays."""
    halves = replace(SCENARIO, slices=2 * BARS)
    assert slices_of(halves)[0].volume == pytest.approx(0.5 * BAR_VOLUME)
    finer = kernel_cost(every(1, 2 * BARS), halves).expected
    assert finer / kernel_cost(every(1)).expected == pytest.approx(1.986, abs=1e-3)


def test_a_sound_market_of_the_same_size_has_neither_fault():
    """With exponent 1, lumps cost more, and cutting the bars in two changes the cost of the steady pace by a few percent."""
    sound = replace(SCENARIO, transient_exponent=1.0, kyle_lambda=0.3, temp_impact_alpha=0.3)
    pov, halves = kernel_cost(every(1), sound).expected, replace(sound, slices=2 * BARS)
    assert kernel_cost(every(15), sound).expected > pov
    assert kernel_cost(every(1, 2 * BARS), halves).expected == pytest.approx(pov, rel=0.05)
