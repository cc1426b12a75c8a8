"""Train a policy by pathwise gradients: torch differentiates the cost of whole episodes through the market model."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.checks import after_echo, check_choice, check_flag, check_integer, check_number, shown
from hyperexec_env.envs.task import build_task
from hyperexec_env.envs.venue_task import ROUTERS
from hyperexec_env.evaluation.network import NetworkPolicy, save_policy
from hyperexec_env.extras import need
from hyperexec_env.market.basket_scenario import BASKETS, BasketScenario, get_basket
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.touch_scenario import TOUCHES
from hyperexec_env.market.venue_scenario import VENUES, VenueScenario
from hyperexec_env.progress import progress

from .checkpoints import FOLDER, Checkpoint, check_versions, save_checkpoint, versions
from .folder import claimed_folder, run_files, save_scenario, starting_point
from .interruption import Interrupted, Signals
from .run import LAST_SEED, plain_args
from .selection import beliefs_of, check_beliefs, check_router, venues_of

if TYPE_CHECKING:
    import torch

    from .torch_rollout import Outcome

__all__ = [
    *("OBJECTIVES", "Args", "Trainer", "check", "check_course", "check_device", "initial_weights", "network_shapes", "train"),
    "train_in",
]

OBJECTIVES: Final = ("expected", "mean-variance", "cvar")
"""Objectives that can be minimised."""
_SEEDS: Final = 2**41
"""Smallest seed of this trainer; seeds of training environments are below 2^41. Training seed s draws from 2^41 + 2 s, its
validation from 2^41 + 2 s + 1."""
_AVERAGE: Final = 0.99
"""Decay of the averaged weights per step (Polyak and Juditsky 1992, with exponential weights)."""
_MAY_DIFFER: Final = ("scenario", "out", "threads", "checkpoint_every", "resume", "overwrite", "progress")
"""Options that a resumed run may change; the scenario is compared by its hash."""


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec train pathwise``."""

    scenario: ScenarioLike = scenario_option()
    seed: int = option(0, "seed of the weights and of the market")
    out: str = option("", "folder of the run (default: runs/pathwise-SCENARIO-SEED)", file="folder")
    objective: str = option("expected", "objective to minimise: J, or a risk measure of the realised cost", choices=OBJECTIVES)
    risk: float = option(1.0, "mean-variance: weight of the variance, 1/bps; cvar: weight of CVaR against the mean, 0 to 1")
    level: float = option(0.95, "level of CVaR")
    steps: int = option(1000, "gradient steps")
    seconds: float = option(0.0, "wall-time budget that replaces the steps, seconds (0: none; results are not reproducible)")
    lanes: int = option(1024, "episodes per gradient step")
    learning_rate: float = option(3e-3, "initial learning rate; decays to zero along a cosine")
    hidden: int = option(64, "units in each of the two hidden layers")
    router: str = option("water-filling", "over venues: what splits the lit request, the desk or the policy", choices=ROUTERS)
    observe_regime: bool = option(True, "whether the policy observes the regime")
    observe_beliefs: bool = option(False, "whether the policy observes the beliefs about the unknowns of the scenario")
    validation: int = option(4096, "validation episodes, on which the best policy of the training is selected")
    validate_every: int = option(50, "gradient steps between two validations")
    patience: int = option(20, "stop after this many validations without improvement")
    checkpoint_every: int = option(250, "gradient steps between two checkpoints")
    resume: bool = option(False, "resume from the newest checkpoint in the folder of the run, if there is one")
    overwrite: bool = option(False, "delete the policy and the checkpoints of another run in the folder")
    device: str = option("cpu", "device of torch", choices=("cpu", "cuda"))
    threads: int = option(1, "torch threads")
    progress: bool = option(True, "show a progress bar")

    @property
    def outputs(self) -> list[Path]:
        """The files and folders of the run."""
        return run_files(self, "pathwise")


_Differentiable = Scenario | BasketScenario | VenueScenario


def check(args: Args) -> _Differentiable:
    """Check the options and return the scenario, the basket, or the scenario with venues.

    Raises:
        ValueError: An option is invalid, or the scenario is not differentiable.
        MissingExtra: The packages of the extra `train` are not installed.
    """
    check_choice("objective", args.objective, OBJECTIVES)
    check_course(args)
    for name in ("lanes", "validation"):
        check_integer(name, getattr(args, name), low=2, high=2**20)
    check_number("risk", args.risk, low=0.0, high=1.0 if args.objective == "cvar" else math.inf)
    if args.objective == "cvar":  # the tail must contain at least one episode
        check_number("level", args.level, low=0.0, high=1.0 - 1.0 / args.lanes)
    check_flag("observe_regime", args.observe_regime)
    check_beliefs(args)
    if TOUCHES.owns(args.scenario):
        raise ValueError(
            f"scenario must be one of slices for pathwise gradients, got {shown(args.scenario)}: there is no gradient through "
            "a queue of whole lots; use train ppo or train dqn"
        )
    scenario: _Differentiable
    if VENUES.owns(args.scenario):
        scenario = venues_of(args)
    else:
        check_router(args)
        scenario = get_basket(args.scenario) if BASKETS.owns(args.scenario) else get_scenario(args.scenario)
    if isinstance(scenario, VenueScenario):
        pass  # every scenario with venues is differentiable
    elif isinstance(scenario, BasketScenario):
        if not args.observe_regime:
            raise ValueError("observe_regime must be True for a basket, got False: boards of baskets show the regime")
    elif scenario.predator:
        raise ValueError(f"predator must be 0 for pathwise gradients, got {scenario.predator}: its forecasts are discontinuous")
    check_device(args)
    return scenario


def check_course(args: Any) -> None:
    """Check the options of the course of a training by pathwise gradients, in one market or in many.

    Raises:
        ValueError: An option is invalid.
    """
    check_choice("device", args.device, ("cpu", "cuda"))
    check_integer("seed", args.seed, low=0, high=LAST_SEED)
    for name in ("steps", "hidden", "validate_every", "patience", "checkpoint_every", "threads"):
        check_integer(name, getattr(args, name), low=1, high=10**9)
    check_number("seconds", args.seconds, low=0.0, unit="s")
    check_number("learning_rate", args.learning_rate, low=0.0, high=1.0, open_low=True)
    for name in ("resume", "overwrite", "progress"):
        check_flag(name, getattr(args, name))


def check_device(args: Any) -> None:
    """Check, before the work, that the packages and the device of a training are there.

    Raises:
        ValueError: The device is not there.
        MissingExtra: The packages of the extra `train` are not installed.
    """
    need("safetensors", "train")
    if args.device == "cuda" and not need("torch", "train").cuda.is_available():
        raise ValueError("device must be 'cpu', because torch finds no GPU, got 'cuda'")


class Trainer:
    """The state of a training: weights as one vector, averaged weights, Adam's moments, and the best policy so far."""

    task: Any
    kind: type[NetworkPolicy] = NetworkPolicy
    """Class of the policies."""
    vectors: tuple[str, ...] = ("weights", "average", "best")
    """Names of the vectors of a checkpoint."""
    drawn_ahead: int = 8
    """Number of gradient steps whose paths are drawn at once."""

    def __init__(self, args: Args, scenario: Any) -> None:
        """Draw the initial weights and the validation episodes."""
        self.torch = need("torch", "train")
        self.args = args
        self.shapes = self.set_task(scenario)
        self.weights = self._tensor(self.initial()).requires_grad_()
        self.average, self.best = self.weights.detach().clone(), self.weights.detach().clone()
        self.adam = self.torch.optim.Adam([self.weights], lr=args.learning_rate)
        self.step, self.best_step, self.best_value, self.failures, self.spent = 0, 0, math.inf, 0, 0.0
        self.ahead: list[Any] = []
        self.held_out = self.draw(_SEEDS + 2 * args.seed + 1, 0, args.validation)

    def set_task(self, scenario: Any) -> list[tuple[int, ...]]:
        """Build the task; return the shapes of the weights and biases of each layer, in order."""
        self.task = build_task(scenario, observe_regime=self.args.observe_regime, observe_beliefs=self.args.observe_beliefs)
        return network_shapes(len(self.task.names), self.args.hidden)

    def initial(self) -> Any:
        """Draw the initial weights, one vector."""
        return initial_weights(self.shapes, self.args.seed)

    def _tensor(self, values: Any) -> torch.Tensor:
        tensor: torch.Tensor = self.torch.tensor(values, dtype=self.torch.float32, device=self.args.device)
        return tensor

    def draw(self, seed: int, first: int, count: int) -> Any:
        """Draw episodes `first` to `first + count - 1` of a seed, and return them as torch constants."""
        from .torch_rollout import lanes_of

        market = self.task.market
        path = draw_path(market, episode_keys(seed, np.arange(first, first + count)), float(market.scenario.side))
        return lanes_of(self.task.observer, self.task.mode, path, self.torch.float32, self.args.device)

    def layers(self, weights: torch.Tensor) -> list[torch.Tensor]:
        """Return the weights and biases of the layers, in order, as views of a weight vector."""
        parts = self.torch.split(weights, [math.prod(shape) for shape in self.shapes])
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def roll(self, weights: torch.Tensor, lanes: Any) -> Outcome:
        """Run the policy with a weight vector over episodes, and return the costs."""
        from .torch_rollout import roll

        return roll(self.task.observer, self.task.mode, lanes, self.network(weights), self.args.objective != "expected")

    def network(self, weights: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function from observations, shape (..., features), to actions, shape (...) or (..., numbers)."""
        last, tanh = self.last_layer(weights), self.torch.tanh
        return lambda observation: tanh(last(observation))

    def last_layer(self, weights: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function from observations to the values of the last layer, shape (...), or (..., numbers) of several."""
        w1, b1, w2, b2, w3, b3 = self.layers(weights)
        linear, tanh = self.torch.nn.functional.linear, self.torch.tanh

        def value(observation: torch.Tensor) -> Any:
            first = linear(observation, w1) + (b1[:, None] if b1.ndim > 1 else b1)
            last = linear(tanh(linear(tanh(first), w2, b2)), w3, b3)
            return last[..., 0] if last.shape[-1] == 1 else last

        return value

    def loss(self, outcome: Outcome) -> torch.Tensor:
        """Return the training objective of a batch, bps."""
        args, cost = self.args, outcome.shortfall
        if args.objective == "expected":
            return outcome.objective.mean()
        if args.objective == "mean-variance":
            return cost.mean() + args.risk * cost.var()
        worst = cost.topk(max(1, round((1.0 - args.level) * len(cost)))).values
        return (1.0 - args.risk) * cost.mean() + args.risk * worst.mean()

    def done(self) -> float:
        """Return the used fraction of the budget, 0 to 1."""
        args = self.args
        return min(1.0, self.spent / args.seconds if args.seconds else self.step / args.steps)

    def learn(self) -> bool:
        """Take one gradient step; return whether the loss and the weights are finite."""
        args = self.args
        if not self.ahead:
            seed, first = _SEEDS + 2 * args.seed, self.step * args.lanes
            self.ahead = [self.draw(seed, first + i * args.lanes, args.lanes) for i in reversed(range(self.drawn_ahead))]
        for group in self.adam.param_groups:
            group["lr"] = args.learning_rate * 0.5 * (1.0 + math.cos(math.pi * self.done()))
        self.adam.zero_grad()
        loss = self.loss(self.roll(self.weights, self.ahead.pop()))
        loss.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.step += 1
        decay = min(_AVERAGE, self.step / (10.0 + self.step))
        self.average.lerp_(self.weights.detach(), 1.0 - decay)
        return bool(self.torch.isfinite(loss)) and bool(self.torch.isfinite(self.weights).all())

    @property
    def total(self) -> int:
        """Units of the progress bar: gradient steps, or thousandths of the time."""
        return 1000 if self.args.seconds else int(self.args.steps)

    @property
    def gradient_steps(self) -> int:
        """Steps of Adam so far."""
        return self.step

    def judge(self) -> None:
        """Validate if it is due: at the beginning, every `validate_every` steps, and at the end."""
        if self.step % self.args.validate_every == 0 or self.done() >= 1.0:
            self.validate()

    def exhausted(self) -> bool:
        """Return whether the training stops before its end, because the validations no longer improve."""
        return bool(self.failures >= self.args.patience)

    def validate(self) -> None:
        """Evaluate the averaged weights on the validation episodes, and store them if they are the best so far."""
        with self.torch.no_grad():
            value = float(self.loss(self.roll(self.average, self.held_out)))
        if value < self.best_value:
            self.best_value, self.best_step, self.failures = value, self.step, 0
            self.best.copy_(self.average)
        else:
            self.failures += 1

    def identity(self, scenario: Any) -> dict[str, Any]:
        """Return the options and the scenario hash that a checkpoint and a resumed run must share."""
        same = {key: value for key, value in asdict(self.args).items() if key not in _MAY_DIFFER}
        return {**same, "scenario_hash": scenario.hash}

    def save(self, folder: Path, scenario: Any) -> None:
        """Write a checkpoint."""
        tensors = {name: getattr(self, name).detach().cpu().numpy() for name in self.vectors}
        state = self.adam.state[self.weights]
        tensors |= {name: state[name].cpu().numpy() for name in ("exp_avg", "exp_avg_sq") if state}
        progress = {"best_step": self.best_step, "best_value": self.best_value, "failures": self.failures, "spent": self.spent}
        about = {"progress": progress, "args": self.identity(scenario), "versions": versions("torch")}
        save_checkpoint(folder, self.step, tensors, about)

    def restore(self, checkpoint: Checkpoint, scenario: Any) -> None:
        """Restore the state of a checkpoint.

        Raises:
            ValueError: The checkpoint belongs to another training; the message names the first difference.
        """
        old = checkpoint.about.get("args", {})
        for key, value in self.identity(scenario).items():
            if key not in old:
                raise ValueError(f"cannot resume: the checkpoint is of another method, without the option {key}")
            if old[key] != value:
                raise ValueError(f"cannot resume: {key} must be {old.get(key)!r} as in the checkpoint, got {value!r}")
        tensors = {name: self._tensor(values) for name, values in checkpoint.tensors.items()}
        with self.torch.no_grad():
            for name in self.vectors:
                getattr(self, name).copy_(tensors[name])
        self.step, self.ahead = checkpoint.step, []
        if "exp_avg" in tensors:
            moments = {name: tensors[name] for name in ("exp_avg", "exp_avg_sq")}
            self.adam.state[self.weights] = {"step": self.torch.tensor(float(self.gradient_steps)), **moments}
        for name, value in checkpoint.about["progress"].items():
            setattr(self, name, value)

    def described(self, scenario: Any) -> dict[str, Any]:
        """Return what describes the training beside its course: algorithm, options, scenario and traded slices."""
        return {
            "algorithm": "pathwise",
            "args": plain_args(self.args, scenario),
            "scenario": scenario.to_dict(),
            "scenario_hash": scenario.hash,
            "timesteps": self.step * self.args.lanes * scenario.slices,
        }

    def save_task(self, scenario: Any, folder: Path) -> None:
        """Write the scenario of the training to its folder."""
        save_scenario(scenario, folder)

    def write(self, about: dict[str, Any], scenario: Any, folder: Path) -> NetworkPolicy:
        """Write the scenario and the policy of the training to its folder, and return the policy."""
        policy = self.policy(about)
        self.save_task(scenario, folder)
        save_policy(policy, folder)
        return policy

    def policy(self, about: dict[str, Any]) -> NetworkPolicy:
        """Return the best policy as a :class:`NetworkPolicy`."""
        arrays = [np.array(values.cpu().numpy()) for values in self.layers(self.best)]
        layers = tuple(zip(arrays[::2], arrays[1::2], strict=True))
        args = self.args
        beliefs = {"beliefs": beliefs_of(self.task)} if args.observe_beliefs else {}
        return self.kind("Pathwise", layers, "tanh", "tanh", "pace", args.observe_regime, args.seed, about, **beliefs)


def network_shapes(features: int, hidden: int, assets: tuple[int, ...] = (), outputs: int = 1) -> list[tuple[int, ...]]:
    """Return the shapes of the weights and biases of two hidden layers and the outputs; `assets`: (d,) for a basket."""
    return [(hidden, features), (*assets, hidden), (hidden, hidden), (hidden,), (outputs, hidden), (outputs,)]


def initial_weights(shapes: list[tuple[int, ...]], seed: int) -> Any:
    """Draw the initial weights: normal with variance 1 / inputs, zero biases, a small last layer (a policy near VWAP)."""
    rng = np.random.default_rng([seed, _SEEDS])
    parts = [np.zeros(shape) if at % 2 else rng.normal(size=shape) / math.sqrt(shape[1]) for at, shape in enumerate(shapes)]
    parts[-2] *= 0.1
    return np.concatenate([part.ravel() for part in parts])


def _run(trainer: Trainer, checkpoints: Path, scenario: Any) -> str:
    """Train until the budget is used; return the reason to stop: "finished", "patience" or "diverged".

    Raises:
        Interrupted: A signal was received; a checkpoint was written.
    """
    args = trainer.args
    started = time.monotonic() - trainer.spent
    total = trainer.total
    bar = progress(total, f"train {scenario.name}") if args.progress else nullcontext(lambda done: None)
    with Signals() as signals, bar as advance:
        if trainer.step == 0:
            trainer.judge()
        reported = 0
        while trainer.done() < 1.0 and not trainer.exhausted():
            if not trainer.learn():
                return "diverged"
            trainer.spent = time.monotonic() - started
            trainer.judge()
            if signals.received or trainer.step % args.checkpoint_every == 0:
                trainer.save(checkpoints, scenario)
            if signals.received:
                print(f"{after_echo()}interrupted after {trainer.step:,} steps; pass --resume to continue", file=sys.stderr)
                raise Interrupted(signals.received)
            done = int(total * trainer.done())
            advance(done - reported)
            reported = done
    return "finished" if trainer.done() >= 1.0 else "patience"


def train(args: Args) -> NetworkPolicy:
    """Train a policy, save it in the folder of the run, and return it.

    Raises:
        ValueError: An option is invalid, the checkpoint belongs to another training or another version, the folder contains
            another run (see :func:`~.folder.starting_point`), or another process writes to it.
        Interrupted: A signal was received; a checkpoint was written.
    """
    scenario: Any = check(args)
    need("torch", "train").set_num_threads(args.threads)
    with claimed_folder(args.out, "pathwise", scenario, args.seed) as folder:
        return train_in(folder, trainer_of(args, scenario), scenario)


def trainer_of(args: Args, scenario: _Differentiable) -> Trainer:
    """Return the trainer of a scenario, of a basket, or of an order over venues."""
    if isinstance(scenario, VenueScenario):
        from .venue_pathwise import VenueTrainer

        return VenueTrainer(args, scenario)
    if isinstance(scenario, BasketScenario):
        from .basket_pathwise import BasketTrainer

        return BasketTrainer(args, scenario)
    return Trainer(args, scenario)


def train_in(folder: Path, trainer: Trainer, task: Any) -> NetworkPolicy:
    """Train a policy with checked options in a folder, for a scenario, a basket or a distribution; see :func:`train`."""
    args = trainer.args
    checkpoints = folder / FOLDER
    checkpoint = starting_point(folder, resume=args.resume, overwrite=args.overwrite)
    if checkpoint:
        check_versions(checkpoint, checkpoints, "torch")
        trainer.restore(checkpoint, task)
        print(f"resumed from the checkpoint of {checkpoint.step:,} steps in {checkpoints}", file=sys.stderr)
    processor = time.process_time()
    stopped = _run(trainer, checkpoints, task)
    if stopped == "diverged":
        print(
            f"training diverged in step {trainer.step:,}: saved the best earlier policy, of step {trainer.best_step:,}; "
            "try a smaller learning rate",
            file=sys.stderr,
        )
    about = {
        **trainer.described(task),
        "steps": trainer.step,
        "best_step": trainer.best_step,
        "stopped": stopped,
        "seconds": round(trainer.spent, 3),
        "processor_seconds": round(time.process_time() - processor, 3),
        "versions": versions("torch"),
    }
    return trainer.write(about, task, folder)
