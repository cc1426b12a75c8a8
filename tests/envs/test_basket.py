"""HyperExecBasket-v0: a basket of one is HyperExec-v0, lanes are single environments, and rewards are the costs."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.envs.basket_vector import HyperExecBasketVectorEnv
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.market.basket_scenario import basket_names, get_basket

RESULTS = ("objective_bps", "shortfall_bps", "risk_bps", "forced_fraction")
OPTIONS = (
    {},
    {"scenario": "basket-day", "action_mode": "discrete", "random_side": True, "quantity_range": (0.5, 2)},
    {"action_mode": "dial", "observe_regime": False, "reward": "realised"},
    {"scenario": "basket-pairs", "action_mode": "fraction", "info": "full"},
)


def gentle(space, rng, count=()):
    """Return actions that leave shares until the deadline."""
    if isinstance(space, gym.spaces.MultiDiscrete):
        return rng.integers(0, 5, (*count, *space.shape))
    return rng.uniform(-1.0, 0.2, (*count, *space.shape)).astype(np.float32)


@pytest.mark.fast
@pytest.mark.parametrize("action_mode", ["pace", "fraction", "participation", "discrete"])
@pytest.mark.parametrize("scenario", ["regime-day", "obizhaeva-wang"])
def test_a_basket_of_one_is_the_environment_of_one_asset_bit_for_bit(scenario, action_mode):
    options = {"action_mode": action_mode, "random_side": True, "quantity_range": (0.5, 2), "info": "full"}
    one, basket = HyperExecEnv(scenario, **options), HyperExecBasketEnv(scenario, **options)
    names = basket.observation_names()
    columns = [names.index(name if name in names else f"asset0.{name}") for name in observation_names()]
    rng = np.random.default_rng(0)
    for episode in range(2):
        seed = 5 if episode == 0 else None
        observations = one.reset(seed=seed)[0], basket.reset(seed=seed)[0]
        over = False
        while not over:
            np.testing.assert_array_equal(observations[0], observations[1][columns])
            action = gentle(basket.action_space, rng)
            alone, reward, over, _, info = one.step(action[0] if action_mode == "discrete" else action)
            seen, of_basket, basket_over, _, basket_info = basket.step(action)
            observations = alone, seen
            assert (reward, over) == (of_basket, basket_over)
            assert all(info[name] == basket_info[name] for name in ("objective_bps", "shortfall_bps", "components_bps"))
            (asset,) = basket_info["assets"].values()
            assert all(info[name] == asset[name] for name in ("forced_fraction", "side", "quantity"))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_lanes_are_single_environments_bit_for_bit(mode, options):
    count, rng = 3, np.random.default_rng(1)
    lanes = HyperExecBasketVectorEnv(count, autoreset_mode=mode, backend="numpy", **options)
    singles = [HyperExecBasketEnv(**options) for _ in range(count)]
    first = np.stack([single.reset(seed=7 + lane)[0] for lane, single in enumerate(singles)])
    np.testing.assert_array_equal(lanes.reset(seed=7)[0], first)
    over, ends = np.zeros(count, bool), 0
    for _ in range(30):
        actions = gentle(lanes.single_action_space, rng, (count,))
        if mode == "Disabled" and over.any():
            seen, _ = lanes.reset(options={"reset_mask": over})
            for lane in np.flatnonzero(over):
                np.testing.assert_array_equal(singles[lane].reset()[0], seen[lane])
            over = np.zeros(count, bool)
        seen, rewards, terminated, _, info = lanes.step(actions)
        for lane, single in enumerate(singles):
            if mode == "NextStep" and over[lane]:
                observation, reward, ended = single.reset()[0], 0.0, False
            else:
                observation, reward, ended, _, told = single.step(actions[lane])
            assert (rewards[lane], terminated[lane]) == (reward, ended)
            if ended:
                ends += 1
                of_lane = info
                if mode == "SameStep":
                    np.testing.assert_array_equal(info["final_obs"][lane], observation)
                    of_lane, (observation, _) = info["final_info"], single.reset()
                assert all(of_lane[name][lane] == told[name] for name in RESULTS)
                for name, asset in told["assets"].items():
                    assert all(of_lane["assets"][name][key][lane] == asset[key] for key in (*RESULTS, "side", "quantity"))
            np.testing.assert_array_equal(seen[lane], observation)
            for name in ("remaining", "transient", "price", "last_price", "last_volume"):
                alone = getattr(single.situation, name)
                np.testing.assert_array_equal(getattr(lanes.situation, name)[:, lane], alone, err_msg=name)
        over = terminated.copy()
    assert ends


@pytest.mark.fast
@pytest.mark.parametrize("scenario", basket_names())
def test_rewards_are_the_costs_and_costs_of_assets_sum_to_the_shortfall(scenario):
    for reward, of_cost in (("expected", lambda info: info["objective_bps"]), ("realised", _shortfall_and_risk)):
        env = HyperExecBasketEnv(scenario, reward=reward)
        rng, total, over = np.random.default_rng(2), 0.0, False
        observation, _ = env.reset(seed=3)
        while not over:
            assert observation in env.observation_space
            observation, paid, over, _, info = env.step(gentle(env.action_space, rng))
            total += paid
        assert observation in env.observation_space
        assert total == pytest.approx(-of_cost(info), abs=1e-9)
        assert sum(info["components_bps"].values()) == pytest.approx(info["shortfall_bps"], abs=1e-9)
        for name in ("shortfall_bps", "objective_bps", "risk_bps"):
            assert sum(asset[name] for asset in info["assets"].values()) == pytest.approx(info[name], abs=1e-9)


def _shortfall_and_risk(info):
    return info["shortfall_bps"] + info["risk_bps"]


@pytest.mark.fast
def test_turning_all_orders_around_mirrors_prices_and_leaves_costs_of_impact():
    """Matrices in the directions of the orders do not change, so only the price noise does."""
    buys = get_basket("basket-pairs")
    sells = buys.from_dict({**buys.to_dict(), "asset": [{**each, "side": -each["side"]} for each in _listed(buys)]})
    results = []
    for basket in (buys, sells):
        env, over = HyperExecBasketEnv(basket), False
        env.reset(seed=4)
        while not over:
            *_, over, _, info = env.step(np.full(10, -0.2))
        results.append(info)
    for name in ("spread", "temporary", "transient", "permanent"):
        assert results[0]["components_bps"][name] == pytest.approx(results[1]["components_bps"][name], rel=1e-12)
    assert results[0]["components_bps"]["timing"] == pytest.approx(-results[1]["components_bps"]["timing"], rel=1e-9)


def _listed(basket):
    """Return the assets of a basket as tables, each with its side."""
    return [{**table, "side": asset.side} for table, asset in zip(basket.to_dict()["asset"], basket.assets, strict=True)]


@pytest.mark.fast
def test_a_hedge_has_a_negative_pull_and_trading_it_first_raises_the_variance():
    env = HyperExecBasketEnv("basket-pairs")
    names, sides = env.observation_names(), np.array(get_basket("basket-pairs").sides)
    observation, _ = env.reset(seed=0)
    assert observation[names.index("variance_left")] == pytest.approx(0.5)  # y = 1
    quantities = get_basket("basket-pairs").quantities
    after, *_ = env.trade(np.where(sides > 0, 0.0, quantities))
    assert after[names.index("variance_left")] > 0.5
    pulls = np.array([after[names.index(f"asset{i}.pull")] for i in range(10)])
    assert (pulls[sides > 0] > 0).all()
    assert (pulls[sides < 0] < 0).all()


@pytest.mark.fast
def test_gymnasium_checks_the_environments_and_makes_them():
    env = gym.make("HyperExecBasket-v0", scenario="basket-pairs")
    check_env(env.unwrapped, skip_render_check=True)
    lanes = gym.make_vec("HyperExecBasket-v0", num_envs=3, scenario="basket-pairs", action_mode="dial", backend="numpy")
    assert lanes.action_space.shape == (3, 1)
    assert lanes.reset(seed=1)[0].shape == lanes.observation_space.shape


@pytest.mark.fast
def test_a_limit_truncates_the_lanes():
    lanes = HyperExecBasketVectorEnv(2, max_episode_steps=3, scenario="basket-pairs", backend="numpy")
    lanes.reset(seed=0)
    ends = [lanes.step(np.zeros((2, 10)))[2:4] for _ in range(4)]
    assert [bool(truncated.all()) for _, truncated in ends] == [False, False, True, False]
    assert not any(terminated.any() for terminated, _ in ends)


@pytest.mark.fast
def test_text_shows_each_asset():
    env = HyperExecBasketEnv("basket-hedged", render_mode="ansi")
    env.reset(seed=0)
    env.step(np.zeros(10))
    text = env.render()
    assert text.count("\n") == 10
    assert "sell" in text
    assert "pull" in text


@pytest.mark.fast
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"action_mode": "pase"}, "pace"),
        ({"scenario": "basket-hedge"}, "basket-hedged"),
        ({"reward": "profit"}, "reward"),
        ({"quantity_range": (2, 1)}, "quantity_range"),
        ({"render_mode": "svg"}, "render_mode"),
    ],
)
def test_a_bad_option_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        HyperExecBasketEnv(**given)
    with pytest.raises(TypeError, match="action_mode"):
        HyperExecBasketEnv(action_mod="pace")


@pytest.mark.fast
@pytest.mark.parametrize("action", [np.zeros(3), np.full(10, np.nan), "pace", np.full(10, "x")])
def test_a_bad_action_is_refused_and_changes_nothing(action):
    env = HyperExecBasketEnv("basket-hedged")
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(10))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action must be"):
        env.step(action)
    assert env.situation.k == 0
