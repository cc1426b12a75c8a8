"""Training at the touch: masks, the trained policy on the board, and what is refused."""

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.envs.touch_features import observe_touch
from hyperexec_env.envs.touch_task import build_touch_task
from hyperexec_env.evaluation.touch_network import check_touch_layers, load_touch_policy
from hyperexec_env.evaluation.touch_rollout import situation_at
from hyperexec_env.market.touch import DEEPER, NOWHERE, TOUCH, Place
from hyperexec_env.market.touch_lane import first_touch_lane

pytest.importorskip("sb3_contrib", reason="needs the extra `train`")
torch = pytest.importorskip("torch", reason="needs the extra `train`")

from hyperexec_env.training import dqn, pathwise, ppo, sac  # noqa: E402 - after the skip

PPO = {"timesteps": 400, "lanes": 4, "steps": 60, "batch_size": 60, "epochs": 1}
DQN = {"timesteps": 300, "lanes": 4, "learning_starts": 100, "batch_size": 32, "buffer_size": 1000, "gradient_steps": 1}


@pytest.mark.parametrize(("method", "options"), [(ppo, PPO), (dqn, DQN)])
def test_a_trained_policy_takes_part_in_the_board(method, options, tmp_path):
    folder = str(tmp_path / "run")
    arguments = {"scenario": "touch-queue", "hidden": 8, "out": folder, "progress": False, "tensorboard": False, **options}
    policy = method.train(method.Args(**arguments))
    loaded = load_touch_policy(folder)
    assert loaded.digest == policy.digest
    assert loaded.about["scenario_hash"] == hx.get_touch("touch-queue").hash
    board = hx.evaluate_touch("touch-queue", [folder, loaded], episodes=20)
    rows = [row for row in board.rows if row.training_seed is not None]
    assert [row.training_seed for row in rows] == [0]
    again = method.train(method.Args(**{**arguments, "out": str(tmp_path / "again")}))
    assert again.digest == policy.digest
    with pytest.raises(ValueError, match="has 24 actions, got a scenario with 16"):
        hx.evaluate_touch({"base": "touch-queue", "max_take": 3}, folder, episodes=4)


def test_an_interrupted_training_goes_on_where_it_stopped():
    from hyperexec_env.training.adapter import restore, snapshot

    scenario = hx.get_touch("touch-thin")
    args = ppo.Args(scenario="touch-thin", hidden=8, progress=False, tensorboard=False, **PPO)

    def made():
        model = ppo.build_model(args, scenario)
        model.lr_schedule = lambda left: 1e-3
        return model

    whole = made()
    whole.learn(480)
    half = made()
    half.learn(240)
    tensors, about = snapshot(half)
    other = made()
    other.learn(1)  # makes the buffers
    restore(other, tensors, about)
    other.learn(240, reset_num_timesteps=False)
    for name, values in whole.policy.state_dict().items():
        assert torch.equal(values, other.policy.state_dict()[name]), name


def lanes(scenario):
    """Every number of lots at every kind of place."""
    start = first_touch_lane(build_touch_task(scenario).market)
    for left in range(scenario.lots + 1):
        for place in (Place(NOWHERE, 0.0), Place(TOUCH, 2.0), Place(DEEPER, 0.0)):
            yield start._replace(left=float(left), place=place)


def test_the_network_reads_its_masks_from_the_observation():
    from gymnasium import spaces

    from hyperexec_env.training.touch import masked_policy

    scenario = hx.get_touch("touch-5min")
    task = build_touch_task(scenario, action_mode="discrete")
    space = spaces.Discrete(24)
    policy = masked_policy(scenario.lots, 6)(task.observation_space, space, lambda _: 1e-3)
    seen = np.stack([observe_touch(task.market, lane) for lane in lanes(scenario)])
    masks = np.stack([task.masks(lane.left, lane.place.level) for lane in lanes(scenario)]).astype(bool)
    given = torch.as_tensor(seen)
    assert (policy.q_net.possible(given).numpy() == masks).all()
    assert masks[np.arange(len(seen)), policy.predict(seen, deterministic=True)[0]].all()
    assert (policy.q_net_target(given).detach().numpy()[~masks] == -1e9).all()
    assert (policy.q_net(given).detach().numpy() > -1e6).all()  # the fitted network has no mask


def test_a_policy_never_takes_an_action_that_is_not_possible():
    from hyperexec_env.evaluation.touch_network import TouchNetworkPolicy

    scenario = hx.get_touch("touch-5min")
    task = build_touch_task(scenario, action_mode="discrete")
    rng = np.random.default_rng(0)
    layers = ((rng.normal(size=(24, 11)).astype(np.float32), np.zeros(24, np.float32)),)
    policy = TouchNetworkPolicy("wild", layers, "relu", "argmax", "discrete", True, 0)
    for lane in lanes(scenario):
        action = int(policy.act(situation_at(task.market, lane)))
        assert task.masks(lane.left, lane.place.level)[action]


def test_layers_of_another_shape_are_refused():
    layer = (np.zeros((24, 11), np.float32), np.zeros(24, np.float32))
    check_touch_layers((layer,), "argmax")
    for layers, head, message in (
        ((layer,), "clip", "head must be 'argmax'"),
        ((), "argmax", "the last layer must have"),
        (((np.zeros((23, 11), np.float32), np.zeros(23, np.float32)),), "argmax", "a multiple of 4 outputs, got 23"),
        (((np.zeros((24, 14), np.float32), np.zeros(24, np.float32)),), "argmax", "layer 0 must take 11 inputs"),
    ):
        with pytest.raises(ValueError, match=message):
            check_touch_layers(layers, head)


def test_what_has_no_meaning_at_the_touch_is_refused_in_one_sentence(capsys):
    refusals = (
        (pathwise, {}, "there is no gradient through a queue of whole lots; use train ppo or train dqn"),
        (sac, {}, "'touch-5min' is a touch scenario, and this needs a scenario of HyperExec-v0"),
        (ppo, {"uncertainty": True}, "uncertainty must be False at the touch, got True"),
        (ppo, {"reward": "realised"}, "reward must be expected at the touch, got realised"),
        (ppo, {"action_mode": "fraction"}, "action_mode must be one of pace, discrete, got 'fraction'"),
        (dqn, {"observe_regime": False}, "observe_regime must be True at the touch, got False"),
    )
    for method, options, message in refusals:
        tensorboard = {} if method is pathwise else {"tensorboard": False}
        with pytest.raises(ValueError, match=message):
            method.train(method.Args(scenario="touch-5min", progress=False, **tensorboard, **options))
    assert cli.main(["train", "pathwise", "--scenario", "touch-5min"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "no gradient through a queue of whole lots" in error
