"""Cont and Kukanov (2017): the split between a market and a limit order."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.closed_forms.cont_kukanov import Exponential, Poisson, Terms, best_split, expected_cost

pytestmark = pytest.mark.fast

FLOW = Exponential(6000.0)


def terms(penalty):
    return Terms(size=10_000.0, queue=2_000.0, half_spread=0.01, fee=0.003, rebate=0.002, penalty=penalty)


def test_the_mean_fill_is_the_integral_of_the_law():
    nodes, weights = np.polynomial.legendre.leggauss(200)
    inside = 5000.0 + 2000.0 * (nodes + 1.0)  # fills from 0 to 4,000 shares
    part = (2000.0 * weights * (inside - 5000.0) * np.exp(-inside / 6000.0) / 6000.0).sum()
    assert FLOW.filled(5000.0, 4000.0) == pytest.approx(part + 4000.0 * math.exp(-9000.0 / 6000.0), rel=1e-12)
    assert FLOW.filled(5000.0, 4000.0) == pytest.approx(1268.808290, abs=1e-6)


@pytest.mark.parametrize(
    ("penalty", "market", "cost"),
    [(0.02, 2881.04548, 84.2586700), (0.03, 6573.26236, 109.6886497), (0.06, 9440.88890, 128.7366957)],
)
def test_the_split_is_the_best_of_a_line_search(penalty, market, cost):
    found = best_split(terms(penalty), FLOW)
    assert found.market == pytest.approx(market, abs=1e-5)
    assert found.cost == pytest.approx(cost, abs=1e-7)
    low, high = 0.0, 10_000.0
    for _ in range(200):  # golden section
        left, right = high - (high - low) * 0.6180339887498949, low + (high - low) * 0.6180339887498949
        if expected_cost(terms(penalty), FLOW, left) < expected_cost(terms(penalty), FLOW, right):
            high = right
        else:
            low = left
    assert found.market == pytest.approx(low, abs=1e-2)  # a line search resolves the square root of the precision
    assert found.cost <= expected_cost(terms(penalty), FLOW, low) * (1.0 + 1e-14)


def test_pure_orders_cost_what_their_fills_say():
    assert expected_cost(terms(0.03), FLOW, 10_000.0) == pytest.approx(130.0)
    assert expected_cost(terms(0.03), FLOW, 0.0) == pytest.approx(153.5386, abs=1e-4)


@pytest.mark.parametrize("penalty", [1e-9, 0.01, 0.02, 1.0, 50.0])
@pytest.mark.parametrize("flow", [Poisson(6.0), Poisson(0.0), Poisson(30.0)])
def test_no_split_of_whole_lots_is_better(penalty, flow):
    order = Terms(size=10.0, queue=3.0, half_spread=0.01, fee=0.003, rebate=0.002, penalty=penalty)
    assert best_split(order, flow).cost == pytest.approx(min(expected_cost(order, flow, m) for m in range(11)), rel=1e-12)


def test_bad_values_name_the_field():
    for field in ("size", "queue", "half_spread", "penalty"):
        with pytest.raises(ValueError, match=f"^{field} must be"):
            replace(terms(0.02), **{field: -1.0})
    for law in (Exponential, Poisson):
        with pytest.raises(ValueError, match=r"^mean must be"):
            law(-1.0)
