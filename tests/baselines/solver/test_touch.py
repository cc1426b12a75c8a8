"""The optimum at the touch: a published value, an induction written again, simulations, and the laws of an optimum."""

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.solver.touch import policy_parts, policy_value, solve_touch
from hyperexec_env.baselines.touch_policies import touch_policy, touch_policy_names
from hyperexec_env.market.touch_scenario import TouchScenario, get_touch, touch_names

QUEUE = get_touch("touch-queue")
SMALL = TouchScenario(
    lots=4,
    horizon_seconds=20.0,
    step_seconds=5.0,
    max_take=2,
    queue=2,
    deeper_queue=1,
    outflow=0.8,
    move_probability=0.2,
    sweep_probability=0.15,
    risk_aversion=1e-3,
)


def written_again(scenario, takes):
    """The optimum by recursion over numbers, with the exact Poisson law; currency per share."""
    h, f, r, a = scenario.half_spread, scenario.take_fee, scenario.make_rebate, scenario.adverse
    law = [math.exp(-scenario.outflow) * scenario.outflow**n / math.factorial(n) for n in range(40)]
    law.append(1.0 - sum(law))
    away, through = scenario.move_probability, scenario.sweep_probability
    moves = (("away", away), ("through", through), ("stays", 1.0 - away - through))

    def taking(m):
        return (h + f) * m + scenario.impact * m * m

    @cache
    def rested(t, x, place):
        total = 0.0
        for move, chance in moves:
            if place == "none" or (place == "deeper" and move != "through"):
                total += chance * (scenario.risk * x * x + value(t + 1, x, place))
            elif place == "deeper":
                total += chance * (scenario.risk * x * x + value(t + 1, x, scenario.deeper_queue))
            elif move == "through":
                total -= chance * x * (h + r - scenario.tick)
            else:
                for o, p in enumerate(law):
                    z = min(max(o - place, 0), x)
                    after = scenario.queue if move == "away" else max(place - o, 0)
                    total += chance * p * (scenario.risk * (x - z) ** 2 - z * (h + r - a) + value(t + 1, x - z, after))
        return total

    @cache
    def value(t, q, place):
        if q == 0:
            return 0.0
        if t == scenario.steps:
            return taking(q)
        places = {"none", "deeper", scenario.queue, place}
        return min(taking(m) + (rested(t, q - m, at) if q > m else 0.0) for m in range(min(takes, q) + 1) for at in places)

    return value(0, scenario.lots, "none")


@pytest.mark.fast
def test_ten_lots_behind_a_queue_cost_the_published_value():
    """The 32-bit tables of the draws move it by 3e-11; the recursion has the exact Poisson law."""
    solution = solve_touch(QUEUE)
    unit = QUEUE.scale
    assert solution.optimum / unit == pytest.approx(0.010376068711, abs=1e-10)
    assert solution.take_only / unit == pytest.approx(0.13684, abs=1e-12)
    assert solution.first == (0, "join")


def test_the_induction_written_again_gives_the_same_optimum():
    assert written_again(QUEUE, 10) == pytest.approx(0.010376068711, abs=2e-12)
    assert solve_touch(SMALL).optimum / SMALL.scale == pytest.approx(written_again(SMALL, 2), rel=1e-8)


@pytest.mark.fast
@pytest.mark.parametrize("name", touch_names())
def test_no_policy_beats_the_optimum_and_the_optimum_attains_it(name):
    solution = hx.solve(name)
    assert policy_value(name, solution.actions) == pytest.approx(solution.optimum, rel=1e-10)
    assert sum(solution.parts.values()) == pytest.approx(solution.optimum, rel=1e-10)
    for policy in touch_policy_names():
        value = policy_value(name, touch_policy(policy).actions(get_touch(name)))
        assert value >= solution.optimum - 1e-9, policy
    assert solution.optimum <= min(solution.take_only, solution.rest_only) + 1e-12


@pytest.mark.fast
def test_the_optimum_has_the_laws_of_a_control_problem():
    base = solve_touch(SMALL).optimum
    better = {"take_fee": 0.002, "make_rebate": 0.003, "adverse": 0.001, "impact": 0.0, "risk_aversion": 0.0, "queue": 1}
    for field, value in better.items():
        assert solve_touch(replace(SMALL, **{field: value})).optimum <= base + 1e-12, field
    values = solve_touch(SMALL).values
    assert (np.diff(values[:, :, : SMALL.queue + 1], axis=2) >= -1e-12).all()  # a place further back costs more
    assert (values[:, :, :-1] <= values[:, :, -1:] + 1e-12).all()  # a place is an option


@pytest.mark.fast
def test_without_resting_the_optimum_is_a_partition_of_the_lots():
    """Quadratic impact without risk: takes as equal as whole lots allow."""
    calm = replace(QUEUE, risk_aversion=0.0, horizon_seconds=60.0)  # 4 steps and the end: 10 lots in five takes of 2
    unit = QUEUE.half_spread + QUEUE.take_fee
    assert solve_touch(calm).take_only / calm.scale == pytest.approx(10 * unit + 5 * 4 * QUEUE.impact)


@pytest.mark.fast
def test_a_table_of_actions_is_checked():
    actions = solve_touch(SMALL).actions
    with pytest.raises(ValueError, match=r"actions must be whole numbers of the shape \(4, 5, 5\), got \(3, 5, 5\)"):
        policy_value(SMALL, actions[1:])
    with pytest.raises(ValueError, match=r"actions must be in \[0, 11\], got 12 to 12"):
        policy_value(SMALL, np.full_like(actions, 12))


@pytest.mark.fast
@pytest.mark.parametrize("large", [{"lots": 200, "queue": 200, "outflow": 200.0}, {"horizon_seconds": 20_000.0, "lots": 150}])
def test_a_table_that_does_not_fit_into_memory_is_refused(large):
    scenario = replace(get_touch("touch-5min"), **{"step_seconds": 2.0, **large})
    with pytest.raises(ValueError, match="must be smaller for an exact table"):
        solve_touch(scenario)


@pytest.mark.fast
def test_the_report_names_its_numbers():
    solution = solve_touch("touch-5min")
    assert set(policy_parts("touch-5min", solution.actions)) == {"take", "impact", "rest", "risk"}
    assert f"{solution.optimum:.6f}" in str(solution)
    assert "touch-5min" in str(solution)
    assert solution.to_dict()["unit"] == "half-spreads per lot"
    assert hx.solve("touch-5min", cached=False).optimum == solution.optimum
