"""The lean PPO: its baseline is a regression, its gradient that of the market, and its policies act as its networks."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the extra `train`")

import torch

from hyperexec_env import cli
from hyperexec_env.baselines.evaluate import evaluate
from hyperexec_env.envs.task import build_task
from hyperexec_env.evaluation.basket_network import load_basket_policy
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.evaluation.venue_network import load_venue_policy
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.training import pathwise
from hyperexec_env.training.interruption import Interrupted
from hyperexec_env.training.ppo_fast import Args, PpoTrainer, check, train, trainer_of, unexplained
from hyperexec_env.training.torch_rollout import lanes_of, roll

pytestmark = pytest.mark.usefixtures("without_numba")

torch.set_num_threads(1)
TINY = Args(
    timesteps=26 * 8 * 4, lanes=8, paired=4, steps=26, batch_size=52, epochs=2, hidden=8, checkpoint_every=2, progress=False
)


@given(st.integers(0, 2**32 - 1), st.integers(4, 20))
def test_the_advantage_is_the_residual_of_a_regression_on_the_shares_that_are_left(seed, paired):
    rng = np.random.default_rng(seed)
    left, returns = rng.uniform(size=(3, paired)), 10.0 * rng.normal(size=(3, paired))
    x = torch.tensor(left)
    found = unexplained(torch.tensor(returns), x, x**2).numpy()
    for x, y, residual in zip(left, returns, found, strict=True):
        columns = np.stack([np.ones(paired), x, x * x], axis=1)
        if np.linalg.cond(columns) < 1e3:
            np.testing.assert_allclose(residual, y - columns @ np.linalg.lstsq(columns, y)[0], atol=1e-8)


def test_lanes_with_the_same_shares_left_are_compared_with_their_mean():
    returns = torch.tensor([[1.0, 2.0, 6.0]])
    np.testing.assert_allclose(
        unexplained(returns, torch.full((1, 3), 0.7), torch.full((1, 3), 0.49)), [[-2.0, -1.0, 3.0]], atol=1e-5
    )


@pytest.mark.parametrize("scenario", ["regime-day", "bertsimas-lo"])
def test_its_gradient_is_that_of_the_exploring_policy_through_the_market(scenario):
    lanes, seed = 4096, 5
    scenario = get_scenario(scenario)
    args = replace(TINY, scenario=scenario.name, lanes=lanes, paired=16, steps=scenario.slices, hidden=4, seed=seed)
    trainer = PpoTrainer(args, scenario)
    seen, actions, chance, advantage = trainer._collect([torch.Generator().manual_seed(1)])
    trainer._surrogate(trainer.weights, seen, actions, chance, advantage).backward()
    by_chance = trainer.weights.grad[0].clone()

    task = build_task(scenario)
    path = draw_path(task.market, episode_keys(9, np.arange(lanes)), float(scenario.side))
    torch.manual_seed(2)
    weights = trainer.weights.detach().clone().requires_grad_()

    def explore(observation):
        noise = torch.randn(len(observation)) * trainer._log_std(weights).exp()[0, 0, 0]
        return (trainer.mean(weights, observation[None])[0, :, 0] + noise).clamp(-1.0, 1.0)

    roll(
        task.observer, task.mode, lanes_of(task.observer, task.mode, path, torch.float32, "cpu"), explore, False
    ).objective.mean().backward()
    through = weights.grad[0]
    cosine = torch.dot(by_chance, through) / by_chance.norm() / through.norm()
    assert cosine > 0.9  # equal in expectation, but for the weight of one less the leverage


@pytest.mark.parametrize("scenario", ["regime-day", "bertsimas-lo"])
def test_at_the_minimum_exploration_an_update_stays_near_the_policy_that_traded(scenario):
    def divergence(log_std):  # the largest Kullback-Leibler divergence of three updates
        args = Args(scenario=scenario, log_std=log_std, min_log_std=log_std)
        trainer, found = PpoTrainer(args, check(args)), []
        seen = trainer._collect([torch.Generator().manual_seed(1)])[0]
        for _ in range(3):
            old, deviation = trainer.mean(trainer.weights, seen).detach(), trainer._log_std(trainer.weights).exp().detach()
            trainer.learn()
            found.append(((trainer.mean(trainer.weights, seen) - old) / deviation).square().mean().item() / 2.0)
        return max(found)

    assert divergence(Args().floor) < 0.3
    assert divergence(Args().floor - 2.0) > 30.0  # the surrogate is flat there, and Adam's momentum carries the mean on


@pytest.mark.parametrize("scenario", ["bertsimas-lo", "basket-pairs"])
def test_the_exploration_narrows_to_its_minimum_and_no_further(scenario):
    def narrowest(least):
        args = Args(scenario=scenario, min_log_std=least, lanes=32, batch_size=256)
        trainer = trainer_of(args, check(args))
        trainer.learn()
        return trainer._log_std(trainer.weights).min().item()

    assert narrowest(-3.0) < -1.01
    assert narrowest(-1.01) == pytest.approx(-1.01, abs=1e-6)


def test_the_minimum_exploration_is_at_most_the_initial_one():
    assert [Args().floor, Args(action_mode="fraction").floor, Args(log_std=-5.0).floor] == [-3.0, -4.0, -5.0]
    assert Args(min_log_std=-2.0).floor == -2.0


def test_rows_after_the_end_of_an_order_do_not_count():
    scenario = get_scenario("regime-day")
    trainer = PpoTrainer(replace(TINY, action_mode="fraction", log_std=1.0, lanes=32), scenario)
    _, actions, _, advantage = trainer._collect([torch.Generator().manual_seed(0)])
    actions, advantage = actions.view(26, 32), advantage.view(26, 32)
    ends = (actions >= 1.0).float().argmax(dim=0)  # an action of one completes an order at once
    assert (ends > 0).any()
    for lane, at in enumerate(ends.tolist()):
        assert actions[at, lane] < 1.0 or not advantage[at + 1 :, lane].any()


def test_a_seed_repeats_to_the_bit_and_is_the_same_training_beside_other_seeds(tmp_path):
    def weights(name, **options):
        train(replace(TINY, out=str(tmp_path / name), **options))
        folder = tmp_path / name if "seeds" not in options else tmp_path / name / "seed-1"
        return [values for layer in load_policy(folder).layers for values in layer]

    alone, again, beside = weights("a", seed=1), weights("b", seed=1), weights("c", seed=0, seeds=3)
    for one, two, three in zip(alone, again, beside, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, three, atol=1e-4)  # sums over a batch of networks round otherwise


def test_an_interrupted_training_goes_on_to_the_same_bytes(tmp_path, monkeypatch):
    train(replace(TINY, out=str(tmp_path / "whole")))
    learn, options = PpoTrainer.learn, replace(TINY, out=str(tmp_path / "parts"), resume=True)

    def interrupted(trainer):
        if trainer.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return learn(trainer)

    monkeypatch.setattr(PpoTrainer, "learn", interrupted)
    with pytest.raises(Interrupted):
        train(options)
    monkeypatch.setattr(PpoTrainer, "learn", learn)
    train(options)
    same = [(tmp_path / name / "policy.safetensors").read_bytes() for name in ("whole", "parts")]
    assert same[0] == same[1]
    with pytest.raises(ValueError, match=r"cannot resume: hidden must be 8 as in the checkpoint, got 9"):
        train(replace(options, hidden=9))


def test_a_run_of_several_seeds_is_kept_until_overwrite_removes_all_of_it(tmp_path):
    several = replace(TINY, seeds=3, out=str(tmp_path))
    train(several)
    (tmp_path / "seed-1" / "notes.txt").write_text("of the user")
    for again in (several, replace(several, seeds=1)):
        with pytest.raises(ValueError, match=r"already contains PPO-fast of training seed 0 \(832 slices of regime-day\)"):
            train(again)
    train(replace(several, seeds=1, overwrite=True))
    assert sorted(file.name for file in tmp_path.iterdir() if file.name.startswith("seed-")) == ["seed-1"]
    assert [file.name for file in (tmp_path / "seed-1").iterdir()] == ["notes.txt"]


def test_a_run_of_several_seeds_without_a_checkpoint_is_not_begun_anew_by_resume(tmp_path):
    several = replace(TINY, seeds=2, out=str(tmp_path), checkpoint_every=99)
    train(several)
    with pytest.raises(ValueError, match=r"already contains PPO-fast of training seed 0"):
        train(replace(several, resume=True))


def test_a_checkpoint_of_another_method_is_refused_by_that_name(tmp_path):
    train(replace(TINY, out=str(tmp_path)))
    with pytest.raises(ValueError, match="cannot resume: the checkpoint is of another method, without the option"):
        pathwise.train(pathwise.Args(out=str(tmp_path), resume=True, progress=False))


@pytest.mark.parametrize(
    ("options", "load"),
    [
        ({"scenario": "regime-day"}, load_policy),
        ({"scenario": "regime-day", "action_mode": "participation", "observe_regime": False}, load_policy),
        ({"scenario": "unknown-all", "observe_beliefs": True}, load_policy),
        ({"scenario": "venues-day"}, load_venue_policy),
        ({"scenario": "venues-day", "router": "agent"}, load_venue_policy),
        ({"scenario": "basket-pairs"}, load_basket_policy),
    ],
)
def test_a_written_policy_acts_as_the_mean_of_its_network(tmp_path, options, load):
    args = replace(TINY, **options, seeds=2, out=str(tmp_path))
    trainer = trainer_of(args, check(args))
    trainer.learn()
    trainer.write(trainer.described(check(args)), check(args), tmp_path)
    seen = torch.randn(2, 5, trainer.env.single_observation_space.shape[0])
    means = trainer.mean(trainer.best, seen).clamp(-1.0, 1.0).numpy()
    for row, folder in enumerate(args.folders):
        found = np.asarray(load(folder).action(seen[row].numpy()))
        np.testing.assert_allclose(found.reshape(means[row].shape), means[row], atol=1e-5)


def test_a_training_that_diverges_keeps_the_last_finite_policy(tmp_path, capsys, monkeypatch):
    surrogate = PpoTrainer._surrogate
    monkeypatch.setattr(
        PpoTrainer, "_surrogate", lambda self, *given: surrogate(self, *given) * (1.0 if self.step < 2 else torch.nan)
    )
    policy = train(replace(TINY, out=str(tmp_path)))
    assert policy.about["stopped"] == "diverged"
    assert policy.about["best_step"] == 2
    assert all(np.isfinite(values).all() for layer in policy.layers for values in layer)
    assert "training diverged in step 3: saved the best earlier policy, of step 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--lanes 10 --paired 4 --batch-size 100", "paired must divide lanes (10), got 4"),
        ("--paired 1", "paired must be a whole number in [2, 192], got 1"),
        ("--seeds 0", "seeds must be"),
        ("--min-log-std -0.5", "min_log_std must be a number in [-20, -1], got -0.5"),
        (
            "--scenario touch-5min",
            "scenario must be one of slices, got a child order at the touch, 'touch-5min': use train ppo",
        ),
        (
            "--scenario basket-hedged --no-observe-regime",
            "observe_regime must be True for a basket, got False",
        ),
        ("--scenario venues-day --action-mode fraction", "action_mode must be pace over venues, got fraction"),
        ("--router agent", "router is an option of scenarios with venues, got 'agent'"),
        ("--device cuda", "device must be 'cpu', because torch finds no GPU, got 'cuda'"),
        ("--seed 524287 --seeds 2", "seed + seeds - 1 must be a whole number in [0, 524287], got 524288"),
    ],
)
def test_bad_options_are_refused_before_the_work(capsys, tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "ppo-fast", *options.split()]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"steps": 1}, {"batch_size": 10**6}])
def test_an_update_is_whole_episodes_and_at_least_one_batch(options):
    """Fewer steps than an episode are an episode, and a batch is at most an update: 8 lanes of 26 slices."""
    trainer = trainer_of(replace(TINY, **options), get_scenario("regime-day"))
    assert (trainer.rows, trainer.size) == (208, {"steps": 52, "batch_size": 208}[next(iter(options))])


def test_several_seeds_are_reported_as_one_is(tmp_path, capsys):
    options = "--scenario desk-5min --timesteps 1 --lanes 4 --paired 2 --steps 1 --no-progress --json"
    plain = {}
    for seeds in (1, 2):
        assert (
            cli.main(["train", "ppo-fast", *options.split(), "--seeds", str(seeds), "--out", str(tmp_path / str(seeds))]) == 0
        )
        plain[seeds] = json.loads(capsys.readouterr().out)
    assert plain[1].keys() - plain[2].keys() == {"training_seed"}
    assert plain[2].keys() - plain[1].keys() == {"training_seeds", "folders"}
    assert plain[2]["training_seeds"] == [0, 1]
    assert plain[2]["folders"] == [str(tmp_path / "2" / f"seed-{seed}") for seed in (0, 1)]


@pytest.mark.slow
def test_with_few_slices_it_is_near_the_optimum(tmp_path):
    policy = train(Args(timesteps=300_000, seeds=2, out=str(tmp_path), progress=False))
    board = evaluate("regime-day", ["TWAP", policy], episodes=2000)
    gaps = {row["policy"]: row["gap_percent"] for row in board.to_dict()["rows"]}
    assert gaps[policy.name] < 4.0 < gaps["TWAP"]
