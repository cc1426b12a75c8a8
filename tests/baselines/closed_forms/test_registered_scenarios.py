"""Scenarios registered under the names of papers equal the examples of the papers."""

from dataclasses import replace

import pytest

from hyperexec_env.baselines.closed_forms import almgren_chriss, bertsimas_lo, gatheral_schied, obizhaeva_wang
from hyperexec_env.market.scenario import get_scenario

pytestmark = pytest.mark.fast

EXAMPLES = {
    "almgren-chriss": almgren_chriss.to_scenario(almgren_chriss.EXAMPLE, 1e-6, arrival_price=50.0, adv=5e6),
    "obizhaeva-wang": obizhaeva_wang.to_scenario(obizhaeva_wang.EXAMPLE, 101, arrival_price=100.0, adv=1e6),
    "bertsimas-lo": bertsimas_lo.to_scenario(bertsimas_lo.EXAMPLE, sd_noise=0.125, adv=1e6),
    "gatheral-schied": gatheral_schied.to_scenario(gatheral_schied.EXAMPLE, 26, adv=5e6),
}


def numbers_and_rest(scenario):
    """Split a scenario, without its description, into its floats and its other values."""
    values = replace(scenario, description="").to_dict()
    return (
        {key: value for key, value in values.items() if isinstance(value, float)},
        {key: value for key, value in values.items() if not isinstance(value, float)},
    )


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_registered_scenario_is_the_example_of_the_paper(name):
    """Floats agree to rounding, because the mapping computes them from the parameters of the paper."""
    (registered, rest), (example, other) = map(numbers_and_rest, (get_scenario(name), EXAMPLES[name]))
    assert registered == pytest.approx(example, rel=1e-14, abs=0.0)
    assert rest == other
