"""The router's split is the cheapest one, and three published splits are its special cases."""

import math
from dataclasses import dataclass

import hypothesis
import pytest
from hypothesis import strategies as st

from hyperexec_env.baselines.closed_forms.cont_kukanov import Exponential, Terms, best_split
from hyperexec_env.execution.fill_rates import product_limit
from hyperexec_env.execution.routing import HiddenOffer, LitOffer, allocate, expected_cost
from hyperexec_env.market.liquidity import PowerLaw
from hyperexec_env.market.liquidity import allocate as greedy
from hyperexec_env.market.venue import route

pytestmark = pytest.mark.fast


def law_of(law, scale=1.0):
    """The estimate that a law would give with infinitely many observations: its atoms, weighted by their probabilities."""
    finite = [(size, p) for size, p in zip(law.sizes, law.probabilities, strict=True) if math.isfinite(size)]
    return product_limit([size * scale for size, _ in finite], [True] * len(finite), [p for _, p in finite])


def cheapest(lots, offers):
    """The least cost of every split of whole lots, venue by venue."""
    best = [0.0] + [math.inf] * lots
    for offer in offers:
        costs = [offer.cost(n) if n <= offer.most else math.inf for n in range(lots + 1)]
        best = [min(best[n - own] + costs[own] for own in range(n + 1)) for n in range(lots + 1)]
    return best[lots]


lit_offers = st.builds(
    LitOffer,
    q=st.floats(-0.01, 0.05),
    scale=st.sampled_from([0.0, 0.3, 2.0]),
    volume=st.floats(50.0, 5000.0),
    beta=st.sampled_from([0.5, 1.0]),
    lot=st.just(10.0),
    most=st.sampled_from([3, 10, 10**18]),
)
hidden_offers = st.builds(
    HiddenOffer,
    q=st.floats(-0.02, 0.04),
    penalty=st.just(0.05),
    law=st.lists(st.tuples(st.integers(0, 300), st.booleans()), min_size=1, max_size=8).map(
        lambda rows: product_limit([float(t) for t, _ in rows], [seen for _, seen in rows], censored_first=True)
    ),
    lot=st.just(10.0),
    limit=st.sampled_from([5, 10**18]),
)


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(st.integers(1, 30), st.lists(st.one_of(lit_offers, hidden_offers), min_size=1, max_size=4))
def test_no_split_is_cheaper(lots, offers):
    split = allocate(lots, offers)
    most = [offer.most for offer in offers]
    assert all(0 <= own <= limit for own, limit in zip(split, most, strict=True))
    assert sum(split) == min(lots, sum(most))
    if sum(most) >= lots:
        assert expected_cost(split, offers) == pytest.approx(cheapest(lots, offers), rel=1e-9, abs=1e-9)


@hypothesis.given(st.integers(1, 40), st.one_of(lit_offers, hidden_offers))
def test_the_next_lot_never_costs_less(lot, offer):
    hypothesis.assume(lot < offer.most)
    assert offer.marginal(lot + 1) >= offer.marginal(lot) - 1e-12


def test_lit_venues_are_water_filled():
    """V1 of the venues' design: 7,692.3 shares over three venues cost 1,015.211254."""
    q, volumes = (0.013, 0.013, 0.008), [share * 5e6 / 26 for share in (0.5, 0.3, 0.2)]
    offers = [LitOffer(own, 0.6, volume, 0.5, lot=0.1) for own, volume in zip(q, volumes, strict=True)]
    split = [0.1 * lots for lots in allocate(76923, offers)]
    assert split == pytest.approx(route(7692.3, q, (0.6,) * 3, volumes, 0.5), abs=0.2)
    assert split == pytest.approx([3803.0615, 2281.8369, 1607.4016], abs=0.2)
    assert expected_cost([round(own * 10) for own in split], offers) == pytest.approx(1015.211254, abs=1e-5)


def test_pools_of_equal_terms_share_as_ganchev_et_al_allocate():
    """V7 of the venues' design: 50 lots over three pools fill 5.296041068 lots in expectation."""
    laws = [PowerLaw(zero, power, cap, 1.0) for zero, power, cap in ((0.7, 1.2, 60), (0.85, 0.8, 120), (0.5, 2, 30))]
    offers = [HiddenOffer(0.0, 1.0, law_of(law)) for law in laws]
    split = allocate(50, offers)
    assert split == greedy(laws, 50, 1.0)[0] == [17, 28, 5]
    assert 50 - expected_cost(split, offers) == pytest.approx(5.296041068, abs=1e-8)


@dataclass
class BehindAQueue:
    """What reaches an order behind a queue, with exponential outflow."""

    outflow: Exponential
    queue: float

    def at_least(self, t):
        return math.exp(-(self.queue + t) / self.outflow.mean)

    def reaches(self, probability):
        return -self.outflow.mean * math.log(probability) - self.queue if probability < self.at_least(0.0) else 0.0

    def mean_up_to(self, t):
        return self.outflow.filled(self.queue, t)


@pytest.mark.parametrize(("penalty", "market"), [(0.02, 2881.04548), (0.03, 6573.26236), (0.06, 9440.88890)])
def test_one_book_is_split_as_cont_and_kukanov_split_it(penalty, market):
    """L2 of the limit orders' design."""
    outflow = Exponential(6000.0)
    terms = Terms(size=10_000, queue=2000, half_spread=0.01, fee=0.003, rebate=0.002, penalty=penalty)
    taking = LitOffer(0.013, 0.0, 1.0, 1.0, lot=0.01)
    resting = HiddenOffer(-0.012, penalty, BehindAQueue(outflow, 2000.0), lot=0.01)
    split = allocate(1_000_000, [taking, resting])
    exact = best_split(terms, outflow)
    assert 0.01 * split[0] == pytest.approx(exact.market, abs=0.02)
    assert exact.market == pytest.approx(market, abs=1e-5)
    assert expected_cost(split, [taking, resting]) == pytest.approx(exact.cost, abs=1e-6)


def test_a_pool_whose_fill_costs_the_penalty_gets_nothing():
    always = product_limit([math.inf], [False])
    assert HiddenOffer(0.05, 0.05, always).most == 0
    assert allocate(10, [LitOffer(0.01, 0.1, 1e3, 0.5), HiddenOffer(0.05, 0.05, always)]) == [10, 0]


def test_what_the_venues_do_not_show_stays_with_the_order():
    offers = [LitOffer(0.01, 0.3, 1e4, 0.5, most=3), LitOffer(0.02, 0.3, 1e4, 0.5, most=4)]
    assert allocate(20, offers) == [3, 4]


def test_a_large_order_is_split_quickly_and_whole():
    offers = [LitOffer(0.01, 0.3, 1e6, 0.5), LitOffer(0.012, 0.3, 4e5, 0.5)]
    assert sum(allocate(10**15, offers)) == 10**15
