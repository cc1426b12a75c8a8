"""Learned memories beside the exact filter of the hidden regime: a GRU by pathwise gradients, and RecurrentPPO.

    python benchmarks/hidden_regime.py --scenario regime-day --steps 600 --timesteps 1000000 --episodes 20000

Both see what the filter sees (`observe_regime=False`) and have to find out by themselves what it computes. The GRU is trained
by the gradient of J through the market (:mod:`hyperexec_env.training.torch_rollout`). RecurrentPPO is that of sb3-contrib with
an LSTM of as many units and the hyperparameters of `hyperexec train ppo`: with its defaults (256 units, batches of 128 slices)
a slice takes many times as long.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hyperexec_env.arguments import Parser, add_arguments, option, parse, scenario_option
from hyperexec_env.baselines.evaluate import evaluate
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.task import Task, build_task
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.observation import ObservationPolicy
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.training.torch_rollout import lanes_of, roll

TIME_LEFT = observation_names().index("time_left")
_SEEDS = 2**42
"""Smallest seed of the episodes that train a GRU."""


@dataclass(frozen=True)
class Args:
    """Options of the benchmark."""

    scenario: str = scenario_option()
    seeds: int = option(3, "trainings of each method")
    steps: int = option(4000, "gradient steps of a GRU (0: none)")
    lanes: int = option(256, "episodes of a gradient step of the GRU")
    units: int = option(32, "units of the GRU, and of the LSTM of RecurrentPPO")
    learning_rate: float = option(1e-2, "initial learning rate of the GRU; decays to zero along a cosine")
    timesteps: int = option(4_000_000, "slices of a training of RecurrentPPO (0: none)")
    ppo_lanes: int = option(1024, "episodes of an update of RecurrentPPO; a gradient step has a quarter of its slices")
    ppo_learning_rate: float = option(3e-3, "initial learning rate of RecurrentPPO; decays linearly to zero")
    gae_lambda: float = option(0.95, "lambda of the generalised advantage estimate of RecurrentPPO")
    episodes: int = option(20_000, "episodes of the board")


class Gru(torch.nn.Module):
    """One GRU cell and a linear head; the memory is forgotten where an episode begins."""

    def __init__(self, features: int, units: int) -> None:
        """Make the weights; the head starts at the schedule, an action of zero."""
        super().__init__()
        self.cell, self.head = torch.nn.GRUCell(features, units), torch.nn.Linear(units, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        self.memory: Any = None

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Return the action of each observation, shape (episodes, features) -> (episodes,), and remember."""
        if self.memory is None or bool((observation[:, TIME_LEFT] == 1.0).all()):
            self.memory = None
        self.memory = self.cell(observation, self.memory)
        return torch.tanh(self.head(self.memory))[:, 0]


def train_gru(task: Task, seed: int, args: Args) -> Gru:
    """Return a GRU whose mean J over new episodes of each step was lowered along its gradient."""
    torch.manual_seed(seed)
    market, network = task.market, Gru(len(observation_names()), args.units)
    optimiser = torch.optim.Adam(network.parameters(), args.learning_rate)
    decay = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 0.5 * (1.0 + math.cos(math.pi * step / args.steps)))
    for step in range(args.steps):
        keys = episode_keys(_SEEDS + seed, np.arange(step * args.lanes, (step + 1) * args.lanes))
        lanes = lanes_of(task.observer, task.mode, draw_path(market, keys, float(market.scenario.side)), torch.float32)
        loss = roll(task.observer, task.mode, lanes, network, shortfall=False).objective.mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay.step()
    return network


def gru_action(network: Gru) -> Callable[[Any], Any]:
    """Return the action of a trained GRU as a function of observations."""

    def act(observation: Any) -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(observation)).double().numpy()

    return act


def train_recurrent_ppo(scenario: Any, seed: int, args: Args) -> Callable[[Any], Any]:
    """Return the deterministic action of RecurrentPPO as a function of observations; an update has an episode of each lane."""
    from sb3_contrib import RecurrentPPO

    from hyperexec_env.training.adapter import BatchVecEnv
    from hyperexec_env.training.ppo import Args as Feedforward

    usual = Feedforward()
    model = RecurrentPPO(
        "MlpLstmPolicy",
        BatchVecEnv(args.ppo_lanes, seed, 0.1, scenario=scenario, observe_regime=False),
        learning_rate=lambda left: args.ppo_learning_rate * left,
        n_steps=scenario.slices,
        batch_size=scenario.slices * args.ppo_lanes // 4,
        n_epochs=usual.epochs,
        gamma=1.0,  # finite horizon
        gae_lambda=args.gae_lambda,
        clip_range=usual.clip,
        policy_kwargs={"lstm_hidden_size": args.units, "net_arch": [args.units], "log_std_init": usual.log_std},
        seed=seed,
        device="cpu",
    ).learn(args.timesteps)
    memory: Any = None

    def act(observation: Any) -> Any:
        nonlocal memory
        begins = observation[:, TIME_LEFT] == 1.0
        action, memory = model.predict(observation, None if begins.all() else memory, begins, deterministic=True)
        return action

    return act


def main(words: list[str]) -> None:
    """Train both methods and print the board, with the filter and the bound beside them."""
    parser = Parser(prog="hidden_regime.py", description=(__doc__ or "").split("\n")[0])
    add_arguments(parser, Args)
    args = parse(Args, parser.parse_args(words))
    torch.set_num_threads(1)
    scenario = get_scenario(args.scenario)
    task = build_task(scenario, observe_regime=False)
    entrants: list[Any] = ["VWAP", "filtered", "belief-grid"]
    for seed in range(args.seeds):
        if args.steps:
            action = gru_action(train_gru(task, seed, args))
            entrants.append(Entrant(ObservationPolicy("GRU", action, observe_regime=False), seed, hidden=True))
        if args.timesteps:
            action = train_recurrent_ppo(scenario, seed, args)
            entrants.append(Entrant(ObservationPolicy("RecurrentPPO", action, observe_regime=False), seed, hidden=True))
    board = evaluate(scenario, entrants, episodes=args.episodes, backend="numpy")
    print(board)
    print(split(board))


def split(board: Any) -> str:
    """Return the part of the way from the best fixed schedule to the regime observed one slice late that each policy goes.

    J is J* plus the paired gap of a policy, with its 95 % interval.
    """
    found = board.optimum
    plan, late = found.open_loop_bps, found.regime_blind_bps

    def closed(objective: float) -> str:
        return f"{100.0 * (plan - objective) / (plan - late):.0f} %"

    lines = [["best fixed schedule", f"{plan:.3f}", "0 %"]]
    for row in sorted(board.rows, key=lambda row: -row.gap_bps):
        if row.policy != "VWAP" and not row.optimum:
            value, low, high = (found.optimum_bps + gap for gap in (row.gap_bps, row.gap_low, row.gap_high))
            lines.append(
                [row.label, f"{value:.3f} [{low:.3f}, {high:.3f}]", f"{closed(value)} [{closed(high)}, {closed(low)}]"]
            )
    lines.append(["regime observed one slice late", f"{late:.3f}", "100 %"])
    return text_table(["policy", "J [95 %]", "closed [95 %]"], lines)


if __name__ == "__main__":
    main(sys.argv[1:])
