"""Observations: what each number means, that it stays within its bounds, and that none of it knows the future."""

from __future__ import annotations

import math
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from hyperexec_env.envs.action import PACES
from hyperexec_env.envs.features import observation_names, observation_space
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.market import path
from hyperexec_env.market.kernel import Slice, State, mid_price, step
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.regime import REGIME_NAMES, Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.tables import build_market
from hyperexec_env.records import leaves, map_leaves

NAMES = observation_names()


def named(observation):
    return dict(zip(NAMES, observation.tolist(), strict=True))


def tape(env, seed, actions, steps=1000):
    """Play an episode; return the observations, rewards and infos, the reset's first."""
    observation, info = env.reset(seed=seed)
    observations, rewards, infos = [observation], [], [info]
    for action in actions[:steps]:
        observation, reward, terminated, _, info = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        infos.append(info)
        if np.all(terminated):
            break
    return np.array(observations), rewards, infos


def slow_actions(seed, lanes=None):
    """Actions that leave something to trade until the end."""
    shape = (400, 1) if lanes is None else (400, lanes, 1)
    return np.random.default_rng(seed).uniform(-1.0, 0.3, shape).astype(np.float32)


# --- form


def test_names_are_one_for_each_feature():
    space = observation_space()
    assert len(NAMES) == len(set(NAMES)) == space.shape[0]
    assert space.dtype == np.float32
    assert np.isfinite(space.low).all()
    assert np.isfinite(space.high).all()
    assert (space.low < space.high).all()
    assert [f"regime_{regime}" for regime in (*REGIME_NAMES, "UNKNOWN")] == list(NAMES[-7:])


EXTREMES = (
    {"volatility": 1.0, "price_model": "gbm"},
    {"quantity": 1e12},
    {"quantity": 1e-3},
    {"flow_persistence": 0.999},
    {"flow_persistence": -0.999},
    {"volume_noise": 3.0},
    {"volume_noise": 3.0, "volume_persistence": 0.999},
    {"kyle_lambda": 1e3, "resilience": 0.0},
    {"volatility": 0.0, "half_spread_bps": 0.0, "kyle_multiple": None, "perm_impact_multiple": None},  # impact stays
    {"kyle_lambda": 0.2, "perm_impact_gamma": 0.2},
    {"slices": 1},
    {"complete": False, "max_participation": 0.01},
    {"transient_exponent": 0.5, "predator": 0.0},
    {"transient_exponent": 0.2, "volume_noise": 1.0, "predator": 0.0},
    {"volume_level_sd": 3.0},
    {"transient_exponent": 0.5, "volume_persistence": 0.6, "predator": 0.0},
    {"transient_exponent": 2.0, "volume_level_sd": 2.0, "predator": 0.0},
    {"transient_exponent": 2.0, "predator": 0.0},
)


def extremes():
    """Every scenario as it is, and every extreme in another scenario, half of them with a hidden regime."""
    names = scenario_names()
    yield from ((name, {}, i % 2 == 0) for i, name in enumerate(names))
    yield from ((names[5 * i % len(names)], change, i % 2 == 0) for i, change in enumerate(EXTREMES))


@pytest.mark.parametrize(
    ("name", "change", "observe_regime"),
    [pytest.param(*case, id="-".join([case[0], *case[1], "observed" if case[2] else "hidden"])) for case in extremes()],
)
def test_observations_stay_within_their_bounds(name, change, observe_regime):
    scenario = replace(get_scenario(name), **change)
    env = HyperExecVectorEnv(
        16,
        "SameStep",
        backend="numpy",  # so many specifications would take minutes to compile; compiled lanes are equal to these
        scenario=scenario,
        observe_regime=observe_regime,
        random_side=True,
        quantity_range=(0.2, 5.0),
    )
    rng, space = np.random.default_rng(0), env.observation_space
    observation, _ = env.reset(seed=0)
    for _ in range(max(60, scenario.slices + 1)):
        assert space.contains(observation)
        observation = env.step(rng.choice([-1.0, 1.0, 0.0, 0.5], (16, 1)))[0]


@pytest.mark.fast
def test_the_single_environment_stays_within_the_bounds():
    for name, observe_regime in [(name, i % 2 == 1) for i, name in enumerate(scenario_names())]:
        env = HyperExecEnv(name, observe_regime=observe_regime)
        for seed in range(3):
            for observation in tape(env, seed, np.random.default_rng(seed).choice([-1.0, 1.0, 0.0], (400, 1)))[0]:
                assert env.observation_space.contains(observation)


# --- meaning


def greatest_displacement(market, schedule):
    """What a schedule displaces the price by at its last trade, before the price recovers from it."""
    row = Slice(*(float(values[-1, 0]) for values in draw_path(market, episode_keys(9, [0]), 1.0).slices))
    state = State(float(sum(schedule)), 0.0, 0.0)
    for shares in schedule:
        state, _ = step(market.impact, state, row._replace(least=0.0), float(shares))
    return state.transient / row.transient_decay


def pushing_schedule(market):
    """The schedule that displaces the price by the most: all at once where impact is linear, else n_j ~ kept^(j / (1 - p))."""
    exponent, quantity = market.impact.transient_exponent, market.scenario.quantity
    if exponent == 1.0:
        return [quantity]
    weights = market.transient_decay[0] ** (np.arange(market.slices)[::-1] / (1.0 - exponent))
    return quantity * weights / weights.sum()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "side"), [*((name, 1 - 2 * (i % 2)) for i, name in enumerate(scenario_names())), ("regime-day", -1)]
)
def test_features_mean_what_they_are_called(name, side):
    scenario = replace(get_scenario(name), side=side)
    market, env = build_market(scenario), HyperExecEnv(scenario)
    path = draw_path(market, episode_keys(9, [0]), float(side))
    world = type(path.world)(*(values[:, 0] for values in path.world))
    volume = path.slices.volume[:, 0]
    observation, _ = env.reset(seed=9)
    mean_volume = market.rest_volume[0, market.unknown] / market.slices
    deviation = scenario.volatility * scenario.arrival_price * math.sqrt(scenario.horizon_minutes / scenario.day_minutes)
    greatest, spread = greatest_displacement(market, pushing_schedule(market)), market.half_spread[market.unknown]
    for k, action in enumerate([*slow_actions(9)[: market.slices], None]):
        now, seen, m = env.situation, named(observation), int(world.regime[k])
        assert (now.k, now.seen, now.side, now.price, now.flow) == (k, m, side, world.price[k], world.flow[k])
        assert now.last_volume == (volume[k - 1] if k else pytest.approx(mean_volume))
        rest = market.rest_volume[k, m]
        moved = side * (mid_price(now, now.price, side) - scenario.arrival_price)
        adverse = moved / deviation if deviation else 0.0  # where nothing is random there is no unit to count a move in
        expected = {
            "remaining": now.remaining / now.quantity,
            "behind_schedule": now.remaining / now.quantity - market.plan[k],
            "required_participation": now.remaining / (now.remaining + rest) if rest else float(now.remaining > 0.0),
            "transient_displacement": now.transient / greatest if greatest else 0.0,
            "price_move": adverse / (1.0 + abs(adverse)),
            "last_participation": now.last_shares / (now.last_shares + now.last_volume),
            "last_volume": now.last_volume / (market.mean_volume[k - 1, market.unknown] if k else mean_volume),
            "last_flow": side * world.flow[k],
            "side": side,
            "time_left": 1.0 - k / market.slices,
            "expected_volume": market.mean_volume[k, m] / mean_volume,
            "expected_volume_rest": rest / market.rest_volume[0, market.unknown],
            "volatility": scenario.regimes.volatility[m],
            "spread": market.half_spread[m] / spread if spread else 0.0,
            **{f"regime_{regime}": float(regime == scenario.regimes.names[m]) for regime in (*REGIME_NAMES, "UNKNOWN")},
        }
        assert seen == pytest.approx(expected, rel=2e-6, abs=1e-6)
        if action is not None:
            observation = env.step(action)[0]


def test_the_displacement_is_counted_in_the_largest_that_the_order_could_cause():
    """Where impact is not linear that is not the whole order at once; the size of the order does not matter."""
    scenario, displacement = get_scenario("geo-compat"), NAMES.index("transient_displacement")
    market = build_market(scenario)
    schedule = pushing_schedule(market)
    others = np.random.default_rng(3).dirichlet(np.full(market.slices, 0.3), 50) * scenario.quantity
    furthest = max(greatest_displacement(market, other) for other in others)
    assert furthest < greatest_displacement(market, schedule)
    assert greatest_displacement(market, [scenario.quantity]) < greatest_displacement(market, schedule)
    for size in (0.2, 1.0, 5.0):
        env = HyperExecEnv(scenario, quantity_range=(size, size))
        vector = HyperExecVectorEnv(1, "Disabled", backend="numpy", scenario=scenario, quantity_range=(size, size))
        env.reset(seed=0)
        vector.reset(seed=0)
        for shares in size * schedule[:-1]:
            seen, batch = env.trade(shares)[0], vector.trade(np.array([shares]))[0]
            assert np.array_equal(batch[0], seen)
        last = (size * schedule[-1] / market.mean_volume[0, 0]) ** scenario.transient_exponent
        reached = (env.situation.transient + market.impact.transient_slope * last) / env.situation.transient
        assert seen[displacement] * reached == pytest.approx(1.0, rel=1e-6)


def test_a_rising_price_is_a_move_against_the_buyer_and_for_the_seller():
    buyer, seller = (HyperExecEnv(replace(get_scenario("regime-day"), side=side)) for side in (1, -1))
    wait = np.full((26, 1), -1.0)
    for seed in range(5):
        bought, sold = tape(buyer, seed, wait)[0], tape(seller, seed, wait)[0]
        move, flow = NAMES.index("price_move"), NAMES.index("last_flow")
        path = draw_path(buyer.task.market, episode_keys(seed, [0]), 1.0)
        rose = path.world.price[:-1, 0] - 100.0
        assert np.array_equal(np.sign(bought[:-1, move]), np.sign(rose))
        assert np.array_equal(bought[:-1, move], -sold[:-1, move])
        assert np.array_equal(bought[:, flow], -sold[:, flow])


def test_who_is_not_told_the_regime_sees_that_it_is_unknown():
    for name in scenario_names():
        env = HyperExecEnv(name, observe_regime=False)
        market = build_market(get_scenario(name))
        for seed in range(3):
            for observation in tape(env, seed, slow_actions(seed))[0]:
                features = named(observation)
                assert features["regime_UNKNOWN"] == 1.0
                assert all(features[f"regime_{regime}"] == 0.0 for regime in REGIME_NAMES)
                assert features["volatility"] == np.float32(market.volatility[market.unknown])
                assert features["transient_displacement"] == 0.0
            assert env.situation.seen == market.unknown
            assert env.situation.transient == 0.0


# --- the future


def change_draws(monkeypatch, first, fields=None):
    """Let nature draw something else from slice `first` on, in some fields of the words of a slice or in all."""
    genuine = path.draw_words

    def draw_words(key, k):
        names = iter(name.partition(".")[0] for name, _ in leaves(path.Words))

        def changed(drawn, other):
            name = next(names)
            return np.where((np.asarray(k) >= first) & (fields is None or name in fields), other, drawn)

        return map_leaves(changed, genuine(key, k), genuine(key ^ np.uint64(0xA5A5A5A5A5A5A5A5), k))

    monkeypatch.setattr(path, "draw_words", draw_words)


def environments(scenario, **options):
    """The single and the vector environment, with actions for either.

    Draws are changed in Python; compiled lanes, which are equal to those of numpy bit for bit, would not notice.
    """
    for lanes in (None, 3):
        if lanes is None:
            yield lambda: HyperExecEnv(scenario, **options), slow_actions(1)
        else:
            yield lambda: HyperExecVectorEnv(3, scenario=scenario, backend="numpy", **options), slow_actions(1, 3)


@pytest.mark.fast
@pytest.mark.parametrize(
    ("name", "observe_regime", "reward"),
    [(name, i % 2 == 0, ("expected", "realised")[i // 2 % 2]) for i, name in enumerate(scenario_names())],
)
def test_observation_ignores_the_future(name, observe_regime, reward, monkeypatch):
    """Whatever nature draws from slice k on, all up to the start of slice k stays, and later things change."""
    for make, actions in environments(get_scenario(name), observe_regime=observe_regime, reward=reward):
        slices = get_scenario(name).slices
        observations, rewards, infos = tape(make(), 11, actions)
        for k in (0, 1, slices // 2, slices - 1):
            with monkeypatch.context() as patch:
                change_draws(patch, k)
                others, other_rewards, other_infos = tape(make(), 11, actions)
            assert np.array_equal(others[: k + 1], observations[: k + 1])
            assert np.array_equal(other_rewards[:k], rewards[:k])
            assert other_infos[: k + 1] == infos[: k + 1]
            assert not np.array_equal(others[k + 1], observations[k + 1])
            assert not np.array_equal(other_rewards[k], rewards[k]) or k == slices - 1 or get_scenario(name).volume_noise == 0.0


@pytest.mark.parametrize("name", ["regime-day", "desk-5min"])
def test_masks_ignore_the_future(name, monkeypatch):
    slices = get_scenario(name).slices
    actions = np.random.default_rng(2).integers(0, len(PACES) - 3, 400)
    masks = [info["action_mask"].tolist() for info in tape(HyperExecEnv(name, "discrete"), 11, actions)[2]]
    for k in (1, slices // 2):
        with monkeypatch.context() as patch:
            change_draws(patch, k)
            others = [info["action_mask"].tolist() for info in tape(HyperExecEnv(name, "discrete"), 11, actions)[2]]
        assert others[: k + 1] == masks[: k + 1]


BY_REGIMES = {get_scenario(name).regimes: name for name in reversed(scenario_names()) if len(get_scenario(name).regimes) > 1}
"""One scenario for each law of the regimes."""


@pytest.mark.parametrize("name", BY_REGIMES.values())
def test_who_is_not_told_the_regime_cannot_tell_it_from_the_observation(name, monkeypatch):
    """Another regime from slice k on: it shows at once to who is told, and not before it moved the market to who is not."""
    scenario = get_scenario(name)
    slices, faster = (
        scenario.slices,
        1.0 / (26.0 * scenario.tau),
    )  # regimes change as often as in slices of a quarter of an hour
    rates = tuple(tuple(faster * rate for rate in row) for row in scenario.regimes.rates)
    scenario = replace(scenario, regimes=replace(scenario.regimes, rates=rates))
    for observe_regime in (True, False):
        for make, actions in environments(scenario, observe_regime=observe_regime):
            shows = []
            for seed in range(12):
                observations, _, _ = tape(make(), seed, actions, slices - 1)
                for k in (1, slices // 2):
                    with monkeypatch.context() as patch:
                        change_draws(patch, k - 1, fields=("regime_draw",))  # of slice k - 1: the regime of slice k
                        others, _, _ = tape(make(), seed, actions, slices - 1)
                    assert np.array_equal(others[:k], observations[:k])
                    shows.append(not np.array_equal(others[k], observations[k]))
            assert any(shows) == observe_regime


@pytest.mark.parametrize("multiplier", ["resilience", "temporary", "spread"])
def test_what_the_market_does_not_show_is_not_in_the_observation(multiplier):
    """Regimes that differ only in what no market shows look alike to who is not told the regime."""
    ones = (1.0, 1.0)
    regimes = Regimes(
        names=("BULL_TRENDING", "CRISIS"),
        volatility=ones,
        volume=ones,
        rates=((0.0, 0.0), (0.0, 0.0)),
        **{multiplier: (1.0, 5.0)},
    )
    for reader in (True, False):
        seen = []
        for start in ("BULL_TRENDING", "CRISIS"):
            scenario = Scenario(name="twin", regimes=replace(regimes, start=start), half_spread_bps=3.0)
            single = tape(HyperExecEnv(scenario, observe_regime=reader), 3, slow_actions(3))[0]
            vector = tape(
                HyperExecVectorEnv(2, backend="numpy", scenario=scenario, observe_regime=reader), 3, slow_actions(3, 2)
            )[0]
            seen.append((single, vector))
        for one, other in zip(*seen, strict=True):
            assert np.array_equal(one[..., :9], other[..., :9]) == (not reader or multiplier != "resilience")
            assert np.array_equal(one, other) == (not reader)


def test_wrappers_of_gymnasium_read_the_space():
    env = gym.wrappers.FlattenObservation(gym.make("HyperExec-v0"))
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert np.array_equal(observation, HyperExecEnv().reset(seed=0)[0])


@pytest.mark.fast
@pytest.mark.parametrize("options", [{}, {"random_side": True, "quantity_range": (0.5, 2.0)}, {"scenario": "hunted-day"}])
def test_the_last_price_is_what_the_shares_cost(options):
    """Shares times their price is what the desk pays: the shortfall."""
    env = gym.make("hyperexec_env:HyperExec-v0", **options).unwrapped
    lanes = 3
    vector = HyperExecVectorEnv(lanes, backend="numpy", **options)
    vector.reset(seed=4)
    paces = np.random.default_rng(1).uniform(0.0, 1.2, env.task.market.slices)
    told = []
    for k in range(env.task.market.slices - 1):
        vector.trade(paces[k] * vector.situation.remaining / (26 - k))
        told.append(vector.situation.last_price)
    for lane in range(lanes):
        env.reset(seed=4 + lane)
        paid, ended = 0.0, False
        while not ended:
            k = env.situation.k
            _, _, ended, _, info = env.trade(paces[k] * env.situation.remaining / (26 - k))
            now = env.situation
            paid += now.last_shares * now.last_price
            if not ended:
                assert now.last_price == told[k][lane]
        notional = now.quantity * env.task.scenario.arrival_price
        assert 1e4 * now.side * (paid - notional) / notional == pytest.approx(info["shortfall_bps"], abs=1e-9)


def test_a_hidden_regime_is_not_betrayed_by_the_last_price():
    env = gym.make("hyperexec_env:HyperExec-v0", observe_regime=False).unwrapped
    vector = HyperExecVectorEnv(2, backend="numpy", observe_regime=False)
    env.reset(seed=4)
    vector.reset(seed=4)
    for _ in range(5):
        env.trade(5000.0)
        vector.trade(np.full(2, 5000.0))
        assert env.situation.last_price == env.situation.price
        assert np.array_equal(vector.situation.last_price, vector.situation.price)
