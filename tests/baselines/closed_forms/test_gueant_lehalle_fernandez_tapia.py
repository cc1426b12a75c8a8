"""Gueant, Lehalle and Fernandez-Tapia (2012): the depth of a limit order."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.closed_forms.gueant_lehalle_fernandez_tapia import EXAMPLE, depths, values

pytestmark = pytest.mark.fast


def _runge_kutta(model, steps=4000):
    """Integrate the cost to go by its own nonlinear equation."""
    lots = np.arange(model.lots + 1.0)

    def slope(v):
        gain = model.rate / (model.decay * math.e) * np.exp(model.decay * (v[1:] - v[:-1]))
        return model.risk * lots**2 - np.concatenate([[0.0], gain])

    v, h = lots * (model.final_cost + model.final_impact * lots), model.horizon / steps
    for _ in range(steps):
        a = slope(v)
        b = slope(v + 0.5 * h * a)
        c = slope(v + 0.5 * h * b)
        v = v + h / 6.0 * (a + 2.0 * b + 2.0 * c + slope(v + h * c))
    return v


@pytest.mark.parametrize(("lots", "value"), [(20, 0.02805683700), (10, -0.04962569064)])
def test_the_matrix_exponential_solves_the_equation_of_the_depth(lots, value):
    model = replace(EXAMPLE, lots=lots)
    found = values(model, 600.0)
    assert found[-1] == pytest.approx(value, abs=1e-11)
    assert found == pytest.approx(_runge_kutta(model), abs=1e-10)


def test_the_first_depth_of_twenty_lots_is_marketable():
    assert depths(EXAMPLE, 600.0)[-1] == pytest.approx(-0.000750139, abs=1e-9)
    assert (np.diff(depths(EXAMPLE, 600.0)) < 0.0).all()  # the more lots, the nearer


def test_the_depth_earns_its_value_in_a_simulation():
    """Steps of a Bernoulli draw overstate the cost, by less than 1 % of the spread of outcomes at 0.1 s."""
    rng, episodes, seconds = np.random.default_rng(0), 4000, 0.1
    steps = round(EXAMPLE.horizon / seconds)
    left, cost = np.full(episodes, EXAMPLE.lots), np.zeros(episodes)
    for step in range(steps):
        if step % 20 == 0:  # depths change by less than 1e-5 in two seconds
            depth = np.append(0.0, depths(EXAMPLE, EXAMPLE.horizon - step * seconds - 1.0 if step < steps - 20 else 1.0))
        chance = EXAMPLE.rate * seconds * np.exp(-EXAMPLE.decay * depth)
        fill = (rng.random(episodes) < chance[left]) & (left > 0)
        cost -= fill * depth[left]
        left = left - fill
        cost += EXAMPLE.risk * seconds * left**2
    cost += left * (EXAMPLE.final_cost + EXAMPLE.final_impact * left)
    error = cost.std() / math.sqrt(episodes)
    assert cost.mean() == pytest.approx(0.02805683700, abs=4.0 * error + 2e-4)


def test_bad_values_name_the_field():
    for field in ("lots", "horizon", "rate", "decay", "risk", "final_cost", "final_impact"):
        with pytest.raises(ValueError, match=f"^{field} must be"):
            replace(EXAMPLE, **{field: -1.0})
