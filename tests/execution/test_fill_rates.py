"""Fill rates from censored fills: published numbers, the empirical law without censoring, and the coverage of intervals."""

import json
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from hyperexec_env.execution.fill_rates import FillRates, HiddenOrder, product_limit
from hyperexec_env.market.liquidity import Atoms, PowerLaw, draw_size

pytestmark = pytest.mark.fast

# weeks of remission of 21 patients with 6-mercaptopurine (Freireich et al. 1963), and of those without relapse so far
RELAPSED = [6, 6, 6, 7, 10, 13, 16, 22, 23]
CENSORED = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
# survival and Greenwood's standard error, Klein and Moeschberger (2003), table 4.1
PUBLISHED = {
    6: (0.857, 0.0764), 7: (0.807, 0.0869), 10: (0.753, 0.0963), 13: (0.690, 0.1068), 16: (0.627, 0.1141),
    22: (0.538, 0.1282), 23: (0.448, 0.1346),
}  # fmt: skip


def remission():
    return product_limit([*RELAPSED, *CENSORED], [True] * len(RELAPSED) + [False] * len(CENSORED))


def test_the_estimate_of_the_remission_data_is_the_published_one():
    found = remission()
    assert found.times.tolist() == list(PUBLISHED)
    errors = found.survival * np.sqrt(found.greenwood)
    assert found.survival.round(3).tolist() == [survival for survival, _ in PUBLISHED.values()]
    assert errors.round(4) == pytest.approx([error for _, error in PUBLISHED.values()], abs=1e-4)
    assert found.censored_fraction == len(CENSORED) / 21
    assert found.beyond(5.9) == 1.0
    assert found.beyond(40.0) == found.survival[-1]


def test_the_interval_holds_the_estimate_and_nothing_is_known_beyond_the_data():
    found = remission()
    for t in (6.0, 10.0, 16.0, 23.0, 30.0):
        low, high = found.interval(t)
        assert 0.0 < low < found.beyond(t) < high < 1.0
    # log(-log) limits at 10 weeks, from the published survival and standard error
    survival, error = found.beyond(10.0), PUBLISHED[10][1]
    width = 1.959964 * error / (survival * -math.log(survival))
    assert found.interval(10.0) == pytest.approx((survival ** math.exp(width), survival ** math.exp(-width)), abs=1e-3)
    assert found.interval(36.0)[0] == 0.0


@hypothesis.given(st.lists(st.integers(0, 12), min_size=1, max_size=40))
def test_without_censoring_the_estimate_is_the_empirical_law(values):
    found = product_limit(values, [True] * len(values))
    sample = np.array(values)
    for t in range(14):
        assert found.beyond(t) == pytest.approx((sample > t).mean(), abs=1e-12)
        assert found.at_least(t) == pytest.approx((sample >= t).mean(), abs=1e-12)
        assert found.mean_up_to(t) == pytest.approx(np.minimum(sample, t).mean(), abs=1e-12)
        low, high = found.interval(t)
        assert 0.0 <= low <= found.beyond(t) <= high <= 1.0
        if 0.0 < found.beyond(t) < 1.0:  # Greenwood's variance is then the binomial one
            passed = np.searchsorted(found.times, t, side="right") - 1
            share = found.beyond(t)
            assert share**2 * found.greenwood[passed] == pytest.approx(share * (1 - share) / len(values))


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(1, 3)), min_size=1, max_size=20), st.booleans()
)
def test_a_weight_is_that_many_observations(rows, first):
    weighted = product_limit(*zip(*[(float(t), seen, float(w)) for t, seen, w in rows], strict=True), censored_first=first)
    repeated = [(t, seen) for t, seen, w in rows for _ in range(w)]
    plain = product_limit(*zip(*repeated, strict=True), censored_first=first)
    assert weighted.survival == pytest.approx(plain.survival, abs=1e-12)


@hypothesis.given(st.lists(st.tuples(st.integers(0, 6), st.integers(1, 6)), min_size=1, max_size=40))
def test_the_estimate_is_the_likeliest_law(rows):
    """The product limit maximises the likelihood: no neighbouring law of the hazards explains the fills better."""
    filled = np.array([min(a, y) for a, y in rows])
    seen = np.array([a < y for a, y in rows])
    found = product_limit(filled, seen, censored_first=True)
    at_risk = np.array([((filled > t) | (seen & (filled == t))).sum() for t in found.times])
    dead = np.array([(seen & (filled == t)).sum() for t in found.times])
    hazard = 1.0 - found.survival / np.concatenate([[1.0], found.survival[:-1]])[: len(found.survival)]
    with np.errstate(invalid="ignore"):
        assert np.nan_to_num(hazard, nan=1.0)[at_risk > 0] == pytest.approx(dead / at_risk, abs=1e-9)


def draws(law, count, seed):
    return draw_size(law, np.random.default_rng(seed).integers(0, 2**32, count))


@pytest.mark.parametrize("law", [Atoms(), PowerLaw(zero=0.5, lot=0.01, cap=20)], ids=["atoms", "power"])
def test_the_law_of_a_pool_is_recovered_from_censored_fills_within_its_interval(law):
    """Requests of random sizes: about 95 % of the intervals hold the true probability, where the mean of fills is far off."""
    rng, hits, count = np.random.default_rng(1), 0, 0
    for seed in range(60):
        asked = rng.choice([0.005, 0.0104, 0.03, 0.1, 0.3], 800)
        filled = np.minimum(draws(law, 800, seed), asked)
        found = product_limit(filled, filled < asked, censored_first=True)
        for size in (0.004, 0.0104, 0.05):
            low, high = found.interval(size, at_least=True)
            hits, count = hits + (low <= law.tail(size) <= high), count + 1
    # binomial: 180 trials at 0.95, three standard deviations
    assert abs(hits / count - 0.95) < 3.0 * math.sqrt(0.95 * 0.05 / count)


def test_an_average_of_fills_underestimates_what_kaplan_meier_does_not():
    law, size = PowerLaw(zero=0.0, power=0.5, lot=0.01, cap=20), 0.2
    asked = np.random.default_rng(2).choice([0.02, 0.05, 0.2], 4000, p=[0.6, 0.3, 0.1])
    filled = np.minimum(draws(law, 4000, 3), asked)
    true = float((np.minimum(law.sizes, size) * law.probabilities).sum())
    estimate = product_limit(filled, filled < asked, censored_first=True).mean_up_to(size)
    assert filled.mean() < 0.6 * true
    assert estimate == pytest.approx(true, rel=0.05)


def test_a_pool_that_always_fills_is_known_up_to_the_largest_order_only():
    found = product_limit([100.0] * 30, [False] * 30, censored_first=True)
    assert found.at_least(100.0) == 1.0
    low, high = found.interval(100.0, at_least=True)
    assert high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 30))  # thirty of thirty
    assert found.interval(100.1, at_least=True) == (0.0, 1.0)
    assert found.reaches(0.9) == math.inf
    assert found.censored_fraction == 1.0


def test_nothing_is_known_without_observations():
    found = product_limit([], [])
    assert (found.count, found.beyond(3.0), found.interval(3.0)) == (0, 1.0, (0.0, 1.0))
    assert math.isnan(found.censored_fraction)


def test_reaches_inverts_at_least():
    found = product_limit([0, 0, 2, 5], [True] * 4)
    assert [found.reaches(p) for p in (1.0, 0.5, 0.25, 0.2)] == [0.0, 2.0, 5.0, 5.0]
    assert found.at_least(2.0) == 0.5
    assert found.at_least(2.1) == 0.25


def test_optimism_makes_an_unknown_pool_worth_a_try_and_fades():
    rates = FillRates(optimism=1.0)
    assert rates.belief("X", "pool").at_least(1e9) == 1.0
    for count in range(1, 20):
        rates.tell("X", "pool", HiddenOrder(0.0, False, 60.0, False))
        assert rates.belief("X", "pool").at_least(1e-9) == pytest.approx(1.0 / (count + 1))
        assert rates.liquidity("X", "pool").at_least(1e-9) == 0.0
    assert rates.belief("X", "another").at_least(1.0) == 1.0


def test_waiting_times_are_censored_by_cancellation():
    rates = FillRates()
    for seconds, complete in ((5.0, True), (30.0, False), (10.0, True), (30.0, False)):
        rates.tell("X", "touch", HiddenOrder(1.0, complete, seconds, complete))
    assert rates.waiting("X", "touch").beyond([4.0, 5.0, 10.0, 30.0]).tolist() == [1.0, 0.75, 0.5, 0.5]


def test_fill_rates_survive_json_and_forget_the_oldest():
    rates = FillRates(most=2, optimism=0.5)
    for size in (1.0, 2.0, 3.0):
        rates.tell("X", "pool", HiddenOrder(size, False, 60.0, False))
    again = FillRates.from_dict(json.loads(json.dumps(rates.to_dict())))
    assert again.orders("X", "pool") == rates.orders("X", "pool")
    assert [one.filled for one in again.orders("X", "pool")] == [2.0, 3.0]
    assert (again.most, again.optimism) == (2, 0.5)


def stored(venues):
    return {"most": 3, "optimism": 1.0, "venues": venues}


def of_orders(orders):
    return stored([{"symbol": "X", "venue": "pool", "orders": orders}])


def test_an_observation_of_weight_zero_is_none():
    found = product_limit([1.0, 2.0, 3.0], [True, False, True], [0.0, 1.0, 2.0])
    plain = product_limit([2.0, 3.0], [False, True], [1.0, 2.0])
    assert (found.times.tolist(), found.survival.tolist()) == (plain.times.tolist(), plain.survival.tolist())
    assert product_limit([1.0], [True], [0.0]).count == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: product_limit([1.0, -1.0], [True, True]), "values"),
        (lambda: product_limit([math.nan], [False]), "values"),
        (lambda: product_limit([math.inf], [True]), "values"),
        (lambda: product_limit([1.0], [True, False]), "shape"),
        (lambda: FillRates(most=0), "most"),
        (lambda: FillRates(optimism=-1.0), "optimism"),
        (lambda: product_limit([1.0], [True], [math.nan]), "weights must be finite"),
        (lambda: product_limit([1.0], [True], [math.inf]), "weights must be finite"),
        *(
            (lambda level=level: product_limit([1.0], [True]).interval(0.5, level), "level must be a number in")
            for level in (0.0, 1.0, 1.5, -1.0, math.nan, "a", None)
        ),
        (lambda: FillRates.from_dict({"most": 3}), "fill rates must have 'optimism'"),
        (lambda: FillRates.from_dict([]), r"fill rates must be the table of FillRates.to_dict, got \[\]"),
        (lambda: FillRates.from_dict(stored(3)), "venues must be a list, got 3"),
        (lambda: FillRates.from_dict(stored([3])), r"venues\[0\] must be a table, got 3"),
        (lambda: FillRates.from_dict(stored([{"symbol": "X", "venue": "pool"}])), r"venues\[0\] must have 'orders'"),
        (
            lambda: FillRates.from_dict(stored([{"symbol": 7, "venue": "pool", "orders": []}])),
            r"venues\[0\].symbol must be a text",
        ),
        (lambda: FillRates.from_dict(of_orders(3)), r"venues\[0\].orders must be a list, got 3"),
        (lambda: FillRates.from_dict(of_orders([3])), r"venues\[0\].orders\[0\] must be a list, got 3"),
        (
            lambda: FillRates.from_dict(of_orders([[1.0, True, 2.0]])),
            r"orders\[0\] must be \[filled, censored, seconds, complete\]",
        ),
        (lambda: FillRates.from_dict(of_orders([[-1.0, True, 2.0, True]])), r"orders\[0\].filled must be a number"),
        (lambda: FillRates.from_dict(of_orders([[1.0, "no", 2.0, True]])), r"orders\[0\].censored must be true or false"),
    ],
)
def test_a_bad_value_is_named(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_fill_rates_that_learn_nothing_more_stay_so_in_json():
    rates = FillRates()
    rates.frozen = True
    assert FillRates.from_dict(rates.to_dict()).frozen
    assert not FillRates.from_dict({key: value for key, value in rates.to_dict().items() if key != "frozen"}).frozen
