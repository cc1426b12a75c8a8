"""The text of a scenario: short, and complete up to curves, tables and derived numbers."""

import re
from dataclasses import fields, replace

import pytest

from hyperexec_env.market.posterior import Posterior
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("name", scenario_names())
def test_the_text_of_a_scenario_names_the_fields_that_differ_from_their_defaults(name):
    scenario, usual = get_scenario(name), Scenario()
    shown = re.findall(r"(\w+)=", str(scenario))
    differing = {item.name for item in fields(Scenario) if getattr(scenario, item.name) != getattr(usual, item.name)}
    derived = {"kyle_lambda", "perm_impact_gamma"} if scenario.kyle_multiple is not None else set()
    assert set(shown) == (differing | {"name"}) - derived - {"provenance"}
    assert len(str(scenario)) < 1000


def test_the_text_of_a_scenario_counts_curves_regimes_and_draws():
    curve = tuple(1.0 for _ in range(26))
    scenario = replace(get_scenario("regime-day"), volume_curve=curve, posterior=Posterior(("adv",), ((4e6, 5e6, 6e6),)))
    text = repr(scenario)
    for part in ("volume_curve=<26 values>", "regimes=<6 regimes>", "posterior=<3 draws of adv>", "kyle_multiple=25.0"):
        assert part in text
    assert repr(Scenario(volatility=0.03)) == "Scenario(name='custom', volatility=0.03)"
