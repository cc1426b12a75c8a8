"""Boards at the touch: the simulated objective is the exact one within its interval, and sanity policies lose."""

import json

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.solver.touch import policy_value
from hyperexec_env.baselines.touch_board import touch_entrants
from hyperexec_env.baselines.touch_policies import TOUCH_SANITY, touch_policy, touch_policy_names
from hyperexec_env.evaluation.paired import paired
from hyperexec_env.evaluation.touch_rollout import rollout_touch
from hyperexec_env.market.touch import build_touch
from hyperexec_env.market.touch_scenario import get_touch, touch_names


@pytest.mark.parametrize("name", touch_names())
def test_simulated_objectives_agree_with_exact_ones(name):
    board = hx.evaluate_touch(name, episodes=1000, seed=1)
    assert {row.policy for row in board.rows} == set(touch_policy_names())
    for row in board.rows:
        width = (row.objective_high - row.objective_low) / 3.92
        assert row.objective == pytest.approx(row.exact, abs=4.0 * width + 1e-9), row.policy
        assert row.take + row.impact + row.rest + row.risk == pytest.approx(row.objective, abs=1e-9)
    assert board.faults == ()
    assert board.exit_code == 0


@pytest.mark.fast
@pytest.mark.parametrize("name", touch_names())
def test_sanity_policies_lose_exactly(name):
    scenario = get_touch(name)
    joined = policy_value(name, touch_policy("join-and-wait").actions(scenario))
    for policy in TOUCH_SANITY:
        assert policy_value(name, touch_policy(policy).actions(scenario)) > joined, policy


@pytest.mark.fast
def test_a_board_is_repeatable_and_a_policy_is_a_name_or_an_object():
    class Twice:
        name = "twice"

        def act(self, situation):
            return np.full(situation.left.shape, 2 * 4)

    board = hx.evaluate_touch("touch-thin", [Twice(), "glft", "GLFT"], episodes=60)
    assert sorted(row.policy for row in board.rows) == ["glft", "join-and-wait", "optimum", "twice"]
    again = hx.evaluate_touch("touch-thin", [Twice(), "glft"], episodes=60)
    assert json.dumps(board.to_dict()) == json.dumps(again.to_dict())
    assert "twice" in str(board)
    assert next(row for row in board.rows if row.policy == "twice").exact is None


@pytest.mark.fast
def test_episodes_do_not_depend_on_how_many_are_run():
    market, policies = build_touch(get_touch("touch-thin")), touch_entrants("baselines")
    few, many = (rollout_touch(market, policies, count, 5) for count in (10, 40))
    for one, other in zip(few, many, strict=True):
        assert one.objective.tolist() == other.objective[:10].tolist()


@pytest.mark.fast
@pytest.mark.parametrize("given", [[24] * 10, [-1] * 10, [0.5] * 10, [0] * 9])
def test_actions_out_of_range_are_refused(given):
    class Wrong:
        name = "wrong"

        def act(self, situation):
            return np.array(given)

    with pytest.raises(ValueError, match=r"policy 'wrong' must return whole numbers in \[0, 23\] of the shape \(10,\)"):
        hx.evaluate_touch("touch-thin", Wrong(), episodes=10)


@pytest.mark.fast
def test_an_unknown_policy_is_answered_with_the_nearest_one():
    with pytest.raises(ValueError, match="unknown policy 'glf'; did you mean 'glft'"):
        hx.evaluate_touch("touch-thin", "glf", episodes=10)
    with pytest.raises(TypeError, match="policies must be names or objects"):
        hx.evaluate_touch("touch-thin", [3], episodes=10)


@pytest.mark.fast
def test_paired_results_have_the_interval_of_the_differences():
    rng = np.random.default_rng(0)
    common, own = rng.normal(size=400), 0.1 * rng.normal(size=400)
    first, second = paired(np.stack([common, common + own + 0.5]), 0, 0, -2.0)
    assert first.difference == (0.0, 0.0, 0.0)
    assert second.difference.mean == pytest.approx((own + 0.5).mean())
    assert second.difference.high - second.difference.low == pytest.approx(3.92 * own.std() / 20.0, rel=0.1)
    assert second.gap.mean == pytest.approx(50.0 * second.difference.mean)
