"""HyperExecVenues-v0: single and lanes agree to the last bit, the accounts add up, and nothing shows the hidden liquidity."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import hyperexec_env as hx
from hyperexec_env.envs.venues import HyperExecVenuesEnv
from hyperexec_env.envs.venues_vector import HyperExecVenuesVectorEnv
from hyperexec_env.market.liquidity import AllOrNothing
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.venue_path import draw_venue_path
from hyperexec_env.market.venue_scenario import get_venues

DAY = get_venues("venues-day")
OPTIONS = [
    {},
    {"router": "agent", "reward": "realised"},
    {"scenario": "passive-day", "random_side": True, "quantity_range": (0.5, 2.0)},
    {"scenario": "passive-day", "observe_regime": False},
    {"scenario": "dark-linear"},
    {"scenario": "regime-day"},
]


def _actions(env, count, seed=0, high=0.3):
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, high, (count, *env.action_space.shape)).astype(np.float32)


def _same(single, lanes, lane):
    """Compare an `info` of the single environment with that of a lane."""
    for key, value in single.items():
        if isinstance(value, dict):
            _same(value, lanes[key], lane)
        else:
            assert np.array_equal(value, lanes[key][lane], equal_nan=True), key


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_lane_is_the_single_environment_to_the_last_bit(options, mode):
    lanes = HyperExecVenuesVectorEnv(num_envs=3, autoreset_mode=mode, info="full", backend="numpy", **options)
    observations, infos = lanes.reset(seed=11)
    singles = [HyperExecVenuesEnv(info="full", **options) for _ in range(3)]
    waiting = [False] * 3
    for lane, single in enumerate(singles):
        observation, info = single.reset(seed=11 + lane)
        assert np.array_equal(observation, observations[lane])
        _same(info, infos, lane)
    for actions in _actions(lanes, 60):
        if mode == "Disabled" and any(waiting):
            mask = np.array(waiting)
            observations, _ = lanes.reset(options={"reset_mask": mask})
            for lane in np.flatnonzero(mask):
                assert np.array_equal(singles[lane].reset()[0], observations[lane])
            waiting = [False] * 3
        observations, rewards, ended, _, infos = lanes.step(actions)
        final = infos.get("final_info", infos)
        for lane, single in enumerate(singles):
            if mode == "NextStep" and waiting[lane]:
                assert np.array_equal(single.reset()[0], observations[lane])
                waiting[lane] = False
                continue
            observation, reward, over, _, info = single.step(actions[lane])
            assert (reward, over) == (rewards[lane], ended[lane])
            if mode == "SameStep" and over:
                assert np.array_equal(observation, infos["final_obs"][lane])
                _same(info, final, lane)
                observation = single.reset()[0]
            elif mode != "SameStep":
                _same(info, infos, lane)
                waiting[lane] = over
            assert np.array_equal(observation, observations[lane])


@pytest.mark.parametrize("options", [{}, {"reward": "realised", "random_side": True}, {"observe_regime": False}])
def test_one_venue_is_hyperexec_to_the_last_bit(options):
    many, one = HyperExecVenuesEnv(scenario="regime-day", info="full", **options), hx.make("regime-day", info="full", **options)
    assert many.action_space == one.action_space
    assert many.observation_space == one.observation_space
    for episode in range(3):
        (first, info), (other, plain) = (env.reset(seed=4, options={"episode": episode}) for env in (many, one))
        over = False
        for action in _actions(many, 26, episode, 1.0):
            assert np.array_equal(first, other)
            parts = {**info["components_bps"]}
            assert (parts.pop("fees"), parts.pop("adverse")) == (0.0, 0.0)
            for key, value in {**plain, "components_bps": 0.0}.items():
                assert key == "components_bps" or np.array_equal(info[key], value, equal_nan=True), key
            assert np.array_equal(list(parts.values()), list(plain["components_bps"].values()), equal_nan=True)
            if over:
                break
            first, reward, over, _, info = many.step(action)
            other, same, ended, _, plain = one.step(action)
            assert (reward, over) == (same, ended)
        assert over


@pytest.mark.parametrize("scenario", ["venues-day", "passive-day", "dark-linear"])
@pytest.mark.parametrize("reward", ["expected", "realised"])
def test_rewards_and_components_add_up(scenario, reward):
    env = HyperExecVenuesEnv(scenario=scenario, reward=reward)
    for seed in range(5):
        env.reset(seed=seed)
        total, over = 0.0, False
        for action in _actions(env, 30, seed):
            if over:
                break
            _, paid, over, _, info = env.step(action)
            total += paid
        account = info["objective_bps"] if reward == "expected" else info["shortfall_bps"] + info["risk_bps"]
        assert total == pytest.approx(-account, abs=1e-9)
        assert sum(info["components_bps"].values()) == pytest.approx(info["shortfall_bps"], abs=1e-9)
        assert sum(info["filled_fraction"].values()) == pytest.approx(1.0, abs=1e-12)


def test_the_shortfall_is_what_the_fills_cost_at_their_prices():
    """s [sum of fills at their prices - X P0], with the spread and fees of each venue and no charge for adverse selection."""
    strong = replace(DAY, venues=(*DAY.lit, replace(DAY.hidden[0], adverse_bps=30.0)))
    env = HyperExecVenuesEnv(scenario=strong, random_side=True)
    market = env.task.market
    for seed in range(4):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, over, _, info = env.step(np.array([0.0, 0.6], dtype=np.float32))
        episode = env.episode
        side, prices, regimes = episode.side, episode.world.price, episode.world.regime
        paid = 0.0
        for k, (fills, state) in enumerate(zip(episode.fills, episode.states, strict=False)):
            total = sum(fills)
            for v, fill in enumerate(fills):
                volume = episode._rows[k][v][0]
                impact = market.scale[v, regimes[k]] * (fill / volume) ** market.market.impact.beta
                concession = market.half_spread[v, regimes[k]] + market.fees[v] + impact
                own = (
                    state[1]
                    + state[2]
                    + 0.5 * (market.market.impact.permanent_slope + market.market.impact.transient_slope) * total
                )
                paid += fill * (prices[k] + side * (own + concession))
        shortfall = 1e4 * side * (paid - episode.quantity * 100.0) / (episode.quantity * 100.0)
        assert info["shortfall_bps"] == pytest.approx(shortfall, abs=1e-9)


def test_another_future_changes_no_observation():
    env = HyperExecVenuesEnv(scenario="venues-day")

    def played(change_from):
        first, _ = env.reset(seed=2)
        seen, over = [first], False
        if change_from is not None:
            other = draw_venue_path(env.task.market, episode_keys(77, [5]), 1.0)
            first, _ = env.begin_on(lambda paths: _spliced(paths, other, change_from))
            seen = [first]
        for action in _actions(env, 26, 3, 0.0):
            if over:
                break
            observation, _, over, _, info = env.step(action)
            assert over or info == {}
            seen.append(observation)
        return seen

    plain = played(None)
    for k in (1, 9, 20):
        changed = played(k)
        assert all(np.array_equal(a, b) for a, b in zip(plain[: k + 1], changed[: k + 1], strict=True))
        assert not all(np.array_equal(a, b) for a, b in zip(plain, changed, strict=False))


def _spliced(paths, other, k):
    """Return paths whose slices and worlds from slice k on are those of others; the regime and shares of slice k are known."""
    path, second = paths.path, other.path
    slices = type(path.slices)(
        *(
            np.concatenate([np.broadcast_to(a, (26, 1))[:k], np.broadcast_to(b, (26, 1))[k:]])
            for a, b in zip(path.slices, second.slices, strict=True)
        )
    )
    world = type(path.world)(*(np.concatenate([a[: k + 1], b[k + 1 :]]) for a, b in zip(path.world, second.world, strict=True)))
    weights = [np.concatenate([a[: k + 1], b[k + 1 :]]) for a, b in zip(paths.weights, other.weights, strict=True)]
    offers = [np.concatenate([a[:k], b[k:]]) for a, b in zip(paths.offers, other.offers, strict=True)]
    venues = [
        type(slices)(
            *(
                np.concatenate([np.broadcast_to(a, (26, 1))[:k], np.broadcast_to(b, (26, 1))[k:]])
                for a, b in zip(mine, theirs, strict=True)
            )
        )
        for mine, theirs in zip(paths.slices, other.slices, strict=True)
    ]
    return replace(paths, path=path._replace(slices=slices, world=world), weights=weights, offers=offers, slices=venues)


def test_a_pool_shows_what_it_filled_and_nothing_more():
    always = replace(DAY, venues=(*DAY.lit, replace(DAY.hidden[0], adverse_bps=0.0, liquidity=AllOrNothing(1.0))))
    never = replace(DAY, venues=(*DAY.lit, replace(DAY.hidden[0], liquidity=AllOrNothing(0.0))))
    for scenario, filled in ((always, 1.0), (never, 0.0)):
        env = HyperExecVenuesEnv(scenario=scenario)
        names = list(env.observation_names())
        place = [names.index(f"venue3.{name}") for name in ("filled", "censored", "since", "fill_rate")]
        observation, _ = env.reset(seed=1)
        assert observation[place].tolist() == [0.0, 0.0, 1.0, 0.0]
        observation, *_ = env.step(np.array([-1.0, -0.5], dtype=np.float32))
        assert observation[place].tolist() == [filled, filled, 1.0 - filled, filled]
        observation, *_ = env.step(np.array([-1.0, -1.0], dtype=np.float32))  # no request
        assert observation[place][:2].tolist() == [0.0, 0.0]
        assert observation[place][3] == filled


def test_requests_are_scaled_before_nature_is_seen():
    pools = tuple(replace(DAY.hidden[0], name=f"pool{n}", adverse_bps=0.0, liquidity=AllOrNothing(1.0)) for n in range(2))
    env = HyperExecVenuesEnv(scenario=replace(DAY, venues=(*DAY.lit, *pools)))
    env.reset(seed=1)
    _, _, over, _, info = env.step(np.array([-1.0, 1.0, 1.0], dtype=np.float32))
    assert over
    assert (info["filled_fraction"]["pool0"], info["filled_fraction"]["pool1"]) == (0.5, 0.5)
    env.reset(seed=1)
    _, _, over, _, info = env.trade([1e5, 1e5, 0.0, 1e5, 1e5])
    assert over
    assert info["filled_fraction"] == {"primary": 0.25, "second": 0.25, "third": 0.0, "pool0": 0.25, "pool1": 0.25}


def test_the_desk_routes_at_least_as_well_as_an_agent_that_follows_mean_shares():
    costs = {}
    for router in ("water-filling", "agent"):
        env, total = HyperExecVenuesEnv(scenario=DAY, router=router), 0.0
        for seed in range(40):
            env.reset(seed=seed)
            over = False
            while not over:
                _, reward, over, _, _ = env.step(np.zeros(env.action_space.shape, dtype=np.float32))
                total -= reward
        costs[router] = total
    assert 1.002 * costs["water-filling"] < costs["agent"] < 1.1 * costs["water-filling"]


@pytest.mark.parametrize("options", [{}, {"router": "agent"}, {"scenario": "passive-day"}])
def test_gymnasium_accepts_the_environment(options):
    env = gym.make("HyperExecVenues-v0", **options)
    check_env(env.unwrapped, skip_render_check=True)
    assert hx.make(DAY).spec.id == "HyperExecVenues-v0"
    assert hx.make("venues-day").observation_space == gym.make("HyperExecVenues-v0").observation_space
    lanes = hx.make_vec("venues-day", 2)
    assert lanes.single_action_space.shape == (2,)
    assert len(lanes.observation_names()) == lanes.single_observation_space.shape[0] == 31


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"router": "random"}, "router must be one of water-filling, agent, got 'random'"),
        ({"reward": "cost-risk"}, "reward must be one of expected, realised, got 'cost-risk'"),
        ({"render_mode": "gif"}, "render_mode must be one of ansi, rgb_array, human"),
        ({"scenario": "venue-day"}, "unknown scenario with venues 'venue-day'; did you mean 'venues-day'"),
    ],
)
def test_a_bad_option_is_one_clear_error(options, message):
    with pytest.raises(ValueError, match=message):
        HyperExecVenuesEnv(**options)
    if "render_mode" not in options:
        with pytest.raises(ValueError, match=message):
            HyperExecVenuesVectorEnv(2, **options)


def test_a_bad_action_is_one_clear_error():
    env = HyperExecVenuesEnv()
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(2))
    env.reset(seed=1)
    for action, message in (
        (np.zeros(3), r"action must be an array of shape \(2,\), got shape \(3,\)"),
        (np.array([0.0, np.nan]), "action must be numbers in"),
        (np.array(["a", "b"]), "action must be numbers in"),
    ):
        with pytest.raises(ValueError, match=message):
            env.step(action)
    with pytest.raises(ValueError, match="shares to trade must be 4 numbers, one for each venue"):
        env.trade([1.0])
    with pytest.raises(TypeError, match="unexpected keyword argument 'routr'; did you mean 'router'"):
        HyperExecVenuesEnv(routr="agent")
    lanes = HyperExecVenuesVectorEnv(2)
    lanes.reset(seed=1)
    with pytest.raises(ValueError, match=r"shares to trade must be numbers of shape \(2, 4\)"):
        lanes.trade(np.zeros(2))


def test_the_situation_of_a_lane_is_that_of_the_single_environment():
    lanes, single = HyperExecVenuesVectorEnv(2), HyperExecVenuesEnv()
    lanes.reset(seed=8)
    single.reset(seed=8)
    for _ in range(3):
        many, one = lanes.situation, single.situation
        for name in one.order._fields[1:]:
            assert getattr(one.order, name) == getattr(many.order, name)[0], name
        for name in ("weights", "asked", "filled"):
            assert [values[0] for values in getattr(many, name)] == getattr(one, name)
        lanes.step(np.array([[0.0, 0.5]] * 2))
        single.step(np.array([0.0, 0.5]))


def test_text_and_picture_show_the_fills_of_each_venue():
    env = HyperExecVenuesEnv(render_mode="ansi")
    with pytest.raises(gym.error.ResetNeeded):
        env.render()
    env.reset(seed=5)
    assert "nothing yet" in env.render()
    over = False
    while not over:
        over = env.step(np.array([0.0, 1.0]))[2]
    text = env.render()
    for name, share in env.episode.info()["filled_fraction"].items():
        assert any(line.startswith(name) and f"{share:6.1%} of the order" in line for line in text.splitlines())
    assert "adverse" in text
    assert "fees" in text


def test_a_picture_has_the_colours_of_the_venues():
    pytest.importorskip("PIL", reason="needs the extra `plot`")
    env = HyperExecVenuesEnv(render_mode="rgb_array")
    env.reset(seed=5)
    blank = env.render()
    for _ in range(12):
        env.step(np.array([0.0, 1.0]))
    pixels = env.render()
    assert blank.shape == pixels.shape == (640, 960, 3)
    colours = {tuple(colour) for colour in pixels[350:540, 90:570].reshape(-1, 3)}
    assert (0xD9, 0x73, 0x0D) in colours  # the pool
    assert (0x6F, 0x9F, 0xD8) in colours  # the second lit venue
    assert not {(0xD9, 0x73, 0x0D)} & {tuple(colour) for colour in blank[350:540, 90:570].reshape(-1, 3)}
    env.close()
