"""Rules: policies as functions of single numbers, so that whole episodes run in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.policy import PolicyFailure, follows_regimes, offers
from hyperexec_env.market.tables import Market

__all__ = ["Plan", "Rule", "RulePolicy", "Ruled", "plan_rule", "rule_of"]

Floats = NDArray[np.float64]


class Rule(NamedTuple):
    """A decision function and its parameters."""

    decide: Callable[[Any, Situation], Any]
    """Function (parameters, situation) -> shares. Compiled loops call it with single numbers and `situation.market` None; numpy
    calls the same function with arrays of shape (episodes,). Write it in arithmetic, with `np.sqrt` and the like, and with
    `minimum`, `maximum` and `where` of :mod:`hyperexec_env.market.numeric`. Module constants and called functions are read
    once, at compilation."""
    parameters: Any
    """A NamedTuple of finite numbers and flat arrays, which the function reads by name."""


@runtime_checkable
class Ruled(Protocol):
    """A policy with an optional rule, which compiled loops can run."""

    def rule(self, market: Market, hidden: bool) -> Rule | None:
        """Return the rule of the policy in a market, or None. `hidden`: whether the regime is hidden from the policy."""
        ...


class RulePolicy:
    """A policy whose `act` evaluates its rule, for floats and for arrays of shape (episodes,)."""

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return the rule of the policy in a market."""
        raise NotImplementedError

    def act(self, situation: Situation) -> Any:
        """Return the shares of the rule."""
        rule = self.rule(situation.market, False)
        return rule.decide(rule.parameters, situation)


def rule_of(policy: Any, market: Market, hidden: bool) -> Rule | None:
    """Return the rule of a policy, or None if it has none that can be trusted; see
    :func:`~hyperexec_env.evaluation.policy.offers`.

    A policy that reads the probabilities of the regimes has none: compiled loops do not follow them.

    Raises:
        PolicyFailure: The result is not a `Rule`, or its parameters are not a NamedTuple of finite numbers and flat arrays.
    """
    name = getattr(policy, "name", "a policy")
    rule = policy.rule(market, hidden) if isinstance(policy, Ruled) and offers(policy, "rule") else None
    if rule is None or follows_regimes(policy):
        return None
    if not isinstance(rule, Rule):
        raise PolicyFailure(f"the rule of {name!r} must be a Rule or None, got {type(rule).__name__}")
    if not hasattr(rule.parameters, "_fields"):
        raise PolicyFailure(
            f"the parameters of the rule of {name!r} must be a NamedTuple, got {type(rule.parameters).__name__}"
        )
    for key, value in zip(rule.parameters._fields, rule.parameters, strict=True):
        if np.ndim(value) > 1 or np.asarray(value).dtype.kind not in "fiub":
            raise PolicyFailure(f"parameter {key!r} of the rule of {name!r} must be a number or a flat array, got {value!r}")
        if not np.isfinite(value).all():
            raise PolicyFailure(f"parameter {key!r} of the rule of {name!r} must hold finite numbers only")
    return rule


class Plan(NamedTuple):
    """Parameters of a plan: the fraction of the remaining shares that each slice trades, by observed regime."""

    width: int
    """Number of columns: the regimes, and the unknown regime."""
    fractions: Floats
    """Fractions, flattened from (slices + 1, width); the last row, for the situation after the last slice, is 1."""


def plan_rule(plan: Any, market: Market) -> Rule:
    """Return the rule that trades a predetermined fraction of the remaining shares in each slice.

    Args:
        plan: Fractions of shape (slices,), or (slices, regimes + 1) if they depend on the observed regime; the last column
            applies if the regime is hidden.
        market: The market.

    Raises:
        ValueError: The plan has another shape.
    """
    fractions, width = np.asarray(plan, dtype=float), market.regimes + 1
    if fractions.shape not in ((market.slices,), (market.slices, width)):
        raise ValueError(f"a plan must have the shape {(market.slices,)} or {(market.slices, width)}, got {fractions.shape}")
    rows = np.broadcast_to(fractions.reshape(market.slices, -1), (market.slices, width))
    return Rule(_plan_shares, Plan(width, np.append(rows, np.ones((1, width)))))


def _plan_shares(plan: Plan, situation: Situation) -> Any:
    """Return the fraction for the slice and the observed regime times the remaining shares."""
    return situation.remaining * plan.fractions[situation.k * plan.width + situation.seen]
