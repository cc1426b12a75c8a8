"""Filters of what a market does not show: equal to brute force, calibrated in the market itself, and as the design computes."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.market import belief
from hyperexec_env.market.belief import Normal
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.numeric import logarithm
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.fast

DAY = get_scenario("regime-day")
CALM = replace(DAY, regimes={"names": ("SIDEWAYS_LOW",)}, name="calm")
EPISODES = 4_000
BINOMIAL = 3.3 * math.sqrt(0.9 * 0.1 / EPISODES)
"""Distance between a share of 90 % and its value in a sample that is exceeded once in a thousand samples."""


def path_of(scenario, episodes=EPISODES, seed=3):
    market = build_market(scenario)
    return market, draw_path(market, episode_keys(seed, np.arange(episodes)), 1.0)


def coverage(found, truth):
    low, high = belief.interval(found)
    return ((low <= truth) & (truth <= high)).mean()


# --- brute force


def test_a_slope_has_the_posterior_of_a_grid():
    rng = np.random.default_rng(1)
    slopes, values, variances = rng.normal(size=6), rng.normal(size=6), rng.uniform(0.2, 2.0, 6)
    found = Normal(0.4, 0.7)
    for slope, value, variance in zip(slopes, values, variances, strict=True):
        found = belief.learn(found, value, variance, slope)
    theta = np.linspace(-8.0, 9.0, 200_001)
    log = -0.5 * (theta - 0.4) ** 2 / 0.7 - 0.5 * ((values[:, None] - slopes[:, None] * theta) ** 2 / variances[:, None]).sum(0)
    weight = np.exp(log - log.max())
    mean = (weight * theta).sum() / weight.sum()
    assert found.mean == pytest.approx(mean, abs=1e-9)
    assert found.variance == pytest.approx((weight * (theta - mean) ** 2).sum() / weight.sum(), rel=1e-9)


def test_evidence_in_another_order_gives_the_same_belief():
    evidence = [(0.3, 1.0, 0.5), (-0.2, 0.4, 2.0), (1.1, 0.2, -1.0)]
    results = []
    for order in itertools.permutations(evidence):
        found = Normal(0.1, 0.9)
        for value, variance, slope in order:
            found = belief.learn(found, value, variance, slope)
        results.append(found)
    assert np.allclose(results, results[0], rtol=1e-14)


def test_what_is_known_exactly_stays_known():
    assert belief.learn(Normal(0.3, 0.0), 5.0, 1.0) == Normal(0.3, 0.0)
    assert belief.learn(Normal(0.3, 0.0), 5.0, 0.0, 0.0) == Normal(0.3, 0.0)
    assert belief.learn(Normal(0.3, 0.5), 5.0, 1.0, slope=0.0) == Normal(0.3, 0.5)
    still = belief.learn_volume(belief.start_volume(0.0, 0.0), 0.7)
    assert (still.mean, still.variance) == (0.0, 0.0)


def test_odds_of_two_points_are_those_of_bayes():
    values, slopes, variance = (0.4, -0.1, 0.9), (1.0, 0.5, 0.7), 0.3
    odds = math.log(0.25 / 0.75)
    for value, slope in zip(values, slopes, strict=True):
        odds = belief.learn_odds(odds, value, variance, 0.2, 0.8, slope)
    joint = [
        weight * math.prod(math.exp(-((v - s * theta) ** 2) / (2 * variance)) for v, s in zip(values, slopes, strict=True))
        for weight, theta in ((0.75, 0.2), (0.25, 0.8))
    ]
    assert odds == pytest.approx(math.log(joint[1] / joint[0]), rel=1e-12)


@pytest.mark.parametrize("phi", [0.0, 0.6, -0.3])
def test_the_volume_filter_is_the_conditional_normal(phi):
    """The joint normal of the level and all log volumes, conditioned by linear algebra."""
    level, noise, count = 0.4**2, 0.3**2, 7
    ratios = np.random.default_rng(2).normal(0.2, 0.5, count)
    lags = np.abs(np.subtract.outer(np.arange(count + 2), np.arange(count + 2)))
    joint = level + noise * np.where(lags == 0, 1.0, float(phi) ** lags)
    seen = joint[:count, :count]
    found = belief.start_volume(level, noise)
    for ratio in ratios:
        found = belief.next_volume(belief.learn_volume(found, ratio), phi, noise)
    weights = np.linalg.solve(seen, np.full(count, level))
    assert found.level == pytest.approx(weights @ ratios, rel=1e-12)
    assert found.level_variance == pytest.approx(level - weights.sum() * level, rel=1e-12)
    for ahead in (0, 1):
        cross = joint[count + ahead, :count]
        law = belief.volume_after(found, phi**ahead, noise)
        assert law.mean == pytest.approx(cross @ np.linalg.solve(seen, ratios), rel=1e-11)
        assert law.variance == pytest.approx(level + noise - cross @ np.linalg.solve(seen, cross), rel=1e-11)


def test_without_persistence_the_volume_filter_is_the_one_of_the_solver():
    level, noise = 0.5**2, 0.3**2
    ratios = np.random.default_rng(5).normal(size=9)
    found = belief.start_volume(level, noise)
    for count, ratio in enumerate(ratios, start=1):
        found = belief.next_volume(belief.learn_volume(found, ratio), 0.0, noise)
        assert found.level == pytest.approx(belief.gain_after(level, noise, count) * ratios[:count].sum(), rel=1e-12)
        assert found.level_variance == pytest.approx(belief.variance_after(level, noise, count), rel=1e-12)


def test_regimes_have_the_probabilities_of_all_their_paths():
    market = build_market(DAY)
    transition, start, count = DAY.regimes.transition(DAY.tau), DAY.regimes.start_law(), 4
    logs = np.random.default_rng(4).normal(0.0, 2.0, (count, market.regimes))
    found = start
    for k in range(count):
        found = belief.weigh_regimes(belief.move_regimes(found, transition) if k else found, logs[k])
    exact = np.zeros(market.regimes)
    for states in itertools.product(range(market.regimes), repeat=count):
        moved = math.prod(transition[a, b] for a, b in itertools.pairwise(states))
        exact[states[-1]] += start[states[0]] * moved * math.exp(sum(logs[k, m] for k, m in enumerate(states)))
    assert found == pytest.approx(exact / exact.sum(), rel=1e-10)


def test_evidence_far_from_every_possible_regime_leaves_probabilities():
    """The regime that explains it is impossible; of the two that are possible, one explains it better."""
    prior, logs = np.array([0.0, 0.5, 0.5]), np.array([0.0, -2_000.0, -2_001.0])
    found = belief.weigh_regimes(prior, logs)
    assert found == pytest.approx([0.0, 1.0 / (1.0 + math.exp(-1.0)), 1.0 / (1.0 + math.exp(1.0))], rel=1e-12)
    assert belief.weigh_regimes(np.array([0.0, 1.0, 0.0]), logs).tolist() == [0.0, 1.0, 0.0]


def test_a_mixture_over_regimes_keeps_its_mean_and_its_variance():
    level, noise = 0.4**2, 0.3**2
    before = belief.next_volume(belief.learn_volume(belief.start_volume(level, noise), 0.3), 0.5, noise)
    ratios, law = np.array([0.1, 0.7, -0.4]), np.array([0.5, 0.2, 0.3])
    each = belief.learn_volume(before, ratios)
    mean = law @ ratios
    found = belief.learn_volume(before, mean, law @ (ratios - mean) ** 2)
    assert found.level == pytest.approx(law @ each.level)
    assert found.noise == pytest.approx(law @ each.noise)
    within = each.level_variance + law @ (each.level - law @ each.level) ** 2
    assert found.level_variance == pytest.approx(within)
    crossed = each.covariance + law @ ((each.level - law @ each.level) * (each.noise - law @ each.noise))
    assert found.covariance == pytest.approx(crossed)


# --- values and pitfalls


@pytest.mark.parametrize(("slices", "sd", "regressions"), [(26, 0.07709, 0.0792), (390, 0.02293, 0.0229)])
def test_lambda_is_known_as_well_as_the_flow_share_says(slices, sd, regressions):
    """Kyle's lambda 0.3, prior sd 0.15, flow share 0.3: the formula, and the errors of 4,000 regressions."""
    true, share = 0.3, 0.3
    noise = true**2 * (1.0 - share) / share  # of a flow of variance one
    formula = belief.variance_after(0.15**2, noise, slices) ** 0.5
    assert formula == pytest.approx(sd, abs=5e-6)
    rng = np.random.default_rng(8)
    values = rng.normal(0.3, 0.15, EPISODES)
    flow, error = rng.standard_normal((2, slices, EPISODES))
    found = Normal(np.full(EPISODES, 0.3), np.full(EPISODES, 0.15**2))
    for u, e in zip(flow, error, strict=True):
        found = belief.learn(found, values * u + math.sqrt(noise) * e, noise, u)
    missed = found.mean - values
    assert missed.std() == pytest.approx(regressions, rel=4.0 / math.sqrt(2 * EPISODES))
    assert abs(coverage(found, values) - 0.9) < BINOMIAL


def test_the_expected_inverse_volume_is_above_the_inverse_of_the_expectation():
    rng = np.random.default_rng(6)
    law = Normal(0.2, 0.45**2)
    variance = 0.5**2 + 0.3**2
    ratios = np.exp(rng.normal(law.mean, 0.45, 1_000_000) - 0.5 * variance)
    for found, sample in (
        (belief.expected_volume(law, variance), ratios),
        (belief.expected_inverse_volume(law, variance), 1.0 / ratios),
    ):
        assert abs(found - sample.mean()) < 4.0 * sample.std() / 1_000.0
    plugged = 1.0 / belief.expected_volume(law, variance)
    assert belief.expected_inverse_volume(law, variance) / plugged == pytest.approx(math.exp(law.variance))


def test_filters_agree_for_floats_arrays_and_tensors():
    torch = pytest.importorskip("torch")
    arguments = (0.4, 0.3, 1.2)
    expected = belief.learn(Normal(0.1, 0.5), *arguments)
    ratio = belief.log_volume_ratio(1_200.0, 1_000.0, 0.34)
    volume = belief.learn_volume(belief.start_volume(0.25, 0.09), ratio)
    for kind in (lambda value: np.array([value]), lambda value: torch.tensor([value], dtype=torch.float64)):
        found = belief.learn(Normal(kind(0.1), kind(0.5)), *map(kind, arguments))
        assert [float(value[0]) for value in found] == list(expected)
        assert float(belief.log_volume_ratio(kind(1_200.0), kind(1_000.0), 0.34)[0]) == pytest.approx(ratio, rel=1e-15)
        other = belief.learn_volume(belief.start_volume(kind(0.25), kind(0.09)), kind(ratio))
        assert [float(value[0]) for value in other] == pytest.approx(list(volume), rel=1e-15)
        assert float(logarithm(kind(2.5))[0]) == pytest.approx(math.log(2.5), rel=1e-15)


# --- calibration in the market itself


def test_intervals_of_the_volume_level_hold_in_the_market():
    market, path = path_of(replace(CALM, volume_level_sd=0.5))
    scenario = market.scenario
    variance = scenario.volume_level_sd**2 + scenario.volume_noise**2
    truth = np.log(path.world.volume_level[0]) + 0.5 * scenario.volume_level_sd**2
    found = belief.start_volume(np.full(EPISODES, scenario.volume_level_sd**2), scenario.volume_noise**2)
    for k in range(market.slices):
        ratio = belief.log_volume_ratio(path.slices.volume[k], market.mean_volume[k, 0], variance)
        found = belief.next_volume(belief.learn_volume(found, ratio), 0.0, scenario.volume_noise**2)
        if k in (0, 5, 25):
            assert abs(coverage(Normal(found.level, found.level_variance), truth) - 0.9) < BINOMIAL
        if k == 12:
            law = belief.volume_after(found, 0.0, scenario.volume_noise**2)
            seen = np.log(path.slices.volume[13] / market.mean_volume[13, 0]) + 0.5 * variance
            assert abs(coverage(law, seen) - 0.9) < BINOMIAL


def test_intervals_of_the_drift_hold_in_the_market():
    market, path = path_of(CALM)
    drift = np.random.default_rng(9).normal(0.0, 0.02, EPISODES)
    returns = np.diff(path.world.price, axis=0) / CALM.arrival_price + drift * market.tau
    found = Normal(np.zeros(EPISODES), np.full(EPISODES, 0.02**2))
    for k, value in enumerate(returns):
        found = belief.learn(found, value, market.step_volatility[k, 0] ** 2, market.tau)
    assert abs(coverage(found, drift) - 0.9) < BINOMIAL


def test_intervals_of_lambda_hold_in_the_market_and_not_with_our_own_trades_in_the_flow():
    market, path = path_of(CALM)
    scenario = market.scenario
    sd = 0.5 * scenario.kyle_lambda
    lambdas = np.random.default_rng(10).normal(scenario.kyle_lambda, sd, EPISODES)
    unit = market.step_volatility[:, 0] * math.sqrt(scenario.flow_share) / scenario.kyle_lambda  # net flow of one sd over ADV
    flow = unit[:, None] * path.world.flow[1:]
    returns = np.diff(path.world.price, axis=0) / scenario.arrival_price + (lambdas - scenario.kyle_lambda) * flow
    own = 4.0 * unit[:, None] * (1.0 + path.slices.volume / market.mean_volume[:-1, :1])  # we buy as the volume allows
    found = mixed = Normal(np.full(EPISODES, scenario.kyle_lambda), np.full(EPISODES, sd**2))
    for k, value in enumerate(returns):
        noise = market.step_volatility[k, 0] ** 2 * (1.0 - scenario.flow_share)
        found = belief.learn(found, value, noise, flow[k])
        mixed = belief.learn(mixed, value, noise, flow[k] + own[k])
    assert abs(coverage(found, lambdas) - 0.9) < BINOMIAL
    assert coverage(mixed, lambdas) < 0.5


def test_intervals_of_the_slippage_slope_hold_with_the_volume_of_the_market():
    market, path = path_of(CALM)
    rng = np.random.default_rng(11)
    alphas = rng.normal(CALM.temp_impact_alpha, 0.5 * CALM.temp_impact_alpha, EPISODES)
    shares, sigma = CALM.quantity / market.slices, CALM.volatility
    found = Normal(np.full(EPISODES, CALM.temp_impact_alpha), (0.5 * CALM.temp_impact_alpha) ** 2)
    for k in range(market.slices):
        power = sigma * (shares / path.slices.volume[k]) ** CALM.temp_impact_beta
        variance = sigma**2 * market.tau / 5  # five fills in a slice
        slippage = alphas * power + math.sqrt(variance) * rng.standard_normal(EPISODES)
        found = belief.learn(found, slippage, variance, power)
    assert abs(coverage(found, alphas) - 0.9) < BINOMIAL
    assert found.variance.mean() ** 0.5 < 0.45 * CALM.temp_impact_alpha


def test_probabilities_of_the_regimes_are_frequencies_in_the_market():
    """Probabilities after 12 slices of volume, return and noisy spread, in ten bins, against frequencies over episodes."""
    episodes = 8_000
    market, path = path_of(DAY, episodes)
    scenario, rng = market.scenario, np.random.default_rng(12)
    columns, sd, transition = slice(0, market.regimes), scenario.volume_noise, scenario.regimes.transition(market.tau)
    law = scenario.regimes.start_law()
    exact = forgetful = np.broadcast_to(law, (episodes, market.regimes))
    half = np.log(market.half_spread[columns])
    for k in range(12):
        regime = path.world.regime[k]
        ratio = belief.log_volume_ratio(path.slices.volume[k][:, None], market.mean_volume[k, columns], sd**2)
        move = (path.world.price[k + 1] - path.world.price[k]) / scenario.arrival_price
        spread = half[regime] + 0.4 * rng.standard_normal(episodes)
        logs = belief.log_likelihood(ratio, 0.0, sd**2)
        logs = logs + belief.log_likelihood(move[:, None], 0.0, market.step_volatility[k, columns] ** 2)
        logs = logs + belief.log_likelihood(spread[:, None], half, 0.4**2)
        exact = belief.move_regimes(belief.weigh_regimes(exact, logs), transition)
        forgetful = belief.weigh_regimes(forgetful, logs)  # a filter that forgets that regimes change
    occurred = path.world.regime[12][:, None] == np.arange(market.regimes)

    def worst(p):
        """The largest distance of a frequency from the mean probability of its bin, in standard errors."""
        bins = np.searchsorted(np.quantile(p, np.linspace(0.0, 1.0, 11)[1:-1]), p)
        groups = [(p[bins == number], occurred[bins == number]) for number in range(10)]
        return max(abs(hit.sum() - given.sum()) / math.sqrt((given * (1.0 - given)).sum() + 1.0) for given, hit in groups)

    assert worst(exact) < 3.5
    assert worst(forgetful) > 6.0
    assert exact[occurred].mean() > 1.5 * (law**2).sum()
