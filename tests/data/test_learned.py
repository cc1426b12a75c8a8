"""Learning across orders: equal to the textbook formula, in batches as at once, and calibrated on simulated desks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.baselines.learn import learn_orders
from hyperexec_env.data.learned import NAMES, evidence_of, learned_scenario, positive_draws, updated
from hyperexec_env.data.temporary import AFTER_SECONDS, KnownImpact, Orders, linear_parts
from hyperexec_env.data.zones import SECOND
from hyperexec_env.market.belief import Normal, interval
from hyperexec_env.market.kernel import Slice, State, fill_price, mid_price, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.prior import Moments, impact_prior
from hyperexec_env.market.scenario import get_scenario, load_scenario
from hyperexec_env.market.tables import build_market

PRIOR = replace(get_scenario("regime-day"), regimes={"names": ("SIDEWAYS_LOW",)}, name="prior")
TRUE = np.array([PRIOR.temp_impact_alpha, PRIOR.perm_impact_gamma, PRIOR.kyle_lambda - PRIOR.perm_impact_gamma])


def orders_like(count, seed, theta=TRUE, known=None):
    """Orders whose costs and moves follow the equations at a theta; a tenth has no move."""
    rng = np.random.default_rng(seed)
    shares = PRIOR.adv * np.exp(rng.normal(-3.5, 0.8, count))
    seconds, moments = rng.uniform(900.0, 12_000.0, count), rng.integers(2, 40, count).astype(float)
    start = np.arange(count) * 30_000 * SECOND
    found = Orders(
        day=np.arange(count),
        start=start,
        shares=shares,
        participation=np.minimum(shares / (PRIOR.adv * seconds / 23_400.0), 0.9),
        seconds=seconds,
        moments=moments,
        cost=np.zeros(count),
        move=np.zeros(count),
        left_out={},
        sources=(),
    )
    q, span, paid, kept = linear_parts(found, known or known_of(PRIOR))
    sigma, after = PRIOR.volatility, AFTER_SECONDS / 23_400.0
    own, cross, whole = span * (2.0 * moments - 1.0) / (6.0 * moments), 0.5 * span, span + after
    first, second = rng.standard_normal((2, count))
    e_cost = sigma * np.sqrt(own) * first
    e_move = sigma * (cross / np.sqrt(own) * first + np.sqrt(whole - cross**2 / own) * second)
    alpha, gamma, kappa = theta
    cost = 1e-4 * PRIOR.half_spread_bps + alpha * sigma * found.participation**PRIOR.temp_impact_beta
    move = gamma * q + kappa * q * kept + e_move
    move[rng.random(count) < 0.1] = np.nan
    return found._replace(cost=cost + gamma * q / 2 + kappa * q * paid + e_cost, move=move)


def known_of(scenario):
    values = {name: getattr(scenario, name) for name in ("volatility", "half_spread_bps", "kyle_lambda", "resilience", "adv")}
    return KnownImpact(**values, gamma=scenario.perm_impact_gamma, day_minutes=scenario.day_minutes, is_measured=True)


def part(orders, chosen):
    return orders._replace(**{key: value[chosen] for key, value in orders._asdict().items() if isinstance(value, np.ndarray)})


def moments_of(scenario):
    return impact_prior(scenario, NAMES)


@pytest.mark.fast
def test_the_update_is_that_of_the_stacked_regression():
    """The posterior by a dense solve with the prior as three more observations."""
    orders = orders_like(30, 1)
    before = moments_of(PRIOR)
    after = updated(before, evidence_of(orders, PRIOR))
    q, span, paid, kept = linear_parts(orders, known_of(PRIOR))
    sigma, rows, values, variance = PRIOR.volatility, [], [], np.zeros((60, 60))
    for at in range(30):
        power = sigma * orders.participation[at] ** PRIOR.temp_impact_beta
        rows += [[power, q[at] / 2, q[at] * paid[at]], [0.0, q[at], q[at] * kept[at]]]
        values += [orders.cost[at] - 1e-4 * PRIOR.half_spread_bps, orders.move[at]]
        n = orders.moments[at]
        own, half, whole = span[at] * (2 * n - 1) / (6 * n), span[at] / 2, span[at] + AFTER_SECONDS / 23_400.0
        variance[2 * at : 2 * at + 2, 2 * at : 2 * at + 2] = sigma**2 * np.array([[own, half], [half, whole]])
    known = np.isfinite(values)
    x, y = np.array(rows)[known], np.array(values)[known]
    weight = np.linalg.inv(variance[np.ix_(known, known)])
    precision = np.linalg.inv(before.covariance) + x.T @ weight @ x
    assert after.covariance == pytest.approx(np.linalg.inv(precision), rel=1e-9)
    exact = np.linalg.solve(precision, np.linalg.solve(before.covariance, before.mean) + x.T @ weight @ y)
    assert after.mean == pytest.approx(exact, rel=1e-9)


def test_two_halves_one_after_the_other_are_the_whole_at_once(tmp_path):
    """Through the files: the draws carry the moments from one batch to the next."""
    orders = orders_like(200, 2, theta=1.3 * TRUE)
    whole = learn_orders(orders, PRIOR).scenario
    first = learn_orders(part(orders, slice(0, 90)), PRIOR, name="first").scenario
    (tmp_path / "first.toml").write_text(first.to_toml())
    second = learn_orders(part(orders, slice(90, None)), load_scenario(tmp_path / "first.toml")).scenario
    for name in ("temp_impact_alpha", "kyle_lambda", "perm_impact_gamma"):
        assert getattr(second, name) == pytest.approx(getattr(whole, name), rel=1e-9)
    assert moments_of(second).mean == pytest.approx(moments_of(whole).mean, rel=1e-9)
    assert moments_of(second).covariance == pytest.approx(moments_of(whole).covariance, rel=1e-8)
    assert moments_of(first).covariance[0, 0] > 1.1 * moments_of(whole).covariance[0, 0]


def test_the_exponent_keeps_its_draws_and_alpha_its_learned_cost():
    rng = np.random.default_rng(3)
    betas = np.clip(rng.normal(PRIOR.temp_impact_beta, 0.05, 80), 0.3, 0.9)
    alphas = PRIOR.temp_impact_alpha * np.exp(rng.normal(0.0, 0.3, 80) + 2.0 * (betas - PRIOR.temp_impact_beta))
    prior = replace(PRIOR, posterior={"temp_impact_alpha": alphas, "temp_impact_beta": betas, "adv": [PRIOR.adv, 1e6] * 40})
    made, before, after, _ = learned_scenario(prior, orders_like(60, 4))
    assert made.posterior.to_dict()["temp_impact_beta"] == betas.tolist()
    assert made.posterior.to_dict()["adv"] == [PRIOR.adv, 1e6] * 40
    again = moments_of(made)
    assert again.mean == pytest.approx(after.mean, rel=1e-9)
    assert again.covariance == pytest.approx(after.covariance, rel=1e-8, abs=1e-15)
    assert after.covariance[0, 0] < before.covariance[0, 0]


def test_with_little_evidence_the_prior_stays():
    few = orders_like(1, 5)
    small = few._replace(shares=few.shares * 1e-6, participation=few.participation * 1e-6)
    found = learn_orders(small, PRIOR)
    assert found.after.mean == pytest.approx(found.before.mean, rel=1e-3)
    assert found.after.covariance == pytest.approx(found.before.covariance, rel=1e-2, abs=1e-9)
    known = learn_orders(orders_like(100, 6, theta=3.0 * TRUE), PRIOR, impact_sd=0.0)
    assert known.scenario.temp_impact_alpha == PRIOR.temp_impact_alpha
    assert known.scenario.posterior is None


def test_multiples_stay_multiples():
    prior = replace(PRIOR, kyle_multiple=25.0, perm_impact_multiple=12.0)
    made = learn_orders(orders_like(80, 7), prior).scenario
    assert set(made.posterior.names) == {"temp_impact_alpha", "kyle_multiple", "perm_impact_multiple"}
    assert made.kyle_lambda == pytest.approx(made.kyle_multiple * made.volatility)
    assert np.mean(made.posterior.to_dict()["kyle_multiple"]) == pytest.approx(made.kyle_multiple)


def test_the_provenance_names_prior_and_evidence():
    made = learn_orders(orders_like(40, 8), PRIOR, name="after").scenario
    text = made.provenance["temp_impact_alpha"]
    assert text.startswith(f"40 own orders of 40 sessions on the prior prior ({PRIOR.hash}); standard deviation ")
    assert "before 0.142 with 0.071" in text
    assert "assumed standard deviation of 50 %: alpha, gamma, kappa" in made.provenance["posterior"]
    assert made.name == "after"
    assert all(made.draw(number).kyle_lambda >= made.draw(number).perm_impact_gamma for number in range(100))


# --- coverage


def covered(theta, after):
    error = np.sqrt(np.diag(after.covariance))
    low, high = after.mean - 1.6449 * error, after.mean + 1.6449 * error
    return (low <= theta) & (theta <= high)


def test_intervals_hold_for_desks_of_the_model():
    """Impact from the prior, 40 orders of each desk: nine of ten intervals hold the truth."""
    rng, desks = np.random.default_rng(9), 800
    before, hits = moments_of(PRIOR), []
    for desk in range(desks):
        theta = before.mean + np.sqrt(np.diag(before.covariance)) * rng.standard_normal(3)
        hits.append(covered(theta, updated(before, evidence_of(orders_like(40, [10, desk], theta), PRIOR))))
    assert np.abs(np.mean(hits, axis=0) - 0.9).max() < 3.5 * math.sqrt(0.09 / desks)


def simulated_orders(scenario, orders, seed):
    """Orders of ten equal children in slices 0 to 9 of days of the market, and what is measured of them."""
    market = build_market(scenario)
    path = draw_path(market, episode_keys(seed, np.arange(orders)), 1.0)
    rng = np.random.default_rng(seed)
    total = scenario.adv * np.exp(rng.normal(-3.2, 0.7, orders))
    state, paid = State(total, np.zeros(orders), np.zeros(orders)), np.zeros(orders)
    mids = []
    for k in range(13):
        slice = Slice(*(values[k] for values in path.slices))
        price, shares = path.world.price[k], total / 10.0 if k < 10 else np.zeros(orders)
        mids.append(mid_price(state, price, 1.0))
        if k < 10:
            paid += shares * fill_price(market.impact, state, slice, shares, price, 1.0)
        state, _ = step(market.impact, state, slice, shares)
    seconds = 9.0 * 900.0
    return Orders(
        day=np.arange(orders),
        start=np.arange(orders) * 86_400 * SECOND,
        shares=total,
        participation=total / path.slices.volume[:10].sum(axis=0),
        seconds=np.full(orders, seconds),
        moments=np.full(orders, 10.0),
        cost=paid / total / mids[0] - 1.0,
        move=mids[11] / mids[0] - 1.0,
        left_out={},
        sources=(),
    )


def test_intervals_hold_for_desks_that_trade_in_the_simulated_market():
    """The whole way: children pay the kernel's impact at the volume of each slice; the update sees fills and mids alone."""
    rng, desks = np.random.default_rng(12), 150
    flat = replace(PRIOR, volume_curve=(), volatility_curve=(), volume_noise=0.2)
    before, hits = moments_of(flat), []
    for desk in range(desks):
        theta = np.maximum(before.mean + np.sqrt(np.diag(before.covariance)) * rng.standard_normal(3), 1e-3)
        alpha, gamma, kappa = theta
        truth = replace(flat, temp_impact_alpha=alpha, perm_impact_gamma=gamma, kyle_lambda=gamma + kappa, name="truth")
        orders = simulated_orders(truth, 60, desk)
        hits.append(covered(theta, updated(before, evidence_of(orders, flat))))
    assert np.abs(np.mean(hits, axis=0) - 0.9).max() < 3.5 * math.sqrt(0.09 / desks)


def test_learning_finds_an_impact_far_from_the_prior():
    found = learn_orders(orders_like(3_000, 13, theta=2.0 * TRUE), PRIOR)
    error = np.sqrt(np.diag(found.after.covariance))
    assert (np.abs(found.after.mean - 2.0 * TRUE) < 3.3 * error).all()
    assert (error < 0.5 * np.sqrt(np.diag(found.before.covariance))).all()
    assert found.evidence.scale(found.after.mean) == pytest.approx(1.0, abs=0.05)


# --- draws, reports, errors


@pytest.mark.parametrize("count", [20, 100])
def test_draws_are_positive_and_have_the_moments_exactly(count):
    deviations = np.array([0.07, 0.1, 0.2])
    correlation = np.array([[1.0, -0.3, 0.1], [-0.3, 1.0, -0.5], [0.1, -0.5, 1.0]])
    law = Moments(np.array([0.142, 0.25, 0.3]), correlation * np.outer(deviations, deviations), "")
    draws = positive_draws(law, count)
    assert (draws > 0.0).all()
    assert draws.mean(axis=0) == pytest.approx(law.mean, rel=1e-12)
    assert np.cov(draws.T) == pytest.approx(law.covariance, rel=1e-10)
    assert (positive_draws(law, count) == draws).all()


def test_an_impact_near_zero_is_cut_at_zero():
    found = learn_orders(orders_like(300, 14, theta=np.array([0.142, 0.0, 0.25])), PRIOR)
    assert "gamma: the positive part of the law" in found.scenario.provenance["posterior"]
    assert found.scenario.perm_impact_gamma > 0.0
    assert found.rows[1].low >= 0.0


def test_orders_of_the_wrong_side_are_refused():
    orders = orders_like(3_000, 15, theta=2.0 * TRUE)
    with pytest.raises(ValueError, match="the orders contradict the prior: alpha, gamma"):
        learn_orders(orders._replace(cost=-orders.cost, move=-orders.move), PRIOR)


def test_a_report_warns_of_orders_that_overlap_and_of_large_residuals():
    orders = orders_like(50, 16)
    crowded = orders._replace(start=np.arange(50) * 60 * SECOND, cost=3.0 * orders.cost)
    found = learn_orders(crowded, PRIOR)
    assert "WARNING: 49 orders begin before an earlier one ends" in str(found)
    assert "WARNING: the residuals are larger" in str(found)
    plain = learn_orders(orders, PRIOR)
    assert "WARNING" not in str(plain)
    row = plain.rows[0]
    assert (row.low, row.high) == pytest.approx(interval(Normal(row.mean, row.sd**2)))
    assert plain.to_dict()["learned"][0]["mean"] == row.mean


@pytest.mark.parametrize(
    ("orders", "prior", "message"),
    [
        (part(orders_like(5, 1), slice(0, 0)), PRIOR, "no order can be compared with the market"),
        (orders_like(5, 1), replace(PRIOR, volatility=0.0, kyle_multiple=None, perm_impact_multiple=None), "volatility of the"),
    ],
)
def test_without_evidence_there_is_an_error(orders, prior, message):
    with pytest.raises(ValueError, match=message):
        learn_orders(orders, prior)
