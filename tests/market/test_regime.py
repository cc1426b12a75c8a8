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

from hyperexec_env.market.library import _PER_QUARTER_HOUR, SIX_REGIMES
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import REGIME_NAMES, Regimes, generator, matrix_exponential, thresholds
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


# --- the generator of a transition matrix


def of_matrix(matrix, steps=26.0, **values):
    return Regimes.from_transition(matrix, steps, names=REGIME_NAMES[: len(matrix)], **values)


@given(chains(largest=8.0), st.floats(4.0, 100.0))
def test_from_transition_inverts_transition(regimes, steps):
    """The rates of a step are recovered from its probabilities: at most two moves a step, so that no eigenvalue is tiny."""
    matrix = regimes.transition(1.0 / steps)
    found = of_matrix(matrix, steps)
    assert found.transition(1.0 / steps) == pytest.approx(matrix, abs=1e-12)
    assert np.array(found.rates) == pytest.approx(np.array(regimes.rates), abs=1e-6)


def test_a_step_in_which_regimes_change_many_times_has_its_generator():
    """The eigenvalues of its matrix are down to 3e-8; rounding gives the logarithm a negative rate of 1e-10."""
    rates = np.array([[-4.0, 4.0, 0.0, 0.0], [3.0, -8.0, 5.0, 0.0], [0.0, 4.0, -9.0, 5.0], [0.0, 0.0, 4.0, -4.0]])
    matrix = matrix_exponential(1.2 * rates)
    assert of_matrix(matrix).transition(1.0 / 26.0) == pytest.approx(matrix, abs=1e-9)


def test_one_step_of_from_transition_has_the_given_probabilities():
    """(P - I) x steps would give 0.907 instead of 0.90, and 0.823 instead of 0.80."""
    matrix = [[0.90, 0.04, 0.06], [0.08, 0.80, 0.12], [0.05, 0.07, 0.88]]
    assert of_matrix(matrix).transition(1.0 / 26.0) == pytest.approx(np.array(matrix), abs=1e-13)


def test_the_generator_of_two_regimes_agrees_with_the_closed_form():
    """P = I + (1 - exp(-(a + b) t)) Q / (a + b), so Q t = -log(1 - p - q) / (p + q) (P - I)."""
    regimes = of_matrix([[0.9, 0.1], [0.3, 0.7]])
    scale = 26.0 * -math.log(0.6) / 0.4
    assert np.array(regimes.rates) == pytest.approx(scale * np.array([[-0.1, 0.1], [0.3, -0.3]]))


def test_a_matrix_with_coinciding_eigenvalues_has_its_generator():
    """A chain of equal one-way moves has one eigenvector for two eigenvalues."""
    rates = np.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]])
    assert np.array(of_matrix(matrix_exponential(rates), 1.0).rates) == pytest.approx(rates, abs=1e-14)


def test_a_cycle_has_its_generator_though_its_eigenvalues_are_complex():
    rates = np.array([[-1.0, 1.0, 0.0], [0.0, -1.0, 1.0], [1.0, 0.0, -1.0]])
    assert np.array(of_matrix(matrix_exponential(rates), 1.0).rates) == pytest.approx(rates, abs=1e-13)


def test_staying_for_ever_has_zero_rates():
    assert of_matrix(np.eye(3)).rates == ((0.0,) * 3,) * 3
    assert of_matrix([[1]]).rates == ((0.0,),)


NO_GENERATOR = {
    "its logarithm has the negative rate -0.0198 per step at matrix[4][0]": _PER_QUARTER_HOUR,
    "its eigenvalue -0.6 is not positive": [[0.2, 0.8], [0.8, 0.2]],
    "its eigenvalue 0 is not positive": [[0.0, 1.0], [0.0, 1.0]],
    "its logarithm has the negative rate -0.00575 per step at matrix[0][2]": [[0.9, 0.1, 0], [0, 0.9, 0.1], [0, 0, 1]],
}


@pytest.mark.parametrize("obstacle", NO_GENERATOR)
def test_a_matrix_without_generator_is_refused_and_its_nearest_generator_is_offered(obstacle):
    matrix = NO_GENERATOR[obstacle]
    with pytest.raises(ValueError, match=re.escape(f"over one step, but {obstacle}; pass nearest=True")) as caught:
        of_matrix(matrix)
    nearest = of_matrix(matrix, nearest=True)
    difference = np.abs(nearest.transition(1.0 / 26.0) - np.array(matrix)).max()
    assert f"whose step differs from the matrix by at most {difference:.2g}" in str(caught.value)


@given(st.integers(1, 6), st.floats(-2.0, 1.0), st.integers(0, 2**32 - 1))
def test_every_transition_matrix_has_a_nearest_generator(count, concentration, seed):
    rng = np.random.default_rng(seed)
    matrix = rng.dirichlet(np.full(count, 10.0**concentration), size=count)
    rates, difference = generator(matrix)
    assert (rates[~np.eye(count, dtype=bool)] >= 0.0).all()
    assert rates.sum(axis=1) == pytest.approx(np.zeros(count), abs=1e-9 * np.abs(rates).max())
    assert np.abs(matrix_exponential(rates) - matrix).max() == pytest.approx(difference, abs=1e-12)


@pytest.mark.parametrize(
    ("matrix", "steps", "message"),
    [
        ([[0.9, 0.2], [0.3, 0.7]], 26.0, "matrix[0] must sum to 1 (probabilities), got a sum of 1.1"),
        ([[0.9, 0.1], [0.3, 0.6999]], 26.0, "matrix[1] must sum to 1 (probabilities), got a sum of 0.9999"),
        ([[1.1, -0.1], [0.3, 0.7]], 26.0, "matrix[0][0] must be a number in [0, 1] probability, got 1.1"),
        ([[0.9, 0.1]], 26.0, "matrix[0] must hold 1 numbers, got 2"),
        ([[0.9, 0.1], 0.7], 26.0, "matrix[1] must be a list of numbers, got 0.7"),
        ("stay", 26.0, "matrix must be a list of rows of probabilities, one row per regime, got 'stay'"),
        ([[0.9, 0.1], [0.3, 0.7]], 0.0, "steps_per_day must be a number in (0, 1e+06], got 0.0"),
    ],
)
def test_an_invalid_transition_matrix_raises_an_error_that_names_it(matrix, steps, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Regimes.from_transition(matrix, steps)


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
        ({"drift": (0.0, -11.0)}, "regimes.drift[1] must be a number in [-10, 10], got -11.0"),
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


def test_omitted_multipliers_default_to_one_and_drift_and_rates_to_zero():
    regimes = Regimes(names=("CRISIS", "RECOVERY", "SIDEWAYS_LOW"))
    for field in ("volatility", "volume", "spread", "temporary", "resilience"):
        assert getattr(regimes, field) == (1.0,) * 3
    assert regimes.drift == (0.0,) * 3
    assert regimes.rates == ((0.0,) * 3,) * 3
    assert regimes.transition(1.0) == pytest.approx(np.eye(3))
    assert Regimes(names=("CRISIS", "RECOVERY"), drift=(0.1, 0.0)).volume == (1.0, 1.0)
    assert Regimes() == Regimes(volatility=(1.0,), volume=(1.0,), rates=((0.0,),))


@pytest.mark.parametrize("make", [Regimes, lambda **values: Scenario.from_dict({"regimes": values})])
def test_a_regime_that_scales_permanent_or_transient_impact_is_refused_with_the_reason(make):
    for name in ("kappa", "kyle_lambda", "perm_impact_gamma"):
        with pytest.raises(
            ValueError, match=rf"^regimes\.{name} must not be given: .* a round trip across regimes .* certify_model"
        ):
            make(names=["CRISIS", "RECOVERY"], **{name: [1.0, 2.0]})


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
