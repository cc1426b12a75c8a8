"""Shared run logic of the stable-baselines3 scripts: option checks, folders, checkpoints, divergence, interruption, export."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from hyperexec_env import __version__
from hyperexec_env.checks import after_echo, check_integer, check_number
from hyperexec_env.evaluation.basket_network import BasketNetworkPolicy
from hyperexec_env.evaluation.network import NetworkPolicy, save_policy
from hyperexec_env.evaluation.touch_network import TouchNetworkPolicy
from hyperexec_env.evaluation.venue_network import VenueNetworkPolicy
from hyperexec_env.extras import need
from hyperexec_env.files import make_folder
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.recording import Recording
from hyperexec_env.market.scenarios import Trainable
from hyperexec_env.market.touch_scenario import TouchScenario
from hyperexec_env.market.venue_scenario import VenueScenario

from .checkpoints import FOLDER, Checkpoint, check_versions, newest_checkpoint, save_checkpoint, versions, versions_text
from .folder import LAST_GOOD, LOG, claimed_folder, run_folder, save_scenario, starting_point
from .interruption import Interrupted, Signals
from .selection import Layers, Selection, beliefs_of, check_beliefs

__all__ = [
    "AGAIN",
    "LAST_SEED",
    "Diverged",
    "Trained",
    "begun",
    "check_training",
    "learn",
    "make_env",
    "plain_args",
    "trained",
]

_MAY_DIFFER = ("scenario", "replay", "out", "threads", "checkpoint_every", "resume", "overwrite", "tensorboard", "progress")
"""Options that a resumed run may change; the scenario and the days of a replay are compared by their hash."""
LAST_SEED: Final = 2**19 - 1
"""Largest training seed: the seeds of its lanes lie below 2^41, where those of pathwise gradients begin."""
AGAIN: Final = "pass --resume to continue"
"""How a user continues an interrupted training."""
_MODULES: Final = ("stable_baselines3", "torch")
"""Packages whose versions can change a training."""
_BETWEEN: Final = 10_000
"""Slices between two policies that the validation days judge, of methods that update in every slice."""
_POLICIES: Final[dict[type, type[NetworkPolicy]]] = {
    BasketScenario: BasketNetworkPolicy,
    TouchScenario: TouchNetworkPolicy,
    VenueScenario: VenueNetworkPolicy,
}
"""Class of the policies of each kind of scenario but that of one asset."""
_SCALES: Final = (0.1, 10.0)
"""Multiplier of the reward in bps, and of that in half-spreads per lot, so that the critic's targets are near one."""
_LOSSES = ("loss", "value_loss", "policy_gradient_loss", "actor_loss", "critic_loss", "ent_coef_loss")


def check_training(args: Any) -> None:
    """Check the options shared by all scripts that trade slices, before the heavy imports.

    Raises:
        ValueError: An option is invalid.
        MissingExtra: The packages of the extra `train` are not installed.
    """
    check_integer("seed", args.seed, low=0, high=LAST_SEED)
    check_integer("timesteps", args.timesteps, low=1, high=10**12)
    check_integer("lanes", args.lanes, low=1, high=2**20)
    integers = {"steps", "batch_size", "epochs", "hidden", "threads", "gradient_steps", "buffer_size", "target_interval"}
    integers.add("checkpoint_every")
    positive = {"learning_rate": 1.0, "clip": 1.0, "reward_scale": 1e6, "tau": 1.0}
    for item in fields(args):
        value = getattr(args, item.name)
        if item.name in integers:
            check_integer(item.name, value, low=1, high=10**9)
        elif item.name in positive and value is not None:
            check_number(item.name, value, low=0.0, high=positive[item.name], open_low=True)
        elif item.name == "log_std":
            check_number(item.name, value, low=-20.0, high=5.0)
        elif item.name == "learning_starts":
            check_integer(item.name, value, low=0, high=10**9)
        elif item.name in ("gae_lambda", "exploration"):
            check_number(item.name, value, low=0.0, high=1.0)
    check_beliefs(args)
    check_integer("batch_size", args.batch_size, low=2, high=10**9)
    modules = ["torch", "safetensors"]
    if hasattr(args, "tensorboard"):  # the scripts of stable-baselines3
        modules += ["stable_baselines3", *(["tensorboard"] if args.tensorboard else [])]
        modules += ["tqdm", "rich"] if args.progress else []
    for module in modules:
        need(module, "train")


def make_env(args: Any, scenario: Trainable, recording: Recording | None = None) -> Any:
    """Return the vector environment of a script's options, and set the number of torch threads.

    With a recording, its scenario is the scenario, and each episode is one of the training days.
    """
    from .adapter import BatchVecEnv

    need("torch", "train").set_num_threads(args.threads)
    at_touch = isinstance(scenario, TouchScenario)
    scale = getattr(args, "reward_scale", None) or _SCALES[at_touch]
    if at_touch:
        return BatchVecEnv(args.lanes, args.seed, scale, scenario=scenario, action_mode="discrete")
    own: dict[type, tuple[str, ...]] = {BasketScenario: ("action_mode",), VenueScenario: ("router",)}
    names = ("reward", "observe_regime", *own.get(type(scenario), ("action_mode", "uncertainty", "observe_beliefs")))
    options = {key: getattr(args, key) for key in names if hasattr(args, key)}
    problem: dict[str, Any] = {"scenario": scenario} if recording is None else {"replay": recording, "split": "train"}
    return BatchVecEnv(args.lanes, args.seed, scale, **problem, **options)


@dataclass(frozen=True)
class Trained:
    """Result of a training script: the policy and its folder."""

    policy: NetworkPolicy
    folder: Path
    scenario: str
    """Name or path of the scenario, for the command line."""
    replay: str = ""
    """Path of the days of a replay, for the command line."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        about = self.policy.about
        return {
            "policy": self.policy.name,
            "training_seed": self.policy.training_seed,
            "folder": str(self.folder),
            "scenario": about["scenario"]["name"],
            **{key: about[key] for key in ("scenario_hash", "timesteps", "seconds")},
        }

    def __str__(self) -> str:
        """Return a summary of the training and the command line that evaluates the policy."""
        slices, seconds = self.policy.about["timesteps"], self.policy.about["seconds"]
        command = f"evaluate --scenario {self.scenario} --policy baselines"
        if self.replay:
            command = f"replay {self.replay} --policy baselines --policy"
        return (
            f"trained {self.policy.name} for {slices:,} slices in {seconds:.0f} s; saved in {self.folder}\n"
            f"evaluate it: hyperexec {command} {self.folder}"
        )


def trained(policy: NetworkPolicy, args: Any) -> Trained:
    """Return the result of a script from its policy and options."""
    folder = run_folder(args.out, policy.about["algorithm"], policy.about["scenario"]["name"], args.seed)
    shown = args.scenario if isinstance(args.scenario, str) else policy.about["scenario"]["name"]
    return Trained(policy, folder, shown, getattr(args, "replay", ""))


def plain_args(args: Any, scenario: Trainable) -> dict[str, Any]:
    """Return the options of a script as plain values; a scenario given as an object is replaced by its name."""
    return asdict(replace(args, scenario=args.scenario if isinstance(args.scenario, str) else scenario.name))


def _identity(algorithm: str, scenario: Trainable, args: Any, recording: Recording | None = None) -> dict[str, Any]:
    """Return the values that identify a training: algorithm, scenario hash, options, and hash of the days of a replay."""
    same = {key: value for key, value in asdict(args).items() if key not in _MAY_DIFFER}
    days = {} if recording is None else {"days": recording.digest}
    return {"algorithm": algorithm, "scenario_hash": scenario.hash, **days, "args": same}


def _difference(about: dict[str, Any], identity: dict[str, Any]) -> tuple[str, Any, Any] | None:
    """Return the first differing option of a checkpoint and a training as (name, value in checkpoint, value now), or None."""
    old, new = ({**side["args"], **{key: side.get(key) for key in identity if key != "args"}} for side in (about, identity))
    return next(((key, old.get(key), value) for key, value in new.items() if old.get(key) != value), None)


def begun(algorithm: str, scenario: Trainable, args: Any, recording: Recording | None = None) -> bool:
    """Return whether the folder of a run contains a checkpoint of the same training, from which `resume` would continue.

    The checkpoint of another version of this package is not one of the same training.
    """
    checkpoint = newest_checkpoint(run_folder(args.out, algorithm, scenario, args.seed) / FOLDER)
    if checkpoint is None or checkpoint.about.get("versions", {}).get("hyperexec_env") != __version__:
        return False
    return _difference(checkpoint.about, _identity(algorithm, scenario, args, recording)) is None


class Diverged(ValueError):
    """The weights or a loss are not finite."""


@dataclass
class Run:
    """One training of a stable-baselines3 model, from its first slice or a checkpoint to the export of the policy.

    Attributes:
        model: The model.
        layers: Function that returns the torch linear layers from observation to action, in order.
        args: Options of the script.
        scenario: Trainable of the training.
        folder: Folder of the run.
        algorithm: Name of the algorithm.
        head: Function from the last layer to the action, see :class:`NetworkPolicy`.
        activation: "tanh" or "relu".
        recording: Days of a replay, on whose validation days the weights are chosen; None: the last weights are.
    """

    model: Any
    layers: Callable[[Any], Any]
    args: Any
    scenario: Trainable
    folder: Path
    algorithm: str
    head: str
    activation: str
    recording: Recording | None = None

    def __post_init__(self) -> None:
        """Start the clock."""
        self.selection = None if self.recording is None else Selection(self.recording, self.policy)
        self.started = time.monotonic()
        self.saved = 0  # slices traded at the last checkpoint
        self.considered = -1  # slices traded when the validation days last judged the weights
        self.good: tuple[Layers, int] | None = None  # the last finite weights, and the slices traded for them

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / FOLDER

    @property
    def seconds(self) -> float:
        """Seconds of training so far, including the time before an interruption."""
        return time.monotonic() - self.started

    def save(self) -> None:
        """Write a checkpoint."""
        from .adapter import snapshot

        tensors, about = snapshot(self.model)
        if self.selection is not None:
            arrays, described = self.selection.state()
            tensors, about = {**tensors, **arrays}, {**about, **described}
        about |= {"seconds": self.seconds, **self.identity, "versions": versions(*_MODULES)}
        save_checkpoint(self.checkpoints, self.model.num_timesteps, tensors, about)
        self.saved = self.model.num_timesteps

    def resume(self, checkpoint: Checkpoint) -> None:
        """Restore a checkpoint.

        Raises:
            ValueError: The checkpoint belongs to another training or another version.
        """
        from .adapter import restore

        check_versions(checkpoint, self.checkpoints, *_MODULES)
        self._check_same(checkpoint.about)
        try:
            restore(self.model, checkpoint.tensors, checkpoint.about)
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            made, here = versions_text(checkpoint.about.get("versions")), versions_text(versions(*_MODULES))
            what = f"the checkpoint of {checkpoint.step} slices in {self.checkpoints}, made by {made}"
            raise ValueError(f"{what}, does not fit {here}: {error}") from None
        if self.selection is not None:
            self.selection.restore(checkpoint.tensors, checkpoint.about)
        self.started = time.monotonic() - checkpoint.about["seconds"]
        self.saved = self.considered = checkpoint.step
        print(f"resumed from the checkpoint of {checkpoint.step:,} slices in {self.checkpoints}", file=sys.stderr)

    @property
    def identity(self) -> dict[str, Any]:
        """Values that a checkpoint and a resumed run must share."""
        return _identity(self.algorithm, self.scenario, self.args, self.recording)

    def _check_same(self, about: dict[str, Any]) -> None:
        """Raise a ValueError that names the first difference if a checkpoint belongs to another training."""
        other = _difference(about, self.identity)
        if other is not None:
            key, was, now = other
            raise ValueError(f"cannot resume: {key} must be {was!r} as in the checkpoint in {self.checkpoints}, got {now!r}")

    def check(self, last: bool = False) -> None:
        """Store the weights if the weights and the last losses are finite; `last` is the check at the end of a training.

        Raises:
            Diverged: A weight or a loss is not finite.
        """
        losses = self.model.logger.name_to_value
        weights = [values.numpy() for values in self.model.policy.state_dict().values()]
        finite = all(np.isfinite(values).all() for values in weights)
        if not finite or not all(np.isfinite(losses.get(f"train/{name}", 0.0)) for name in _LOSSES):
            raise Diverged
        self.good = self.weights(), self.model.num_timesteps
        self._select(*self.good, last)

    def _select(self, weights: Layers, timesteps: int, last: bool) -> None:
        """Let the validation days judge some weights: after each update, or off-policy every :data:`_BETWEEN` slices."""
        every = _BETWEEN if hasattr(self.model, "replay_buffer") else 1
        due = last or timesteps // every != self.considered // every
        if self.selection is not None and due:
            self.selection.consider(weights, timesteps)
            self.considered = timesteps

    def weights(self) -> Layers:
        """Return copies of the weights from observation to action."""
        return tuple(
            (layer.weight.detach().numpy().astype(np.float32), layer.bias.detach().numpy().astype(np.float32))
            for layer in self.layers(self.model)
        )

    def policy(self, weights: Layers, about: dict[str, Any] | None = None) -> NetworkPolicy:
        """Return the deterministic policy of some weights."""
        name, mode, regime = self.algorithm.upper(), self.args.action_mode, self.args.observe_regime
        kind = _POLICIES.get(type(self.scenario), NetworkPolicy)
        beliefs = {"beliefs": beliefs_of(self.model.env.batch.task)} if self.args.observe_beliefs else {}
        return kind(name, weights, self.activation, self.head, mode, regime, self.args.seed, about or {}, **beliefs)

    def export_chosen(self) -> NetworkPolicy:
        """Write the policy of the last weights, or of the weights that the validation days choose."""
        best = None if self.selection is None else self.selection.best
        if best is None:
            return self.export(self.weights(), self.model.num_timesteps, self.folder)
        return self.export(best.weights, self.model.num_timesteps, self.folder)

    def _replay(self) -> dict[str, Any]:
        """Return the description of the days of a replay: their parts, and the last day that the training has seen."""
        if self.recording is None:
            return {}
        best = None if self.selection is None else self.selection.best
        chosen = None if best is None else {"timesteps": best.timesteps, "objective_bps": best.objective}
        last = self.recording.spans["validation"][1]
        parts = {split: list(span) for split, span in self.recording.spans.items()}
        return {"replay": {"days": self.recording.digest, **parts, "last": last, "chosen": chosen}}

    def export(self, weights: Layers, timesteps: int, folder: Path) -> NetworkPolicy:
        """Write a policy and its scenario to a folder, and return the policy."""
        args = self.args
        about = {
            "algorithm": self.algorithm,
            "args": plain_args(args, self.scenario),
            "scenario": self.scenario.to_dict(),
            "scenario_hash": self.scenario.hash,
            "timesteps": timesteps,
            "seconds": round(self.seconds, 3),
            "versions": versions(*_MODULES),
            **self._replay(),
        }
        policy = self.policy(weights, about)
        save_scenario(self.scenario, make_folder(folder))
        save_policy(policy, folder)
        return policy

    def give_up(self) -> Diverged:
        """Save the last finite policy in the subfolder :data:`LAST_GOOD`, and return the error to raise."""
        message = (
            f"training diverged: the {self.algorithm} policy or its loss holds numbers that are not finite "
            f"after {self.model.num_timesteps:,} slices; try a smaller learning rate"
        )
        if self.good is not None:
            weights, timesteps = self.good
            self.export(weights, timesteps, self.folder / LAST_GOOD)
            message += f"; the last good policy (of {timesteps:,} slices) is in {self.folder / LAST_GOOD}"
        return Diverged(message)


def learn(
    model: Any,
    layers: Any,
    args: Any,
    scenario: Trainable,
    algorithm: str,
    head: str,
    activation: str,
    again: str = AGAIN,
    recording: Recording | None = None,
) -> NetworkPolicy:
    """Train a stable-baselines3 model for its budget, and save a checkpoint and the deterministic policy; see :class:`Run`.

    With a recording, the policy is that of the update with the least objective on the validation days.

    Raises:
        ValueError: The training diverged or cannot be resumed, the disk is full, the folder contains another run (see
            :func:`~.folder.starting_point`), or another process writes to it.
        Interrupted: SIGINT or SIGTERM was received; a checkpoint was written.
    """
    with claimed_folder(args.out, algorithm, scenario, args.seed) as folder, _errors_of_log_in_main_thread():
        checkpoint = starting_point(folder, resume=args.resume, overwrite=args.overwrite)
        run = Run(model, layers, args, scenario, folder, algorithm, head, activation, recording)
        log = need("stable_baselines3.common.logger", "train")
        target = log.configure(str(folder / LOG), ["tensorboard"]) if args.tensorboard else log.Logger(None, [])
        model.set_logger(target)
        if checkpoint is not None:
            run.resume(checkpoint)
        return _train(run, again)


def _train(run: Run, again: str) -> NetworkPolicy:
    """Train the model of a run for its budget, and save a checkpoint and the policy; errors as in :func:`learn`."""
    model, args = run.model, run.args
    with Signals() as signals:
        try:
            stopped = _learn(run, signals)
            run.check(last=True)
        except OSError as error:
            newest = f"the checkpoint of {run.saved:,} slices, from which --resume continues" if run.saved else "no checkpoint"
            raise ValueError(f"cannot write to {run.folder}: {error.strerror or error}; it holds {newest}") from None
        except ValueError as error:
            if not isinstance(error, Diverged) and "nan" not in str(error):
                raise
            raise run.give_up() from None
        if not stopped:
            if run.saved != model.num_timesteps:
                run.save()
            policy = run.export_chosen()
    if signals.received:
        done = f"{after_echo()}interrupted after {run.saved:,} of {args.timesteps:,} slices"
        print(f"{done}; {again} (checkpoint in {run.checkpoints})" if stopped else done, file=sys.stderr)
        raise Interrupted(signals.received)
    return policy


@contextmanager
def _errors_of_log_in_main_thread() -> Iterator[None]:
    """Leave errors of the disk in the thread that writes the log to the main thread, where the next entry raises them."""
    original = threading.excepthook

    def hook(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and type(args.thread).__module__.startswith("tensorboard.")):
            original(args)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = original


def _learn(run: Run, signals: Signals) -> bool:
    """Train the model, with checkpoints between updates; return whether a signal stopped it before the end of its budget."""
    from stable_baselines3.common.callbacks import BaseCallback

    class Checkpoints(BaseCallback):
        """Callback between updates: check the weights, write a checkpoint if one is due, and stop after a signal."""

        stop = False

        def _on_rollout_start(self) -> None:
            run.check()
            self.stop = bool(signals.received)
            if self.stop or run.model.num_timesteps - run.saved >= run.args.checkpoint_every:
                run.save()

        def _on_step(self) -> bool:
            return not self.stop

    model, args, checkpoints = run.model, run.args, Checkpoints()
    interval = None if not args.tensorboard else 1000 if hasattr(model, "replay_buffer") else 1  # episodes, or updates
    model.learn(
        total_timesteps=args.timesteps - model.num_timesteps,
        callback=checkpoints,
        progress_bar=args.progress,
        log_interval=interval,
        reset_num_timesteps=model._last_obs is None,  # a resumed model continues its episodes
    )
    return checkpoints.stop
