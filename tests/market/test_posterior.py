"""Posterior: draws are valid scenarios, round trips, and scenarios without draws keep their hash and their text."""

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.market.posterior import MEASURED, Posterior, draws_of, stated_by
from hyperexec_env.market.scenario import Scenario, get_scenario, load_scenario, scenario_names

pytestmark = pytest.mark.fast

DAY = get_scenario("regime-day-2026")
DRAWS = {
    "adv": [4e6, 5e6, 6e6],
    "kyle_lambda": [0.25, 0.3, 0.4],
    "perm_impact_gamma": [0.1, 0.2, 0.3],
    "temp_impact_beta": [0.5, 0.55, 0.6],
}
MEASURED_DAY = replace(DAY, temp_impact_beta=0.55, posterior=DRAWS)


def test_a_draw_has_its_values_and_all_other_fields_of_the_scenario():
    own = {name: getattr(MEASURED_DAY, name) for name in DRAWS}
    for number, scenario in enumerate(draws_of(MEASURED_DAY)):
        assert scenario == MEASURED_DAY.draw(number)
        assert scenario.posterior is None
        assert {name: getattr(scenario, name) for name in DRAWS} == {name: column[number] for name, column in DRAWS.items()}
        plain = replace(MEASURED_DAY, posterior=None)
        assert replace(scenario, **own, provenance=plain.provenance) == plain
    assert len(draws_of(MEASURED_DAY, 2)) == 2


def test_a_posterior_round_trips_through_a_dict_and_a_file(tmp_path):
    file = tmp_path / "measured.toml"
    file.write_text(MEASURED_DAY.to_toml(), encoding="utf-8")
    assert "[posterior]\nadv = [4000000.0, 5000000.0, 6000000.0]\n" in MEASURED_DAY.to_toml()
    assert load_scenario(file) == MEASURED_DAY == Scenario.from_dict(MEASURED_DAY.to_dict())
    assert load_scenario(file).hash == MEASURED_DAY.hash
    assert replace(MEASURED_DAY, posterior={**DRAWS, "adv": [4000000, 5000000, 6000000]}).hash == MEASURED_DAY.hash


def test_a_thousand_draws_of_all_fields_fit_into_a_scenario_file(tmp_path):
    rng = np.random.default_rng(0)
    start = replace(DAY, kyle_lambda=1.0, perm_impact_gamma=0.5)
    stated = stated_by(start)
    assert len(stated) == len(MEASURED) - 2
    columns = {name: (getattr(start, name) * rng.uniform(0.75, 1.25, 1000)).tolist() for name in stated}
    (tmp_path / "full.toml").write_text(replace(start, posterior=columns).to_toml(), encoding="utf-8")
    assert len(load_scenario(tmp_path / "full.toml").posterior) == 1000


def test_a_scenario_without_draws_keeps_its_hash_and_its_text():
    for name in scenario_names():
        scenario = get_scenario(name)
        assert "posterior" not in scenario.to_toml()
        assert replace(scenario, posterior=None).hash == replace(scenario, posterior={}).hash == scenario.hash
    assert MEASURED_DAY.hash != replace(MEASURED_DAY, posterior=None).hash


def test_a_field_that_is_restated_over_a_base_has_no_draws():
    restated = Scenario.from_dict({"base": MEASURED_DAY, "adv": 9e6, "quantity": 1000.0})
    assert restated.posterior.names == ("kyle_lambda", "perm_impact_gamma", "temp_impact_beta")
    assert {draw.adv for draw in draws_of(restated)} == {9e6}
    replaced = replace(MEASURED_DAY, adv=9e6, temp_impact_beta=0.4, quantity=1000.0)
    assert replaced.posterior.names == ("kyle_lambda", "perm_impact_gamma")
    assert replace(replaced, slices=3).posterior == replaced.posterior
    every = {name: 1.0 * getattr(MEASURED_DAY, name) for name in DRAWS}
    assert Scenario.from_dict({"base": MEASURED_DAY, **every}).posterior is None
    assert Scenario.from_dict({"base": MEASURED_DAY, "posterior": {}}).posterior is None


def test_the_provenance_of_a_draw_names_the_draw_and_that_of_draws_stays():
    texts = {"adv": "bars", "kyle_lambda": "tape", "resilience": "default", "posterior": "64 resamples"}
    stated = replace(MEASURED_DAY, provenance=texts)
    drawn = f"draw 1 of the posterior of {stated.hash}"
    assert stated.draw(1).provenance == {"adv": drawn, "kyle_lambda": drawn, "resilience": "default"}
    assert replace(stated, quantity=7.0, adv=9e6).provenance == {**texts, "adv": "given"}
    assert replace(stated, posterior=None).provenance == {name: texts[name] for name in texts if name != "posterior"}
    assert replace(stated, posterior={"adv": [4e6, 6e6]}).provenance["posterior"] == "given"


def test_draws_of_a_multiple_scale_with_the_volatility_of_their_draw():
    columns = {"volatility": [0.01, 0.03], "kyle_multiple": [20.0, 30.0], "perm_impact_multiple": [10.0, 12.0]}
    stated = replace(DAY, kyle_multiple=25.0, perm_impact_multiple=11.0, posterior=columns)
    assert [draw.kyle_lambda for draw in draws_of(stated)] == pytest.approx([0.2, 0.9])
    assert [draw.perm_impact_gamma for draw in draws_of(stated)] == pytest.approx([0.1, 0.36])
    calm = replace(stated, volatility=0.02)
    assert calm.posterior.names == ("kyle_multiple", "perm_impact_multiple")
    assert [draw.kyle_lambda for draw in draws_of(calm)] == pytest.approx([0.4, 0.6])
    assert replace(stated, kyle_lambda=0.5).posterior.names == ("volatility",)
    assert load_text(stated) == stated


def load_text(scenario):
    return Scenario.from_toml(scenario.to_toml())


@pytest.mark.parametrize(
    ("posterior", "message"),
    [
        ({"advv": [1.0, 2.0]}, r"got advv; did you mean 'adv'\?"),
        ({"quantity": [1.0, 2.0]}, "posterior may hold adv, volatility"),
        ({"adv": [1e6]}, r"number of draws of posterior\.adv must be a whole number in \[2, 1000\], got 1"),
        ({"adv": 1e6}, r"posterior\.adv must be a list of numbers"),
        ({"adv": "12"}, r"posterior\.adv must be a list of numbers"),
        ({"adv": [1e6, 2e6], "volatility": [0.1, 0.2, 0.3]}, r"volatility must hold 2 draws as posterior\.adv, got 3"),
        ({"adv": [1e6, -1.0]}, r"posterior, draw 1: adv must be a number in \(0, 1e\+15\] shares a day, got -1.0"),
        ({"adv": [1e6, None]}, r"posterior\.adv\[1\] must be a number"),
        ({"adv": [1e6, float("nan")]}, r"posterior\.adv\[1\] must be a number"),
        ({"adv": [[1e6], 2e6]}, r"posterior\.adv\[0\] must be a number"),
        ({"adv": [1e6] * 1001}, r"posterior\.adv must hold at most 1,000 numbers, got 1,001"),
        ({"perm_impact_gamma": [0.1, 0.5]}, "posterior, draw 1: kyle_lambda must be at least perm_impact_gamma"),
        ({"kyle_lambda": [0.3, 0.1]}, "posterior, draw 1: kyle_lambda must be at least perm_impact_gamma"),
        ([1.0, 2.0], "posterior must be a table"),
    ],
)
def test_a_posterior_that_is_wrong_is_refused_in_one_line(posterior, message):
    with pytest.raises(ValueError, match=message) as refused:
        replace(DAY, posterior=posterior)
    assert "\n" not in str(refused.value)


def test_draws_of_a_scenario_without_them_or_away_from_its_value_are_refused():
    with pytest.raises(ValueError, match=r"scenario 'regime-day-2026' has no posterior: .*hyperexec measure"):
        DAY.draw(0)
    with pytest.raises(ValueError, match=r"draw must be a whole number in \[0, 2\], got 3"):
        MEASURED_DAY.draw(3)
    with pytest.raises(ValueError, match=r"posterior\.adv must hold draws around adv = 5e\+06, got draws from 1e"):
        replace(DAY, posterior={"adv": [1e6, 2e6]}).draw(0)


def test_draws_that_cannot_move_the_price_are_refused():
    with pytest.raises(ValueError, match="posterior, draw 0: flow_share must be 0 where kyle_lambda is 0"):
        replace(DAY, posterior={"kyle_lambda": [0.0, 0.3], "perm_impact_gamma": [0.0, 0.2], "flow_share": [0.1, 0.4]})


def test_names_and_columns_of_a_posterior_belong_together():
    with pytest.raises(ValueError, match="one column of draws for each field"):
        Posterior(("adv", "adv"), ((1.0, 2.0), (1.0, 2.0)))
    with pytest.raises(ValueError, match="one column of draws for each field"):
        Posterior((), ())
