"""The worth of a memory of the volume noise, which markets do not have: J* of a policy that knows it, and of one that does not.

With an AR(1) of the log volume, x_{k+1} = phi x_k + sd sqrt(1 - phi^2) e with e standard normal, the last log volume is a
signal like the belief about a volume level. A policy that ignores past volumes has the objective of a market without memory:
the volume of each slice has the same distribution, and without a cap the state after a trade does not depend on the volume.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.solver.dynamic import Grid, solve_informed
from hyperexec_env.baselines.solver.problem import HERMITE, Problem, build_problem
from hyperexec_env.baselines.solver.spline import Axis, interpolation
from hyperexec_env.market.kernel import State, expected_cost, move
from hyperexec_env.market.path import World, expected_slice
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

GRID = Grid(31, 16, 21)
DAY = replace(get_scenario("regime-day-2026"), slices=13)


def with_levels(market):
    """The market with volumes that are multiplied by a level, which is set from outside."""
    return build_market(replace(market.scenario, volume_level_sd=1e-9))


def with_memory(market, phi):
    """The decision problem of a market whose log volume is AR(1), without a participation cap."""
    market = with_levels(market)
    scenario, sd, (points, weights) = market.scenario, market.scenario.volume_noise, HERMITE
    axis, count = Axis(-5.5 * sd, 5.0 * sd, GRID.signal), market.slices
    following = np.clip(phi * axis.nodes[:, None] + sd * math.sqrt(1.0 - phi * phi) * points, axis.low, axis.high)
    step = np.einsum("fpg,p->fg", interpolation(axis, following), weights)
    return Problem(
        market=market,
        signal=axis.nodes,
        axis=axis,
        by_flow=False,
        by_level=True,
        regime_law=scenario.regimes.start_law(),
        transition=scenario.regimes.transition(scenario.tau),
        signal_law=np.einsum("pg,p->g", interpolation(axis, sd * points), weights),
        signal_steps=(np.broadcast_to(step, (market.regimes, *step.shape)),) * count,
        levels=np.tile(np.exp(phi * axis.nodes - 0.5 * (phi * sd) ** 2), (count, 1)),
        deviations=np.full(count, sd * math.sqrt(1.0 - phi * phi)),
    )


def value(problem):
    table = solve_informed(problem, GRID)
    return float(problem.regime_law @ table.values @ problem.signal_law), table


def test_a_memory_of_volume_is_worth_little():
    market = build_market(DAY)
    ignoring = value(build_problem(market, GRID.signal))[0]
    gains = [1.0 - value(with_memory(market, phi))[0] / ignoring for phi in (0.0, 0.3, 0.6)]
    assert abs(gains[0]) < 1e-6
    assert 1e-4 < gains[1] < 3e-3
    assert gains[1] < gains[2] < 0.02


def test_the_gain_is_that_of_simulated_volumes():
    """With one regime and no transient impact, optimal fractions depend on the last volume and the remaining shares alone."""
    scenario = replace(DAY, slices=6, regimes={}, kyle_lambda=0.2, risk_aversion=1e-6, volume_noise=0.8, flow_share=0.0)
    market, phi = build_market(scenario), 0.7
    exact, table = value(with_memory(market, phi))
    ignoring, plain = value(build_problem(market, GRID.signal))
    rng, episodes, sd = np.random.default_rng(3), 100_000, scenario.volume_noise
    last = sd * rng.standard_normal(episodes)
    zero = np.zeros(episodes)
    knowing, blind = (State(zero + scenario.quantity, zero, zero) for _ in range(2))
    totals = [zero, zero]
    axis = Axis(-5.5 * sd, 5.0 * sd, GRID.signal)
    for k in range(market.slices):
        now = phi * last + sd * math.sqrt(1.0 - phi * phi) * rng.standard_normal(episodes)
        world = World(zero.astype(int), zero, zero + scenario.arrival_price, np.exp(now - 0.5 * sd**2))
        slice = expected_slice(with_levels(market), k, world)
        for at, (state, fractions, known) in enumerate(((knowing, table, last), (blind, plain, zero))):
            roots = fractions.remaining.nodes
            share = np.sqrt(np.maximum(state[0], 0.0) / scenario.quantity)
            surface = fractions.fractions[k, 0, :, :, 0].astype(float)
            place = np.clip((known - axis.low) / (axis.high - axis.low) * (len(surface) - 1), 0.0, len(surface) - 1.0)
            low = np.minimum(place.astype(int), max(len(surface) - 2, 0))
            high, part = np.minimum(low + 1, len(surface) - 1), place - low
            by_node = np.array([np.interp(share, roots, row) for row in surface])
            each = np.arange(episodes)
            chosen = (1.0 - part) * by_node[low, each] + part * by_node[high, each]
            asked = state[0] if k == market.slices - 1 else chosen * state[0]
            after, cost = move(market.impact, state, slice, asked)
            totals[at] = totals[at] + expected_cost(cost)
            if at:
                blind = State(*after)
            else:
                knowing = State(*after)
        last = now
    for total, expected in zip(totals, (exact, ignoring), strict=True):
        assert abs(total.mean() - expected) < 4.0 * total.std() / math.sqrt(episodes) + 2e-4 * expected
    gain = totals[1] - totals[0]
    assert gain.mean() == pytest.approx(ignoring - exact, abs=4.0 * gain.std() / math.sqrt(episodes) + 2e-4 * exact)
    assert gain.mean() > 4.0 * gain.std() / math.sqrt(episodes)
