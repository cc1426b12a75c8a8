"""HyperExecTouch-v0: lanes are single environments, rewards are the costs, and an observation is the past only."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

import hyperexec_env as hx
from hyperexec_env.audit.own_touch import another_outflow
from hyperexec_env.baselines.touch_policies import touch_policy
from hyperexec_env.envs.touch import HyperExecTouchEnv
from hyperexec_env.envs.touch_features import TOUCH_FEATURES, touch_feature_names
from hyperexec_env.envs.touch_vector import HyperExecTouchVectorEnv
from hyperexec_env.evaluation.touch_rollout import rollout_touch, situation_at
from hyperexec_env.market.touch import JOIN, KEEP, TOUCH
from hyperexec_env.market.touch_scenario import touch_names

OPTIONS = ({}, {"scenario": "touch-thin", "action_mode": "discrete", "info": "full"}, {"scenario": "touch-queue"})
TOLD = ("objective", "objective_bps", "taken_fraction", "forced_fraction", "left", "mid_ticks")


def sampled(space, rng, count=()):
    """Return actions that rarely take, so that episodes last."""
    rest = rng.integers(0, 4, count)
    take = np.where(rng.random(count) < 0.1, rng.integers(0, 3, count), 0)
    return take * 4 + rest if isinstance(space, gym.spaces.Discrete) else np.stack([take, rest], axis=-1)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_lanes_are_single_environments_bit_for_bit(mode, options):
    count, rng = 4, np.random.default_rng(1)
    lanes = HyperExecTouchVectorEnv(count, autoreset_mode=mode, backend="numpy", **options)
    singles = [HyperExecTouchEnv(**options) for _ in range(count)]
    first = np.stack([single.reset(seed=7 + lane)[0] for lane, single in enumerate(singles)])
    np.testing.assert_array_equal(lanes.reset(seed=7)[0], first)
    over, ends = np.zeros(count, bool), 0
    for _ in range(60):
        actions = sampled(lanes.single_action_space, rng, (count,))
        if mode == "Disabled" and over.any():
            seen, _ = lanes.reset(options={"reset_mask": over})
            for lane in np.flatnonzero(over):
                np.testing.assert_array_equal(singles[lane].reset()[0], seen[lane])
            over = np.zeros(count, bool)
        seen, rewards, terminated, truncated, info = lanes.step(actions)
        assert not truncated.any()
        for lane, single in enumerate(singles):
            if mode == "NextStep" and over[lane]:
                observation, reward, ended = single.reset()[0], 0.0, False
                told = {"action_mask": single.action_masks().astype(np.int8)}
            else:
                observation, reward, ended, _, told = single.step(actions[lane])
            assert (rewards[lane], terminated[lane]) == (reward, ended)
            of_lane = info
            if ended:
                ends += 1
                if mode == "SameStep":
                    np.testing.assert_array_equal(info["final_obs"][lane], observation)
                    of_lane = info["final_info"]
                assert all(of_lane[name][lane] == told[name] for name in TOLD)
                assert {name: of_lane["costs"][name][lane] for name in told["costs"]} == told["costs"]
            np.testing.assert_array_equal(of_lane["action_mask"][lane], told["action_mask"])
            if ended and mode == "SameStep":
                observation, told = single.reset()
                np.testing.assert_array_equal(info["action_mask"][lane], told["action_mask"])
            np.testing.assert_array_equal(seen[lane], observation)
        over = terminated.copy()
    assert ends


@pytest.mark.fast
@pytest.mark.parametrize("scenario", touch_names())
def test_rewards_sum_to_minus_the_objective_and_observations_lie_in_the_space(scenario):
    env, rng = hx.make(scenario, info="full").unwrapped, np.random.default_rng(2)
    for episode in range(6):
        total, over = 0.0, False
        observation, _ = env.reset(seed=3 if episode == 0 else None)
        while not over:
            assert observation in env.observation_space
            observation, reward, over, truncated, info = env.step(sampled(env.action_space, rng))
            total += reward
            assert not truncated
            assert total == pytest.approx(-info["objective"], abs=1e-12)
            assert sum(info["costs"].values()) == pytest.approx(info["objective"], abs=1e-12)
        assert observation in env.observation_space
        assert info["left"] == 0.0


@pytest.mark.fast
@pytest.mark.parametrize("scenario", touch_names())
@pytest.mark.parametrize("action_mode", ["pair", "discrete"])
def test_gymnasium_finds_no_fault(scenario, action_mode):
    check_env(hx.make(scenario, action_mode=action_mode).unwrapped, skip_render_check=True)


@pytest.mark.fast
@pytest.mark.parametrize("k", [0, 1, 5, 12])
def test_another_future_moves_no_observation(k):
    env = HyperExecTouchEnv("touch-queue")

    def seen(change):
        env.reset(seed=11)
        observations = [env.begin_on(change)[0]]
        over = False
        while not over:
            over = observations.append((step := env.step([0, KEEP if env.lane.place.level == TOUCH else JOIN]))[0]) or step[2]
        return np.array(observations)

    plain, other = seen(lambda draws: draws), seen(another_outflow(env.task.market, k))
    np.testing.assert_array_equal(plain[: k + 1], other[: k + 1])
    assert plain.shape != other.shape or (plain != other).any()


@pytest.mark.fast
def test_the_environment_is_the_rollout_of_the_board():
    for name in touch_names():
        policy, env = touch_policy("optimum"), HyperExecTouchEnv(name, action_mode="discrete")
        (outcome,) = rollout_touch(env.task.market, [policy], 5, 9)
        for episode in range(5):
            env.reset(seed=9, options={"board": True, "episode": episode})
            over = False
            while not over:
                *_, over, _, info = env.step(int(policy.act(situation_at(env.task.market, env.lane))))
            assert info["objective"] == pytest.approx(outcome.objective[episode], abs=1e-14)


@pytest.mark.fast
def test_masks_allow_what_is_possible():
    env = HyperExecTouchEnv("touch-queue", action_mode="discrete")
    _, info = env.reset(seed=0)
    assert info["action_mask"].reshape(6, 4).all(axis=0).tolist() == [True, True, False, True]
    *_, info = env.step(5 * 4 + JOIN)
    *_, info = env.step(3 * 4 + KEEP)
    mask = info["action_mask"].reshape(6, 4)
    assert mask.any(axis=1).tolist() == [True, True, True, False, False, False]
    assert mask[0].all()
    assert env.action_masks().tolist() == info["action_mask"].astype(bool).tolist()
    pair = HyperExecTouchEnv("touch-queue")
    assert pair.reset(seed=0)[1]["action_mask"].tolist() == [1] * 6 + [1, 1, 0, 1]
    assert env.action_space.contains(env.action_space.sample(mask=info["action_mask"]))


@pytest.mark.fast
def test_what_is_not_possible_is_lowered():
    env = HyperExecTouchEnv("touch-queue", info="full")
    env.reset(seed=0)
    *_, info = env.step([5, KEEP])  # nothing rests, so there is no place to keep
    assert env.lane.place.level == 0.0
    for _ in range(3):
        *_, over, _, info = env.step([5, 0])
        if over:
            break
    assert info["taken_fraction"] == 1.0
    with pytest.raises(ResetNeeded):
        env.step([0, 0])


@pytest.mark.fast
@pytest.mark.parametrize("action", [[0], [6, 0], [0, 4], [-1, 0], [0.5, 1], 3])
def test_a_bad_action_is_refused(action):
    env = HyperExecTouchEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"^action must be"):
        env.step(action)


@pytest.mark.fast
def test_bad_options_name_themselves():
    with pytest.raises(ValueError, match="action_mode must be one of pair, discrete, got 'pace'"):
        hx.make("touch-5min", action_mode="pace")
    with pytest.raises(TypeError, match="unexpected keyword argument 'scenaro'; did you mean 'scenario'"):
        HyperExecTouchEnv(scenaro="touch-5min")
    with pytest.raises(ValueError, match="render_mode must be None for a vector of queues"):
        HyperExecTouchVectorEnv(2, render_mode="ansi")
    with pytest.raises(ValueError, match="info must be one of final, full"):
        HyperExecTouchEnv(info="all")


@pytest.mark.fast
def test_make_knows_the_touch():
    assert hx.make("touch-5min").spec.id == hx.make_vec("touch-5min", 2).spec.id == "HyperExecTouch-v0"
    assert gym.make("HyperExecTouch-v0").unwrapped.task.market.scenario.name == "touch-5min"
    assert hx.make({"base": "touch-thin", "lots": 3}).unwrapped.task.market.scenario.lots == 3


@pytest.mark.fast
def test_a_limit_of_steps_truncates():
    lanes = HyperExecTouchVectorEnv(3, "SameStep", max_episode_steps=2, scenario="touch-queue", backend="numpy")
    lanes.reset(seed=1)
    wait = np.zeros((3, 2), int)
    assert not lanes.step(wait)[3].any()
    _, _, terminated, truncated, info = lanes.step(wait)
    assert truncated.all()
    assert not terminated.any()
    assert info["final_obs"][0][0] == np.float32(0.9)


@pytest.mark.fast
def test_lanes_go_on_from_a_position():
    rng = np.random.default_rng(0)
    one, other = (HyperExecTouchVectorEnv(5, "SameStep", scenario="touch-thin", backend="numpy") for _ in range(2))
    one.reset(seed=3)
    for _ in range(20):
        seen = one.step(sampled(one.single_action_space, rng, (5,)))[0]
    np.testing.assert_array_equal(other.go_on(one.position()), seen)
    for _ in range(40):
        actions = sampled(one.single_action_space, rng, (5,))
        for left, right in zip(one.step(actions)[:4], other.step(actions)[:4], strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.fast
def test_the_card_of_the_environment_lists_the_features():
    rows = [line.split("|")[1:6] for line in HyperExecTouchEnv.__doc__.splitlines() if line.strip().startswith("| ")]
    listed = [[cell.strip() for cell in row] for row in rows if row[0].strip().isdigit()]
    assert [row[1] for row in listed] == list(touch_feature_names()) == list(HyperExecTouchEnv().observation_names())
    for row, feature in zip(listed, TOUCH_FEATURES, strict=True):
        assert row[2:] == [feature.meaning, f"{feature.low:g}", f"{feature.high:g}"]
        assert [float(row[3]), float(row[4])] == [feature.low, feature.high]


def test_the_queue_is_rendered_as_text_and_as_a_picture():
    pytest.importorskip("PIL", reason="needs the extra `plot`")
    text, picture = (hx.make("touch-queue", render_mode=mode) for mode in ("ansi", "rgb_array"))
    with pytest.raises(ResetNeeded):
        text.unwrapped.render()
    for env in (text, picture):
        env.reset(seed=1)
        env.step([1, JOIN])
    lines = text.render().splitlines()
    assert "9 left" in lines[0]
    lane = text.unwrapped.lane
    assert lines[3] == "queue      front [" + "." * int(lane.place.ahead) + "#" * int(lane.left)
    before = picture.render()
    assert before.shape == (640, 960, 3)
    picture.step([0, KEEP])
    assert (picture.render() != before).any()
    over = False
    while not over:  # every state can be drawn: deeper, nowhere and over
        over = picture.step([0, 3 if picture.unwrapped.lane.k % 2 else 0])[2]
        assert picture.render().dtype == np.uint8
