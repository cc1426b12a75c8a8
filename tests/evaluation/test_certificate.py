"""Certificate: it detects exploitable markets, and it certifies sound ones."""

from __future__ import annotations

import functools
import itertools
import json
import runpy
from collections import namedtuple
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperexec_env.baselines.policies import EveryKth, get_policy
from hyperexec_env.evaluation import certificate, impact_model, round_trips
from hyperexec_env.evaluation.certificate import (
    COMPONENTS,
    Burst,
    Halving,
    ImpactCost,
    ScenarioImpact,
    certify,
    certify_model,
    check_impact_model,
    check_scenario,
    child_components,
    regime_paths,
    usual_trips,
)
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market import kernel
from hyperexec_env.market.kernel import Cost, Slice, State, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import UNKNOWNS, get_scenario, scenario_names
from hyperexec_env.market.tables import build_market
from hyperexec_env.market.told import PRIORS, described, prior_ends

TRIPS = 4_000
UNSOUND = {"geo-compat", "sunshine-day"}
"""Scenarios documented to reward lumpy trading, or round trips."""


@functools.cache
def certified(name):
    """Return the certificate of a scenario."""
    return certify(get_scenario(name), trips=TRIPS)


# --- models with a fault; with other parameters each of them is sound


@dataclass(frozen=True)
class Decay:
    """Trading at a rate v over one unit of time moves the price by |v|^exponent dt, which decays: Gatheral (2010).

    Exact for a rate that is constant in each slice. The square root is Gatheral's example of an unsound model; linear impact
    is sound.
    """

    exponent: float = 0.5
    rho: float = 1.0
    slices: int = 40
    name: str = "decay"
    regimes: tuple[str, ...] = ("ONE",)

    def costs(self, trades, path, fineness=1):
        tau = 1.0 / len(trades)
        decay = np.exp(-self.rho * tau)
        decay_integral = (1.0 - decay) / self.rho
        displacement, spent = np.zeros((2, trades.shape[1]))
        for rate in trades / tau:
            push = np.sign(rate) * np.abs(rate) ** self.exponent
            spent = spent + rate * (displacement * decay_integral + push * (tau - decay_integral) / self.rho)
            displacement = displacement * decay + push * decay_integral
        return ImpactCost(transient=spent)


@dataclass(frozen=True)
class Slopes:
    """Permanent impact whose slope depends on the regime, a spread and square-root temporary impact; equal slopes are sound."""

    slopes: tuple[float, ...] = (1.0, 0.9)
    slices: int = 12
    name: str = "slopes"

    @property
    def regimes(self):
        return tuple(f"SLOPE {slope:g}" for slope in self.slopes)

    def costs(self, trades, path, fineness=1):
        moved, permanent, size = 0.0, 0.0, np.abs(trades)
        for shares, regime in zip(trades, path, strict=True):
            after = moved + np.array(self.slopes)[regime] * shares
            permanent, moved = permanent + 0.5 * shares * (moved + after), after
        temporary = 0.01 * (size * np.sqrt(size * len(trades))).sum(axis=0)
        return ImpactCost(permanent=permanent, temporary=temporary, spread=1e-4 * size.sum(axis=0))


@dataclass(frozen=True)
class Volume:
    """Power law of the participation in the volume of the slice (sound) or of the day (unsound), and permanent impact."""

    of_the_day: bool = True
    beta: float = 0.5
    slices: int = 12
    name: str = "volume"
    regimes: tuple[str, ...] = ("ONE",)

    def costs(self, trades, path, fineness=1):
        size, volume = np.abs(trades), 10.0 if self.of_the_day else 10.0 / len(trades)
        net, temporary = trades.sum(axis=0), (size * (size / volume) ** self.beta).sum(axis=0)
        return ImpactCost(permanent=0.5 * net * net, temporary=temporary, spread=1e-4 * size.sum(axis=0))


@dataclass(frozen=True)
class Fee(Volume):
    """A sound market that charges a fee for every slice, traded or not."""

    of_the_day: bool = False

    def costs(self, trades, path, fineness=1):
        parts = super().costs(trades, path, fineness)
        return ImpactCost(**(parts | {"spread": parts["spread"] + 1e-3}))


@dataclass(frozen=True)
class NotANumber(Volume):
    """A model that returns NaN."""

    def costs(self, trades, path, fineness=1):
        return super().costs(np.full_like(trades, np.nan), path, fineness)


def test_gatherals_round_trip_earns_as_much_as_his_formula_says():
    """Buy at the rate 0.2, then sell at the rate 1 until flat, rho 1, T 1: by exact slices, and by a discretised double sum."""
    trades = np.r_[np.full(50, 0.2), np.full(10, -1.0)][:, None] / 60.0
    exact = float(Decay(slices=60).costs(trades, np.zeros((60, 1), int)).total[0])
    count = 2_400
    time, rate = (np.arange(count) + 0.5) / count, np.r_[np.full(5 * count // 6, 0.2), np.full(count // 6, -1.0)]
    push, lag = np.sign(rate) * np.sqrt(np.abs(rate)), np.subtract.outer(time, time)
    weight = np.where(lag > 0.0, 1.0, np.where(lag == 0.0, 0.5, 0.0)) * np.exp(-np.maximum(lag, 0.0))
    plain = float(rate @ weight @ push) / count**2
    assert exact == pytest.approx(-0.001705, abs=5e-7)
    assert plain == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(("model", "reasons"), [
    (Decay(), ["a round trip of", "not convex"]),
    (Slopes(), ["a round trip of", "not convex"]),
    (Volume(), ["the temporary cost of a steady schedule (ONE) converges to zero"]),
    (Volume(beta=1.0), ["the temporary cost of a steady schedule (ONE) converges to zero"]),
    (Fee(), ["not trading costs"]),
])  # fmt: skip
def test_an_unsound_model_raises_with_its_faults(model, reasons):
    with pytest.raises(ValueError, match="is not sound") as raised:
        check_impact_model(model, trips=TRIPS)
    assert model.name in str(raised.value)
    for reason in reasons:
        assert reason in str(raised.value)


def test_the_same_model_without_its_fault_is_certified():
    for model in [
        Decay(exponent=1.0),
        Slopes(slopes=(1.0, 1.0)),
        Volume(of_the_day=False),
        Volume(of_the_day=False, beta=1.0),
    ]:
        check_impact_model(model, trips=TRIPS)


def only_noise(monkeypatch):
    """Start the search from normal noise only."""
    monkeypatch.setattr(round_trips, "_deterministic_trips", lambda slices, regimes: iter(()))
    monkeypatch.setattr(round_trips, "random_trips", lambda slices, count, rng: rng.standard_normal((slices, count)))


def test_the_search_finds_the_fault_of_the_square_root_from_noise_alone(monkeypatch):
    for seed in range(3):
        only_noise(monkeypatch)
        assert all(trip.earns for trip in certify_model(Decay(), trips=TRIPS, seed=seed).trips)


def test_refinement_comes_closer_to_the_cheapest_round_trip_than_more_noise(monkeypatch):
    """Linear temporary impact of 1/10 per unit of participation is cheapest in equal trades: s / 5 for a round trip of s
    orders, plus the spread. The same number of random trips leaves more than twice the gap to that minimum."""
    for seed in range(3):
        only_noise(monkeypatch)
        model, rng = Volume(of_the_day=False, beta=1.0), np.random.default_rng(seed)
        for trip in certify_model(model, trips=40_000, seed=seed).trips:
            noise = rng.standard_normal((model.slices, trip.tried))
            noise -= noise.mean(axis=0)
            noise *= 2.0 * trip.size / np.abs(noise).sum(axis=0)
            random = 1e4 * model.costs(noise, None).total.min() / (2.0 * trip.size)
            cheapest = 1e4 * (0.2 * trip.size + 1e-4)
            assert cheapest * (1.0 - 1e-9) <= trip.cost_bps < cheapest + 0.5 * (random - cheapest)


def test_a_small_change_of_slope_is_detected_on_a_path_that_changes():
    trips = certify_model(Slopes(slopes=(1.0, 0.99)), trips=TRIPS).trips
    earning = [trip for trip in trips if trip.earns]
    assert earning
    assert all(len(set(trip.path)) > 1 for trip in earning)


@pytest.mark.parametrize("model", [Decay(), Slopes(), ScenarioImpact(get_scenario("hunted-day"))])
def test_a_reported_round_trip_ends_flat_and_has_the_reported_cost(model):
    for trip in certify_model(model, trips=1_000).trips:
        trades = np.array(trip.trades)[:, None]
        path = np.array([model.regimes.index(name) for name in trip.path])[:, None]
        assert trades.sum() == pytest.approx(0.0, abs=1e-9 * trip.size)
        assert np.abs(trades).sum() == pytest.approx(2.0 * trip.size)
        total = float(model.costs(trades, path, len(trades) // model.slices).total[0])
        assert 1e4 * total / (2.0 * trip.size) == pytest.approx(trip.cost_bps, rel=1e-9)


def test_a_model_that_returns_nan_raises():
    with pytest.raises(ValueError, match=r"costs of the impact model 'volume' must be finite, of shape \(3,\)"):
        certify_model(NotANumber())


# --- the scenarios


@pytest.mark.parametrize("name", scenario_names())
def test_a_registered_scenario_is_sound_unless_documented_otherwise(name):
    found = certified(name)
    assert found.sound == (name not in UNSOUND), found.faults


@pytest.mark.parametrize("name", ["unknown-volume", "unknown-drift", "unknown-impact", "unknown-all"])
def test_a_market_is_sound_at_the_ends_of_what_is_unknown(name):
    """Trades move no draw, so that each told draw must pass. Costs of round trips are f v^-1 times those at the means."""
    found, scenario = certified(name), get_scenario(name)
    ends = prior_ends(scenario)
    assert all(scenario.unknown[field] and PRIORS[field].costs == 0 for field in found.unmoved)
    assert {**found.unmoved, **{field: ends[field] for end in found.ends for field in end.told}} == ends
    for field in ends.keys() - found.unmoved.keys():
        assert {end.told[field] for end in found.ends} == set(ends[field])
    for end in found.ends:
        assert end.sound
        scale = end.told.get("temp_impact_sd", 1.0) / end.told.get("volume_level_sd", 1.0)
        assert end.cheapest.cost_bps == pytest.approx(scale * found.cheapest.cost_bps, rel=1e-6)
        assert f"with {described(end.told)}: " in found.verdict
        assert described(end.told) in str(found).split("certificate:")[0]
    assert found.to_dict()["ends"] == [end.to_dict() for end in found.ends]
    assert [end["told"] for end in found.to_dict()["ends"]] == [dict(end.told) for end in found.ends]
    assert json.loads(json.dumps(found.to_dict()))["unmoved"] == {key: list(both) for key, both in found.unmoved.items()}


@pytest.mark.parametrize(("changes", "named"), [
    ({"predator": -0.1, "temp_impact_sd": 0.9}, "with temporary impact 0.1 x its mean: "),
    ({"predator": -0.15, "volume_level_sd": 0.8}, "with volume 8.604 x its mean: "),
    (
        {"predator": -0.1, "temp_impact_sd": 0.6, "volume_level_sd": 0.5},
        "with volume 4.138 x its mean and temporary impact 0.4 x its mean: ",
    ),
])  # fmt: skip
def test_a_fault_at_the_end_of_a_prior_is_found_and_named(changes, named):
    """Liquidity that the order attracts pays for a round trip where it saves more than the temporary impact costs. At the means
    it does not, so that a market without the unknowns is certified."""
    scenario = replace(get_scenario("sunshine-day"), **changes)
    assert certify(replace(scenario, **dict.fromkeys(UNKNOWNS, 0.0)), trips=TRIPS).sound
    for seed in range(3):
        found = certify(scenario, trips=TRIPS, seed=seed)
        assert found.faults
        assert all(fault.startswith(named) for fault in found.faults)
        assert any(f"{named}a round trip of " in fault for fault in found.faults)
        cheap, dear = found.ends
        assert not cheap.sound
        assert dear.sound
        assert "NOT SOUND" in found.verdict
        assert (found.to_dict()["sound"], found.to_dict()["faults"]) == (False, list(found.faults))
    with pytest.raises(ValueError, match=f"is not sound: {named}"):
        check_scenario(scenario, trips=TRIPS)


def test_the_fault_at_an_end_is_that_of_the_market_with_the_number_stated():
    scenario = replace(get_scenario("sunshine-day"), predator=-0.1, temp_impact_sd=0.9)
    stated = replace(scenario, temp_impact_sd=0.0, temp_impact_alpha=(1.0 - 0.9) * scenario.temp_impact_alpha)
    end = certify(scenario, trips=TRIPS).ends[0]
    assert end.trips == certify(stated, trips=TRIPS).trips
    assert end.faults == certify(stated, trips=TRIPS).faults


@pytest.mark.fast
@pytest.mark.parametrize("predator", [0.0, 0.3, -0.3])
def test_the_cost_of_a_draw_is_affine_in_the_temporary_impact(predator):
    """So a fault of any draw is a fault where the temporary impact is smallest; drift and Kyle's lambda move nothing."""
    spreads = {"volume_level_sd": 0.5, "drift_sd": 0.01, "temp_impact_sd": 0.6, "kyle_sd": 0.5}
    scenario = replace(get_scenario("regime-day"), predator=predator, **spreads)
    trades, path = _mixed(26, len(scenario.regimes), 20, seed=6)
    mean = ScenarioImpact(scenario).costs(trades, path)
    assert (mean["temporary"] > 0.0).all()
    for name, ends in prior_ends(scenario).items():
        for value in ends:
            costs = ScenarioImpact(scenario, {name: value}).costs(trades, path)
            scale = {"volume_level_sd": value**-scenario.temp_impact_beta, "temp_impact_sd": value}.get(name, 1.0)
            assert costs["temporary"] == pytest.approx(scale * mean["temporary"], rel=1e-12), name
            for part in set(COMPONENTS) - ({"temporary"} if PRIORS[name].costs else set()):
                assert np.array_equal(costs[part], mean[part]), (name, part)


def test_an_unknown_that_moves_no_cost_is_named_and_not_searched():
    """A known drift earns by waiting, but not because a trade moved the price: costs are beyond the unaffected price."""
    scenario = replace(get_scenario("mid-cap"), drift_sd=0.01, kyle_sd=0.2)
    found = certify(scenario, trips=1_000)
    assert found.ends == ()
    assert found.unmoved == prior_ends(scenario)
    assert "drift -0.0309 a day or drift +0.0309 a day: no search" in found.verdict
    assert found.trips == certify(get_scenario("mid-cap"), trips=1_000).trips


def test_a_certificate_without_unknowns_has_no_corners():
    found = certified("mid-cap")
    assert not {"told", "ends", "unmoved"} & found.to_dict().keys()
    assert "unknowns" not in str(found)


def test_liquidity_makes_alternating_trades_earn():
    """As documented, where the saving of regular children exceeds spread and temporary impact; for every seed."""
    for seed in range(2):
        found = certify(get_scenario("sunshine-day"), trips=1_000, seed=seed)
        assert [trip.size for trip in found.trips if trip.earns] == [100.0]


def test_no_round_trip_earns_through_a_predator():
    bare = replace(get_scenario("hunted-day"), predator=2.0, half_spread_bps=0.0, temp_impact_alpha=0.0)
    assert not any(trip.earns for trip in certify(bare, trips=TRIPS).trips)


def test_all_faults_of_the_published_market_are_reported():
    found = certified("geo-compat")
    for reason in ("a round trip of", "the transient cost of a steady schedule", "trading every", "not convex"):
        assert any(fault.startswith(reason) or reason in fault for fault in found.faults), reason
    with pytest.raises(ValueError, match="scenario 'geo-compat' is not sound"):
        check_scenario(get_scenario("geo-compat"), trips=1_000)


def test_the_saving_of_every_15th_minute_agrees_with_a_rollout():
    scenario = get_scenario("geo-compat")
    market = build_market(scenario)
    path = draw_path(market, episode_keys(0, np.arange(2)), 1.0)
    lumps, pov = (roll(market, policy, path).statement.objective[0] for policy in (EveryKth(15), get_policy("POV")))
    row = next(row for row in certified("geo-compat").bursts if row.every == 15)
    assert row.steady_bps == pytest.approx(pov, rel=1e-9)
    assert row.burst_bps == pytest.approx(lumps, rel=1e-9)
    assert round(row.saving_percent) == 69


def test_the_cost_of_pov_doubles_as_the_slices_of_geo_compat_are_halved():
    found = certified("geo-compat")
    row = next(row for row in found.halvings if (row.schedule, row.part) == ("steady", "transient"))
    for before, after in itertools.pairwise(row.costs_bps[:4]):
        assert after == pytest.approx(2.0 * before, rel=1e-3)
    assert row.limit_bps is None


def test_the_cost_of_impact_without_memory_converges_to_zero():
    """Transient impact that decays within a slice costs each child its own move only: finer slices cost less."""
    scenario = replace(get_scenario("obizhaeva-wang"), resilience=1e6)
    assert any("transient" in fault and "converges to zero" in fault for fault in certify(scenario, trips=1_000).faults)


def test_a_volume_curve_with_zeros_is_replaced_by_a_flat_one():
    scenario = replace(get_scenario("regime-day"), slices=2, volume_curve=(1.0, 0.0, 1.0))
    found = certify(scenario, trips=1_000)
    assert found.sound
    assert "the volume curve has zeros" in found.verdict


# --- the impact of a scenario


def _mixed(slices, regimes, count, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((slices, count)), rng.integers(regimes, size=(slices, count))


@pytest.mark.fast
def test_the_cost_of_signed_trades_agrees_with_the_kernel():
    """Where impact is linear, the kernel accepts trades of both signs."""
    for name in ["regime-day", "obizhaeva-wang", "desk-5min"]:
        model = ScenarioImpact(get_scenario(name))
        market, scenario = model.market(1), model.scenario
        trades, path = _mixed(model.slices, len(model.regimes), 5, seed=1)
        state, spent = State(np.full(5, 1e9), 0.0, 0.0), dict.fromkeys(COMPONENTS, 0.0)
        for k, (shares, regime) in enumerate(zip(trades, path, strict=True)):
            rows = (table[regime] for table in (market.temporary_scale, market.half_spread, market.transient_decay))
            slice = Slice(market.mean_volume[k, regime], -np.inf, np.inf, *rows, 0.0, 0.0, 0.0)
            state, cost = step(market.impact, state, slice, scenario.quantity * shares)
            spent = {part: total + getattr(cost, part) for part, total in spent.items()}
        for part, value in model.costs(trades, path).items():
            assert value == pytest.approx(spent[part] / scenario.notional, rel=1e-6, abs=1e-12), part


def test_a_market_is_sound_at_every_volume_level():
    """The level multiplies the volume of all slices: at its 0.1 % and 99.9 % quantiles the market keeps its certificate."""
    day = replace(get_scenario("regime-day"), slices=8)
    levelled = certify(replace(day, volume_level_sd=0.5), trips=1000)
    assert levelled.sound
    assert levelled.trips == certify(day, trips=1000).trips  # costs are those at the mean level
    for end in levelled.ends:
        level = end.told["volume_level_sd"]
        regimes = replace(day.regimes, volume=tuple(level * volume for volume in day.regimes.volume))
        stated = certify(replace(day, regimes=regimes), trips=1000)
        assert stated.sound, level
        assert end.cheapest.cost_bps == pytest.approx(stated.cheapest.cost_bps, rel=1e-9)


@pytest.mark.fast
def test_selling_mirrors_buying():
    for name in ["regime-day", "hunted-day", "sunshine-day", "geo-compat"]:
        model = ScenarioImpact(get_scenario(name))
        trades, path = _mixed(model.slices, len(model.regimes), 20, seed=2)
        bought, sold = model.costs(trades, path), model.costs(-trades, path)
        for part in COMPONENTS:
            assert np.array_equal(bought[part], sold[part]), part


@pytest.mark.parametrize("strength", [0.0, 0.3, -0.3])
def test_the_cost_of_an_order_agrees_with_a_rollout(strength):
    scenario = replace(get_scenario("regime-day"), predator=strength, volume_noise=0.0, risk_aversion=0.0)
    market, model = build_market(scenario), ScenarioImpact(scenario)
    path = draw_path(market, episode_keys(3, np.arange(20)), 1.0)
    fractions = 1.0 / (1.0 + np.arange(26) // 2)  # pairs of equal children, which a predator detects
    fractions /= fractions.sum()

    class Fixed:
        name = "fixed"

        def act(self, situation):
            return situation.quantity * fractions[situation.k] + 0.0 * situation.remaining

    rolled = roll(market, Fixed(), path).statement.components
    costs = model.costs(np.repeat(fractions[:, None], 20, axis=1), path.world.regime[:-1])
    for part, value in costs.items():
        assert 1e4 * value == pytest.approx(getattr(rolled, part), rel=1e-9), part


@pytest.mark.parametrize("strength", [0.3, -0.3])
def test_a_predator_treats_buys_and_sells_as_two_orders(strength):
    """The cost that it adds to a mixed schedule is the sum of those that it adds to the buys and to the sells alone, also
    where children are irregular."""
    free, watched = (ScenarioImpact(replace(get_scenario("regime-day"), predator=s)) for s in (0.0, strength))
    rng, path = np.random.default_rng(4), np.zeros((26, 50), int)
    trades = 0.1 * rng.choice([1.0, -1.0, 0.0], (26, 50))
    both, bought, sold = (
        watched.costs(part, path).total - free.costs(part, path).total
        for part in (trades, np.maximum(trades, 0.0), np.minimum(trades, 0.0))
    )
    assert both == pytest.approx(bought + sold, rel=1e-9)
    assert (strength * both > 0.0).mean() > 0.9


def test_a_halving_holds_the_cost_in_the_regime_that_it_names():
    model = ScenarioImpact(get_scenario("regime-day"))
    rows = [row for row in certified("regime-day").halvings if row.schedule == "steady" and row.regimes in model.regimes]
    assert {row.regimes for row in rows} == set(model.regimes)
    for row, fineness in itertools.product(rows, (1, 2, 4)):
        slices, regime = 26 * fineness, model.regimes.index(row.regimes)
        parts = model.costs(np.full((slices, 1), 1.0 / slices), np.full((slices, 1), regime), fineness)
        assert row.costs_bps[fineness.bit_length() - 1] == pytest.approx(1e4 * float(parts[row.part][0]))


def test_errors_of_two_orders_that_cancel_are_halved_until_the_limit_shows():
    """The limit is the integral of p D with D' = kappa p - rho_m D and the pace p, summed in small steps.

    On this path the errors at the changes of regime and within the slices cancel: the third change is larger than the second.
    """
    scenario = get_scenario("regime-day")
    path = [0, 2, 2, 2, 5, 4, 4, 5, 1, 5, 3, 4, 3, 3, 2, 3, 1, 5, 4, 5, 2, 1, 2, 0, 4, 2]
    rng = SimpleNamespace(integers=lambda count, size: np.reshape(path, size))
    (row,) = [
        row
        for row in certificate._halvings(ScenarioImpact(scenario), rng)
        if (row.schedule, row.regimes, row.part) == ("front-loaded", "mixed", "transient")
    ]
    changes = np.diff(row.costs_bps)
    assert abs(changes[2]) > abs(changes[1])
    assert row.failure == ""
    steps = 2_000
    cost, displacement, dt = 0.0, 0.0, 1.0 / (26 * steps)
    for k, regime in enumerate(path):
        rate = scenario.resilience * scenario.regimes.resilience[regime]
        for pace in 2.0 - 2.0 * (k * steps + np.arange(steps) + 0.5) * dt:
            after = displacement + (pace - rate * displacement) * dt
            cost += 0.5 * (displacement + after) * pace * dt
            displacement = after
    slope = (scenario.kyle_lambda - scenario.perm_impact_gamma) * scenario.quantity / scenario.adv
    exact = 1e4 * slope * cost
    assert (np.diff(np.abs(np.array(row.costs_bps[2:]) - exact)) < 0.0).all()
    assert row.limit_bps == pytest.approx(exact, rel=2e-3)  # extrapolated from the last changes


# --- cost components are addressed by name


def _with_costs(monkeypatch, change):
    """Replace the cost that a trade in the market returns by `change(cost)`."""
    trade = impact_model.trade

    def changed(*arguments):
        state, cost, hunt = trade(*arguments)
        return state, change(cost), hunt

    monkeypatch.setattr(impact_model, "trade", changed)


@pytest.mark.parametrize("name", ["regime-day", "hunted-day"])
def test_the_order_of_the_components_does_not_matter(name, monkeypatch):
    model = ScenarioImpact(get_scenario(name))
    trades, path = _mixed(model.slices, len(model.regimes), 5, seed=6)
    before = model.costs(trades, path)
    turned = namedtuple("turned", Cost._fields[::-1])
    _with_costs(monkeypatch, lambda cost: turned(**cost._asdict()))
    for part, value in model.costs(trades, path).items():
        assert np.array_equal(value, before[part]), part


def test_a_new_component_that_shares_pay_is_part_of_the_cost(monkeypatch):
    model = ScenarioImpact(get_scenario("regime-day"))
    trades, path = _mixed(model.slices, len(model.regimes), 5, seed=7)
    before = model.costs(trades, path)
    wider = namedtuple("wider", ("fee", *Cost._fields))
    _with_costs(monkeypatch, lambda cost: wider(fee=2.0 * cost.spread, **cost._asdict()))
    monkeypatch.setitem(kernel.ROLES, "fee", kernel.Role(child=True))
    monkeypatch.setattr(impact_model, "COMPONENTS", child_components(wider._fields))
    costs = model.costs(trades, path)
    assert costs["fee"] == pytest.approx(2.0 * before["spread"])
    assert costs.total == pytest.approx(before.total + 2.0 * before["spread"])
    found = certify(get_scenario("regime-day"), trips=1_000)
    assert {row.part for row in found.halvings} == {"fee", *COMPONENTS}


def test_the_certificate_covers_the_components_that_shares_pay():
    assert COMPONENTS == ("permanent", "transient", "temporary", "spread")
    with pytest.raises(TypeError, match="cost component 'fee' is unknown: state its Role"):
        child_components((*Cost._fields, "fee"))


def test_a_cost_component_that_is_unknown_is_an_error_at_import(monkeypatch):
    monkeypatch.setattr(kernel, "Cost", namedtuple("Cost", (*Cost._fields, "fee")))
    with pytest.raises(TypeError, match="cost component 'fee' is unknown"):
        runpy.run_path(impact_model.__file__)


def test_an_unknown_component_of_a_model_raises():
    with pytest.raises(TypeError, match="cost component 'fee' is unknown: the components are permanent, transient, "):
        ImpactCost(spread=np.ones(3), fee=np.ones(3))
    with pytest.raises(TypeError, match="cost component 'timing' is unknown"):
        ImpactCost(timing=np.ones(3))


def test_components_that_a_model_does_not_give_are_zero():
    cost = ImpactCost(spread=np.full(3, 2.0), transient=np.ones(3))
    assert tuple(cost) == COMPONENTS
    assert cost["permanent"] == cost["temporary"] == 0.0
    assert cost.total.tolist() == [3.0, 3.0, 3.0]


# --- the paths, the verdicts, the numbers


def test_few_regime_paths_are_all_tried():
    for regimes, slices in [(1, 50), (2, 9), (3, 6)]:
        paths, every = regime_paths(regimes, slices, np.random.default_rng(0))
        assert every
        assert {tuple(path) for path in paths.T} == set(itertools.product(range(regimes), repeat=slices))
        assert paths.shape == (slices, regimes**slices)


def test_of_many_regime_paths_the_constant_ones_and_those_with_one_change_are_tried():
    paths, every = regime_paths(6, 26, np.random.default_rng(0))
    tried = {tuple(path) for path in paths.T}
    once = {(a,) * k + (b,) * (26 - k) for a in range(6) for b in range(6) for k in range(1, 27)}
    assert not every
    assert once <= tried
    assert len(tried - once) > 400
    assert paths.min() == 0
    assert paths.max() == 5


def test_of_long_regime_paths_a_sample_is_tried():
    paths, _ = regime_paths(6, 5_000, np.random.default_rng(0))
    assert paths.size < 3_000_000
    assert {tuple(path) for path in np.repeat(np.arange(6), 5_000).reshape(6, -1)} <= {tuple(path) for path in paths.T}


def _halving(*costs):
    return Halving("steady", "ONE", "temporary", costs)


@settings(max_examples=200)
@given(st.floats(0.1, 100.0), st.floats(-1.0, 5.0), st.floats(0.01, 0.9))
def test_costs_that_approach_a_limit_converge(limit, first, ratio):
    row = _halving(*(limit * (1.0 + first * ratio**k) for k in range(6)))
    assert row.failure == ""
    assert row.limit_bps == pytest.approx(limit, rel=1e-2)


@given(st.floats(0.1, 0.9))
def test_costs_that_fall_by_a_power_of_the_slices_converge_to_zero(beta):
    assert _halving(*(7.0 * 2.0 ** (-beta * k) for k in range(6))).failure == "converges to zero"


@given(st.floats(0.0, 2.0))
def test_costs_that_grow_with_the_slices_do_not_converge(power):
    assert _halving(*(7.0 * 2.0 ** (power * k) for k in range(4))).failure == ("does not converge" if power > 2e-3 else "")


def test_a_burst_pays_where_it_is_cheaper_beyond_rounding():
    assert Burst(2, "ONE", 1.0, 2.0).pays
    assert Burst(2, "ONE", 1.0, 2.0).saving_percent == 50.0
    assert not Burst(2, "ONE", 2.0 - 1e-12, 2.0).pays
    assert not Burst(2, "ONE", 0.0, 0.0).pays


def test_a_block_at_each_end_may_beat_the_steady_pace_in_a_sound_market():
    """Two blocks are the optimum of Obizhaeva and Wang, and beat the steady pace where resilience is low."""
    scenario = replace(get_scenario("obizhaeva-wang"), resilience=0.2)
    model = ScenarioImpact(scenario)
    steady, blocks = np.full(101, 1.0 / 101), np.r_[0.5, np.zeros(99), 0.5]
    costs = model.costs(np.array([steady, blocks]).T, np.zeros((101, 1), int)).total
    assert costs[1] < costs[0]
    check_scenario(scenario, trips=1_000)


def test_the_same_seed_gives_the_same_certificate():
    first, again, other = (certify(get_scenario("mid-cap"), trips=1_000, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert first.trips != other.trips


def test_the_certificate_counts_the_round_trips():
    counted = []
    found = certify(get_scenario("regime-day"), trips=TRIPS, advance=counted.append)
    assert sum(counted) >= TRIPS
    assert abs(sum(counted) - found.tried) < len(found.trips)
    assert usual_trips(26) > usual_trips(260) > 0


def test_an_argument_out_of_range_is_named():
    for values, message in [
        ({"trips": 999}, r"trips must be a whole number in \[1000, 1000000000\], got 999"),
        ({"seed": -1}, r"seed must be a whole number in \[0, 4294967295\], got -1"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            certify(get_scenario("regime-day"), **values)


def test_an_order_of_few_slices_is_cut_finer():
    for slices in [1, 2, 3]:
        found = certify(replace(get_scenario("regime-day"), slices=slices), trips=1_000)
        assert found.sound
        assert len(found.trips[0].trades) >= 8


def test_the_certificate_is_json_and_the_report_shows_its_numbers():
    for name in ["regime-day", "geo-compat"]:
        found = certified(name)
        plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
        assert plain["sound"] == found.sound
        assert plain["round_trips"] == found.tried
        report = str(found)
        assert found.verdict in report
        assert all(fault in report for fault in plain["faults"])
        assert all(f"{trip['cost_bps']:.4f}" in report for trip in plain["trips"])
        assert all(f"{burst['burst_bps']:.4f}" in report for burst in plain["bursts"])
