"""Scenarios of papers: the registered ones equal the papers' examples, and the mappings drop no parameter."""

import importlib
import pkgutil
import re
from dataclasses import fields, replace

import numpy as np
import pytest

from hyperexec_env.baselines import closed_forms
from hyperexec_env.baselines.closed_forms import (
    almgren,
    almgren_chriss,
    bertsimas_lo,
    cartea_jaimungal,
    gatheral_schied,
    kyle,
    obizhaeva_wang,
)
from hyperexec_env.market.scenario import get_scenario

pytestmark = pytest.mark.fast

MAPPINGS = {
    "almgren-chriss": (
        almgren_chriss.EXAMPLE,
        lambda model: almgren_chriss.to_scenario(model, 1e-6, arrival_price=50.0, adv=5e6),
    ),
    "obizhaeva-wang": (
        obizhaeva_wang.EXAMPLE,
        lambda model: obizhaeva_wang.to_scenario(model, 101, arrival_price=100.0, adv=1e6),
    ),
    "bertsimas-lo": (bertsimas_lo.EXAMPLE, lambda model: bertsimas_lo.to_scenario(model, sd_noise=0.125, adv=1e6)),
    "gatheral-schied": (gatheral_schied.EXAMPLE, lambda model: gatheral_schied.to_scenario(model, 26, adv=5e6)),
}
EXAMPLES = {name: convert(example) for name, (example, convert) in MAPPINGS.items()}
CONVERTED = MAPPINGS | {
    "almgren": (
        almgren.PowerCost(1e6, 0.95, 1e-4, 0.5, 1e-6),
        lambda model: almgren.to_scenario(model, 5.0, 5, arrival_price=50.0, adv=5e6),
    ),
    "cartea-jaimungal": (
        cartea_jaimungal.EXAMPLE,
        lambda model: cartea_jaimungal.to_scenario(model, 10, volatility=0.5, arrival_price=50.0, adv=1e6),
    ),
}
"""Models with a scenario; the other modules refuse to convert."""
REFUSED = {
    "almgren_chriss_shift": "the regimes of a scenario change at random times",
    "bertsimas_lo_percentage": "temporary impact must be proportional to the arrival price in a scenario",
    "gatheral_schied_slynko": "transient impact must decay exponentially in a scenario",
}


def test_every_module_is_listed_in_the_package_with_its_paper():
    names = {found.name for found in pkgutil.iter_modules(closed_forms.__path__)}
    listed = dict(re.findall(r"^- `(\w+)`: (.+)$", closed_forms.__doc__, re.MULTILINE))
    assert set(listed) == names
    for name, source in listed.items():
        opening = importlib.import_module(f"{closed_forms.__name__}.{name}").__doc__.partition(",")[0]
        assert source.startswith(opening.split("(")[0].rstrip('"')), name


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


@pytest.mark.parametrize("name", REFUSED)
def test_a_model_that_a_scenario_cannot_represent_is_refused_with_the_reason(name):
    module = importlib.import_module(f"{closed_forms.__name__}.{name}")
    for values in ({}, {"arrival_price": 50.0, "adv": 5e6, "name": "mine"}):
        with pytest.raises(ValueError, match=REFUSED[name]):
            module.to_scenario(module.EXAMPLE, **values)


def test_every_model_has_a_scenario_or_a_reason():
    """Kyle's equilibrium has no order, its lambda is a number of a scenario; matrices of a basket are a `BasketScenario`, and
    models of a limit order have a queue, which a `TouchScenario` has."""
    others = {"kyle", "basket", "cont_kukanov", "gueant_lehalle_fernandez_tapia"}
    names = {found.name for found in pkgutil.iter_modules(closed_forms.__path__)} - others
    assert names == {*REFUSED, *(name.replace("-", "_") for name in CONVERTED), "schied_schoeneborn_tehranchi"}
    assert all(hasattr(importlib.import_module(f"{closed_forms.__name__}.{name}"), "to_scenario") for name in names)


@pytest.mark.parametrize("name", CONVERTED)
def test_the_mapping_to_a_scenario_drops_no_parameter(name):
    example, convert = CONVERTED[name]
    for item in fields(example):
        value = getattr(example, item.name)
        changed = value + 1 if isinstance(value, int) else 1.1 * value or 0.01
        assert convert(replace(example, **{item.name: changed})).hash != convert(example).hash, item.name


@pytest.mark.parametrize("name", CONVERTED)
def test_a_model_keeps_ints_and_floats_whatever_numbers_are_given(name):
    example, _ = CONVERTED[name]
    kinds = {item.name: type(getattr(example, item.name)) for item in fields(example)}
    given = replace(example, **{field: np.float64(getattr(example, field)) for field in kinds})
    assert {field: type(getattr(given, field)) for field in kinds} == kinds
    assert set(kinds.values()) <= {int, float}
    assert given == example


def test_a_whole_float_counts_slices_and_trades():
    """They were checked as whole numbers, but arrays and ranges were made from the floats."""
    assert almgren_chriss.trades(replace(almgren_chriss.EXAMPLE, slices=5.0), 1e-6).shape == (5,)
    assert bertsimas_lo.coefficients(replace(bertsimas_lo.EXAMPLE, periods=20.0)).a.shape == (20,)
    model = gatheral_schied.EXAMPLE
    assert gatheral_schied.discrete_cost(model, 26.0) == gatheral_schied.discrete_cost(model, 26)
    for trades in (obizhaeva_wang.discrete_trades, obizhaeva_wang.neutral_trades):
        assert trades(obizhaeva_wang.EXAMPLE, 11.0).tolist() == trades(obizhaeva_wang.EXAMPLE, 11).tolist()
    assert kyle.sequential(kyle.Kyle(1.0, 1.0), 4.0).profit == kyle.sequential(kyle.Kyle(1.0, 1.0), 4).profit
