"""The compiled loop of tables at the touch: boards of the numpy rollout, to the last bit."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("numba", reason="needs the extra `fast`")

from hyperexec_env.baselines.touch_board import evaluate_touch
from hyperexec_env.baselines.touch_policies import touch_policy
from hyperexec_env.evaluation.touch_rollout import rollout_touch
from hyperexec_env.market.touch import build_touch
from hyperexec_env.market.touch_scenario import get_touch, touch_names


@pytest.mark.parametrize("name", touch_names())
def test_a_board_of_the_compiled_loop_is_that_of_numpy(name):
    compiled, plain = (evaluate_touch(name, episodes=300, backend=backend).to_dict() for backend in ("numba", "numpy"))
    assert json.dumps(compiled) == json.dumps(plain)


class Other:
    """A policy at the touch that is no table, or says so of another one."""

    def __init__(self, told=None):
        self.name, self.told = "other", told
        if told is not None:
            self.actions = touch_policy(told).actions

    def act(self, situation):
        return touch_policy("TWAP").act(situation)


def test_policies_that_are_no_tables_run_beside_the_loop():
    market = build_touch(get_touch("touch-thin"))
    policies = [touch_policy("optimum"), Other(), Other("TWAP")]
    compiled, plain = (rollout_touch(market, policies, 100, 3, backend=backend) for backend in ("numba", "numpy"))
    for one, other in zip(compiled, plain, strict=True):
        assert np.array_equal(one.objective, other.objective)
        assert np.array_equal(one.taken, other.taken)


def test_a_table_that_is_another_policy_is_refused():
    market = build_touch(get_touch("touch-thin"))
    with pytest.raises(ValueError, match="policy 'other' must act by its table"):
        rollout_touch(market, [Other("join-and-wait")], 100, 3, backend="numba")
