"""Train one policy for many markets by pathwise gradients: each gradient step trades in other draws of a distribution.

The loss of a market is its mean objective over that of the linearised optimum on the same episodes, so that a market counts by
its relative cost and not by its size; the loss of a step is the mean over its markets.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from hyperexec_env.arguments import option
from hyperexec_env.baselines.distribution import MarketDistribution, get_distribution
from hyperexec_env.baselines.universal import (
    OWN_COLUMNS,
    Tables,
    UniversalPolicy,
    anchor,
    correction_of,
    tables_of,
    universal_names,
)
from hyperexec_env.checks import check_integer
from hyperexec_env.envs.features import reach
from hyperexec_env.extras import need
from hyperexec_env.files import write_atomically
from hyperexec_env.market.kernel import Impact, Slice
from hyperexec_env.market.noise import episode_keys
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.tables import Market, market_of

from .folder import files_in, run_folder
from .lock import claimed
from .pathwise import Trainer, check_course, check_device, network_shapes, train_in

if TYPE_CHECKING:
    import torch

    from .torch_rollout import Lanes, Terms

__all__ = ["Args", "UniversalTrainer", "train"]

EACH = 32
"""Validation episodes in each market."""
_FILE = "distribution.toml"


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec train universal``."""

    distribution: str = option("markets", "name or path of a .toml file of the markets to draw", file="input")
    seed: int = option(0, "seed of the weights and of the markets")
    out: str = option("", "folder of the run (default: runs/universal-DISTRIBUTION-SEED)", file="folder")
    steps: int = option(3000, "gradient steps")
    seconds: float = option(0.0, "wall-time budget that replaces the steps, seconds (0: none; results are not reproducible)")
    markets: int = option(32, "markets per gradient step")
    lanes: int = option(2048, "episodes per gradient step, the same number in each market")
    pool: int = option(1536, "markets that are drawn for the training, which meets each of them many times")
    learning_rate: float = option(3e-3, "initial learning rate; decays to zero along a cosine")
    hidden: int = option(64, "units in each of the two hidden layers")
    validation: int = option(6144, "validation episodes, 32 in each market, on which the best policy is selected")
    validate_every: int = option(50, "gradient steps between two validations")
    patience: int = option(40, "stop after this many validations without improvement")
    checkpoint_every: int = option(250, "gradient steps between two checkpoints")
    resume: bool = option(False, "resume from the newest checkpoint in the folder of the run, if there is one")
    overwrite: bool = option(False, "delete the policy and the checkpoints of another run in the folder")
    device: str = option("cpu", "device of torch", choices=("cpu", "cuda"))
    threads: int = option(1, "torch threads")
    progress: bool = option(True, "show a progress bar")
    objective: ClassVar[str] = "expected"

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return run_folder(self.out, "universal", get_distribution(self.distribution).name, self.seed)

    @property
    def outputs(self) -> list[Path]:
        """The files and folders of the run."""
        return [*files_in(self.folder), self.folder / _FILE]


def check(args: Args) -> MarketDistribution:
    """Check the options and return the distribution.

    Raises:
        ValueError: An option is invalid.
        MissingExtra: The packages of the extra `train` are not installed.
    """
    check_course(args)
    check_integer("markets", args.markets, low=1, high=10**9)
    check_integer("lanes", args.lanes, low=2 * args.markets, high=2**20)
    check_integer("validation", args.validation, low=2 * EACH, high=2**20)
    check_integer("pool", args.pool, low=1, high=2**20)
    check_device(args)
    return get_distribution(args.distribution)


class Batch(NamedTuple):
    """Episodes in several markets with one number of slices, as torch constants; each market has the same number of them."""

    terms: Terms
    lanes: Lanes
    inputs: tuple[Inputs, ...]
    """One entry per slice."""
    markets: int


class Inputs(NamedTuple):
    """What the policy knows of a slice, tensors of shape (episodes, ...)."""

    known: torch.Tensor
    """The inputs that do not depend on our trades, shape (episodes, inputs)."""
    by_remaining: torch.Tensor
    """Gain of the linearised optimum on the remaining shares, shape (episodes,)."""
    by_displacement: torch.Tensor
    """Its gain on the displacement, shares per currency."""
    constant: torch.Tensor
    """The rest of its trade, shares."""
    pace: torch.Tensor
    """Shares of the slice at the pace of the whole order."""


class UniversalTrainer(Trainer):
    """The trainer of one policy for many markets."""

    kind = UniversalPolicy
    drawn_ahead = 1
    args: Any

    def set_task(self, scenario: MarketDistribution) -> list[tuple[int, ...]]:
        """Keep the distribution; return the shapes of the weights and biases of each layer, in order."""
        self.task = scenario
        self.market = lru_cache(maxsize=None)(self._market)
        return network_shapes(len(universal_names()), self.args.hidden)

    def _market(self, seed: int, number: int, slices: int) -> Known:
        """Return a market of the pool, and what the policy knows of it."""
        market = market_of(self.task.draw(seed, number, slices))
        return Known(market, tables_of.__wrapped__(market))

    def draw(self, seed: int, first: int, count: int) -> Any:
        """Draw episodes `first` to `first + count - 1` of a seed, and return them as one batch for each number of slices.

        The validation (seeds that are odd) has every number of slices, and markets of its own; a gradient step has one number.
        """
        if seed % 2:
            each = count // EACH // len(self.task.slices) or 1
            return [
                self._batch([self.market(seed, n, slices) for n in range(each)], episode_keys(seed, np.arange(each * EACH)))
                for slices in self.task.slices
            ]
        rng = np.random.default_rng([seed, first])
        slices, markets = int(rng.choice(self.task.slices)), self.args.markets
        chosen = [
            self.market(seed, int(n), slices) for n in rng.integers(self.args.pool // len(self.task.slices) or 1, size=markets)
        ]
        return [self._batch(chosen, episode_keys(seed, np.arange(first, first + count // markets * markets)))]

    def _batch(self, chosen: list[Known], keys: Any) -> Batch:
        """Draw the episodes of some keys, the first of them in the first market, and so on."""
        parts = [_episodes(known, own) for known, own in zip(chosen, np.split(keys, len(chosen)), strict=True)]
        return _joined(parts, self._tensor, len(chosen))

    def roll(self, weights: torch.Tensor, lanes: Any) -> Any:
        """Return the objective over that of the linearised optimum in each market, shape (markets,)."""
        last = self.last_layer(weights)
        found = []
        for batch in lanes:
            with self.torch.no_grad():
                plain = self._objectives(batch, lambda inputs: 0.0)
            found.append(self._objectives(batch, last) / plain)
        return self.torch.cat(found)

    def loss(self, outcome: Any) -> torch.Tensor:
        """Return the mean relative objective."""
        mean: torch.Tensor = outcome.mean()
        return mean

    def _objectives(self, batch: Batch, output_of: Any) -> torch.Tensor:
        """Return the mean objective in each market, bps, shape (markets,)."""
        from .torch_rollout import roll_shares

        torch = self.torch

        def shares(k: int, state: Any, own: Any) -> Any:
            inputs = batch.inputs[k]
            left, _, displacement = state
            trade = inputs.by_remaining * left + inputs.by_displacement * displacement + inputs.constant
            odds, pace = anchor(trade, left.clamp(min=1e-9 * batch.terms.quantity), inputs.pace, torch)
            seen = torch.stack([*(own[place] for place in OWN_COLUMNS), odds, pace], dim=1)
            output = output_of(torch.cat([seen, inputs.known], dim=1))
            return left * torch.sigmoid(odds + correction_of(output, batch.terms.impact.beta))

        objective = roll_shares(batch.terms, batch.lanes, shares, shortfall=False).objective
        return objective.view(batch.markets, -1).mean(dim=1)

    def described(self, scenario: MarketDistribution) -> dict[str, Any]:
        """Return what describes the training beside its course."""
        mean = sum(scenario.slices) / len(scenario.slices)
        return {
            "algorithm": "universal",
            "args": asdict(self.args),
            "scenario": scenario.to_dict(),
            "scenario_hash": scenario.hash,
            "timesteps": round(self.step * self.args.lanes * mean),
        }

    def save_task(self, scenario: MarketDistribution, folder: Path) -> None:
        """Write the distribution to the folder of the run."""
        write_atomically(folder / _FILE, scenario.to_toml())

    def policy(self, about: dict[str, Any]) -> UniversalPolicy:
        """Return the best policy."""
        arrays = [np.array(values.cpu().numpy()) for values in self.layers(self.best)]
        layers = tuple(zip(arrays[::2], arrays[1::2], strict=True))
        return UniversalPolicy("universal", layers, "tanh", "odds", "fraction", True, self.args.seed, about)


class Known(NamedTuple):
    """A market, and what the policy knows of it."""

    market: Market
    tables: Tables


def _episodes(known: Known, keys: Any) -> dict[str, Any]:
    """Draw the episodes of some keys in a market, as arrays of shape (N, episodes, ...) and numbers."""
    market, tables = known
    scenario = market.scenario
    path = draw_path(market, keys, float(scenario.side))
    cell = market.cell(np.arange(market.slices)[:, None], path.world.regime[:-1])
    gains, shape = tables.gains.take(cell, axis=0), (market.slices, len(keys))
    signal = path.world.flow[:-1] if scenario.price_model == "abm" else path.world.price[:-1] / scenario.arrival_price
    scale = tables.observer.sight.scales.transient
    numbers = {
        "quantity": scenario.quantity,
        "permanent_slope": market.impact.permanent_slope,
        "transient_slope": market.impact.transient_slope,
        "beta": market.impact.beta,
        "largest": reach(scenario.quantity, 1.0) / scale if scale else math.inf,
        "bps": 1e4 / scenario.notional,
    }
    return {
        "slices": [np.broadcast_to(values, shape) for values in path.slices],
        "known": tables.known.take(cell, axis=0),
        "gains": gains,
        "constant": gains[..., 2] * signal + gains[..., 3],
        "pace": tables.pace.take(cell),
        "rest_volume": tables.observer.view(cell).rest_volume,
        "plan": np.repeat(market.plan[:-1, None], len(keys), axis=1),
        **{name: np.full(len(keys), float(value)) for name, value in numbers.items()},
    }


def _joined(parts: list[dict[str, Any]], tensor: Any, markets: int) -> Batch:
    """Join the episodes of several markets, and convert them to tensors."""
    from .torch_rollout import Lanes, Terms

    def over(name: str) -> Any:
        return tensor(np.concatenate([part[name] for part in parts], axis=-1 if parts[0][name].ndim < 3 else 1))

    fields = [
        tensor(np.concatenate([part["slices"][at] for part in parts], axis=1)).unbind() for at in range(len(Slice._fields))
    ]
    gains, rest = over("gains"), over("rest_volume").unbind()
    zero = tensor(np.zeros(len(parts) * parts[0]["quantity"].size))
    numbers = {name: over(name) for name in ("quantity", "permanent_slope", "transient_slope", "beta", "largest", "bps")}
    impact = Impact(numbers["permanent_slope"], numbers["transient_slope"], numbers["beta"], 1.0)
    steps = len(rest)
    terms = Terms(numbers["quantity"], impact, (1.0, 0.0), numbers["largest"], over("plan").unbind(), numbers["bps"], True)
    same = (zero,) * steps
    slices = tuple(Slice(*values) for values in zip(*fields, strict=True))
    lanes = Lanes(slices, same, same, (zero + 1.0,) * steps, rest, same)
    columns = [over("known").unbind(), gains[..., 0].unbind(), gains[..., 1].unbind(), over("constant").unbind()]
    return Batch(terms, lanes, tuple(Inputs(*row) for row in zip(*columns, over("pace").unbind(), strict=True)), markets)


def train(args: Args) -> UniversalPolicy:
    """Train a policy, save it in the folder of the run, and return it.

    Raises:
        ValueError: An option is invalid, the checkpoint belongs to another training or another version, the folder contains
            another run (see :func:`~.folder.starting_point`), or another process writes to it.
        Interrupted: A signal was received; a checkpoint was written.
    """
    distribution = check(args)
    need("torch", "train").set_num_threads(args.threads)
    with claimed(args.folder) as folder:
        policy = train_in(folder, UniversalTrainer(args, distribution), distribution)  # type: ignore[arg-type]
    return policy  # type: ignore[return-value]
