"""Train a policy by DQN (Mnih et al. 2015, stable-baselines3) on discrete paces, in the native vector environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hyperexec_env.arguments import option
from hyperexec_env.evaluation.network import NetworkPolicy

from .folder import run_files
from .run import AGAIN, check_training, learn, make_env
from .selection import Problem, problem_of, touch_of

__all__ = ["Args", "train"]


@dataclass(frozen=True)
class Args(Problem):
    """Options of ``hyperexec train dqn``."""

    seed: int = option(0, "seed of the weights, the exploration and the market")
    out: str = option("", "folder of the run (default: runs/dqn-SCENARIO-SEED)", file="folder")
    timesteps: int = option(2_000_000, "total slices to trade")
    lanes: int = option(256, "parallel environments")
    gradient_steps: int = option(8, "gradient steps per environment step (one slice in every lane)")
    batch_size: int = option(1024, "slices per gradient step")
    buffer_size: int = option(500_000, "capacity of the replay buffer, slices")
    learning_starts: int = option(50_000, "slices traded at random before the first gradient step")
    target_interval: int = option(5_000, "slices between two updates of the target network")
    exploration: float = option(0.3, "fraction of the training over which the rate of random actions decays to 2 %")
    learning_rate: float = option(1e-3, "initial learning rate; decays linearly to zero")
    hidden: int = option(64, "units in each of the two hidden layers")
    reward: str = option("expected", "reward of the environment", choices=("expected", "realised"))
    reward_scale: float | None = option(
        None, "multiplier of the reward (default: 0.1 of bps; at the touch, 10 of half-spreads per lot)"
    )
    action_mode: str = option("discrete", "action mode", choices=("discrete",))
    observe_regime: bool = option(True, "whether the policy observes the regime")
    observe_beliefs: bool = option(False, "whether the policy observes the beliefs about the unknowns of the scenario")
    threads: int = option(1, "torch threads (a second thread gains little, and slows training on a busy machine)")
    checkpoint_every: int = option(250_000, "slices between two checkpoints")
    resume: bool = option(False, "resume from the newest checkpoint in the folder of the run, if there is one")
    overwrite: bool = option(False, "delete the policy and the checkpoints of another run in the folder")
    tensorboard: bool = option(True, "log to TensorBoard, in the folder of the run")
    progress: bool = option(True, "show a progress bar")

    @property
    def outputs(self) -> list[Path]:
        """The files and folders of the run."""
        return run_files(self, "dqn")


def train(args: Args) -> NetworkPolicy:
    """Train a policy, save it in the folder of the run, and return it."""
    check_training(args)
    import torch
    from stable_baselines3 import DQN

    at_touch = touch_of(args)
    scenario, recording = problem_of(args) if at_touch is None else (at_touch, None)
    env = make_env(args, scenario, recording)
    policy: Any = "MlpPolicy"
    if at_touch is not None:
        from .touch import masked_policy

        policy = masked_policy(at_touch.lots, at_touch.max_take + 1)
    model = DQN(
        policy,
        env,
        learning_rate=lambda left: args.learning_rate * left,
        buffer_size=args.buffer_size,
        learning_starts=args.learning_starts,
        batch_size=args.batch_size,
        gamma=1.0,  # finite horizon: rewards are not discounted
        train_freq=1,
        gradient_steps=args.gradient_steps,
        target_update_interval=args.target_interval,
        exploration_fraction=args.exploration,
        exploration_final_eps=0.02,
        policy_kwargs={"net_arch": [args.hidden, args.hidden], "activation_fn": torch.nn.ReLU},
        seed=args.seed,
        device="cpu",
    )

    def layers(trained: DQN) -> list[torch.nn.Module]:
        return [layer for layer in trained.q_net.q_net if isinstance(layer, torch.nn.Linear)]

    return learn(model, layers, args, scenario, "dqn", "argmax", "relu", AGAIN, recording)
