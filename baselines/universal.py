r"""One policy for many markets: a small network that corrects the optimum of the linearised market.

The network sees no price, share or day: its inputs are the agent's own state as in the observation, the trade of the
linearised optimum (:mod:`.solver.linearised`), and the *context*, ratios of the costs of the market (:data:`CONTEXT`). With f
the fraction of the remaining shares that the linearised optimum trades, and d the output of the network, the policy trades

    x / (1 + exp(-2 (1 - beta) d - log(f / (1 - f)))),    f in [10^-4, 1 - 10^-4],

so that d = 0 is the linearised optimum, which needs no correction where temporary impact is linear (beta 1). The shipped
weights are those of ``hyperexec train universal``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.features import Observer, build_observer, observation_names
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.graph import Graph, Value
from hyperexec_env.evaluation.network import Layers, NetworkPolicy, check_chain, load_policy, policy_files, read_policy
from hyperexec_env.files import read_regular
from hyperexec_env.market.tables import Market

from .solver.linearised import linearised_gains

__all__ = [
    *("ANCHOR", "CONTEXT", "OWN_COLUMNS", "OWN_SEEN", "TABLE_SEEN", "Tables", "UniversalPolicy", "anchor"),
    *("check_universal_layers", "context_of", "correction_of", "linearised_policy", "load_trained"),
    *("load_universal_policy", "tables_of", "universal_names", "universal_policy"),
]

Floats = NDArray[np.float64]

OWN_SEEN: Final = ("remaining", "behind_schedule", "required_participation", "transient_displacement")
"""Features of the observation that the network sees and that follow from the agent's trades."""
TABLE_SEEN: Final = ("time_left", "expected_volume", "expected_volume_rest")
"""Features of the observation that the network sees and that follow from slice and regime."""
ANCHOR: Final = ("linearised_odds", "linearised_pace")
"""Logit of the fraction that the linearised optimum trades, and log of its participation over that of the whole order."""
LEAST: Final = 1e-4
"""Smallest fraction of the remaining shares, and its distance from one, that the linearised optimum counts with."""
_SHIPPED: Final = Path(__file__).parent / "universal_policy"
_BOUND: Final = 10.0
"""Largest absolute value of an input."""


class Costs(NamedTuple):
    """What a market costs by slice and regime, with the mean over the distribution of the regime as the last column."""

    temporary: Floats
    """Temporary cost of a share at the pace of the whole order, currency per share, shape (N, M + 1)."""
    spread: Floats
    """Half-spread, currency per share."""
    risk: Floats
    """Risk term of a slice for the whole order, over its shares, currency per share."""
    volume: Floats
    """Expected volume, shares."""
    decay: Floats
    """Decay of the transient displacement over the slice."""


def _costs(market: Market) -> Costs:
    """Return the costs of a market."""
    scenario, shape = market.scenario, (market.slices, market.regimes)
    volume = market.mean_volume[:-1, :-1]
    per_slice = scenario.quantity * market.mean_volume[:-1, market.unknown] / market.rest_volume[0, market.unknown]
    columns = (
        market.temporary_scale * (per_slice[:, None] / volume) ** scenario.temp_impact_beta,
        market.half_spread[:-1],
        market.risk * scenario.quantity,
        volume,
        market.transient_decay,
    )

    def with_mean(values: Floats) -> Floats:
        full = np.broadcast_to(values, shape)
        return np.concatenate([full, (full * market.laws).sum(axis=1, keepdims=True)], axis=1)

    return Costs(*map(with_mean, columns))


def _later(market: Market, values: Floats) -> Floats:
    """Return the mean of a cost expected over the later slices, given the regime; in the last slice the cost itself."""
    transition = market.scenario.regimes.transition(market.tau)
    total, found = np.zeros(market.regimes), values.copy()
    after = 0.0
    for k in range(market.slices - 2, -1, -1):
        total, after = transition @ (values[k + 1, :-1] + total), after + values[k + 1, -1]
        found[k] = np.append(total, after) / (market.slices - 1 - k)
    return found


def _log_ratio(values: Any, others: Any) -> Any:
    """Return log(values / others), with both at least 1e-12 of the larger."""
    least = 1e-12 * np.maximum(np.maximum(values, others), 1e-300)
    return np.log(np.maximum(values, least) / np.maximum(others, least))


def _context(market: Market) -> Mapping[str, Any]:
    """Return the context by name, each broadcastable to shape (N, M + 1)."""
    scenario, costs = market.scenario, _costs(market)
    left = (market.slices - np.arange(market.slices, dtype=float))[:, None]
    unit = float(costs.temporary[:, -1].mean()) or 1e-12 * scenario.arrival_price
    later = Costs(*(_later(market, values) for values in costs))
    displaced = 0.5 * float(market.impact.transient_slope) * scenario.quantity
    resilience = scenario.resilience * (market.laws @ np.array(scenario.regimes.resilience)).mean()
    staying = np.append(np.diag(scenario.regimes.transition(market.tau)), 1.0)
    return {
        "temp_impact_beta": scenario.temp_impact_beta,
        "volume_noise": scenario.volume_noise,
        "slices_left": np.log(left),
        "risk_over_temporary": _log_ratio(costs.risk[:, -1].sum(), unit),
        "transient_over_temporary": _log_ratio(displaced, unit),
        "resilience_of_the_order": math.log1p(resilience * market.tau * market.slices),
        "risk_left": _log_ratio((costs.risk + later.risk * (left - 1.0)), unit),
        "temporary_against_later": _log_ratio(costs.temporary, later.temporary),
        "spread_against_later": np.arcsinh((costs.spread - later.spread) / unit),
        "risk_against_later": _log_ratio(costs.risk, later.risk),
        "volume_against_later": _log_ratio(costs.volume, later.volume),
        "decay": costs.decay,
        "decay_later": later.decay,
        "leaving": 1.0 - staying,
    }


CONTEXT: Final = (
    *("temp_impact_beta", "volume_noise", "slices_left", "risk_over_temporary", "transient_over_temporary"),
    *("resilience_of_the_order", "risk_left", "temporary_against_later", "spread_against_later", "risk_against_later"),
    *("volume_against_later", "decay", "decay_later", "leaving"),
)
"""The context: ratios of costs as logs, in the unit of the temporary cost of a share at the pace of the whole order; "later" is
the mean expected over the later slices, given the regime."""


def context_of(market: Market) -> NDArray[np.float32]:
    """Return the context of each cell (:meth:`Market.cell`), shape (cells, len(CONTEXT)); zeros at the end of the order."""
    found = _context(market)
    shape = (market.slices, market.regimes + 1)
    table = np.stack([np.broadcast_to(found[name], shape) for name in CONTEXT], axis=-1).clip(-_BOUND, _BOUND)
    return np.pad(table, ((0, 1), (0, 0), (0, 0))).reshape(-1, len(CONTEXT)).astype(np.float32)


def _columns(names: tuple[str, ...]) -> list[int]:
    """Return the columns of some features in the observation."""
    return [observation_names().index(name) for name in names]


OWN_COLUMNS: Final = _columns(OWN_SEEN)
"""Columns of :data:`OWN_SEEN` in the observation, where the features that follow from trades come first."""


def universal_names() -> tuple[str, ...]:
    """Return the names of the inputs of the network, in order."""
    return (*OWN_SEEN, *ANCHOR, *TABLE_SEEN, *CONTEXT)


def anchor(trade: Any, remaining: Any, pace: Any, ops: Any) -> tuple[Any, Any]:
    """Return the two inputs that follow from the trade of the linearised optimum: see :data:`ANCHOR`.

    Args:
        trade: Shares of the linearised optimum.
        remaining: Remaining shares, positive.
        pace: Shares of the slice at the pace of the whole order, in the present regime.
        ops: Module with `log`: numpy or torch.
    """
    fraction = (trade / remaining).clip(LEAST, 1.0 - LEAST)
    relative = (fraction * remaining / pace).clip(math.exp(-_BOUND), math.exp(_BOUND))
    return ops.log(fraction / (1.0 - fraction)), ops.log(relative)


def correction_of(output: Any, beta: Any) -> Any:
    """Return the correction of the logit, given the output of the network and the exponent of temporary impact."""
    return 2.0 * (1.0 - beta) * output


class Tables(NamedTuple):
    """What the policy knows of a market by cell."""

    observer: Observer
    gains: Floats
    """Gains of the linearised optimum in shares: on remaining shares, displacement (currency), signal and constant."""
    pace: Floats
    """Shares of the slice at the pace of the whole order."""
    known: NDArray[np.float32]
    """The inputs that follow from slice and regime: :data:`TABLE_SEEN` and :data:`CONTEXT`."""


@lru_cache(maxsize=64)
def tables_of(market: Market) -> Tables:
    """Return the tables of a market."""
    scenario = market.scenario
    units = scenario.quantity * np.array([1.0 / scenario.quantity, 1.0 / scenario.arrival_price, 1.0, 1.0])
    volume = market.mean_volume / market.rest_volume[0, market.unknown]
    observer = build_observer(market, True)
    return Tables(
        observer,
        (linearised_gains(market) * units).reshape(-1, 4),
        np.maximum(scenario.quantity * volume, 1e-9 * scenario.quantity).ravel(),
        np.concatenate([observer.rows[:, _columns(TABLE_SEEN)], context_of(market)], axis=1),
    )


@dataclass(frozen=True, eq=False)
class UniversalPolicy(NetworkPolicy):
    """The policy for many markets; the fields are those of :class:`~hyperexec_env.evaluation.network.NetworkPolicy`.

    It acts in any market of one asset. It was trained without participation caps, drifts, levels and persistence of
    the volume, persistence of the flow and geometric prices: there it corrects the linearised optimum as without them.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs of the network."""
        return universal_names()

    def write(self, graph: Graph) -> Value:
        """Refuse, because the inputs of the network are no observation.

        Raises:
            ValueError: Always; :mod:`.universal_in_market` writes the policy for one market.
        """
        raise ValueError(f"policy {self.name!r} trades in many markets: state the scenario of the graph")

    def act(self, situation: Situation) -> Any:
        """Return shares: a float for a situation of floats, else an array of shape (episodes,)."""
        market, shape = situation.market, np.shape(situation.remaining)
        tables = tables_of(market)
        one = situation._replace(market=None)
        rows: Any = type(situation)(*(None if value is None else np.atleast_1d(np.asarray(value)) for value in one))
        rows = rows._replace(market=market)
        cell = market.cell(rows.k, rows.seen)
        gains = tables.gains.take(cell, axis=0)
        signal = rows.flow if market.scenario.price_model == "abm" else rows.price / market.scenario.arrival_price
        state = np.stack(np.broadcast_arrays(rows.remaining, rows.transient, signal, 1.0), axis=-1)
        remaining = np.maximum(rows.remaining, 1e-9 * market.scenario.quantity)
        odds, pace = anchor((gains * state).sum(axis=-1), remaining, tables.pace.take(cell), np)
        own = tables.observer.observe(rows)[..., OWN_COLUMNS]
        inputs = np.concatenate([own, np.stack([odds, pace], axis=-1), tables.known.take(cell, axis=0)], axis=-1)
        correction = correction_of(self.action(inputs.astype(np.float32)), market.scenario.temp_impact_beta)
        shares = rows.remaining / (1.0 + np.exp(-odds - correction))
        return shares if shape else float(shares[0])


def check_universal_layers(layers: Layers, head: str) -> None:
    """Check that layers map the inputs of the policy to one correction.

    Raises:
        ValueError: As :func:`~hyperexec_env.evaluation.network.check_layers`, or the head is not "odds".
    """
    if head != "odds":
        raise ValueError(f"head must be 'odds' for a policy of many markets, got {head!r}")
    check_chain(layers, len(universal_names()), 1)


def load_universal_policy(folder: str | Path) -> UniversalPolicy:
    """Read a policy of many markets from a folder.

    Raises:
        ValueError: The folder has no such policy, or its files are inconsistent; the message names the file.
        MissingExtra: safetensors is not installed.
    """
    return read_policy(folder, UniversalPolicy, check_universal_layers)


@lru_cache(maxsize=1)
def universal_policy() -> UniversalPolicy:
    """Return the shipped policy.

    Raises:
        MissingExtra: safetensors is not installed.
    """
    return load_universal_policy(_SHIPPED)


def load_trained(folder: str | Path) -> NetworkPolicy:
    """Read a trained policy of one market or of many markets from a folder; errors as in :func:`load_universal_policy`."""
    try:
        head = json.loads(read_regular(policy_files(folder)[0], 2**20))["head"]
    except (OSError, RecursionError, ValueError, KeyError, TypeError):
        head = ""  # reading the policy reports the fault
    return load_universal_policy(folder) if head == "odds" else load_policy(folder)


def linearised_policy() -> UniversalPolicy:
    """Return the linearised optimum: the policy with a network of zeros."""
    zeros = np.zeros((1, len(universal_names())), np.float32), np.zeros(1, np.float32)
    return UniversalPolicy("linearised", (zeros,), "tanh", "odds", "fraction", True, 0)
