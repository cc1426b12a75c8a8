"""Frontiers: cost falls where risk rises, the optimum is the cheapest at its risk aversion, and a fixed policy is a point."""

import json
import math

import pytest

from hyperexec_env.baselines.frontier import frontier, frontier_picture

pytestmark = pytest.mark.fast


@pytest.fixture(scope="module")
def found():
    return frontier("almgren-chriss", ("optimum", "linearised", "AC", "TWAP"), (0.3, 1.0, 3.0), episodes=500)


def test_along_the_frontier_risk_falls_and_cost_rises_with_the_risk_aversion(found):
    for name in ("optimum", "linearised", "AC"):
        own = [point for point in found.points if point.policy == name]
        assert [point.urgency for point in own] == [0.3, 1.0, 3.0]
        assert own[0].sd > own[1].sd > own[2].sd
        assert own[0].cost < own[1].cost < own[2].cost
        assert all(point.cvar > point.cost for point in own)


def test_a_policy_that_does_not_follow_the_risk_aversion_is_one_point(found):
    assert [point.policy for point in found.points].count("TWAP") == 1


def test_the_optimum_is_on_its_own_curve_and_the_linearised_one_too_where_impact_is_linear(found):
    for point in found.points:
        if point.policy in ("optimum", "linearised"):
            assert point.excess == pytest.approx(0.0, abs=1e-3)
    twap = next(point for point in found.points if point.policy == "TWAP")
    assert math.isnan(twap.excess) or twap.excess > 0.0


def test_plain_values_are_json_and_the_table_has_a_line_for_each_point(found):
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert len(plain["points"]) == len(found.points) == len(str(found).splitlines()) - 4


def test_the_figure_is_the_same_for_the_same_frontier(found, tmp_path):
    pytest.importorskip("matplotlib", reason="figures need matplotlib (extra plot)")
    pictures = [frontier_picture(found, str(tmp_path / "frontier.svg")) for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert pictures[0].startswith(b"<?xml")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policies": ("optimal",)}, "unknown policy"),
        ({"urgencies": ()}, "urgencies"),
        ({"urgencies": (0.0,)}, "urgency"),
        ({"episodes": 1}, "episodes must be"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_a_wrong_option_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        frontier("almgren-chriss", **options)
