"""Train a policy by PPO (Schulman et al. 2017, stable-baselines3) on the native batch of environments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.envs.action import ACTION_MODES
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario

from .run import check_training, learn, make_env, output_folder

if TYPE_CHECKING:
    from stable_baselines3 import PPO
    from torch import nn

__all__ = ["Args", "build_model", "train"]


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec train ppo``."""

    scenario: ScenarioLike = scenario_option()
    seed: int = option(0, "seed of the weights, the exploration and the market")
    out: str = option("", "folder of the run (default: runs/ppo-SCENARIO-SEED)")
    timesteps: int = option(4_000_000, "slices to trade in all")
    lanes: int = option(192, "environments side by side")
    steps: int = option(96, "slices in each lane between two updates, at most: as many whole episodes as fit (at least one)")
    batch_size: int = option(1664, "slices in a gradient step, at most: an update is cut into equal ones")
    epochs: int = option(5, "passes over the slices of an update")
    learning_rate: float = option(1e-3, "learning rate at the start; it falls to zero linearly")
    clip: float = option(0.2, "clipping range of the probability ratio")
    gae_lambda: float = option(0.98, "lambda of the generalised advantage estimate")
    log_std: float = option(-1.0, "log of the exploration's standard deviation at the start")
    hidden: int = option(64, "units in each of the two hidden layers of actor and critic")
    reward: str = option("expected", "reward of the environment", choices=("expected", "realised"))
    reward_scale: float = option(0.1, "factor on the reward (bps)")
    action_mode: str = option("pace", "action mode", choices=ACTION_MODES)
    observe_regime: bool = option(True, "whether the policy is told the regime")
    threads: int = option(1, "torch threads (a second one helps little, and on a busy machine costs much)")
    checkpoint_every: int = option(500_000, "slices between two checkpoints")
    resume: bool = option(False, "go on from the newest checkpoint in the folder of the run, if there is one")
    tensorboard: bool = option(True, "log to TensorBoard, in the folder of the run")
    progress: bool = option(True, "show a progress bar")


def whole_episodes(steps: int, slices: int) -> int:
    """Return the slices between two updates: as many episodes of `slices` as fit into `steps`, and one where none fits.

    Updates that hold whole episodes see every part of the day equally often, and no return ends in a guess of the critic.
    """
    return max(1, steps // slices) * slices


def equal_batches(rows: int, most: int) -> int:
    """Return the size of the largest equal batches of at most `most` slices that an update of `rows` slices can be cut into.

    Where they would be smaller than about half of that, batches are as large as they may be, and the last one is what is left.
    """
    least = -(-rows // most)
    return next((rows // count for count in range(least, 2 * least + 1) if rows % count == 0), most)


def build_model(args: Args, scenario: Scenario) -> PPO:
    """Return the model that :func:`train` lets learn, and its environments."""
    import torch
    from stable_baselines3 import PPO

    env = make_env(args, scenario)
    steps = whole_episodes(args.steps, scenario.slices)
    architecture = {"net_arch": [args.hidden, args.hidden], "activation_fn": torch.nn.Tanh}
    return PPO(
        "MlpPolicy",
        env,
        learning_rate=lambda left: args.learning_rate * left,
        n_steps=steps,
        batch_size=equal_batches(args.lanes * steps, args.batch_size),
        n_epochs=args.epochs,
        gamma=1.0,  # the horizon is part of the problem: nothing is discounted
        gae_lambda=args.gae_lambda,
        clip_range=args.clip,
        ent_coef=0.0,
        policy_kwargs=architecture if args.action_mode == "discrete" else {**architecture, "log_std_init": args.log_std},
        seed=args.seed,
        device="cpu",
    )


def _layers(model: PPO) -> list[nn.Module]:
    """Return the linear layers from observation to action."""
    from torch import nn

    hidden = [layer for layer in model.policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    return [*hidden, model.policy.action_net]


def train(args: Args) -> NetworkPolicy:
    """Train, save, and return the policy."""
    check_training(args)
    scenario = get_scenario(args.scenario)
    folder = output_folder(args.out, "ppo", scenario, args.seed)
    head = "argmax" if args.action_mode == "discrete" else "clip"
    return learn(build_model(args, scenario), _layers, args, scenario, folder, "ppo", head, "tanh")
