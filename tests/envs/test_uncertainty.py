"""Uncertain markets: each episode meets the draw of its key, all executions agree, and no observation names the draw."""

import pickle
from dataclasses import replace
from importlib.util import find_spec

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import hyperexec_env as hx
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.lanes import lane_program
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.task import build_task
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_number
from hyperexec_env.market.scenario import get_scenario

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
RNG = np.random.default_rng(17)
DAY = replace(get_scenario("regime-day"), slices=6)
COLUMNS = {
    name: (getattr(DAY, name) * np.append(RNG.uniform(0.6, 1.5, 5), [0.6, 1.5])).tolist()
    for name in ("adv", "volatility", "half_spread_bps", "resilience", "flow_share", "temp_impact_alpha")
}
COLUMNS |= {
    "temp_impact_beta": [0.5, 0.6, 1.0, 0.55, 0.45, 0.5, 0.7],
    "kyle_lambda": [0.3, 0.4, 0.25, 0.35, 0.5, 0.3, 0.28],
    "perm_impact_gamma": [0.2, 0.1, 0.25, 0.05, 0.3, 0.0, 0.2],
}
UNSURE = replace(DAY, posterior=COLUMNS)
OPTIONS = [
    {},
    {"observe_regime": False},
    {"random_side": True, "quantity_range": (0.5, 2.0)},
    {"action_mode": "discrete", "reward": "realised"},
]


def actions_of(env, rng):
    """Return random actions of every lane."""
    count = env.num_envs
    if env.task.mode.discrete:
        return np.array([rng.choice(np.flatnonzero(mask)) for mask in env.action_masks()])
    return rng.uniform(-1.0, 1.0, (count, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        *(("numpy", options) for options in OPTIONS),
        *(pytest.param("numba", options, marks=[needs_numba, pytest.mark.slow]) for options in OPTIONS[2:]),
    ],
)
def test_a_lane_is_the_single_environment_to_the_last_bit(backend, options):
    options = {"scenario": UNSURE, "uncertainty": True, **options}
    batch = HyperExecVectorEnv(4, "SameStep", backend, **options)
    singles = [HyperExecEnv(**options) for _ in range(4)]
    rng, seen = np.random.default_rng(1), batch.reset(seed=5)[0]
    assert np.array_equal(seen, [env.reset(seed=5 + lane)[0] for lane, env in enumerate(singles)])
    for _ in range(40):
        actions, situation = actions_of(batch, rng), batch.situation
        for lane, env in enumerate(singles):
            alone, together = env.situation._asdict(), situation._asdict()
            del alone["market"], together["market"]
            assert alone == {name: np.broadcast_to(value, 4)[lane] for name, value in together.items()}
        seen, rewards, ended, _, info = batch.step(actions)
        for lane, env in enumerate(singles):
            own, reward, terminated, _, said = env.step(actions[lane])
            assert (reward, terminated) == (rewards[lane], ended[lane])
            if terminated:
                assert said["objective_bps"] == info["final_info"]["objective_bps"][lane]
                assert np.array_equal(own, info["final_obs"][lane])
                own = env.reset()[0]
            assert np.array_equal(own, seen[lane])


@pytest.mark.parametrize(
    ("mode", "limit"),
    [
        ("SameStep", None),
        pytest.param("NextStep", 4, marks=pytest.mark.slow),
        pytest.param("Disabled", None, marks=pytest.mark.slow),
    ],
)
def test_numpy_and_compiled_lanes_agree_in_every_autoreset_mode(mode, limit):
    pytest.importorskip("numba", reason="needs the extra `fast`")
    made = [
        HyperExecVectorEnv(5, mode, backend, scenario=UNSURE, uncertainty=True, max_episode_steps=limit)
        for backend in ("numpy", "numba")
    ]
    rng = np.random.default_rng(3)
    for env in made:
        env.reset(seed=9)
    for _ in range(30):
        actions = actions_of(made[0], rng)
        first, second = (env.step(actions) for env in made)
        for one, other in zip(first[:4], second[:4], strict=True):
            assert np.array_equal(one, other)
        over = first[2] | first[3]
        if mode == "Disabled" and over.any():
            assert np.array_equal(*(env.reset(options={"reset_mask": over})[0] for env in made))


def test_the_draw_is_a_hash_of_the_episode():
    keys = episode_keys(4, np.arange(70_000))
    numbers = draw_number(7, keys)
    assert np.array_equal(numbers[:100], draw_number(7, keys[:100]))
    counts = np.bincount(numbers, minlength=7)
    chi_square = ((counts - 10_000.0) ** 2 / 10_000.0).sum()
    assert chi_square < 22.5  # 99.9 % with 6 degrees of freedom
    assert draw_number(7, keys[:1]).shape == (1,)


def test_an_episode_is_that_of_its_draw_with_the_same_trades():
    """The market, the costs and the reward are those of the draw; only what is observed differs."""
    unsure, met = HyperExecEnv(UNSURE, uncertainty=True), set()
    for episode in range(25):
        number = int(draw_number(7, episode_keys(2, episode))[0])
        met.add(number)
        known = HyperExecEnv(UNSURE.draw(number))
        for env in (unsure, known):
            env.reset(seed=2, options={"episode": episode})
        shares = np.random.default_rng(episode).dirichlet(np.ones(6)) * DAY.quantity
        for child in shares:
            (_, reward, ended, _, info), (_, same, over, _, told) = (env.trade(float(child)) for env in (unsure, known))
            assert (reward, ended, info) == (same, over, told)
    assert met == set(range(7))


def test_draws_equal_to_the_point_estimate_leave_the_environment_as_it_is():
    sure = replace(DAY, posterior={name: [getattr(DAY, name)] * 2 for name in COLUMNS})
    batches = [hx.make_vec(sure, 3, uncertainty=uncertain, backend="numpy") for uncertain in (True, False)]
    rng = np.random.default_rng(0)
    for env in batches:
        env.reset(seed=1)
    for _ in range(20):
        actions = actions_of(batches[0], rng)
        (seen, reward, *_), (plain, same, *_) = (env.step(actions) for env in batches)
        assert seen == pytest.approx(plain, abs=1e-6)
        assert reward == pytest.approx(same, rel=1e-12)


def observed(columns, steps=6, **options):
    """Return the observations and the rewards of some episodes with draws of some fields."""
    unsure = replace(DAY, posterior={name: COLUMNS[name] for name in columns})
    env = HyperExecVectorEnv(50, "SameStep", "numpy", scenario=unsure, uncertainty=True, **options)
    rng, rows, rewards = np.random.default_rng(2), [env.reset(seed=0)[0]], []
    for _ in range(steps - 1):
        seen, reward, *_ = env.trade(rng.uniform(0.0, 0.2, 50) * DAY.quantity)
        rows.append(seen)
        rewards.append(reward)
    return np.array(rows), np.array(rewards)


def test_what_only_costs_depend_on_is_not_observed():
    """Spread and temporary impact change every reward and no feature."""
    rows, rewards = zip(
        *(observed([name]) for name in ("half_spread_bps", "temp_impact_alpha", "temp_impact_beta")), strict=True
    )
    assert np.array_equal(rows[0], rows[1])
    assert np.array_equal(rows[0], rows[2])
    assert (rewards[0] != rewards[1]).all()


@pytest.mark.parametrize("hidden", [False, True])
def test_only_volumes_and_the_mid_of_a_draw_are_observed(hidden):
    options = {"observe_regime": not hidden}
    names = np.array(observation_names())

    def differing(column):
        rows = observed([column], **options)[0]
        plain = observed(["half_spread_bps"], **options)[0]
        assert np.array_equal(rows[0], plain[0])
        return {*names[np.flatnonzero((rows[1:] != plain[1:]).any(axis=(0, 1)))]}

    assert differing("adv") == {"last_volume", "last_participation", "price_move"}
    for name in ("volatility", "kyle_lambda", "perm_impact_gamma", "resilience", "flow_share"):
        assert differing(name) == {"price_move"}


def test_the_first_observation_does_not_depend_on_the_draw():
    for hidden in (False, True):
        options = {"scenario": UNSURE, "observe_regime": not hidden, "backend": "numpy"}
        unsure, plain = (hx.make_vec(num_envs=50, uncertainty=uncertain, **options) for uncertain in (True, False))
        assert np.array_equal(unsure.reset(seed=0)[0], plain.reset(seed=0)[0])


def test_the_mid_is_that_of_the_draw_and_its_parts_are_those_of_the_point_estimate():
    env, market = HyperExecEnv(UNSURE, uncertainty=True), build_task(UNSURE).market
    for episode in range(6):
        env.reset(seed=8, options={"episode": episode})
        number = int(draw_number(7, episode_keys(8, episode))[0])
        known = HyperExecEnv(UNSURE.draw(number))
        known.reset(seed=8, options={"episode": episode})
        transient, last = 0.0, None
        for child in (0.1, 0.3, 0.0, 0.2):
            seen, true = env.situation, known.situation
            mid, own = (s.price + s.side * (s.permanent + s.transient) for s in (seen, true))
            assert mid == pytest.approx(own, rel=1e-13)
            assert seen.permanent == pytest.approx(market.impact.permanent_slope * (DAY.quantity - seen.remaining), rel=1e-12)
            assert seen.transient == pytest.approx(transient, rel=1e-12)
            assert seen.last_price == (true.last_price if last else seen.price)
            shares = child * DAY.quantity
            transient = (transient + market.impact.transient_slope * shares) * market.transient_decay[seen.seen]
            last = shares
            for each in (env, known):
                each.trade(shares)


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=needs_numba)])
def test_lanes_go_on_from_a_position_and_from_a_pickle(backend):
    env = HyperExecVectorEnv(3, "SameStep", backend, scenario=UNSURE, uncertainty=True)
    env.reset(seed=1)
    rng = np.random.default_rng(5)
    for _ in range(3):
        env.step(actions_of(env, rng))
    other = HyperExecVectorEnv(3, "SameStep", backend, scenario=UNSURE, uncertainty=True)
    other.reset(seed=77)
    other.go_on(env.position())
    copied = pickle.loads(pickle.dumps(env))  # noqa: S301 - written in this test
    assert "Belief.transient" in env.position()
    for _ in range(12):
        actions = actions_of(env, rng)
        results = [each.step(actions) for each in (env, other, copied)]
        for result in results[1:]:
            assert np.array_equal(result[0], results[0][0])
            assert np.array_equal(result[1], results[0][1])


def test_costs_of_a_running_episode_are_not_told():
    single, batch = (
        make(UNSURE)
        for make in (
            lambda scenario: HyperExecEnv(scenario, uncertainty=True, info="full"),
            lambda scenario: HyperExecVectorEnv(2, "Disabled", "numpy", scenario=scenario, uncertainty=True, info="full"),
        )
    )
    single.reset(seed=3)
    batch.reset(seed=3)
    for k in range(6):
        _, _, ended, _, info = single.trade(DAY.quantity / 6)
        *_, told = batch.trade(np.full(2, DAY.quantity / 6))
        assert np.isnan(info["objective_bps"]) == (not ended) == (k < 5)
        assert told["objective_bps"][0] == pytest.approx(info["objective_bps"], rel=1e-12, nan_ok=True)
        assert told["components_bps"]["spread"][0] == pytest.approx(info["components_bps"]["spread"], rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("make", [hx.make, hx.make_vec])
def test_a_market_without_draws_cannot_be_uncertain(make):
    with pytest.raises(ValueError, match=r"scenario 'regime-day' has no posterior: .*`hyperexec measure`"):
        make("regime-day", uncertainty=True)
    with pytest.raises(ValueError, match="uncertainty must be true or false, got 1"):
        make(UNSURE, uncertainty=1)
    with pytest.raises(ValueError, match="leave it out with replay"):
        make(None, uncertainty=True, replay="days.csv")
    with pytest.raises(ValueError, match=r"transient_exponent must be 1 where a market is uncertain, got 0\.5"):
        make(replace(UNSURE, transient_exponent=0.5), uncertainty=True)
    with pytest.raises(ValueError, match=r"volume_persistence must be 0 where a market is uncertain, got 0\.3"):
        make(replace(UNSURE, volume_persistence=0.3), uncertainty=True)


def test_without_the_option_a_posterior_changes_no_plan_and_no_number():
    plain, unsure = (lane_program(build_task(scenario), AutoresetMode.SAME_STEP) for scenario in (DAY, UNSURE))
    assert plain.plans == unsure.plans
    assert plain.kept == unsure.kept
    for kind in plain.given:
        assert plain.given[kind] == unsure.given[kind] or np.array_equal(plain.given[kind], unsure.given[kind])


def test_the_checker_of_gymnasium_is_content():
    env = gym.make("HyperExec-v0", scenario=UNSURE, uncertainty=True)
    check_env(env.unwrapped, skip_render_check=True)


def test_the_picture_of_a_lane_is_that_of_the_single_environment():
    pytest.importorskip("PIL", reason="needs the extra `plot`")
    batch = HyperExecVectorEnv(1, "Disabled", "numpy", scenario=UNSURE, uncertainty=True, render_mode="rgb_array")
    single = HyperExecEnv(UNSURE, uncertainty=True, render_mode="rgb_array")
    batch.reset(seed=4)
    single.reset(seed=4)
    for child in (0.2, 0.3, 0.1):
        batch.trade(np.array([child * DAY.quantity]))
        single.trade(child * DAY.quantity)
    assert np.array_equal(batch.render()[0], single.render())
