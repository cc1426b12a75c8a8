"""What a script trains on: a scenario, its posterior, or real days, whose validation days choose the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.arguments import option, scenario_option
from hyperexec_env.baselines.replay import replay_path
from hyperexec_env.checks import check_choice, check_flag, check_number, shown
from hyperexec_env.data.replay import PURGED, TRAIN, VALIDATION, read_replay, symbol_of
from hyperexec_env.envs.features import observation_names
from hyperexec_env.envs.venue_task import ROUTERS
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.market.basket_scenario import BasketScenario
from hyperexec_env.market.recording import Recording
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario
from hyperexec_env.market.scenarios import get_scenario as get_any
from hyperexec_env.market.scenarios import scenario_or_basket
from hyperexec_env.market.touch_scenario import TOUCHES, TouchScenario, get_touch
from hyperexec_env.market.venue_scenario import VENUES, VenueScenario, get_venues

__all__ = [
    *("beliefs_of", "check_beliefs"),
    *("Chosen", "Layers", "Problem", "Selection", "check_router", "days_of", "problem_of", "scenario_name", "touch_of"),
    "venues_of",
]

Layers = tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
_PREFIX = "selection/"


@dataclass(frozen=True)
class Problem:
    """Options of a script that choose the market of its training."""

    scenario: ScenarioLike = scenario_option()
    uncertainty: bool = option(False, "train on the posterior of a measured scenario: each episode meets another draw")
    replay: str = option("", "train on real days: bars, or days that `hyperexec replay --out` prepared", file="input")
    train: float | None = option(None, "share of the sessions to calibrate and train on, with replay (default: 0.6)")
    validation: float | None = option(None, "share of the sessions on which the checkpoint is chosen (default: 0.2)")
    purged: int | None = option(None, "sessions between the parts (default: 1)")


def days_of(args: Any, needs_validation: bool = True) -> Recording | None:
    """Return the days of the option `replay` of a script; None without it. Training needs validation days.

    Raises:
        ValueError: The data cannot be read or split, there are no validation days, or a scenario is given too.
    """
    if not getattr(args, "replay", ""):
        return None
    if args.scenario != "regime-day":
        raise ValueError(f"scenario must be left out with replay, which calibrates one, got {args.scenario!r}")
    usual = {"train": TRAIN, "validation": VALIDATION, "purged": PURGED}
    parts: dict[str, Any] = {
        name: value if getattr(args, name) is None else getattr(args, name) for name, value in usual.items()
    }
    check_number("validation", parts["validation"], low=0.0, high=1.0, open_low=needs_validation)
    return read_replay(args.replay, **parts)


def problem_of(args: Any, several: bool = False) -> tuple[Any, Recording | None]:
    """Return the scenario of a script, and the recorded days if it trains on real days; errors as in :func:`days_of`.

    Args:
        args: The options.
        several: Whether an action may have several numbers: those of a basket or of venues, which then have no posterior.

    Raises:
        ValueError: As in :func:`days_of`, or the kind of the scenario does not have an option.
    """
    recording = days_of(args)
    if recording is not None:
        return recording.scenario, recording
    if several and VENUES.owns(args.scenario):
        return venues_of(args), None
    scenario = scenario_or_basket(args.scenario) if several else get_scenario(args.scenario)
    check_router(args)
    if isinstance(scenario, BasketScenario) and args.uncertainty:
        raise ValueError(f"uncertainty is not an option of a basket, got {args.uncertainty!r} with {scenario.name!r}")
    return scenario, None


def venues_of(args: Any) -> VenueScenario:
    """Return the scenario with venues of a script.

    Raises:
        ValueError: The scenario is invalid, or an option belongs to scenarios without venues.
    """
    for name, usual in (("uncertainty", False), ("action_mode", "pace")):
        if getattr(args, name, usual) != usual:
            raise ValueError(f"{name} must be {usual} over venues, got {getattr(args, name)}")
    check_choice("router", args.router, ROUTERS)
    return get_venues(args.scenario)


def check_router(args: Any) -> None:
    """Raise ValueError if the options of a scenario without venues name a router."""
    if getattr(args, "router", ROUTERS[0]) != ROUTERS[0]:
        raise ValueError(f"router is an option of scenarios with venues, got {args.router!r} with {shown(args.scenario)}")


def touch_of(args: Any) -> TouchScenario | None:
    """Return the scenario of a script that trains on a child order at the touch, else None.

    Raises:
        ValueError: The scenario is invalid, or an option belongs to scenarios of slices.
    """
    if args.replay or not TOUCHES.owns(args.scenario):
        return None
    for name, usual in (("uncertainty", False), ("observe_regime", True), ("reward", "expected")):
        if getattr(args, name, usual) != usual:
            raise ValueError(f"{name} must be {usual} at the touch, got {getattr(args, name)}: it belongs to slices")
    check_router(args)
    return get_touch(args.scenario)


def check_beliefs(args: Any) -> None:
    """Check the option `observe_beliefs` of a script.

    Raises:
        ValueError: It is true, but the scenario has several assets or venues, or is a child order at the touch, or it has no
            unknown and no hidden regime.
    """
    if not check_flag("observe_beliefs", args.observe_beliefs):
        return
    scenario, hidden = get_any(args.scenario), not getattr(args, "observe_regime", True)
    one = isinstance(scenario, Scenario) and (scenario.unknown or (hidden and len(scenario.regimes) > 1))
    if getattr(args, "replay", "") or not one:
        raise ValueError(
            f"observe_beliefs must be False without unknowns (a table [unknown] of a scenario of one asset, or several regimes "
            f"with observe_regime=False), got True with {getattr(args, 'replay', '') or scenario.name!r}"
        )


def beliefs_of(task: Any) -> tuple[str, ...]:
    """Return the names of the beliefs that the observation of a task shows behind the built-in features."""
    return tuple(task.names[len(observation_names()) :])


def scenario_name(args: Any) -> str:
    """Return the name of the scenario of a script, without reading the days of a replay."""
    if getattr(args, "replay", ""):
        return symbol_of(args.replay)
    name: str = get_any(args.scenario).name
    return name


class Chosen(NamedTuple):
    """The best weights so far."""

    weights: Layers
    timesteps: int
    """Slices traded for them."""
    objective: float
    """Mean objective on the validation days, bps."""


class Selection:
    """Keeps the weights whose deterministic policy has the least mean objective J on the validation days.

    Args:
        recording: The days; the test days are not touched.
        policy: Function that returns the policy of some weights.
    """

    def __init__(self, recording: Recording, policy: Callable[[Layers], NetworkPolicy]) -> None:
        self._market = recording.market("validation")
        self._path = replay_path(self._market)
        self._policy = policy
        self.best: Chosen | None = None

    def consider(self, weights: Layers, timesteps: int) -> None:
        """Keep some weights if they are better than the best so far."""
        policy = self._policy(weights)
        statement = roll(self._market, policy, self._path, hidden=not policy.observe_regime).statement
        objective = float(statement.objective.mean())
        if self.best is None or objective < self.best.objective:
            self.best = Chosen(weights, timesteps, objective)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the best weights as arrays by name, and their description, for a checkpoint."""
        if self.best is None:
            return {}, {}
        parts = ((at, part, values) for at, layer in enumerate(self.best.weights) for part, values in enumerate(layer))
        arrays = {f"{_PREFIX}{at}/{part}": values for at, part, values in parts}
        return arrays, {"selection": {"timesteps": self.best.timesteps, "objective": self.best.objective}}

    def restore(self, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
        """Restore a state of :meth:`state`."""
        if "selection" not in about:
            return
        count = sum(name.startswith(_PREFIX) for name in arrays) // 2
        weights = tuple((arrays[f"{_PREFIX}{at}/0"].copy(), arrays[f"{_PREFIX}{at}/1"].copy()) for at in range(count))
        self.best = Chosen(weights, **about["selection"])
