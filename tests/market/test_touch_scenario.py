"""Touch scenarios: checked once, written and read without loss, and told apart from scenarios and baskets."""

from dataclasses import fields, replace

import pytest

import hyperexec_env as hx
from hyperexec_env.market.scenario import get_scenario as scenario_of_slices
from hyperexec_env.market.touch_scenario import TOUCHES, TouchScenario, get_touch, register_touch, touch_names

pytestmark = pytest.mark.fast

WRONG = {
    "lots": (0, 201, 2.5),
    "lot_shares": (0.0, float("nan")),
    "arrival_price": (0.0, -1.0),
    "horizon_seconds": (0.0, 23_401.0, 301.0),
    "step_seconds": (0.0, float("inf"), 7.0),
    "max_take": (0, 21),
    "queue": (-1, 201, "8"),
    "deeper_queue": (-1, 12),
    "outflow": (-0.1, 201.0),
    "move_probability": (-0.1, 0.51),
    "sweep_probability": (-0.1, 0.3),
    "tick": (0.0,),
    "half_spread": (0.0,),
    "take_fee": (float("nan"), "free"),
    "make_rebate": (None,),
    "adverse": (-0.001,),
    "impact": (-1e-9,),
    "volatility": (-0.01, 11.0),
    "risk_aversion": (-1e-9,),
    "market_making": (-1.0,),
    "name": (3, "a\nb"),
    "description": (3,),
    "provenance": ("measured",),
}


def test_every_field_is_tried_with_bad_values():
    assert set(WRONG) == {item.name for item in fields(TouchScenario)}


@pytest.mark.parametrize("field", WRONG)
def test_a_bad_value_is_one_line_that_names_the_field(field):
    for value in WRONG[field]:
        with pytest.raises(ValueError, match=rf"^({field}|horizon_seconds) must .*got") as error:
            replace(get_touch("touch-5min"), **{field: value})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", touch_names())
def test_a_scenario_survives_toml_and_dict(name, tmp_path):
    scenario = get_touch(name)
    assert TouchScenario.from_toml(scenario.to_toml()) == scenario
    assert TouchScenario.from_dict(scenario.to_dict()) == scenario
    path = tmp_path / "mine.toml"
    path.write_text(scenario.to_toml())
    assert hx.get_scenario(str(path)) == hx.get_scenario(path) == scenario
    assert scenario.provenance
    assert set(scenario.provenance) <= {item.name for item in fields(scenario)}


def test_a_base_provides_what_is_not_given(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "touch-5min"\nlots = 7\n')
    mine = hx.get_scenario(path)
    assert (mine.lots, mine.name, mine.queue) == (7, "touch-5min*", get_touch("touch-5min").queue)
    assert hx.get_scenario({"base": "touch-5min", "queue": 12}).provenance["queue"] == "given"


def test_an_unknown_field_or_name_is_answered_with_the_nearest_one():
    with pytest.raises(ValueError, match="unknown field outflw; did you mean 'outflow'"):
        hx.get_scenario({"base": "touch-5min", "outflw": 3})
    with pytest.raises(ValueError, match="unknown touch scenario 'touch-5m'; did you mean 'touch-5min'"):
        get_touch("touch-5m")
    with pytest.raises(ValueError, match="did you mean 'touch-5min'"):
        hx.get_scenario("touch-5mn")


def test_touch_scenarios_are_told_apart():
    assert all(map(TOUCHES.owns, (*touch_names(), get_touch("touch-thin"), {"lots": 3}, {"base": "touch-thin"})))
    assert not any(map(TOUCHES.owns, ("regime-day", "basket-10", {"base": "regime-day"}, {"quantity": 3}, 3, None)))
    with pytest.raises(ValueError, match="'touch-5min' is a touch scenario, and this needs a scenario of HyperExec-v0"):
        scenario_of_slices("touch-5min")


def test_the_hash_covers_what_changes_a_result():
    scenario = get_touch("touch-5min")
    assert replace(scenario, name="other", description="", market_making=9.0).hash == scenario.hash
    assert replace(scenario, queue=12).hash != scenario.hash


def test_a_name_is_registered_once():
    register_touch(get_touch("touch-5min"))
    with pytest.raises(ValueError, match="already registered with different values"):
        register_touch(replace(get_touch("touch-5min"), lots=3))


def test_an_order_that_would_slow_the_queue_is_warned_about():
    assert get_touch("touch-5min").warnings == ()
    assert "lots that leave the queue" in replace(get_touch("touch-thin"), lots=12).warnings[0]
    assert "more than the lots that leave" in replace(get_touch("touch-thin"), outflow=0.0).warnings[0]
    assert "adverse selection is missing" in replace(get_touch("touch-5min"), adverse=0.0).warnings[0]
