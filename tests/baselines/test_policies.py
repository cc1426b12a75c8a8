"""Laws of the classical and the sanity policies, each run by being registered."""

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.baselines.basket_policies import basket_policy
from hyperexec_env.baselines.closed_forms import obizhaeva_wang
from hyperexec_env.baselines.evaluate import entrants, evaluate
from hyperexec_env.baselines.frontier import frontier
from hyperexec_env.baselines.policies import BASELINES, SANITY, get_policy, policy_names
from hyperexec_env.baselines.replan import MISLED, evidence
from hyperexec_env.baselines.trace import trace
from hyperexec_env.evaluation.policy import check_policy, unfit
from hyperexec_env.evaluation.rollout import join, roll, rollouts
from hyperexec_env.market.basket_path import build_basket
from hyperexec_env.market.basket_scenario import get_basket
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.usefixtures("without_numba")


def _path(market, episodes=64, seed=3):
    return draw_path(market, episode_keys(seed, np.arange(episodes)), float(market.scenario.side))


class Recorder:
    """A policy that writes down what another one asks for, and what is left before each slice."""

    def __init__(self, policy):
        self.policy, self.name, self.asked, self.left = policy, policy.name, [], []

    def act(self, situation):
        shares = self.policy.act(situation)
        self.asked.append(np.broadcast_to(shares, situation.remaining.shape).copy())
        self.left.append(situation.remaining.copy())
        return shares


def _asked(name, scenario="regime-day", **changes):
    market = build_market(replace(get_scenario(scenario), **changes))
    recorder = Recorder(get_policy(name))
    roll(market, recorder, _path(market))
    return market, np.array(recorder.asked), np.array(recorder.left)


@pytest.mark.parametrize("scenario", scenario_names())
def test_every_policy_finishes_every_scenario(scenario):
    market = build_market(get_scenario(scenario))
    many, few = _path(market), _path(market, episodes=8)
    for name in policy_names():
        policy = get_policy(name)
        check_policy(policy, market)
        outcome = roll(market, policy, few if name.startswith(("desk:", "learn:")) else many)  # an agent for each episode
        assert np.isfinite(outcome.statement.objective).all(), name
        assert outcome.inventory[:, -1].sum() == pytest.approx(0.0, abs=1e-12), name
        assert (outcome.forced <= 1.0 + 1e-12).all(), name
        assert (outcome.forced >= 0.0).all(), name


def test_a_policy_that_is_used_again_does_the_same_again():
    market = build_market(get_scenario("regime-day"))
    path = _path(market, episodes=16)
    for name in policy_names():
        policy = get_policy(name)
        first, second = roll(market, policy, path), roll(market, policy, path)
        fresh = roll(market, get_policy(name), path)
        assert np.array_equal(first.statement.objective, second.statement.objective), name
        assert np.array_equal(first.statement.objective, fresh.statement.objective), name


def test_the_batch_size_changes_no_result():
    market, names = build_market(get_scenario("regime-day")), policy_names()

    def objectives(batch):
        policies = [get_policy(name) for name in names]
        outcomes = zip(*rollouts(market, policies, [False] * len(policies), 5, 17, batch=batch), strict=True)
        return [join(batches).statement.objective for batches in outcomes]

    for name, whole, parts in zip(names, objectives(17), objectives(7), strict=True):
        assert np.array_equal(whole, parts), name


@pytest.mark.fast
def test_a_policy_trades_in_the_environment_as_in_the_rollout():
    market = build_market(get_scenario("regime-day"))
    path = _path(market, episodes=4, seed=11)
    for observe_regime in (True, False):
        env = gym.make("hyperexec_env:HyperExec-v0", observe_regime=observe_regime).unwrapped
        for name in policy_names():
            outcome = roll(market, get_policy(name), path, hidden=not observe_regime)
            policy = get_policy(name)
            for episode in range(4):
                env.reset(seed=11 if episode == 0 else None)
                ended = False
                while not ended:
                    _, _, ended, _, info = env.trade(float(policy.act(env.situation)))
                assert info["objective_bps"] == pytest.approx(outcome.statement.objective[episode], rel=1e-12)
                assert info["shortfall_bps"] == pytest.approx(outcome.statement.shortfall[episode], rel=1e-9, abs=1e-9)


@pytest.mark.fast
def test_twap_trades_equal_slices():
    market, asked, _ = _asked("TWAP")
    assert asked == pytest.approx(market.scenario.quantity / market.slices)


def test_vwap_trades_in_proportion_to_the_expected_volume():
    market, asked, _ = _asked("VWAP")
    volume = market.mean_volume[:-1, market.unknown]
    assert asked[:, 0] == pytest.approx(market.scenario.quantity * volume / volume.sum())


def test_is_and_almgren_chriss_are_front_loaded():
    for name in ("IS", "AC"):
        _, asked, _ = _asked(name, volume_curve=())
        assert (np.diff(asked[:, 0]) < 0.0).all()


def test_almgren_chriss_without_risk_aversion_is_twap():
    market, asked, _ = _asked("AC", risk_aversion=0.0)
    assert asked == pytest.approx(market.scenario.quantity / market.slices)


@pytest.mark.fast
def test_what_a_cap_forbids_is_carried_forward():
    _, asked, left = _asked("TWAP", "desk-5min")
    assert (asked[-1] > asked[0] * 1.5).all()
    assert (left[-1] > 0.0).all()


def test_adaptive_is_front_loaded_in_a_calm_market_and_lumpy_in_a_bear_market():
    regimes = get_scenario("regime-day").regimes
    market = build_market(get_scenario("regime-day"))
    path = _path(market, episodes=400)
    recorder = Recorder(get_policy("Adaptive"))
    roll(market, recorder, path)
    asked, regime = np.array(recorder.asked), path.world.regime
    calm = regime[0] == regimes.names.index("SIDEWAYS_LOW")
    bear = (regime[:4] == regimes.names.index("BEAR_TRENDING")).all(axis=0)
    twap = market.scenario.quantity / market.slices
    assert (asked[0, calm] > 1.5 * twap).all()
    # ten children, each in the middle of its 2.6 slices
    child = market.scenario.quantity / 10
    assert asked[:4, bear] == pytest.approx(np.multiply.outer([0.0, child, 0.0, child], np.ones(bear.sum())))


def test_adaptive_plans_anew_what_remains_when_the_regime_asks_for_another_plan():
    market = build_market(get_scenario("regime-day"))
    path = _path(market, episodes=4000)
    recorder = Recorder(get_policy("Adaptive"))
    roll(market, recorder, path)
    names = market.scenario.regimes.names
    crisis, high = names.index("CRISIS"), names.index("SIDEWAYS_HIGH")
    calm = [names.index(name) for name in ("BULL_TRENDING", "SIDEWAYS_LOW", "RECOVERY")]
    regime, asked, left = path.world.regime, np.array(recorder.asked), np.array(recorder.left)
    # from IS, which traded half a slice ago, to twenty children over the sixteen slices that are left: 10.3, 11.1, 11.9, 12.7
    before = np.isin(regime[:10], calm).all(axis=0)
    turned = before & (regime[10:13] == crisis).all(axis=0)
    assert turned.any()
    for k, children in ((10, 1), (11, 2), (12, 1)):
        assert asked[k, turned] == pytest.approx(left[10, turned] * children / 20)
    # SIDEWAYS_HIGH asks for the same as CRISIS: the plan stands
    stays = before & np.isin(regime[10:13], (crisis, high)).all(axis=0) & (regime[10] != regime[11])
    assert stays.any()
    assert asked[12, stays] == pytest.approx(left[10, stays] / 20)


def test_pov_catches_up_with_what_a_cap_has_forbidden():
    market = build_market(replace(get_scenario("desk-5min"), quantity=4000.0, volume_noise=0.8))
    path = _path(market, episodes=200)
    recorder = Recorder(get_policy("POV"))
    roll(market, recorder, path)
    asked, left = np.array(recorder.asked), np.array(recorder.left)
    wanted = 4000.0 / market.rest_volume[0, market.unknown] * market.mean_volume[np.arange(10)[:, None], path.world.regime[:-1]]
    due = np.maximum(np.cumsum(wanted, axis=0) - (4000.0 - left), 0.0)
    assert asked == pytest.approx(due)
    assert (asked > wanted * 1.01).any()  # some were held back


@pytest.mark.fast
def test_sanity_policies_do_what_their_names_say():
    assert _asked("all-at-once")[1][0] == pytest.approx(200_000)
    assert _asked("wait-then-dump")[1][:-1] == pytest.approx(0.0)
    traded = np.flatnonzero(_asked("every-5th")[1][:, 0])
    assert traded.tolist() == [0, 5, 10, 15, 20, 25]
    random = _asked("random")[1]
    assert np.corrcoef(random[:, 0], random[:, 1])[0, 1] < 0.95
    assert random[0].std() > 0.0


def _objectives(scenario, *names):
    """The mean objective of some policies on common paths, bps."""
    market = build_market(get_scenario(scenario))
    path = _path(market, episodes=2000)
    return [roll(market, get_policy(name), path).statement.objective.mean() for name in names]


def _makes_bursts_dear(scenario):
    """Whether children have a cost of their own that grows with their pace, and only linear impact persists (Gatheral 2010)."""
    return scenario.temp_impact_alpha > 0.0 and scenario.transient_exponent == 1.0 and scenario.max_participation is None


def test_no_sanity_policy_beats_twap_where_bursts_are_dear_and_nothing_is_capped():
    for scenario in [name for name in scenario_names() if _makes_bursts_dear(get_scenario(name))]:
        twap, *others = _objectives(scenario, "TWAP", *SANITY)
        assert min(others) > twap


def test_without_temporary_impact_a_block_at_each_end_beats_twap_and_a_single_block_does_not():
    """Obizhaeva and Wang (2013): the optimum has such blocks, and nobody gets below it."""
    twap, fifth, once, late = _objectives("obizhaeva-wang", "TWAP", "every-5th", "all-at-once", "wait-then-dump")
    model, bps = obizhaeva_wang.EXAMPLE, 1e4 / get_scenario("obizhaeva-wang").notional
    trades = obizhaeva_wang.discrete_trades(model, 101)
    optimum = obizhaeva_wang.discrete_cost(model, trades).expected - 0.5 * model.permanent * model.quantity**2
    assert optimum * bps < fifth < twap
    assert once == pytest.approx(0.5 * model.kappa * model.quantity**2 * bps)
    assert late == pytest.approx(once)


def test_where_a_square_root_decays_exponentially_every_lump_beats_twap():
    """The fault of `geo-compat`: one child is the cheapest, and the steadier the pace the dearer."""
    once, late, fifth, twap = _objectives("geo-compat", "all-at-once", "wait-then-dump", "every-5th", "TWAP")
    assert once == pytest.approx(late)
    assert once < fifth < twap


def test_an_unknown_policy_names_the_nearest_one():
    with pytest.raises(ValueError, match=r"unknown policy 'TWP'; did you mean 'TWAP'\?"):
        get_policy("TWP")


def test_names_do_not_care_about_case():
    assert get_policy("twap").name == "TWAP"
    assert set(BASELINES) >= {"TWAP", "VWAP", "IS", "AC", "POV", "Adaptive"}


class Wrong:
    name = "wrong"

    def act(self, situation):
        return situation.remaining * np.nan


def test_a_policy_that_returns_no_number_is_refused():
    market = build_market(get_scenario("regime-day"))
    with pytest.raises(ValueError, match="'wrong' must return finite shares"):
        check_policy(Wrong(), market)
    with pytest.raises(TypeError, match="needs a `name` and an `act"):
        check_policy(object(), market)


@pytest.mark.parametrize("scenario", ["unknown-volume", "unknown-drift", "unknown-impact", "unknown-all"])
def test_who_probes_believes_the_last_slice_or_learns_nothing_loses_to_replanning(scenario):
    market = build_market(get_scenario(scenario))
    path = draw_path(market, episode_keys(1, np.arange(4_096)), float(market.scenario.side))
    replanned = roll(market, get_policy("replan"), path).statement.objective
    assert {kind.name for kind in MISLED} == {"prober", "believer", "stubborn"}
    for kind in MISLED:
        lost = roll(market, kind(), path).statement.objective - replanned
        assert lost.mean() > 4.0 * lost.std(ddof=1) / np.sqrt(len(lost)), kind.name


def test_the_evidence_that_a_believer_takes_for_the_truth_is_that_of_the_last_slice():
    """In unknown-drift, where the move of the price over a slice is all of it; of a volume, its log ratio."""
    env = hx.make("unknown-drift").unwrapped
    env.reset(seed=3)
    before = env.situation
    env.step(np.zeros(1, np.float32))
    after, numbers = env.situation, env.task.market.numbers
    moved = (after.price - before.price) / numbers.arrival_price
    flow = numbers.by_flow * float(env.task.market.row(0, 0).step_volatility) * after.flow
    assert evidence(before, after, "drift") == pytest.approx((moved - flow) / env.task.scenario.tau, rel=1e-9)
    env = hx.make("unknown-volume").unwrapped
    env.reset(seed=3)
    before = env.situation
    env.step(np.zeros(1, np.float32))
    after, scenario = env.situation, env.task.scenario
    shown = np.log(after.last_volume / env.task.market.row(0, 0).mean_volume)
    spread = scenario.volume_level_sd**2 + scenario.volume_noise**2
    assert evidence(before, after, "level") == pytest.approx(shown + 0.5 * spread, rel=1e-6)


UNABLE = {
    ("optimum", "hunted-day"): "it is not solved exactly .*memory of the predator",
    ("replan", "hunted-day"): "it is not solved exactly where the temporary impact is known .*memory of the predator",
    ("prober", "regime-day"): "it needs a scenario with unknowns",
    ("believer", "regime-day"): "it needs a scenario with unknowns",
    ("stubborn", "regime-day"): "it needs a scenario with unknowns",
    ("filtered", "unknown-volume"): "the filter of the regimes needs a scenario without unknowns",
    ("filtered", "hunted-day"): "it is not solved exactly .*memory of the predator",
    ("belief-grid", "desk-5min"): "the participation cap ties",
    ("belief-grid", "unknown-drift"): "the filter of the regimes needs a scenario without unknowns",
}


@pytest.mark.parametrize(("name", "scenario"), UNABLE)
def test_a_policy_that_cannot_trade_a_scenario_is_refused_before_any_episode(name, scenario):
    message = f"policy '{name}' cannot trade {scenario}: {UNABLE[name, scenario]}"
    for run in (
        lambda: evaluate(scenario, ["TWAP", name], episodes=2, optimum=False),
        lambda: entrants(get_policy(name), scenario),
        lambda: frontier(scenario, [name], [1.0], 2),
        lambda: trace(scenario, name),
    ):
        with pytest.raises(ValueError, match=message):
            run()


def test_a_policy_that_can_trade_a_scenario_says_nothing():
    for name, scenario in (("optimum", "unknown-drift"), ("replan", "unknown-impact"), ("filtered", "desk-5min")):
        assert unfit(get_policy(name), build_market(get_scenario(scenario))) == ""


def test_assets_of_two_exponents_have_no_dial_in_common():
    """By name the policy is refused; groups leave it out."""
    two = {"slices": 3, "asset": [{"temp_impact_beta": 0.6}, {"side": -1, "temp_impact_beta": 0.8}]}
    basket = get_basket({"correlation": [[1.0, 0.3], [0.3, 1.0]], **two})
    assert "temp_impact_beta must be equal for all assets, got" in unfit(basket_policy("one-dial"), build_basket(basket))
    assert "one-dial" not in [entrant.policy.name for entrant in entrants("baselines", basket)]
    with pytest.raises(ValueError, match=r"policy 'one-dial' cannot trade .*: temp_impact_beta must be equal .*\[0\.6, 0\.8\]"):
        entrants("one-dial", basket)
