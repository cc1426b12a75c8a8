"""Pathwise training of baskets: the market in torch is the market, its gradient is the derivative, and training improves."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

import torch

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.envs.basket import HyperExecBasketEnv
from hyperexec_env.envs.basket_features import ASSET, BASKET, PULLED
from hyperexec_env.envs.basket_vector import HyperExecBasketVectorEnv
from hyperexec_env.evaluation.basket_network import BasketNetworkPolicy, load_basket_policy
from hyperexec_env.evaluation.basket_rollout import roll_basket
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.market.basket_path import draw_basket_path
from hyperexec_env.market.basket_scenario import get_basket
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.training.basket_rollout import matrices_of, roll_stack, stack_of
from hyperexec_env.training.pathwise import Args, network_shapes, train, trainer_of

torch.set_num_threads(1)
TINY = Args(scenario="basket-hedged", lanes=8, validation=8, steps=12, learning_rate=1e-2, hidden=8, progress=False)


def policy_of(assets, seed=0, units=8):
    """Return a policy with random weights."""
    rng, shapes = np.random.default_rng(seed), network_shapes(len(BASKET) + len(ASSET), units, (assets,))
    arrays = [rng.normal(size=shape).astype(np.float32) / np.sqrt(shape[-1]) for shape in shapes]
    arrays = [values.astype(np.float32) for values in arrays]
    return BasketNetworkPolicy(
        "random net", tuple(zip(arrays[::2], arrays[1::2], strict=True)), "tanh", "tanh", "pace", True, seed
    )


def trainer(name="basket-hedged"):
    return trainer_of(replace(TINY, scenario=name), get_basket(name))


@pytest.mark.fast
@pytest.mark.parametrize("name", ["basket-hedged", "basket-day"])
def test_a_policy_costs_the_same_in_torch_the_environment_and_the_evaluation(name):
    made = trainer(name)
    task, count = made.task, 4
    policy = policy_of(len(task.assets))
    paths = draw_basket_path(task.market, episode_keys(5, np.arange(count)))
    evaluated = roll_basket(task.market, policy, paths).statement
    env = HyperExecBasketEnv(name)
    for episode in range(2):
        observation, _ = env.reset(seed=5, options={"episode": episode})
        over = False
        while not over:
            observation, _, over, _, info = env.step(policy.action(observation[None])[0])
        assert info["objective_bps"] == pytest.approx(evaluated.objective[episode], rel=1e-9)
    for dtype, error in ((torch.float64, 1e-4), (torch.float32, 1e-4)):  # the network computes in float32
        network = made.network(torch.cat([torch.tensor(part).ravel() for layer in policy.layers for part in layer]))
        stack, matrices = stack_of(task, paths, dtype), matrices_of(task, dtype)
        outcome = roll_stack(task, matrices, stack, lambda seen, network=network, dtype=dtype: network(seen.float()).to(dtype))
        assert outcome.objective.numpy() == pytest.approx(evaluated.objective, rel=error)
        assert outcome.shortfall.numpy() == pytest.approx(evaluated.shortfall, rel=error, abs=1e-2)


@pytest.mark.fast
def test_observations_and_costs_in_torch_are_those_of_the_environment():
    env = HyperExecBasketVectorEnv(3, backend="numpy", scenario="basket-day")
    rng, task = np.random.default_rng(0), env.task
    actions = rng.uniform(-0.9, 0.3, (task.market.slices, 3, len(task.assets)))
    seen, _ = env.reset(seed=7)
    observations, rewards = [], np.zeros(3)
    for action in actions:
        observations.append(seen)
        seen, paid, _, _, _ = env.step(action)
        rewards += paid
    keys = np.array([episode_keys(7 + lane, np.zeros(1, np.int64))[0] for lane in range(3)])
    stack, steps, met = stack_of(task, draw_basket_path(task.market, keys), torch.float64), iter(actions), []

    def act(observation):
        met.append(observation.numpy())
        return torch.tensor(next(steps).T)

    outcome = roll_stack(task, matrices_of(task, torch.float64), stack, act)
    assert outcome.objective.numpy() == pytest.approx(-rewards, rel=1e-9)
    whole = np.stack(met)  # (slices, assets, lanes, features)
    expected = np.stack(observations)
    assert whole[:, 0, :, : len(BASKET)] == pytest.approx(expected[..., : len(BASKET)], abs=1e-6)
    blocks = whole[..., len(BASKET) :].transpose(0, 2, 1, 3).reshape(*expected.shape[:2], -1)
    assert blocks == pytest.approx(expected[..., len(BASKET) :], rel=1e-6, abs=1e-6)
    assert np.abs(blocks[:, :, PULLED - 1 :: len(ASSET)]).max() > 0.1


@pytest.mark.fast
def test_the_gradient_of_an_episode_is_its_derivative():
    made = trainer()
    task = made.task
    stack = stack_of(task, draw_basket_path(task.market, episode_keys(3, np.arange(4))), torch.float64)
    matrices = matrices_of(task, torch.float64)
    weights = 0.3 * torch.tensor(np.random.default_rng(0).normal(size=made.weights.numel()))
    direction = torch.tensor(np.random.default_rng(1).normal(size=len(weights)))

    def total(values):
        outcome = roll_stack(task, matrices, stack, made.network(values))
        return outcome.objective.mean() + outcome.shortfall.mean()

    (gradient,) = torch.autograd.grad(total(weights.requires_grad_()), weights)
    step = 1e-6
    with torch.no_grad():
        difference = (total(weights + step * direction) - total(weights - step * direction)) / (2 * step)
    assert float(gradient @ direction) == pytest.approx(float(difference), rel=1e-6)


def test_a_training_of_a_basket_is_judged_beside_the_baselines(tmp_path, capsys):
    """A dozen steps improve on the start, which is near VWAP; the policy that is saved is the one that was trained."""
    words = ["--scenario", "basket-hedged", "--steps", "12", "--lanes", "8", "--validation", "8", "--hidden", "8"]
    assert cli.main(["train", "pathwise", *words, "--learning-rate", "0.01", "--no-progress", "--out", str(tmp_path)]) == 0
    assert "basket-hedged" in capsys.readouterr().out
    policy = load_basket_policy(tmp_path)
    assert (policy.assets, policy.training_seed, policy.about["scenario_hash"]) == (10, 0, get_basket("basket-hedged").hash)
    market = trainer().task.market
    board = hx.evaluate(market.scenario, [str(tmp_path), "VWAP", "TWAP"], episodes=16, optimum=False)
    assert [row.training_seed for row in board.rows] == [0, None, None]
    with pytest.raises(ValueError, match="not a trained policy"):
        load_policy(tmp_path)
    with pytest.raises(ValueError, match="already contains a policy"):
        train(replace(TINY, out=str(tmp_path)))
    two = replace(market.scenario, assets=market.scenario.assets[:2], correlation=())
    assert (
        "trades 10 assets, got a basket of 2" in hx.evaluate(two, [str(tmp_path)], episodes=2, optimum=False).failed[0].reason
    )
    first, *others = market.scenario.assets
    flipped = replace(market.scenario, assets=(replace(first, side=-first.side), *others))
    (failure,) = hx.evaluate(flipped, [str(tmp_path)], episodes=2, optimum=False).failed
    assert "got -1 +1 +1 -1 +1 +1 -1 +1 +1 -1: another side of one order turns a hedge around" in failure.reason
    turned = replace(market.scenario, assets=tuple(replace(each, side=-each.side) for each in market.scenario.assets))
    assert not hx.evaluate(turned, [str(tmp_path)], episodes=2, optimum=False).failed


def test_a_basket_shows_its_regime(tmp_path):
    with pytest.raises(ValueError, match="observe_regime must be True for a basket"):
        train(replace(TINY, out=str(tmp_path), observe_regime=False))
