"""Train a policy by SAC (Haarnoja et al. 2018, stable-baselines3) in the native vector environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperexec_env.arguments import option
from hyperexec_env.envs.action import CONTINUOUS_MODES
from hyperexec_env.evaluation.network import NetworkPolicy

from .folder import run_files
from .run import AGAIN, check_training, learn, make_env
from .selection import Problem, problem_of

__all__ = ["Args", "train"]


@dataclass(frozen=True)
class Args(Problem):
    """Options of ``hyperexec train sac``."""

    seed: int = option(0, "seed of the weights, the exploration and the market")
    out: str = option("", "folder of the run (default: runs/sac-SCENARIO-SEED)", file="folder")
    timesteps: int = option(1_000_000, "total slices to trade")
    lanes: int = option(256, "parallel environments")
    gradient_steps: int = option(8, "gradient steps per environment step (one slice in every lane)")
    batch_size: int = option(1024, "slices per gradient step")
    buffer_size: int = option(500_000, "capacity of the replay buffer, slices")
    learning_starts: int = option(20_000, "slices traded at random before the first gradient step")
    tau: float = option(0.02, "Polyak coefficient: weight of the critics in the update of the target critics per gradient step")
    learning_rate: float = option(1e-3, "initial learning rate; decays linearly to zero")
    hidden: int = option(64, "units in each of the two hidden layers of actor and critics")
    reward: str = option("expected", "reward of the environment", choices=("expected", "realised"))
    reward_scale: float = option(0.1, "multiplier of the reward (bps)")
    action_mode: str = option("pace", "action mode", choices=CONTINUOUS_MODES)
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
        return run_files(self, "sac")


def train(args: Args) -> NetworkPolicy:
    """Train a policy, save it in the folder of the run, and return it."""
    check_training(args)
    import torch
    from stable_baselines3 import SAC

    scenario, recording = problem_of(args)
    env = make_env(args, scenario, recording)
    model = SAC(
        "MlpPolicy",
        env,
        learning_rate=lambda left: args.learning_rate * left,
        buffer_size=args.buffer_size,
        learning_starts=args.learning_starts,
        batch_size=args.batch_size,
        gamma=1.0,  # finite horizon: rewards are not discounted
        tau=args.tau,
        train_freq=1,
        gradient_steps=args.gradient_steps,
        ent_coef="auto_0.02",
        target_entropy=-2.0,
        policy_kwargs={"net_arch": [args.hidden, args.hidden], "activation_fn": torch.nn.ReLU},
        seed=args.seed,
        device="cpu",
    )

    def layers(trained: SAC) -> list[torch.nn.Module]:
        hidden = [layer for layer in trained.actor.latent_pi if isinstance(layer, torch.nn.Linear)]
        return [*hidden, trained.actor.mu]

    return learn(model, layers, args, scenario, "sac", "tanh", "relu", AGAIN, recording)
