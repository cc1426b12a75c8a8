"""Rules: what a policy may offer so that whole episodes of it run in one compiled loop, plain numbers and a plain function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.action import ActionMode
from hyperexec_env.envs.observation import Observer
from hyperexec_env.evaluation.policy import offers
from hyperexec_env.market.model import Market

__all__ = ["Network", "Rule", "Ruled", "plan_rule", "rule_of"]

Floats = NDArray[np.float64]


class Rule(NamedTuple):
    """A policy that answers each episode from a few numbers."""

    decide: Callable[..., Any]
    """Function of (numbers, table, k, seen, remaining, transient, flow, price), single numbers but for the first two, that
    returns shares: plain arithmetic that numba compiles. They mean what the fields of the same name of a
    :class:`~hyperexec_env.envs.observation.Situation` do. What else it uses (defaults, constants of its module, other
    functions) is read once, when it is compiled; outside the package, it is compiled anew in each process."""
    numbers: Floats
    """Whatever the function needs, flat."""
    table: NDArray[np.float32]
    """The same, for what is large, flat."""


class Network(NamedTuple):
    """A multi-layer perceptron from the observation to the action."""

    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    """Weights (out, in) and biases (out,)."""
    activation: str
    """"tanh" or "relu"."""
    head: str
    """"clip", "tanh" or "argmax"."""
    observer: Observer
    mode: ActionMode


@runtime_checkable
class Ruled(Protocol):
    """A policy that compiled loops can run."""

    def rule(self, market: Market, hidden: bool) -> Rule | Network | None:
        """Return what `act` does, as a rule for this market; None where it cannot be said. `hidden`: the regime is not told."""
        ...


def rule_of(policy: Any, market: Market, hidden: bool) -> Rule | Network | None:
    """Return the rule of a policy; None where it has none, or only inherits one (see
    :func:`~hyperexec_env.evaluation.policy.offers`).

    Raises:
        ValueError: It has one that is no rule, or whose numbers are not flat and finite.
    """
    name = getattr(policy, "name", "a policy")
    rule = policy.rule(market, hidden) if isinstance(policy, Ruled) and offers(policy, "rule") else None
    if rule is None or isinstance(rule, Network):
        return rule
    if not isinstance(rule, Rule):
        raise ValueError(f"the rule of {name!r} must be a Rule, a Network or None, got {type(rule).__name__}")
    if np.ndim(rule.numbers) != 1 or np.ndim(rule.table) != 1:
        raise ValueError(f"the rule of {name!r} must hold flat arrays, got shapes {rule.numbers.shape}, {rule.table.shape}")
    if not (np.isfinite(rule.numbers).all() and np.isfinite(rule.table).all()):
        raise ValueError(f"the rule of {name!r} must hold finite numbers only")
    return rule


def plan_rule(plan: Any, market: Market) -> Rule:
    """Return the rule that trades a fraction of what remains, known before the first episode.

    Args:
        plan: The fractions, shape (slices,), or (slices, regimes + 1) where they depend on the regime that is seen; the last
            column is for who is not told.
        market: The market.

    Raises:
        ValueError: Another shape.
    """
    fractions, width = np.asarray(plan, dtype=float), market.regimes + 1
    if fractions.shape not in ((market.slices,), (market.slices, width)):
        raise ValueError(f"a plan must have the shape {(market.slices,)} or {(market.slices, width)}, got {fractions.shape}")
    if fractions.ndim == 1:
        fractions = np.repeat(fractions[:, None], width, axis=1)
    return Rule(_planned, np.concatenate([[width], fractions.ravel()]), np.zeros(1, dtype=np.float32))


def _planned(
    numbers: Any, table: Any, k: Any, seen: Any, remaining: Any, transient: Any, flow: Any, price: Any
) -> Any:  # see plan_rule
    return remaining * numbers[1 + k * np.int64(numbers[0]) + seen]
