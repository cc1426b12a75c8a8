"""What every stable-baselines3 script does around the learning: threads, progress, export, atomic writes."""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from hyperexec_env import __version__
from hyperexec_env.checks import check_integer, check_number
from hyperexec_env.evaluation.network import NetworkPolicy, save_policy
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically
from hyperexec_env.market.scenario import Scenario, get_scenario

__all__ = ["check_training", "file_name", "learn", "make_env", "make_folder", "output_folder", "report", "run_folder"]


def check_training(args: Any) -> None:
    """Check what all scripts have in common, before anything heavy is loaded.

    Raises:
        ValueError: A bad option.
        MissingExtra: The packages of the extra `train` are not installed.
    """
    check_integer("seed", args.seed, low=0, high=2**19 - 1)
    check_integer("timesteps", args.timesteps, low=1, high=10**12)
    check_integer("lanes", args.lanes, low=1, high=2**20)
    whole = ("steps", "batch_size", "epochs", "hidden", "threads", "gradient_steps", "buffer_size", "target_interval")
    positive = {"learning_rate": 1.0, "clip": 1.0, "reward_scale": 1e6, "tau": 1.0}
    for item in fields(args):
        value = getattr(args, item.name)
        if item.name in whole:
            check_integer(item.name, value, low=1, high=10**9)
        elif item.name in positive:
            check_number(item.name, value, low=0.0, high=positive[item.name], open_low=True)
        elif item.name == "log_std":
            check_number(item.name, value, low=-20.0, high=5.0)
        elif item.name == "learning_starts":
            check_integer(item.name, value, low=0, high=10**9)
        elif item.name in ("gae_lambda", "exploration"):
            check_number(item.name, value, low=0.0, high=1.0)
    check_integer("batch_size", args.batch_size, low=2, high=10**9)
    if hasattr(args, "steps") and args.lanes * args.steps < args.batch_size:
        rows = args.lanes * args.steps
        raise ValueError(
            f"batch_size must be at most lanes x steps ({rows}), got {args.batch_size}; pass a smaller --batch-size"
        )
    modules = ["torch", "stable_baselines3", "safetensors", *(["tensorboard"] if args.tensorboard else [])]
    for module in [*modules, *(["tqdm", "rich"] if args.progress else [])]:
        need(module, "train")


def run_folder(out: str, algorithm: str, scenario: Scenario, seed: int) -> Path:
    """Return the folder of a run (default: runs/ALGORITHM-SCENARIO-SEED)."""
    return Path(out) if out else Path("runs") / f"{algorithm}-{file_name(scenario)}-{seed}"


def file_name(scenario: Scenario) -> str:
    """Return the name of a scenario as the name of a file."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in scenario.name).strip(".") or "scenario"


def output_folder(out: str, algorithm: str, scenario: Scenario, seed: int) -> Path:
    """Return the folder of a run, made if it is not there.

    Raises:
        ValueError: It cannot be made.
    """
    return make_folder(run_folder(out, algorithm, scenario, seed))


def make_folder(folder: Path) -> Path:
    """Make a folder where there is none and return it.

    Raises:
        ValueError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {folder}: {error}") from None
    return folder


def make_env(args: Any, scenario: Scenario) -> Any:
    """Return the batch of environments that a script's options describe, and set the number of torch threads."""
    from training.adapter import BatchVecEnv

    need("torch", "train").set_num_threads(args.threads)
    options = {key: getattr(args, key) for key in ("action_mode", "reward", "observe_regime")}
    return BatchVecEnv(args.lanes, args.seed, args.reward_scale, scenario=scenario, **options)


def report(policy: NetworkPolicy, args: Any, algorithm: str) -> None:
    """Say what was trained and how to judge it."""
    folder = run_folder(args.out, algorithm, get_scenario(args.scenario), args.seed)
    print(
        f"trained {policy.name} for {policy.about['timesteps']:,} slices in {policy.about['seconds']:.0f} s; saved in {folder}"
    )
    print(f"judge it: hyperexec evaluate --scenario {args.scenario} --policy baselines {folder}")


def learn(
    model: Any, layers: Any, args: Any, scenario: Scenario, folder: Path, algorithm: str, head: str, activation: str
) -> NetworkPolicy:
    """Run a stable-baselines3 model for its budget, export its deterministic policy and save both.

    Args:
        model: The model, ready to learn.
        layers: Function that returns the torch linear layers from observation to action, in order.
        args: Options of the script: `seed`, `timesteps`, `action_mode`, `observe_regime`, `progress`.
        scenario: The scenario it trains on.
        folder: Folder of the run.
        algorithm: Name of the algorithm.
        head: What makes the last layer an action, see :class:`NetworkPolicy`.
        activation: "tanh" or "relu".
    """
    log = need("stable_baselines3.common.logger", "train")
    model.set_logger(log.configure(str(folder / "tensorboard"), ["tensorboard"]) if args.tensorboard else log.Logger(None, []))
    interval = None if not args.tensorboard else 1000 if hasattr(model, "replay_buffer") else 1  # episodes, or updates
    started = time.monotonic()
    try:
        model.learn(total_timesteps=args.timesteps, progress_bar=args.progress, log_interval=interval)
    except ValueError as error:
        if "nan" not in str(error):
            raise
        raise ValueError(_diverged(algorithm)) from None
    seconds = time.monotonic() - started
    weights = tuple(
        (layer.weight.detach().cpu().numpy().astype(np.float32), layer.bias.detach().cpu().numpy().astype(np.float32))
        for layer in layers(model)
    )
    if not all(np.isfinite(values).all() for layer in weights for values in layer):
        raise ValueError(_diverged(algorithm))
    about = {
        "algorithm": algorithm,
        "args": asdict(args),
        "scenario": scenario.to_dict(),
        "scenario_hash": scenario.hash,
        "timesteps": int(model.num_timesteps),
        "seconds": round(seconds, 3),
        "versions": {
            "hyperexec_env": __version__,
            "stable_baselines3": need("stable_baselines3", "train").__version__,
            "torch": need("torch", "train").__version__,
        },
    }
    policy = NetworkPolicy(
        algorithm.upper(), weights, activation, head, args.action_mode, args.observe_regime, args.seed, about
    )
    write_atomically(folder / "scenario.toml", scenario.to_toml())
    save_policy(policy, folder)
    return policy


def _diverged(algorithm: str) -> str:
    return f"training diverged: the {algorithm} policy holds numbers that are not finite; try a smaller learning rate"
