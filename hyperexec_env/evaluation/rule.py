"""Rules: policies as a function of single numbers, so that whole episodes run in one compiled loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.policy import offers
from hyperexec_env.market.model import Market

__all__ = ["Plan", "Rule", "RulePolicy", "Ruled", "plan_rule", "rule_of"]

Floats = NDArray[np.float64]


class Rule(NamedTuple):
    """A policy that answers each episode from a few numbers."""

    decide: Callable[[Any, Situation], Any]
    """Function of the parameters and a situation that returns shares. The same function is called with single numbers in
    compiled loops, where the situation has no market, and with arrays over episodes: write it in arithmetic, with `np.sqrt` and
    the like, and with `minimum`, `maximum` and `where` of :mod:`hyperexec_env.market.numeric`. Constants of its module and
    functions that it calls are read once, when it is compiled."""
    parameters: Any
    """A NamedTuple of finite numbers and of flat arrays, which the function reads by name."""


@runtime_checkable
class Ruled(Protocol):
    """A policy that compiled loops can run."""

    def rule(self, market: Market, hidden: bool) -> Rule | None:
        """Return the rule of the policy in a market; None where it has none. `hidden`: the regime is not observed."""
        ...


class RulePolicy:
    """A policy whose `act` is its rule, for one episode and for arrays over episodes."""

    def rule(self, market: Market, hidden: bool) -> Rule:
        """Return the rule of the policy in a market."""
        raise NotImplementedError

    def act(self, situation: Situation) -> Any:
        """Return the shares that the rule asks for."""
        rule = self.rule(situation.market, False)
        return rule.decide(rule.parameters, situation)


def rule_of(policy: Any, market: Market, hidden: bool) -> Rule | None:
    """Return the rule of a policy; None where it has none, or only inherits one (see
    :func:`~hyperexec_env.evaluation.policy.offers`).

    Raises:
        ValueError: The policy offers something that is no rule, or parameters that are not finite numbers and flat arrays.
    """
    name = getattr(policy, "name", "a policy")
    rule = policy.rule(market, hidden) if isinstance(policy, Ruled) and offers(policy, "rule") else None
    if rule is None:
        return None
    if not isinstance(rule, Rule):
        raise ValueError(f"the rule of {name!r} must be a Rule or None, got {type(rule).__name__}")
    if not hasattr(rule.parameters, "_fields"):
        raise ValueError(f"the parameters of the rule of {name!r} must be a NamedTuple, got {type(rule.parameters).__name__}")
    for key, value in zip(rule.parameters._fields, rule.parameters, strict=True):
        if np.ndim(value) > 1 or np.asarray(value).dtype.kind not in "fiub":
            raise ValueError(f"parameter {key!r} of the rule of {name!r} must be a number or a flat array, got {value!r}")
        if not np.isfinite(value).all():
            raise ValueError(f"parameter {key!r} of the rule of {name!r} must hold finite numbers only")
    return rule


class Plan(NamedTuple):
    """Parameters of a plan: the fraction of what remains that each slice trades."""

    width: int
    """Columns of the fractions."""
    fractions: Floats
    """Shape ((slices + 1) columns,), flat; the last row, for an order that is over, is 1."""


def plan_rule(plan: Any, market: Market) -> Rule:
    """Return the rule that trades a fraction of what remains, known before the first episode.

    Args:
        plan: The fractions, shape (slices,), or (slices, regimes + 1) where they depend on the regime that is observed; the
            last column is for an observer from whom the regime is hidden.
        market: The market.

    Raises:
        ValueError: Another shape.
    """
    fractions, width = np.asarray(plan, dtype=float), market.regimes + 1
    if fractions.shape not in ((market.slices,), (market.slices, width)):
        raise ValueError(f"a plan must have the shape {(market.slices,)} or {(market.slices, width)}, got {fractions.shape}")
    rows = np.broadcast_to(fractions.reshape(market.slices, -1), (market.slices, width))
    return Rule(_planned, Plan(width, np.append(rows, np.ones((1, width)))))


def _planned(plan: Plan, situation: Situation) -> Any:
    """Trade the fraction of the slice and the observed regime."""
    return situation.remaining * plan.fractions[situation.k * plan.width + situation.seen]
