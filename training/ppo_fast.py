"""Train policies by a lean PPO (Schulman et al. 2017) without a critic: lanes that trade the same path judge each other.

`paired` lanes meet the same prices, volumes and regimes, and differ by their exploration alone. The advantage of an action is
what the costs still to come in its lane differ from those of its pair mates, after a regression on the shares that are left: a
baseline that depends on the state and the path, but not on the action, leaves the gradient unbiased (Mao et al. 2019, "Variance
reduction for reinforcement learning in input-driven environments"), and takes the noise of the market out of it. A learner in
the real market cannot do this; one in a simulator, or on recorded days, can. Several seeds are trained at once, as one batch of
networks, each with its own lanes, exploration and order of its batches.

Adam's steps move the mean action by a distance that does not depend on the standard deviation of the actions. The standard
deviation has a minimum: far below it a few steps leave the clipping range of the ratio, where the gradient of the surrogate
vanishes, and Adam's momentum carries the mean on.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.checks import check_choice, check_flag, check_integer, check_number, shown
from hyperexec_env.envs.action import CONTINUOUS_MODES
from hyperexec_env.envs.vector import HyperExecVectorEnv
from hyperexec_env.envs.venue_task import ROUTERS
from hyperexec_env.envs.venues_vector import HyperExecVenuesVectorEnv
from hyperexec_env.evaluation.network import NetworkPolicy, save_policy
from hyperexec_env.evaluation.venue_network import VenueNetworkPolicy
from hyperexec_env.extras import need
from hyperexec_env.files import make_folder
from hyperexec_env.market.basket_scenario import BASKETS, BasketScenario, get_basket
from hyperexec_env.market.scenario import ScenarioLike, get_scenario
from hyperexec_env.market.touch_scenario import TOUCHES
from hyperexec_env.market.venue_scenario import VENUES, VenueScenario

from .folder import files_in, run_folder, seed_folder
from .lock import claimed
from .pathwise import Trainer, check_device, initial_weights, network_shapes, train_in
from .ppo import equal_batches, whole_episodes
from .run import LAST_SEED, check_training, plain_args
from .selection import beliefs_of, check_router, scenario_name, venues_of

if TYPE_CHECKING:
    import torch

__all__ = ["Args", "PpoTrainer", "check", "train", "unexplained"]

_SEEDS: Final = 2**40
"""Lane seeds of training seed s start at 2^40 + 2^20 s; see :data:`~.adapter.TRAINING_SEEDS`, which needs more packages."""


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec train ppo-fast``."""

    scenario: ScenarioLike = scenario_option()
    uncertainty: bool = option(False, "train on the posterior of a measured scenario: each episode meets another draw")
    seed: int = option(0, "seed of the weights, the exploration and the market")
    seeds: int = option(1, "trainings at once, as one batch of networks: of the seed and of those that follow")
    out: str = option("", "folder of the run (default: runs/ppo-fast-SCENARIO-SEED)", file="folder")
    timesteps: int = option(4_000_000, "total slices to trade, of each seed")
    lanes: int = option(192, "parallel environments of each seed")
    paired: int = option(16, "lanes that trade the same path, and are each other's baseline; it must divide the lanes")
    steps: int = option(96, "maximum slices per lane between updates; rounded down to whole episodes, at least one")
    batch_size: int = option(1664, "maximum slices per gradient step; an update is split into equal batches, or is one batch")
    epochs: int = option(3, "passes over the slices of an update")
    learning_rate: float = option(2e-3, "initial learning rate; decays linearly to zero")
    clip: float = option(0.2, "clipping range of the probability ratio")
    log_std: float = option(-1.0, "initial log standard deviation of the actions")
    min_log_std: float | None = option(
        None, "minimum log standard deviation of the actions (default: -3, or -4 for fractions; at most the initial one)"
    )
    hidden: int = option(64, "units in each of the two hidden layers")
    reward: str = option("expected", "reward of the environment", choices=("expected", "realised"))
    action_mode: str = option("pace", "action mode", choices=CONTINUOUS_MODES)
    router: str = option("water-filling", "over venues: what splits the lit request, the desk or the policy", choices=ROUTERS)
    observe_regime: bool = option(True, "whether the policy observes the regime")
    observe_beliefs: bool = option(False, "whether the policy observes the beliefs about the unknowns of the scenario")
    compile: bool = option(False, "compile the gradient step by torch.compile (it needs a C++ compiler, and seconds to start)")
    device: str = option("cpu", "device of torch; the market stays on the processor", choices=("cpu", "cuda"))
    threads: int = option(1, "torch threads")
    checkpoint_every: int = option(50, "updates between two checkpoints")
    resume: bool = option(False, "resume from the newest checkpoint in the folder of the run, if there is one")
    overwrite: bool = option(False, "delete the policies and the checkpoints of another run in the folder")
    progress: bool = option(True, "show a progress bar")

    @property
    def floor(self) -> float:
        """Minimum log standard deviation of the actions: by default near 0.05, for fractions of what remains near 0.02."""
        usual = min(-4.0 if self.action_mode == "fraction" else -3.0, self.log_std)
        return usual if self.min_log_std is None else self.min_log_std

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        last = self.seed + self.seeds - 1
        named = run_folder(self.out, "ppo-fast", scenario_name(self), self.seed)
        return named if self.out or self.seeds == 1 else named.with_name(f"{named.name}-to-{last}")

    @property
    def folders(self) -> list[Path]:
        """Folder of the policy of each seed: that of the run, or of several seeds a folder in it."""
        seeds = range(self.seed, self.seed + self.seeds)
        return [self.folder] if self.seeds == 1 else [seed_folder(self.folder, seed) for seed in seeds]

    @property
    def outputs(self) -> list[Path]:
        """The files and folders of the run."""
        return [file for folder in (self.folder, *self.folders) for file in files_in(folder)]


def check(args: Args) -> Any:
    """Check the options, and return the scenario, of one asset, with venues, or of a basket.

    Raises:
        ValueError: An option is invalid, or the scenario is a child order at the touch, whose actions are levels.
        MissingExtra: The packages of the extra `train` are not installed.
    """
    if TOUCHES.owns(args.scenario):
        raise ValueError(
            f"scenario must be one of slices, got a child order at the touch, {shown(args.scenario)}: use train ppo"
        )
    check_training(args)
    check_number("min_log_std", args.floor, low=-20.0, high=args.log_std)
    check_integer("seeds", args.seeds, low=1, high=2**10)
    check_integer("seed + seeds - 1", args.seed + args.seeds - 1, low=0, high=LAST_SEED)
    check_integer("paired", args.paired, low=2, high=args.lanes)
    if args.lanes % args.paired:
        raise ValueError(f"paired must divide lanes ({args.lanes}), got {args.paired}")
    for name in ("uncertainty", "observe_regime", "compile", "resume", "overwrite", "progress"):
        check_flag(name, getattr(args, name))
    check_choice("reward", args.reward, ("expected", "realised"))
    check_choice("action_mode", args.action_mode, CONTINUOUS_MODES)
    check_choice("device", args.device, ("cpu", "cuda"))
    check_device(args)
    if VENUES.owns(args.scenario):
        return venues_of(args)
    check_router(args)
    if not BASKETS.owns(args.scenario):
        return get_scenario(args.scenario)
    for name, usual in (("uncertainty", False), ("observe_regime", True)):
        if getattr(args, name) != usual:
            raise ValueError(f"{name} must be {usual} for a basket, got {getattr(args, name)}")
    return get_basket(args.scenario)


def trainer_of(args: Args, scenario: Any) -> PpoTrainer:
    """Return the trainer of a scenario, or of a basket."""
    if isinstance(scenario, BasketScenario):
        from .basket_ppo_fast import BasketPpoTrainer

        return BasketPpoTrainer(args, scenario)
    return PpoTrainer(args, scenario)


def unexplained(returns: torch.Tensor, *columns: torch.Tensor) -> torch.Tensor:
    """Return what remains of the returns of paired lanes after a regression on a constant and some columns.

    The regression of a lane contains its own return, which scales its residual by one less its leverage, a number between 0 and
    1 that depends on the shares alone.

    Args:
        returns: Returns to go, shape (..., paired).
        columns: Functions of what is left to trade, each of that shape, near one.
    """
    known: list[torch.Tensor] = []
    for given in (returns.new_ones(()).expand_as(returns), *columns):
        column = given
        for other in known:  # orthogonal to the columns before it
            column = column - other * (column * other).sum(-1, keepdim=True)
        size = column.norm(dim=-1, keepdim=True)
        known.append(column * (size > 1e-5) / size.clamp(min=1e-5))  # a constant column explains nothing more
        returns = returns - known[-1] * (returns * known[-1]).sum(-1, keepdim=True)
    return returns


class PpoTrainer(Trainer):
    """The state of a batch of trainings: the weights of all seeds as one matrix, a row for each seed, and Adam's moments."""

    vectors = ("weights", "best")

    def __init__(self, args: Args, scenario: Any) -> None:
        """Create the environments, and draw the initial weights."""
        self.torch = need("torch", "train")
        self.args: Any = args
        seeds = range(args.seed, args.seed + args.seeds)
        self.lane_seeds = [_SEEDS + 2**20 * seed + lane // args.paired for seed in seeds for lane in range(args.lanes)]
        self.shapes = self.set_task(scenario)
        rows = [np.append(initial_weights(self.shapes, seed), np.full(self.outputs, args.log_std)) for seed in seeds]
        self.weights = self._tensor(np.array(rows)).requires_grad_()
        self.best = self.weights.detach().clone()  # the last finite ones
        self.adam = self.torch.optim.Adam([self.weights], lr=args.learning_rate, eps=1e-5, fused=True)
        self.step, self.best_step, self.best_value, self.failures, self.spent = 0, 0, 0.0, 0, 0.0
        self.surrogate = self.torch.compile(self._surrogate) if args.compile else self._surrogate

    def set_task(self, scenario: Any) -> list[tuple[int, ...]]:
        """Create the environments; return the shapes of the weights and biases of each layer, in order."""
        args, several = self.args, isinstance(scenario, VenueScenario)
        own = {"router": args.router} if several else {key: getattr(args, key) for key in _OF_ONE_ASSET}
        environment: Any = HyperExecVenuesVectorEnv if several else HyperExecVectorEnv
        options = {"scenario": scenario, "reward": args.reward, "observe_regime": args.observe_regime, **own}
        self.kind = VenueNetworkPolicy if several else NetworkPolicy
        self.env: Any = environment(len(self.lane_seeds), "SameStep", **options)
        self.slices = int(scenario.slices)
        self.episodes = whole_episodes(args.steps, self.slices) // self.slices
        self.outputs = math.prod(self.env.single_action_space.shape)
        return network_shapes(self.env.single_observation_space.shape[0], args.hidden, outputs=self.outputs)

    @property
    def rows(self) -> int:
        """Slices of an update, of each seed."""
        lanes: int = self.args.lanes
        return self.episodes * self.slices * lanes

    @property
    def total(self) -> int:
        """Number of updates."""
        timesteps: int = self.args.timesteps
        return math.ceil(timesteps / self.rows)

    @property
    def size(self) -> int:
        """Slices of a gradient step, of each seed."""
        return equal_batches(self.rows, int(self.args.batch_size))

    @property
    def gradient_steps(self) -> int:
        """Steps of Adam so far."""
        epochs: int = self.args.epochs
        return self.step * epochs * math.ceil(self.rows / self.size)

    def done(self) -> float:
        """Return the used fraction of the budget, 0 to 1."""
        return min(1.0, self.step / self.total)

    def judge(self) -> None:
        """Do nothing: the last policy is the result."""

    def exhausted(self) -> bool:
        """Return False: a training uses its budget."""
        return False

    def mean(self, weights: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Return the mean actions, shape (seeds, n, outputs), of observations of shape (seeds, n, features)."""
        return self._mean(self._parts(weights), seen)

    def _mean(self, parts: list[torch.Tensor], seen: torch.Tensor) -> torch.Tensor:
        """Return :meth:`mean`; tanh z = 2 sigmoid(2 z) - 1, of which torch's sigmoid takes a sixth of the time of its tanh."""
        inputs = self.inputs(seen)
        values, scale = inputs, 1.0
        for weight, bias in zip(parts[::2], parts[1::2], strict=True):
            last = weight is parts[-2]
            if bias.shape[1] > 1:  # a row for each asset
                bias = bias.repeat(1, seen.shape[1], 1)
            if values is not inputs:
                bias, scale = bias - weight.sum(-1)[:, None], 2.0
            doubled = 1.0 if last else 2.0
            values = self.torch.baddbmm(bias, values, weight.mT, beta=doubled, alpha=doubled * scale)
            values = values if last else self.torch.sigmoid(values)
        return values.view(*seen.shape[:2], self.outputs)

    def inputs(self, seen: torch.Tensor) -> torch.Tensor:
        """Return the inputs of the network, shape (seeds, n, inputs), for a basket (seeds, n assets, inputs)."""
        return seen

    def left(self, seen: torch.Tensor, alive: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the columns of the regression, shape (...), of observations (..., features) and whether the order is open."""
        remaining = alive * seen[..., _LEFT]
        return remaining, remaining**2

    def _parts(self, weights: torch.Tensor) -> list[torch.Tensor]:
        """Return weights (seeds, outputs, inputs) and biases (seeds, 1, outputs) of each layer, in order."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = self.torch.split(weights[:, : sum(sizes)], sizes, dim=1)
        shapes = [shape if len(shape) > 1 else (1, *shape) for shape in self.shapes]
        return [part.view(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]

    def _log_std(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the log standard deviations of the actions, shape (seeds, 1, outputs)."""
        return weights[:, None, -self.outputs :]

    def learn(self) -> bool:
        """Trade whole episodes, and take the gradient steps of an update; return whether the weights are finite."""
        torch, args = self.torch, self.args
        draws = [torch.Generator(args.device).manual_seed(2**32 * (args.seed + n) + self.step) for n in range(args.seeds)]
        seen, actions, chance, advantage = self._collect(draws)
        for group in self.adam.param_groups:
            group["lr"] = args.learning_rate * (1.0 - self.done())
        first = self.rows * torch.arange(args.seeds, device=args.device)[:, None]
        table = [values.flatten(0, 1) for values in (seen, actions, chance, advantage)]
        for _ in range(args.epochs):
            order = torch.stack([torch.randperm(self.rows, generator=draw, device=args.device) for draw in draws])
            for batch in order.split(self.size, dim=1):
                self.adam.zero_grad()
                rows = (first + batch).flatten()
                chosen = (values.index_select(0, rows).view(*batch.shape, *values.shape[1:]) for values in table)
                self.surrogate(self.weights, *chosen).backward()
                self.adam.step()
                with torch.no_grad():
                    self._log_std(self.weights).clamp_(min=args.floor)
        self.step += 1
        finite = bool(torch.isfinite(self.weights).all())
        if finite:
            self.best_step = self.step
            self.best.copy_(self.weights.detach())
        return finite

    def _surrogate(self, weights: Any, seen: Any, actions: Any, chance: Any, advantage: Any) -> torch.Tensor:
        """Return the clipped surrogate loss (Schulman et al. 2017, equation 7), the sum over the seeds."""
        now = _chance(actions - self.mean(weights, seen), self._log_std(weights))
        ratio = self.torch.exp(now - chance)
        least, most = 1.0 - self.args.clip, 1.0 + self.args.clip
        loss: torch.Tensor = -self.torch.minimum(ratio * advantage, ratio.clamp(least, most) * advantage).mean(dim=1).sum()
        return loss

    def _collect(self, draws: list[torch.Generator]) -> tuple[torch.Tensor, ...]:
        """Trade the episodes of an update in all lanes of all seeds.

        Returns:
            Observations (seeds, rows, features), actions (seeds, rows, outputs), their log density and their advantage (seeds,
            rows). The advantage of rows of a lane whose order is complete is 0.
        """
        torch, args = self.torch, self.args
        lanes, outputs, steps = args.lanes, self.outputs, self.episodes * self.slices
        new = {"dtype": torch.float32, "device": args.device}
        seen = torch.empty(args.seeds, steps, lanes, self.env.single_observation_space.shape[0], **new)
        noise = torch.stack([torch.randn(steps, lanes, outputs, generator=draw, **new) for draw in draws])
        actions, rewards, alive = torch.empty_like(noise), *(torch.zeros(args.seeds, steps, lanes, **new) for _ in range(2))
        with torch.no_grad():
            parts, deviation = self._parts(self.weights), self._log_std(self.weights).exp()
            for at in range(steps):
                if at % self.slices == 0:
                    episode = self.step * self.episodes + at // self.slices
                    observation, _ = self.env.reset(seed=self.lane_seeds, options={"episode": episode})
                    running = torch.ones(args.seeds, lanes, **new)
                seen[:, at] = torch.from_numpy(observation).view(args.seeds, lanes, -1)
                actions[:, at] = self._mean(parts, seen[:, at]) + deviation * noise[:, at]
                given = actions[:, at].clamp(-1.0, 1.0).cpu().numpy().reshape(self.env.action_space.shape)
                observation, reward, ended, _, _ = self.env.step(given)
                alive[:, at] = running
                rewards[:, at] = running * torch.from_numpy(reward).view(args.seeds, lanes)
                running = running * ~torch.from_numpy(ended).to(args.device).view(args.seeds, lanes)
            by_episode = (args.seeds, self.episodes, self.slices, lanes)
            returns = rewards.view(by_episode).flip(2).cumsum(2).flip(2)
            paired = (args.seeds, steps, -1, args.paired)
            columns = (column.reshape(paired) for column in self.left(seen, alive))
            advantage = alive * unexplained(returns.reshape(paired), *columns).view(alive.shape)
            advantage = advantage / advantage.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-12)
            chance = _chance(deviation[:, None] * noise, self._log_std(self.weights)[:, None])
        return tuple(values.flatten(1, 2) for values in (seen, actions, chance, advantage))

    def described(self, scenario: Any) -> dict[str, Any]:
        """Return what describes the training beside its course."""
        return {
            "algorithm": "ppo-fast",
            "args": plain_args(self.args, scenario),
            "scenario": scenario.to_dict(),
            "scenario_hash": scenario.hash,
            "timesteps": self.step * self.rows,
        }

    def write(self, about: dict[str, Any], scenario: Any, folder: Path) -> NetworkPolicy:
        """Write the scenario and the policy of each seed to its folder, and return the first policy."""
        args, policies = self.args, []
        beliefs = {"beliefs": beliefs_of(self.env.task)} if args.observe_beliefs else {}
        for row, own in enumerate(args.folders):
            make_folder(own)
            arrays = [np.array(part[row].cpu().numpy()).reshape(shape) for part, shape in self._with_shapes()]
            layers = tuple(zip(arrays[::2], arrays[1::2], strict=True))
            mode, regime = args.action_mode, args.observe_regime
            policies.append(self.kind("PPO-fast", layers, "tanh", "clip", mode, regime, args.seed + row, about, **beliefs))
            self.save_task(scenario, own)
            save_policy(policies[-1], own)
        return policies[0]

    def _with_shapes(self) -> list[tuple[torch.Tensor, tuple[int, ...]]]:
        """Return each part of the last finite weights, with its shape in a policy."""
        return list(zip(self._parts(self.best), self.shapes, strict=True))

    def identity(self, scenario: Any) -> dict[str, Any]:
        """Return the options and the scenario hash that a checkpoint and a resumed run must share."""
        same = {key: value for key, value in asdict(self.args).items() if key not in _MAY_DIFFER}
        return {**same, "scenario_hash": scenario.hash}


_OF_ONE_ASSET: Final = ("action_mode", "uncertainty", "observe_beliefs")
"""Options of environments of one asset."""
_LEFT: Final = 0
"""Place of the feature `remaining` in the observation."""
_MAY_DIFFER: Final = ("scenario", "out", "threads", "compile", "checkpoint_every", "resume", "overwrite", "progress")
"""Options that a resumed run may change; the scenario is compared by its hash."""


def _chance(error: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
    """Return the log density of actions, less a constant, given their distance to the mean, shape (..., outputs) -> (...)."""
    density: torch.Tensor = (-0.5 * (error * (-log_std).exp()) ** 2 - log_std).sum(-1)
    return density


def train(args: Args) -> NetworkPolicy:
    """Train a policy for each seed, save it in the folder of the run, and return the first.

    Raises:
        ValueError: An option is invalid, the checkpoint belongs to another training or another version, the folder contains
            another run (see :func:`~.folder.starting_point`), or another process writes to it.
        Interrupted: A signal was received; a checkpoint was written.
    """
    scenario = check(args)
    need("torch", "train").set_num_threads(args.threads)
    with claimed(args.folder) as folder:
        return train_in(folder, trainer_of(args, scenario), scenario)
