"""What the desk learns while it trades: exact where there is a formula, calibrated in the market, used at the ends of bins."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.desk import AgentPolicy
from hyperexec_env.evaluation.policy import check_policy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.execution.online import OnlineEstimates
from hyperexec_env.market import belief
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.prior import impact_prior, typical_participation
from hyperexec_env.market.tables import build_market

DAY = replace(hx.get_scenario("regime-day"), volume_level_sd=0.4, name="uncertain")
CALM = replace(DAY, regimes={"names": ("SIDEWAYS_LOW",)}, slices=13, name="calm")
STILL = replace(CALM, volume_noise=0.0, volume_level_sd=0.0, name="still")
BINS = float(CALM.slices)


def estimates(scenario, **options):
    """Estimates whose bins take one second."""
    return OnlineEstimates(scenario, **{"day_seconds": float(round(1.0 / scenario.tau)), **options})


def order(algorithm="VWAP", quantity=200_000, **fields):
    fields = {"side": 1, "arrival_price": 100.0, "deadline": BINS, "volatility": 0.02, "id": "A", **fields}
    return hx.ParentOrder(symbol="X", quantity=quantity, algorithm=algorithm, **fields)


def agent_of(learned=None, slices=13, **changes):
    config = {"slices": slices, "horizon_seconds": BINS, "day_seconds": BINS, "steganographic_factor": 0.0, **changes}
    config = {"max_participation_rate": None, "risk_aversion": 1e-6, **config}
    agent = hx.ExecutionAgent(hx.ExecutionConfig(**config), seed=1, estimates=None if learned is None else {"X": learned})
    agent.start()
    return agent


def trade(agent, parent, quotes, regime=None):
    """Run an order with one call a second and fills at the mid; return the shares of its children."""
    agent.submit_order(parent, now=0.0)
    for now, quote in enumerate(quotes):
        agent.process({"X": quote}, regime, float(now))
        while (child := agent.get_next_child(now + 0.9)) is not None:
            agent.report_fill(child, child.quantity, 100.0, now + 0.9)
    agent.process(now=BINS)
    return [child.quantity for child in agent.report(parent).children]


def tape(volumes, mid=100.0, rate=None):
    return [hx.Quote(mid, rate), *(hx.Quote(mid, rate, float(volume)) for volume in volumes)]


# --- the filters on a stream of quotes


def test_without_regimes_the_level_is_that_of_the_formula():
    found, market = estimates(CALM), build_market(CALM)
    volumes = market.mean_volume[:-1, 0] * np.random.default_rng(1).lognormal(0.2, 0.4, CALM.slices)
    found.observe(0.0, 100.0)
    for k in range(7):
        assert found.observe(k + 1.0, 100.0, volumes[k]) == 1
    level, noise = CALM.volume_level_sd**2, CALM.volume_noise**2
    ratios = np.log(volumes[:7] / market.mean_volume[:7, 0]) + 0.5 * (level + noise)
    assert found.volume.level == pytest.approx(belief.gain_after(level, noise, 7) * ratios.sum())
    assert found.volume.level_variance == pytest.approx(belief.variance_after(level, noise, 7))
    expected = math.exp(found.volume.level + 0.5 * (found.volume.level_variance - level))
    assert found.volumes_between([7.0, 8.0, 13.0, 99.0]) == pytest.approx(
        [expected * market.mean_volume[7, 0], expected * market.mean_volume[8:, 0].sum() - 0.0, 0.0]
    )
    day = next(each for each in found.estimates if each.name == "day_volume")
    assert day.mean == pytest.approx(volumes[:7].sum() + expected * market.mean_volume[7:, 0].sum())
    assert day.low < day.mean < day.high
    assert day.high - day.low < 0.5 * (day.prior_high - day.prior_low)
    assert found.volume_curve[:7] == pytest.approx(volumes[:7])
    assert found.remaining_volume.mean == pytest.approx(day.mean - volumes[:7].sum())


def test_a_forecast_knows_that_volume_persists():
    """The next bin by the joint normal of level and noise, conditioned on the volumes by linear algebra."""
    scenario = replace(CALM, volume_persistence=0.6)
    found, market = estimates(scenario), build_market(scenario)
    level, noise = scenario.volume_level_sd**2, scenario.volume_noise**2
    volumes = market.mean_volume[:-1, 0] * np.random.default_rng(1).lognormal(0.2, 0.4, scenario.slices)
    found.observe(0.0, 100.0)
    for k in range(5):
        found.observe(k + 1.0, 100.0, volumes[k])
    joint = level + noise * 0.6 ** np.abs(np.subtract.outer(np.arange(8), np.arange(8)))
    ratios = np.log(volumes[:5] / market.mean_volume[:5, 0]) + 0.5 * (level + noise)
    for ahead in (5, 7):
        weights = np.linalg.solve(joint[:5, :5], joint[:5, ahead])
        mean, variance = weights @ ratios, level + noise - weights @ joint[:5, ahead]
        expected = market.mean_volume[ahead, 0] * math.exp(mean + 0.5 * (variance - level - noise))
        assert found.volumes_between([ahead, ahead + 1.0]) == pytest.approx([expected])


def test_the_slices_of_quotes_do_not_matter_within_a_bin():
    """One quote a bin, or seven at uneven times with the same sums: the same beliefs."""
    coarse, fine = estimates(CALM), estimates(CALM)
    rng = np.random.default_rng(2)
    for each in (coarse, fine):
        each.observe(0.0, 100.0)
    for k in range(5):
        mid, volume, signed = 100.0 + rng.normal(), rng.uniform(2e5, 6e5), rng.normal(0.0, 5e4)
        coarse.observe(k + 1.0, mid, volume, signed, 0.02)
        parts, times = rng.dirichlet(np.ones(7)), k + np.sort(rng.uniform(0.0, 1.0, 7))
        times[-1] = k + 1.0
        for time, part in zip(times, parts, strict=True):
            fine.observe(time, mid if time == k + 1.0 else 99.0, part * volume, part * signed, 0.02)
    assert fine.volume == pytest.approx(coarse.volume)
    assert fine.kyle == pytest.approx(coarse.kyle)
    assert fine.seen == coarse.seen == {"volume": 5, "lambda": 5, "alpha": 0, "regime": 5}


def test_a_quote_that_crosses_a_bin_counts_in_proportion_to_time():
    split, whole = estimates(CALM), estimates(CALM)
    split.observe(0.0, 100.0)
    split.observe(0.75, 100.0, 300_000.0)
    assert split.observe(1.25, 101.0, 200_000.0) == 1
    whole.observe(0.0, 100.0)
    whole.observe(1.0, 100.0, 400_000.0)
    assert split.volume == pytest.approx(whole.volume)


def test_bins_that_quotes_do_not_cover_are_no_evidence():
    found = estimates(CALM)
    found.observe(2.5, 100.0)  # the feed begins within the third bin
    assert found.observe(3.0, 100.0, 3e5, 1e4) == 1
    assert found.seen["volume"] == found.seen["lambda"] == 0
    assert found.observe(4.0, 100.0, 3e5, 1e4) == 1
    assert found.seen["volume"] == found.seen["lambda"] == 1
    assert found.observe(6.5, 100.0, 9e5, 1e4) == 2  # a hole of two bins
    assert found.seen["volume"] == 1
    assert found.observe(7.0, 100.0, 1e5) == 1  # half of it is covered
    assert found.observe(8.0, 100.0) == 1  # no volume given
    assert found.seen["volume"] == 1
    assert [math.isnan(value) for value in found.volumes] == [True, True, True, False, True, True, True, True]
    assert found.observe(7.5, 100.0, 1e5) == 0  # a time in the past
    assert found.observe(99.0, 100.0) == 5
    assert (found.bin, found.observe(100.0, 100.0), found.volume_rate(100.0)) == (13, 0, 0.0)
    assert found.remaining_volume.mean == 0.0


def test_a_hole_in_the_quotes_is_no_calm_market():
    """The mid does not move while no quote comes; the bins of the hole say nothing of the regime."""
    found = estimates(DAY)
    found.observe(0.0, 100.0)
    found.observe(5.0, 103.0)
    assert found.seen["regime"] == 0
    found.observe(6.0, 103.0)
    assert found.seen["regime"] == 1
    assert found.regime == "SIDEWAYS_LOW"


def test_orders_outside_of_the_day_are_planned_without_estimates():
    for algorithm in ("VWAP", "POV", "IS", "AC"):
        late, plain = agent_of(estimates(CALM, start=-1e6)), agent_of()
        quotes = [hx.Quote(100.0, 4e5)] * 13
        fields = {"expected_volume": 5e6, "volume_profile": (1.0, 2.0)}
        shares = trade(late, order(algorithm, **fields), quotes)
        if algorithm in ("VWAP", "POV"):
            assert shares == trade(plain, order(algorithm, **fields), quotes)
        assert sum(shares) == 200_000
        assert max(shares) < 60_000


def test_our_own_trades_do_not_enter_lambda():
    """Mids with our own displacement, and fills, against the mids without us: the same belief."""
    market = build_market(CALM)
    rng = np.random.default_rng(3)
    alone, trading = estimates(CALM), estimates(CALM)
    price, permanent, transient = 100.0, 0.0, 0.0
    alone.observe(0.0, price)
    trading.observe(0.0, price)
    slope = CALM.kyle_lambda * 100.0 / CALM.adv
    for k in range(10):
        flow, shares = rng.normal(0.0, 1e5), 15_000.0 * (k % 3)
        price += slope * flow + 0.2 * rng.normal()
        if shares:
            mid = price + permanent + transient
            trading.fill(1, shares, mid + 0.5 * slope * shares, mid)
        permanent += market.impact.permanent_slope * shares
        transient = (transient + market.impact.transient_slope * shares) * float(market.transient_decay[0])
        alone.observe(k + 1.0, price, 4e5, flow)
        trading.observe(k + 1.0, price + permanent + transient, 4e5, flow)
    assert trading.kyle == pytest.approx(alone.kyle, rel=1e-9)
    assert abs(alone.kyle.mean - CALM.kyle_lambda) < 3.0 * alone.kyle.variance**0.5 < 3.0 * alone.prior_kyle.variance**0.5
    assert (alone.seen["alpha"], trading.seen["alpha"]) == (0, 6)


def test_alpha_is_the_regression_on_the_slippage_within_the_bins():
    found, rng = estimates(CALM), np.random.default_rng(4)
    found.observe(0.0, 100.0)
    exact = found.prior_alpha
    for k in range(8):
        volume, fills = rng.uniform(2e5, 6e5), 1 + k % 3
        slipped = 0.3 * CALM.volatility * (15_000 * fills / volume) ** CALM.temp_impact_beta
        half = 0.5 * found.kyle.mean / CALM.adv * 15_000
        for _ in range(fills):
            found.fill(-1, 15_000, 100.0 * (1.0 - slipped - 2e-4 - half), 100.0)  # a sale, half of a spread of 4 bps
        found.observe(k + 1.0, 100.0, volume, spread=0.04)
        power = CALM.volatility * (15_000 * fills / volume) ** CALM.temp_impact_beta
        exact = belief.learn(exact, slipped, CALM.volatility**2 * CALM.tau / fills, power)
    assert found.alpha == pytest.approx(exact, rel=1e-9)
    assert found.prior_alpha.mean < found.alpha.mean < 0.3


def test_fills_without_a_mid_are_no_evidence():
    found = estimates(CALM)
    found.observe(0.0, 100.0)
    found.fill(1, 1_000, 100.5)
    found.observe(1.0, 100.0, 3e5)
    assert found.alpha == found.prior_alpha
    assert found.seen["alpha"] == 0


# --- calibrated in the market


@pytest.mark.parametrize("persistence", [0.0, 0.6])
def test_intervals_of_the_day_and_probabilities_of_regimes_hold_where_regimes_are_hidden(persistence):
    """The mixture over regimes is approximated by a normal; its intervals still hold in nine of ten simulated days."""
    days, scenario = 400, replace(DAY, volume_persistence=persistence)
    market = build_market(scenario)
    path = draw_path(market, episode_keys(7, np.arange(days)), 1.0)
    hits = {name: [] for name in ("day_volume", "volume_level", "remaining_volume")}
    likely, prior = [], 0.0
    for day in range(days):
        found = estimates(scenario, spread_noise=0.4)
        found.observe(0.0, 100.0)
        for k in range(10):
            found.observe(k + 1.0, float(path.world.price[k + 1, day]), float(path.slices.volume[k, day]))
        truth = {
            "day_volume": path.slices.volume[:, day].sum(),
            "volume_level": path.world.volume_level[0, day],
            "remaining_volume": path.slices.volume[10:, day].sum(),
        }
        for each in (*found.estimates, found.remaining_volume):
            if each.name in truth:
                hits[each.name].append(each.low <= truth[each.name] <= each.high)
        likely.append(found.probabilities[path.world.regime[10, day]])
        prior = float((market.scenario.regimes.stationary() ** 2).sum())
    for name, held in hits.items():
        assert abs(np.mean(held) - 0.9) < 3.3 * math.sqrt(0.09 / days), name
    assert np.mean(likely) > 1.4 * prior


# --- the agent


def test_an_agent_without_estimates_ignores_the_tape():
    plain, full = agent_of(), agent_of()
    mids = [100.0 + 0.01 * k for k in range(13)]
    first = trade(plain, order(expected_volume=5e6), [hx.Quote(mid, 4e5) for mid in mids])
    second = trade(full, order(expected_volume=5e6), [hx.Quote(mid, 4e5, 9e5, 1e5, 0.02) for mid in mids])
    assert first == second
    assert plain.report("A").to_dict() == full.report("A").to_dict()
    assert "learned" not in plain.report("A").to_dict()


@pytest.mark.parametrize("algorithm", ["VWAP", "IS", "AC", "POV"])
def test_without_news_new_plans_continue_the_first_one(algorithm):
    """The volume is as expected and known: every bin makes a new plan, and the children are those of the first plan."""
    volumes = build_market(STILL).mean_volume[:-1, 0]
    found = agent_of(estimates(STILL, impact_sd=0.0))
    children = trade(found, order(algorithm), tape(volumes[:12]))
    planned = np.diff([0.0, *(shares for _, shares in found.report("A").plan)])
    assert children == pytest.approx(planned, abs=13)  # whole shares, rounded anew by every plan
    assert len(children) == 13
    assert sum(children) == 200_000


def test_plans_follow_the_volume_at_the_ends_of_bins_only():
    learned = estimates(DAY, day_seconds=26.0)
    agent = agent_of(learned, slices=26)
    agent.submit_order(order("VWAP", deadline=26.0), now=0.0)
    first = agent.process({"X": hx.Quote(100.0)}, now=0.0)
    assert agent.process({"X": hx.Quote(100.0, None, 1e5)}, now=0.5) == []
    again = agent.process({"X": hx.Quote(100.0, None, 1e5)}, now=1.0)
    assert len(first) == len(again) + 1
    assert agent.process({"X": hx.Quote(100.0, None, 1e3)}, now=1.9) == []
    assert agent.process({"X": hx.Quote(100.0, None, 1e3)}, now=2.0) != []


def test_a_seed_gives_the_same_children_again():
    volumes = build_market(CALM).mean_volume[:-1, 0] * np.random.default_rng(5).lognormal(0.0, 0.5, 13)

    def run():
        return trade(agent_of(estimates(CALM), steganographic_factor=0.3), order("AC"), tape(volumes[:12]))

    assert run() == run()


def test_pov_and_ac_trade_more_slowly_once_the_day_is_thin():
    volumes = build_market(CALM).mean_volume[:-1, 0]
    for algorithm in ("AC", "IS"):
        thin, thick = (trade(agent_of(estimates(CALM)), order(algorithm), tape(factor * volumes[:12])) for factor in (0.3, 3.0))
        assert sum(thin[:7]) < sum(thick[:7]) - 2_000
    shares = trade(agent_of(estimates(CALM)), order("POV"), tape(0.5 * volumes[:12]))
    assert shares[-1] == pytest.approx(200_000 * volumes[-1] / volumes.sum(), rel=0.02)  # no rest for the last child


def test_adaptive_follows_the_believed_regime_unless_it_is_told_one():
    crisis = estimates(DAY, day_seconds=26.0)
    agent = agent_of(crisis, slices=26)
    agent.submit_order(order("Adaptive", deadline=26.0), now=0.0)
    start = len(agent.process({"X": hx.Quote(100.0)}, now=0.0))
    assert crisis.regime in ("BULL_TRENDING", "SIDEWAYS_LOW")
    assert start == 26  # IS
    mid = 100.0
    for now in range(1, 5):
        mid *= 1.02 if now % 2 else 0.98
        agent.process({"X": hx.Quote(mid, None, 1e4)}, now=float(now))
    assert crisis.regime == "CRISIS"
    assert len(agent.children("A")) == 20  # TWAP with 20 children
    agent.process({"X": hx.Quote(mid)}, "SIDEWAYS_LOW", now=4.5)
    assert crisis.probabilities.max() == 1.0
    assert len(agent.children("A")) == 22  # IS again


def test_a_report_states_prior_posterior_and_evidence():
    learned = estimates(CALM)
    agent = agent_of(learned)
    volumes = build_market(CALM).mean_volume[:-1, 0] * 1.5
    trade(agent, order("VWAP"), tape(volumes[:12]))
    report = agent.report("A")
    found = json.loads(report.to_json())["learned"]
    level = found["estimates"]["volume_level"]
    assert level["prior"] == pytest.approx(1.0)
    assert level["low"] < level["mean"] < level["high"]
    assert level["mean"] == pytest.approx(1.5, rel=0.15)
    assert level["evidence"] == 12
    assert found["prior"] == "calm"
    assert "volume_level" in str(report)
    assert "12 bins" in str(report)
    learned.observe(99.0, 100.0)
    assert json.loads(agent.report("A").to_json())["learned"] == found


def test_the_impact_estimate_has_the_prior_at_first_and_then_an_interval_around_the_posterior():
    learned = estimates(CALM)
    agent = agent_of(learned)
    given = (50_000, 100.0, 0.02, 400_000.0, 5e6)
    before = agent.estimate_impact(*given, symbol="X")
    config = {name: getattr(CALM, name) for name in ("temp_impact_alpha", "temp_impact_beta", "kyle_lambda")}
    fixed = hx.estimate_impact(*given, config=hx.ExecutionConfig(**config, perm_impact_gamma=CALM.perm_impact_gamma))
    assert before[:-1] == pytest.approx(fixed[:-1])
    assert before.learned.prior_bps == pytest.approx(before.cost_bps)
    learned.observe(0.0, 100.0)
    for k in range(12):
        learned.fill(1, 15_000, 100.4, 100.0)
        learned.observe(k + 1.0, 100.0 + 1.5 * (k + 1), 4e5, 1e5)
    after = agent.estimate_impact(*given, symbol="X")
    rng = np.random.default_rng(6)
    alpha = rng.normal(learned.alpha.mean, learned.alpha.variance**0.5, 400_000)
    kyle = rng.normal(learned.kyle.mean, learned.kyle.variance**0.5, 400_000)
    share = CALM.perm_impact_gamma / CALM.kyle_lambda
    costs = 1e4 * (alpha * 0.02 * 0.125**CALM.temp_impact_beta + 0.5 * share * kyle * 0.01)
    assert after.cost_bps == pytest.approx(costs.mean(), rel=1e-3)
    assert after.learned.interval_bps == pytest.approx(np.quantile(costs, (0.05, 0.95)), rel=5e-3)
    assert (after.learned.slippage_bins, after.learned.flow_bins) == (12, 12)
    assert after.to_dict()["learned"]["prior_bps"] == after.learned.prior_bps
    assert "with 90 %" in str(after)
    with pytest.raises(ValueError, match="symbol must be one of X, got 'Y'"):
        agent.estimate_impact(*given, symbol="Y")


def test_the_desk_of_a_simulated_day_learns_from_the_slices():
    market = build_market(DAY)
    policy = AgentPolicy("AC", learn=True)
    path = draw_path(market, episode_keys(2, np.arange(3)), 1.0)
    outcome = roll(market, policy, path)
    assert np.isfinite(outcome.statement.objective).all()
    for lane in policy._lanes:
        (found,) = lane.agent.estimates.values()
        assert found.seen["volume"] == 25  # all slices that ended before the last trade
        assert found.seen["lambda"] == 25
        assert found.seen["alpha"] > 20


@pytest.mark.parametrize("hidden", [False, True])
def test_the_learning_desk_is_a_sound_policy(hidden):
    policy = AgentPolicy("VWAP", learn=True)
    market = build_market(replace(DAY, slices=6))
    path = draw_path(market, episode_keys(3, np.arange(4)), 1.0)
    assert np.isfinite(roll(market, policy, path, hidden).statement.shortfall).all()
    check_policy(policy, market)


# --- the prior


def test_the_prior_has_the_moments_of_the_draws():
    alphas, betas = (0.2, 0.25, 0.4, 0.3), (0.5, 0.6, 0.7, 0.4)
    drawn = {"temp_impact_alpha": alphas, "temp_impact_beta": betas, "kyle_lambda": (0.4, 0.5, 0.55, 0.6)}
    scenario = replace(CALM, posterior=drawn)
    found = impact_prior(scenario, ("lambda", "alpha", "gamma"))
    effective = np.array(alphas) * typical_participation(scenario) ** (np.array(betas) - scenario.temp_impact_beta)
    assert found.mean == pytest.approx([np.mean(drawn["kyle_lambda"]), effective.mean(), scenario.perm_impact_gamma])
    assert found.covariance[0, 1] == pytest.approx(np.cov(drawn["kyle_lambda"], effective)[0, 1])
    assert found.covariance[2] == pytest.approx([0.0, 0.0, (0.5 * scenario.perm_impact_gamma) ** 2])
    assert found.source == "4 draws of the posterior: lambda, alpha; assumed standard deviation of 50 %: gamma"
    learned = estimates(scenario)
    assert learned.prior_kyle.variance == pytest.approx(found.covariance[0, 0])


def test_draws_of_a_multiple_count_in_arrival_prices():
    drawn = {"kyle_multiple": (20.0, 30.0, 25.0), "perm_impact_multiple": (10.0, 10.0, 12.0)}
    scenario = replace(CALM, kyle_multiple=25.0, perm_impact_multiple=10.5, posterior=drawn)
    found = impact_prior(scenario, ("lambda", "kappa"))
    lambdas = scenario.volatility * np.array(drawn["kyle_multiple"])
    assert found.mean[0] == pytest.approx(lambdas.mean())
    assert found.mean[1] == pytest.approx((lambdas - scenario.volatility * np.array(drawn["perm_impact_multiple"])).mean())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OnlineEstimates("regime-day", day_seconds=0.0), "day_seconds must be"),
        (lambda: OnlineEstimates("regime-day", start=math.nan), "start must be"),
        (lambda: OnlineEstimates("regime-day", impact_sd=-1.0), "impact_sd must be"),
        (lambda: OnlineEstimates("regime-day", spread_noise=0.0), "spread_noise must be"),
        (lambda: OnlineEstimates(replace(DAY, horizon_minutes=0.01, slices=10)), "at most 10,000 slices"),
        (lambda: agent_of(estimates(CALM)).process({"X": hx.Quote(100.0, None, -1.0)}), "volume of X must be"),
        (lambda: agent_of(estimates(CALM)).process({"X": hx.Quote(100.0, None, 1.0, math.nan)}), "signed_volume of X must be"),
        (lambda: agent_of().process({"X": hx.Quote(100.0, None, None, None, -0.1)}), "spread of X must be"),
    ],
)
def test_bad_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda learned: learned.observe(math.nan), r"now must be a number in .* seconds, got nan"),
        (lambda learned: learned.observe(1.0, mid=math.nan), r"mid of the quote must be a number in \(0, 1e\+09\], got nan"),
        (lambda learned: learned.observe(1.0, mid="100"), r"mid of the quote must be a number in .*, got '100'"),
        (lambda learned: learned.observe(1.0, volume=-5.0), r"volume of the quote must be .*, got -5\.0"),
        (lambda learned: learned.observe(1.0, signed_volume=math.inf), r"signed_volume of the quote must be .*, got inf"),
        (lambda learned: learned.observe(1.0, spread=-0.1), r"spread of the quote must be .*, got -0\.1"),
        (lambda learned: learned.fill("buy", 100, 100.0), r"side must be 1 or -1, got 'buy'"),
        (lambda learned: learned.fill(1, 0, 100.0), r"shares must be a number in \(0, 1e\+15\], got 0"),
        (lambda learned: learned.fill(1, 100, math.nan), r"price must be .*, got nan"),
        (lambda learned: learned.fill(1, 100, 100.0, mid=0.0), r"mid must be .*, got 0\.0"),
        (lambda learned: learned.volumes_between([0.0, math.nan]), r"now must be .*, got nan"),
        (lambda learned: learned.volume_rate(math.inf), r"now must be .*, got inf"),
        (
            lambda learned: hx.ExecutionAgent(estimates={"X": "mid-cap"}),
            r"estimates of X must be OnlineEstimates, got 'mid-cap'",
        ),
        (lambda learned: hx.ExecutionAgent(estimates=learned), r"estimates must be a mapping from symbol to OnlineEstimates"),
        (lambda learned: hx.ExecutionAgent(estimates={"X": learned, "Y": learned}), r"the same for X and Y"),
    ],
)
def test_bad_evidence_is_refused_and_moves_no_belief(call, message):
    learned = estimates(CALM)
    learned.observe(0.0, 100.0)
    before = str(learned)
    with pytest.raises(ValueError, match=message):
        call(learned)
    assert str(learned) == before


def test_a_bin_without_a_trade_has_no_volume_and_is_no_evidence_on_the_level():
    learned = estimates(CALM)
    for now, volume in enumerate((None, 0.0, 4_000.0)):
        learned.observe(float(now), 100.0, volume)
    assert learned.volume_curve[:2] == (0.0, 4_000.0)
    assert learned.seen["volume"] == 1
