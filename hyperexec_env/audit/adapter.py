"""Adapters: what an audit must know of an environment, as a record of small functions; and how an environment is named.

An audit calls the functions of an :class:`Adapter` with the environment that `make` returned. Only `make` is required; a check
that needs a function which the adapter lacks is not run, and its finding names the function.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from hyperexec_env.checks import check_integer, nearest, one_line, shown

__all__ = ["Adapter", "import_object", "load_adapter", "read_options"]

Env = Any
Info = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """What an audit must know of an environment.

    The functions take the environment of `make`; `info` is the dictionary that its last `step` (or `reset`) returned. An order
    of X shares is sold or bought in N slices, one `step` each.
    """

    make: Callable[[], Env]
    """Return a new environment with Gymnasium's `reset(seed=...)` and `step(action)`. Most checks make one for each episode."""
    slices: Callable[[Env], int] | None = None
    """Number N of slices of an episode."""
    action: Callable[[Env, float], Any] | None = None
    """Action that trades a number of shares in the next slice."""
    remaining: Callable[[Env], float] | None = None
    """Shares still to trade."""
    cost: Callable[[Env, Info], float] | None = None
    """Cost of the episode that has ended, in `unit`; positive is a cost. The less price noise it contains, the smaller the
    differences that the statistical checks can find."""
    unit: str = "bps"
    """Unit of `cost`."""
    account: Callable[[Env, Info], float] | None = None
    """What the rewards of the episode that has ended must sum to, by the environment's own account: minus the cost, or the gain
    of the portfolio."""
    price: Callable[[Env], float] | None = None
    """Price of the market now, currency per share."""
    arrival_price: Callable[[Env], float] | None = None
    """Price from which the environment measures the cost of the running episode, currency per share."""
    fill: Callable[[Env, Info], tuple[float, float]] | None = None
    """Shares of the last slice and their average price, currency per share."""
    shortfall_bps: Callable[[Env, Info], float] | None = None
    """Implementation shortfall of the episode that has ended, bps of the arrival notional, as the environment reports it."""
    side: Callable[[Env], int] = lambda env: 1
    """+1 if the order buys, -1 if it sells."""
    sliced: Callable[[int], Env] | None = None
    """Return a new environment with the same order, market and horizon, cut into another number of slices."""
    perturb_future: Callable[[Env, int], Any] | None = None
    """After `reset`, change what nature draws from slice k on, and nothing earlier, not even by rounding; with a k after all
    that is drawn, nothing. If it returns an observation, the episode begins with that one instead of the one of `reset`."""
    perturb_hidden: Callable[[Env, int], Any] | None = None
    """After `reset`, change in slice k what no observation may show, such as a regime; else like `perturb_future`."""
    twins: Callable[[], Iterable[tuple[Env, Env]]] | None = None
    """Return pairs of environments that differ only in what no observation may show: all their observations must be equal."""

    def lacks(self, *names: str) -> str:
        """Return the reason for which a check is not run that needs some functions; "" if the adapter has them all."""
        missing = [name for name in names if getattr(self, name) is None]
        return f"the adapter has no {', '.join(missing)}" if missing else ""

    def slices_of(self, env: Env) -> int:
        """Return the number of slices of an episode.

        Raises:
            ValueError: It is not a whole number in [2, 1000000].
        """
        if self.slices is None:
            raise ValueError("the adapter has no slices")
        return check_integer("slices of the adapter", self.slices(env), low=2, high=1_000_000)


def read_options(texts: Iterable[str]) -> dict[str, Any]:
    """Return options of the form NAME=VALUE as a dictionary; a value is read as JSON, and is text if it is none.

    Raises:
        ValueError: A text has another form, or a name occurs twice.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.isidentifier() or name in found:
            raise ValueError(f"option must be NAME=VALUE, each name once, got {shown(text)}")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def import_object(target: str, what: str) -> tuple[Any, str]:
    """Import the module of a target MODULE:NAME and return (module, NAME). The working directory is searched first.

    Importing runs the code of the module.

    Raises:
        ValueError: The target has another form, or the module cannot be imported.
    """
    name, _, attribute = target.partition(":")
    if not name or not attribute or not all(part.isidentifier() for part in name.split(".")):
        raise ValueError(f"{what} must be MODULE:NAME, got {shown(target)}")
    folder, before = os.getcwd(), list(sys.path)
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name), attribute
    except (Exception, SystemExit) as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ValueError(f"cannot import the module {name} of {shown(target)}: {reason}") from None
    finally:
        sys.path[:] = before


def load_adapter(target: str, options: Mapping[str, Any] | None = None) -> Adapter:
    """Return the adapter that MODULE:NAME denotes.

    NAME is an :class:`Adapter`, a function that returns one, a class of environments, a function that returns an environment,
    or the id of an environment that the module registers with Gymnasium. Environments of this package need no adapter; of
    any other environment without one, an audit makes the few checks that need no knowledge of it.

    Args:
        target: MODULE:NAME. The module is imported, which runs its code.
        options: Keyword arguments of the class, function or environment id.

    Raises:
        ValueError: The target cannot be imported, or is none of these.
    """
    module, name = import_object(target, "the environment")
    given = dict(options or {})
    found = getattr(module, name, None)
    if isinstance(found, Adapter):
        if given:
            raise ValueError(f"options are for an environment or a function, and {target} is an adapter: got {shown(given)}")
        return found
    if found is None:
        if name not in gym.registry:
            names = [*(key for key in vars(module) if not key.startswith("_")), *gym.registry]
            raise ValueError(f"the module {module.__name__} has no {name}, nor registers it{nearest(name, names)}")
        return _of_factory(target, lambda: gym.make(name, **given))
    if not callable(found):
        raise ValueError(f"{target} must be an adapter, an environment or a function, got {shown(found)}")
    return _of_factory(target, lambda: found(**given))


def _of_factory(target: str, make: Callable[[], Any]) -> Adapter:
    """Return the adapter of what a function returns: an adapter, or an environment."""
    try:
        made = make()
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ValueError(f"cannot make the environment {target}: {reason}; --set NAME=VALUE passes an argument") from None
    if isinstance(made, Adapter):
        return made
    if inspect.ismethod(getattr(made, "reset", None)) and inspect.ismethod(getattr(made, "step", None)):
        from hyperexec_env.audit.own import own_adapter

        return own_adapter(make, made) or Adapter(make=make)
    raise ValueError(f"{target} must make an environment or an adapter, got {type(made).__name__}")
