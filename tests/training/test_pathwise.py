"""Pathwise training: the market in torch is the market, its gradients are derivatives, and the trainer learns by them."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the extra `train`")

import torch

from hyperexec_env import cli
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.own import observe_all
from hyperexec_env.envs.task import build_task
from hyperexec_env.evaluation import rollout
from hyperexec_env.evaluation.network import load_policy
from hyperexec_env.market.hidden import follow_regimes
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market
from hyperexec_env.training import pathwise
from hyperexec_env.training.pathwise import Args, Trainer, train
from hyperexec_env.training.torch_rollout import lanes_of, roll

pytestmark = pytest.mark.usefixtures("without_numba")

torch.set_num_threads(1)
TINY = Args(steps=20, lanes=64, validation=128, validate_every=5, checkpoint_every=10, hidden=16, progress=False)
SMOOTH = {build_market(get_scenario(name)).numbers.spec: name for name in scenario_names() if not get_scenario(name).predator}
"""A scenario of each kind of market without a predator, by its specification."""


class Linear:
    """A policy with one weight for each feature, in numpy and in torch; it keeps the observations that it met."""

    name = "linear"

    def __init__(self, task, scale=0.3):
        self.task, self.met = task, []
        self.weights = scale * np.random.default_rng(0).normal(size=len(task.names))

    def act(self, situation):
        observation = observe_all(self.task.observer, situation)
        self.met.append(observation)
        base = self.task.mode.base.take(self.task.market.cell(situation.k, situation.seen))
        return self.task.mode.shares(np.tanh(observation.astype(float) @ self.weights), situation.remaining, base)


def _path(task, episodes=64):
    return draw_path(task.market, episode_keys(3, np.arange(episodes)), float(task.scenario.side))


PERSISTENT = {"base": "regime-day", "name": "persistent", "volume_persistence": 0.5}
"""The last volume predicts the next one, and the observation holds its ratio."""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((name, True) for name in SMOOTH.values()),
        *(("trending-day", False), ("flow-signal", False)),
        *((PERSISTENT, True), (PERSISTENT, False)),
    ],
    ids=str,
)
def test_the_rollout_in_torch_is_the_rollout_of_the_evaluation(name, told):
    task = build_task(name, observe_regime=told)
    path, policy = _path(task), Linear(task)
    expected = rollout.roll(task.market, policy, path, hidden=not told).statement
    for dtype, error in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        met = []

        def act(observation, met=met, dtype=dtype):
            met.append(observation.numpy())
            return torch.tanh(observation.float().double() @ torch.tensor(policy.weights)).to(dtype)

        outcome = roll(task.observer, task.mode, lanes_of(task.observer, task.mode, path, dtype), act)
        assert outcome.objective.numpy() == pytest.approx(expected.objective, rel=error, abs=100 * error)
        assert outcome.shortfall.numpy() == pytest.approx(expected.shortfall, rel=error, abs=100 * error)
        assert np.stack(met) == pytest.approx(np.stack(policy.met), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("name", ["regime-day", "desk-5min", "flow-signal"])
def test_the_gradient_of_an_episode_is_its_derivative(name):
    task = build_task(name)
    lanes = lanes_of(task.observer, task.mode, _path(task, 16), torch.float64)
    weights = torch.tensor(Linear(task, 0.1).weights, requires_grad=True)
    direction = torch.tensor(np.random.default_rng(1).normal(size=len(weights)))

    def total(values):
        outcome = roll(task.observer, task.mode, lanes, lambda seen: torch.tanh(seen @ values))
        return outcome.objective.mean() + outcome.shortfall.mean()

    (gradient,) = torch.autograd.grad(total(weights), weights)
    step = 1e-6
    with torch.no_grad():
        difference = (total(weights + step * direction) - total(weights - step * direction)) / (2 * step)
    assert float(gradient @ direction) == pytest.approx(float(difference), rel=1e-6)


TIME_LEFT = observation_names().index("time_left")
UNKNOWN = {
    **{name: name for name in ("unknown-volume", "unknown-drift", "unknown-impact", "unknown-all")},
    "sell": {"base": "unknown-all", "name": "sell", "side": -1, "volume_persistence": 0.3},
    "regimes": {"base": "regime-day", "name": "regimes", "volume_level_sd": 0.4, "drift_sd": 0.02, "temp_impact_sd": 0.5},
    "kyle": {"base": "regime-day", "name": "kyle", "kyle_sd": 0.5, "drift_sd": 0.02},
}
"""Scenarios with unknowns."""


def test_probabilities_of_regimes_in_torch_are_those_of_the_filter():
    task = build_task("regime-day", observe_regime=False, observe_beliefs=True)
    path, met = _path(task), []

    def act(observation):
        met.append(observation[:, -6:].numpy())
        return 0.0 * observation[:, 0]

    roll(task.observer, task.mode, lanes_of(task.observer, task.mode, path, torch.float64), act)
    assert np.stack(met) == pytest.approx(follow_regimes(task.market, path)[0], rel=1e-12)


@pytest.mark.parametrize("name", UNKNOWN)
def test_beliefs_in_torch_are_those_of_the_evaluation(name):
    """The same beliefs, observations and costs; the network sees single precision, which rounds beliefs of 1e-16 apart."""
    task = build_task(UNKNOWN[name], observe_beliefs=True)
    path, policy = _path(task), Linear(task)
    expected = rollout.roll(task.market, policy, path).statement
    for dtype, error in ((torch.float64, 1e-6), (torch.float32, 1e-4)):
        met = []

        def act(observation, met=met, dtype=dtype):
            met.append(observation.numpy())
            return torch.tanh(observation.float().double() @ torch.tensor(policy.weights)).to(dtype)

        outcome = roll(task.observer, task.mode, lanes_of(task.observer, task.mode, path, dtype), act)
        assert outcome.objective.numpy() == pytest.approx(expected.objective, rel=error, abs=100 * error)
        assert outcome.shortfall.numpy() == pytest.approx(expected.shortfall, rel=error, abs=100 * error)
        assert np.stack(met) == pytest.approx(np.stack(policy.met), rel=1e-4, abs=5e-4)


@pytest.mark.parametrize("name", UNKNOWN)
def test_the_gradient_through_beliefs_is_the_derivative(name):
    """Also where a trade changes what the desk believes of its impact."""
    task = build_task(UNKNOWN[name], observe_beliefs=True)
    lanes = lanes_of(task.observer, task.mode, _path(task, 16), torch.float64)
    weights = torch.tensor(Linear(task, 0.1).weights, requires_grad=True)
    direction = torch.tensor(np.random.default_rng(1).normal(size=len(weights)))

    def total(values):
        outcome = roll(task.observer, task.mode, lanes, lambda seen: torch.tanh(seen @ values))
        return outcome.objective.mean() + outcome.shortfall.mean()

    (gradient,) = torch.autograd.grad(total(weights), weights)
    step = 1e-6
    with torch.no_grad():
        difference = (total(weights + step * direction) - total(weights - step * direction)) / (2 * step)
    assert float(gradient @ direction) == pytest.approx(float(difference), rel=1e-5)


@pytest.mark.parametrize("waits", [True, False])
def test_the_gradient_is_finite_where_nothing_trades_and_where_the_belief_is_certain(waits):
    task = build_task({"base": "unknown-impact", "quantity": 4e6}, observe_beliefs=True)
    lanes = lanes_of(task.observer, task.mode, _path(task), torch.float32)
    weights = torch.tensor(Linear(task, 0.1).weights, dtype=torch.float32, requires_grad=True)
    spreads = []

    def act(seen):
        spreads.append(float(seen[:, -1].detach().min()))
        return torch.where((seen[:, TIME_LEFT] > 0.5) & waits, -1.0, torch.tanh(seen @ weights))

    outcome = roll(task.observer, task.mode, lanes, act)
    (gradient,) = torch.autograd.grad(outcome.objective.mean(), weights)
    assert torch.isfinite(gradient).all()
    assert min(spreads) == pytest.approx(1e-4)


RISK = {"expected": 0.0, "mean-variance": 0.01, "cvar": 0.5}
"""Weight of the risk of each objective; with 1 % of CVaR the start, which trades as the volume, is nearly the optimum."""


@pytest.mark.parametrize("objective", pathwise.OBJECTIVES)
def test_a_short_training_is_better_than_its_start(objective):
    scenario = get_scenario("regime-day")
    trainer = Trainer(replace(TINY, objective=objective, risk=RISK[objective], learning_rate=1e-2), scenario)
    trainer.validate()
    start = trainer.best_value
    for _ in range(20):
        assert trainer.learn()
    trainer.validate()
    assert trainer.best_value < start


def test_the_policy_that_is_saved_is_the_one_of_torch(tmp_path):
    args = replace(TINY, out=str(tmp_path))
    train(args)
    saved = load_policy(tmp_path)
    assert (saved.name, saved.training_seed) == ("Pathwise", 0)
    trainer = Trainer(args, get_scenario("regime-day"))
    with torch.no_grad():
        trainer.weights.copy_(torch.tensor(np.concatenate([values.ravel() for layer in saved.layers for values in layer])))
        outcome = trainer.roll(
            trainer.weights, lanes_of(trainer.task.observer, trainer.task.mode, path := _path(trainer.task), torch.float32)
        )
    expected = rollout.roll(trainer.task.market, saved, path).statement.objective
    assert outcome.objective.numpy() == pytest.approx(expected, rel=1e-5)


def test_a_run_that_is_interrupted_goes_on_to_the_same_policy(tmp_path, monkeypatch, capsys):
    whole = train(replace(TINY, out=str(tmp_path / "whole")))
    part = replace(TINY, out=str(tmp_path / "part"))
    learn = Trainer.learn

    def interrupted(trainer):
        if trainer.step == 12:
            os.kill(os.getpid(), signal.SIGTERM)
        return learn(trainer)

    monkeypatch.setattr(Trainer, "learn", interrupted)
    with pytest.raises(SystemExit) as ended:
        train(part)
    assert ended.value.code == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "interrupted after 13 steps; pass --resume to continue\n"
    monkeypatch.setattr(Trainer, "learn", learn)
    resumed = train(replace(part, resume=True))
    assert resumed.digest == whole.digest
    with pytest.raises(ValueError, match="cannot resume: lanes must be 64"):
        train(replace(part, resume=True, lanes=32))


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_best_policy(tmp_path, monkeypatch, capsys):
    loss = Trainer.loss
    monkeypatch.setattr(
        Trainer, "loss", lambda trainer, outcome: loss(trainer, outcome) * (torch.nan if trainer.step == 7 else 1)
    )
    train(replace(TINY, out=str(tmp_path)))
    assert "training diverged in step 8: saved the best earlier policy, of step 5" in capsys.readouterr().err
    about = json.loads((tmp_path / "policy.json").read_text())["about"]
    assert (about["stopped"], about["best_step"]) == ("diverged", 5)
    assert all(np.isfinite(values).all() for layer in load_policy(tmp_path).layers for values in layer)


def test_training_is_repeatable_from_its_seed(tmp_path):
    digests = [train(replace(TINY, steps=6, out=str(tmp_path), seed=seed, overwrite=True)).digest for seed in (0, 0, 1)]
    assert digests[0] == digests[1] != digests[2]


def test_a_bad_option_is_refused(tmp_path):
    for option, value, message in [
        ("steps", 0, "steps must be a whole number"), ("lanes", 1, "lanes must be a whole number"),
        ("objective", "mean", "objective must be one of"), ("risk", -1.0, "risk must be a number"),
        ("learning_rate", float("nan"), "learning_rate must be"), ("scenario", "hunted-day", "predator must be 0"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=message):
            train(replace(TINY, out=str(tmp_path / "run"), **{option: value}))
        assert not (tmp_path / "run").exists()


def test_a_level_beyond_all_episodes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="level must be a number"):
        train(replace(TINY, out=str(tmp_path / "run"), objective="cvar", risk=0.5, level=1.0))


def test_the_command_trains_a_policy_that_the_evaluation_judges(tmp_path, capsys):
    words = ["train", "pathwise", "--scenario", "desk-5min", "--steps", "3", "--lanes", "8", "--validation", "8"]
    assert cli.main([*words, "--no-progress", "--out", str(tmp_path)]) == 0
    assert cli.main(["evaluate", "--scenario", "desk-5min", "--policy", str(tmp_path), "--episodes", "20", "--no-optimum"]) == 0
    assert "Pathwise" in capsys.readouterr().out
