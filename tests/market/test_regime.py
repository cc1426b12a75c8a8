"""Regimes: the matrix exponential, transition and stationary distributions, and validation."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.market.library import SIX_REGIMES
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import REGIME_NAMES, Regimes, matrix_exponential, thresholds
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast


def z_limit(tests):
    """Return the z-score that the largest of `tests` statistics exceeds with a probability of 0.001 (Bonferroni)."""
    return -NormalDist().inv_cdf(0.001 / (2 * tests))


@st.composite
def chains(draw, largest=40.0):
    count = draw(st.integers(1, 6))
    rate = st.just(0.0) | st.floats(0.01, largest)
    rates = np.array(draw(st.lists(rate, min_size=count**2, max_size=count**2))).reshape(count, count)
    np.fill_diagonal(rates, 0.0)
    rates -= np.diag(rates.sum(axis=1))
    ones = (1.0,) * count
    return Regimes(names=REGIME_NAMES[:count], volatility=ones, volume=ones, rates=tuple(map(tuple, rates.tolist())))


def two_states(a, b):
    return Regimes(names=("CRISIS", "RECOVERY"), volatility=(2.0, 1.0), volume=(1.0, 1.0), rates=((-a, a), (b, -b)))


# --- the matrix exponential and the distributions


@given(st.floats(0.0, 500.0), st.floats(0.0, 500.0), st.floats(0.0, 3.0))
def test_the_transition_matrix_of_two_regimes_agrees_with_the_closed_form(a, b, days):
    """P(1 to 2) = a / (a + b) (1 - exp(-(a + b) t))."""
    moved = -math.expm1(-(a + b) * days)
    up, down = (a / (a + b) * moved, b / (a + b) * moved) if a + b > 0.0 else (0.0, 0.0)
    expected = np.array([[1.0 - up, up], [down, 1.0 - down]])
    assert two_states(a, b).transition(days) == pytest.approx(expected, abs=1e-11)


@given(st.lists(st.floats(-30.0, 30.0), min_size=16, max_size=16))
def test_the_matrix_exponential_agrees_with_torch(values):
    torch = pytest.importorskip("torch")
    matrix = np.array(values).reshape(4, 4)
    expected = torch.linalg.matrix_exp(torch.from_numpy(matrix)).numpy()
    assert matrix_exponential(matrix) == pytest.approx(expected, rel=1e-9, abs=1e-9 * np.abs(expected).max())


@given(chains())
def test_transition_matrices_agree_with_mpmath(regimes):
    mpmath = pytest.importorskip("mpmath")  # the matrix exponential of torch is accurate to about 3e-11 only
    for days in (1.0 / 26.0, 1.0):
        exact = mpmath.expm(mpmath.matrix((np.array(regimes.rates) * days).tolist()))
        expected = np.array(exact.tolist(), dtype=float)
        assert regimes.transition(days) == pytest.approx(expected, abs=1e-11)


@given(chains(), st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_transition_matrices_satisfy_chapman_kolmogorov(regimes, one, other):
    assert regimes.transition(one) @ regimes.transition(other) == pytest.approx(regimes.transition(one + other), abs=1e-10)


@given(chains(), st.floats(0.0, 10.0))
def test_each_row_of_a_transition_matrix_is_a_distribution(regimes, days):
    law = regimes.transition(days)
    assert (law >= 0.0).all()
    assert law.sum(axis=1) == pytest.approx(np.ones(len(regimes)), abs=1e-14)
    assert regimes.transition(0.0) == pytest.approx(np.eye(len(regimes)))


@given(chains())
def test_the_stationary_distribution_is_invariant(regimes):
    law = regimes.stationary()
    assert law.sum() == pytest.approx(1.0)
    for days in (1.0 / 390.0, 1.0 / 26.0, 1.0, 7.0):
        assert law @ regimes.transition(days) == pytest.approx(law, abs=1e-9)


def test_the_stationary_distribution_of_two_regimes_balances_the_rates():
    assert two_states(2.0, 6.0).stationary() == pytest.approx([0.75, 0.25])


def test_from_transition_returns_the_rates_of_a_short_step():
    matrix = np.array([[0.9, 0.1], [0.3, 0.7]])
    ones = (1.0, 1.0)
    regimes = Regimes.from_transition(matrix.tolist(), 26.0, names=REGIME_NAMES[:2], volatility=ones, volume=ones)
    assert np.array(regimes.rates) == pytest.approx(26.0 * (matrix - np.eye(2)))
    assert regimes.transition(1e-6) == pytest.approx(np.eye(2) + 26e-6 * (matrix - np.eye(2)), abs=1e-9)


def test_start_law_is_the_given_regime_or_the_stationary_distribution():
    assert replace(SIX_REGIMES, start="CRISIS").start_law().tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert SIX_REGIMES.start_law() == pytest.approx(SIX_REGIMES.stationary())


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=6))
def test_thresholds_divide_the_random_words_in_proportion_to_the_distribution(weights):
    law = np.array(weights) / sum(weights)
    cuts = np.array([0, *thresholds(law)[:, 0].tolist(), 2**32])
    assert np.diff(cuts) / 2.0**32 == pytest.approx(law, abs=1e-9)


# --- the simulated chain


@pytest.mark.parametrize("name", scenario_names())
def test_simulated_regimes_follow_the_distributions_of_the_scenario(name):
    scenario = get_scenario(name)
    regimes, market = scenario.regimes, build_market(scenario)
    count = min(20_000, 520_000 // scenario.slices)
    drawn = draw_path(market, episode_keys(21, np.arange(count)), 1.0).world.regime
    law, transition = regimes.start_law(), regimes.transition(scenario.tau)
    checks = 2 * len(regimes) + len(regimes) ** 2
    for k in (0, market.slices // 2):
        expected = law @ np.linalg.matrix_power(transition, k)
        seen = np.bincount(drawn[k], minlength=len(regimes)) / count
        spread = np.sqrt(expected * (1.0 - expected) / count) + 1e-12
        assert np.max(np.abs(seen - expected) / spread) < z_limit(checks)
    before, after = drawn[:-1].ravel(), drawn[1:].ravel()
    for m in range(len(regimes)):
        here = before == m
        if not here.any():
            continue
        seen = np.bincount(after[here], minlength=len(regimes)) / here.sum()
        spread = np.sqrt(transition[m] * (1.0 - transition[m]) / here.sum()) + 1e-12
        assert np.max(np.abs(seen - transition[m]) / spread) < z_limit(checks)


def test_the_share_of_time_in_a_regime_does_not_depend_on_the_number_of_slices():
    scenario = replace(get_scenario("regime-day"), slices=13)
    law = scenario.regimes.stationary()
    for slices in (13, 52):
        drawn = draw_path(build_market(replace(scenario, slices=slices)), episode_keys(22, np.arange(4000)), 1.0).world.regime
        time = np.stack([(drawn == m).mean(axis=0) for m in range(len(law))], axis=1)
        error = np.abs(time.mean(axis=0) - law) / (time.std(axis=0) / math.sqrt(len(time)))
        assert error.max() < z_limit(2 * len(law))


# --- invalid values

TWO = {"names": ("CRISIS", "RECOVERY"), "volatility": (2.0, 1.0), "volume": (1.0, 1.0), "rates": ((-1.0, 1.0), (2.0, -2.0))}


def test_an_invalid_value_raises_an_error_that_names_it():
    for change, message in [
        (
            {"names": ("CRISIS", "RECOVRY")},
            "regimes.names must be among BULL_TRENDING, .*got 'RECOVRY'; did you mean 'RECOVERY'?",
        ),
        (
            {"names": ("CRISIS", "CRISIS")},
            "regimes.names must name at least one regime and none twice, got ['CRISIS', 'CRISIS']",
        ),
        ({"names": ()}, "regimes.names must name at least one regime and none twice, got []"),
        ({"names": "CRISIS"}, "regimes.names must be a list with one entry per regime, got 'CRISIS'"),
        ({"names": 2}, "regimes.names must be a list with one entry per regime, got 2"),
        ({"volatility": (1.0,)}, "regimes.volatility must hold 2 numbers, got 1"),
        ({"volatility": (1.0, 0.0)}, "regimes.volatility[1] must be a number in [1e-06, 1000], got 0.0"),
        ({"volatility": (1.0, math.nan)}, "regimes.volatility[1] must be a number in [1e-06, 1000], got nan"),
        ({"volatility": 0}, "regimes.volatility must be a list of numbers, got 0"),
        ({"volatility": "high"}, "regimes.volatility must be a list of numbers, got 'high'"),
        ({"volume": (0.0, 1.0)}, "regimes.volume[0] must be a number in [1e-06, 1000], got 0.0"),
        ({"spread": (-1.0, 1.0)}, "regimes.spread[0] must be a number in [0, 1000], got -1.0"),
        ({"temporary": (1.0, True)}, "regimes.temporary[1] must be a number in [0, 1000], got True"),
        ({"resilience": (1.0, math.inf)}, "regimes.resilience[1] must be a number in [0, 1000], got inf"),
        ({"drift": (0.0, -11.0)}, "regimes.drift[1] must be a number in [-10, 1000], got -11.0"),
        ({"rates": 1.0}, "regimes.rates must be a list with one entry per regime, got 1.0"),
        ({"rates": ((0.0,),)}, "regimes.rates must have 2 rows, one per regime, got 1"),
        ({"rates": ((-1.0, 1.0), (2.0,))}, "regimes.rates[1] must hold 2 numbers, got 1"),
        ({"rates": ((-1.0, 1.0), 2.0)}, "regimes.rates[1] must be a list of numbers, got 2.0"),
        ({"rates": ((-1.0, 1.5), (2.0, -2.0))}, "regimes.rates[0] (CRISIS) must sum to 0 (rates per day), got a sum of 0.5"),
        (
            {"rates": ((-1.0, 1.0), (-2.0, 2.0))},
            "regimes.rates[1] (RECOVERY) must be non-negative off the diagonal, got [-2.0, 2.0]",
        ),
        (
            {"start": "RECOVERYY"},
            "regimes.start must be one of stationary, CRISIS, RECOVERY, got 'RECOVERYY'; did you mean 'RECOVERY'?",
        ),
        ({"start": "BULL_TRENDING"}, "regimes.start must be one of stationary, CRISIS, RECOVERY, got 'BULL_TRENDING'"),
    ]:
        pattern = ".*".join(re.escape(part) for part in message.split(".*"))
        with pytest.raises(ValueError, match=f"^{pattern}"):
            Regimes(**{**TWO, **change})


def test_omitted_multipliers_default_to_one_and_the_drift_to_zero():
    regimes = Regimes(**TWO)
    assert regimes.spread == regimes.temporary == regimes.resilience == (1.0, 1.0)
    assert regimes.drift == (0.0, 0.0)


def test_regimes_do_not_scale_permanent_or_transient_impact():
    assert not {"permanent", "transient", "kyle_lambda"} & set(Regimes.__dataclass_fields__)
    impacts = {build_market(Scenario(regimes=regimes)).impact for regimes in (Regimes(), SIX_REGIMES)}
    assert len(impacts) == 1


def test_regimes_may_be_given_as_arrays():
    given_arrays = Regimes(**{key: np.array(value) for key, value in TWO.items() if key != "names"}, names=list(TWO["names"]))
    assert given_arrays == Regimes(**TWO)


def test_the_stationary_distribution_of_a_slow_chain_converges():
    rates = ((-1e-5, 1e-5), (3e-5, -3e-5))
    regimes = Regimes(names=("CRISIS", "RECOVERY"), volatility=(1.0, 1.0), volume=(1.0, 1.0), rates=rates)
    assert regimes.stationary() == pytest.approx([0.75, 0.25], abs=1e-9)


def test_the_stationary_distribution_of_a_stiff_chain_converges():
    rates = ((-1e-4, 1e-4, 0.0), (1e-4, -1e3 - 1e-4, 1e3), (0.0, 2e3, -2e3))
    regimes = Regimes(names=REGIME_NAMES[:3], volatility=(1.0,) * 3, volume=(1.0,) * 3, rates=rates)
    assert regimes.stationary() == pytest.approx(np.array([1.0, 1.0, 0.5]) / 2.5, abs=1e-6)
