"""Train a policy by PPO (Schulman et al. 2017, stable-baselines3) in the native vector environment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hyperexec_env.arguments import option
from hyperexec_env.checks import check_choice
from hyperexec_env.envs.action import ACTION_MODES
from hyperexec_env.envs.venue_task import ROUTERS
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.extras import need
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.recording import Recording
from hyperexec_env.market.scenarios import Trainable
from hyperexec_env.market.touch_scenario import TouchScenario

from .folder import run_files
from .run import AGAIN, check_training, learn, make_env
from .selection import Problem, problem_of, touch_of

if TYPE_CHECKING:
    from stable_baselines3 import PPO
    from torch import nn

__all__ = ["Args", "build_model", "train"]


@dataclass(frozen=True)
class Args(Problem):
    """Options of ``hyperexec train ppo``."""

    seed: int = option(0, "seed of the weights, the exploration and the market")
    out: str = option("", "folder of the run (default: runs/ppo-SCENARIO-SEED)", file="folder")
    timesteps: int = option(4_000_000, "total slices to trade")
    lanes: int = option(192, "parallel environments")
    steps: int = option(96, "maximum slices per lane between updates; rounded down to whole episodes, at least one")
    batch_size: int = option(1664, "maximum slices per gradient step; an update is split into equal batches, or is one batch")
    epochs: int = option(5, "passes over the slices of an update")
    learning_rate: float = option(1e-3, "initial learning rate; decays linearly to zero")
    clip: float = option(0.2, "clipping range of the probability ratio")
    gae_lambda: float = option(0.98, "lambda of the generalised advantage estimate")
    log_std: float = option(-1.0, "initial log standard deviation of the actions")
    hidden: int = option(64, "units in each of the two hidden layers of actor and critic")
    reward: str = option("expected", "reward of the environment", choices=("expected", "realised"))
    reward_scale: float | None = option(
        None, "multiplier of the reward (default: 0.1 of bps; at the touch, 10 of half-spreads per lot)"
    )
    action_mode: str = option("pace", "action mode", choices=ACTION_MODES)
    router: str = option("water-filling", "over venues: what splits the lit request, the desk or the policy", choices=ROUTERS)
    observe_regime: bool = option(True, "whether the policy observes the regime")
    observe_beliefs: bool = option(False, "whether the policy observes the beliefs about the unknowns of the scenario")
    threads: int = option(1, "torch threads (a second thread gains little, and slows training on a busy machine)")
    checkpoint_every: int = option(500_000, "slices between two checkpoints")
    resume: bool = option(False, "resume from the newest checkpoint in the folder of the run, if there is one")
    overwrite: bool = option(False, "delete the policy and the checkpoints of another run in the folder")
    tensorboard: bool = option(True, "log to TensorBoard, in the folder of the run")
    progress: bool = option(True, "show a progress bar")

    @property
    def outputs(self) -> list[Path]:
        """The files and folders of the run."""
        return run_files(self, "ppo")


def whole_episodes(steps: int, slices: int) -> int:
    """Return the slices per lane between two updates: `steps` rounded down to whole episodes, at least one episode.

    With whole episodes every part of the day is sampled equally often, and no return bootstraps from the critic.
    """
    return max(1, steps // slices) * slices


def equal_batches(rows: int, most: int) -> int:
    """Return the largest batch size, at most `most` slices, that divides an update of `rows` slices evenly.

    If the largest such size is below about half of `most`, return `most`; the last batch is then smaller.
    """
    least = -(-rows // most)
    return next((rows // count for count in range(least, 2 * least + 1) if rows % count == 0), most)


def build_model(args: Args, scenario: Trainable, recording: Recording | None = None) -> PPO:
    """Return the untrained model of :func:`train`, with its environments."""
    import torch
    from stable_baselines3 import PPO

    env = make_env(args, scenario, recording)
    at_touch = isinstance(scenario, TouchScenario)
    steps = whole_episodes(args.steps, scenario.steps if isinstance(scenario, TouchScenario) else scenario.slices)
    rows = args.lanes * steps
    if rows < 2:
        raise ValueError(f"lanes must be at least 2 where an update holds one slice, got {args.lanes}")
    architecture: dict[str, Any] = {"net_arch": [args.hidden, args.hidden], "activation_fn": torch.nn.Tanh}
    policy: Any = "MlpPolicy"
    if isinstance(scenario, BasketScenario):
        from .basket_ppo import BasketActorCritic

        policy, architecture = BasketActorCritic, {"units": args.hidden}
    method = need("sb3_contrib", "train").MaskablePPO if at_touch else PPO
    model: PPO = method(
        policy,
        env,
        learning_rate=lambda left: args.learning_rate * left,
        n_steps=steps,
        batch_size=equal_batches(rows, args.batch_size),
        n_epochs=args.epochs,
        gamma=1.0,  # finite horizon: rewards are not discounted
        gae_lambda=args.gae_lambda,
        clip_range=args.clip,
        ent_coef=0.0,
        policy_kwargs=architecture
        if at_touch or args.action_mode == "discrete"
        else {**architecture, "log_std_init": args.log_std},
        seed=args.seed,
        device="cpu",
    )
    return model


def _layers(model: PPO) -> list[nn.Module]:
    """Return the linear layers from observation to action."""
    from torch import nn

    of_basket: Any = getattr(model.policy, "actor_layers", None)
    if of_basket is not None:
        return list(of_basket())

    hidden = [layer for layer in model.policy.mlp_extractor.policy_net if isinstance(layer, nn.Linear)]
    return [*hidden, model.policy.action_net]


def train(args: Args, again: str = AGAIN) -> NetworkPolicy:
    """Train a policy, save it in the folder of the run, and return it.

    Args:
        args: The options.
        again: How the user continues an interrupted training, for the message.
    """
    check_training(args)
    at_touch = touch_of(args)
    if at_touch is not None:
        check_choice("action_mode", args.action_mode, ("pace", "discrete"))  # "pace": the default of slices
        args = replace(args, action_mode="discrete")
        return learn(build_model(args, at_touch), _layers, args, at_touch, "ppo", "argmax", "tanh", again)
    scenario, recording = problem_of(args, several=True)
    if isinstance(scenario, BasketScenario) and args.action_mode == "discrete":
        raise ValueError("action_mode must be pace, fraction or participation for a basket, got 'discrete'")
    head = "argmax" if args.action_mode == "discrete" else "clip"
    model = build_model(args, scenario, recording)
    return learn(model, _layers, args, scenario, "ppo", head, "tanh", again, recording)
