"""A policy given as a function of observations, as every reinforcement-learning library trains one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice, check_flag
from hyperexec_env.envs.action import ACTION_MODES, ActionMode, OwnAction
from hyperexec_env.envs.feature import follows
from hyperexec_env.envs.features import Feature, listed_features
from hyperexec_env.envs.own import asked_shares, observe_all
from hyperexec_env.envs.situation import Situation
from hyperexec_env.evaluation.network import translation
from hyperexec_env.market.hidden import unfiltered

__all__ = ["ObservationPolicy"]


@dataclass(frozen=True, eq=False)
class ObservationPolicy:
    """A policy whose actions are a function of the environment's observations: whatever a library has trained.

        policy = hx.ObservationPolicy("PPO", lambda observation: model.predict(observation, deterministic=True)[0])
        print(hx.evaluate("regime-day", ["baselines", policy]))

    Args:
        name: Name on the board.
        action: Function from observations, float32 of shape (episodes, features), to the actions of the environment, of shape
            (episodes,) or (episodes, 1). A batch holds the same slice of all its episodes; an episode begins where
            `time_left` is 1, at which a function with memory must reset it.
        action_mode: Action mode of the training: a name or an `OwnAction`.
        observe_regime: Whether the observations show the regime.
        features: The option `features` of the training; None: all built-in features.

    Raises:
        ValueError: A bad argument, or (from `act`) actions that are not numbers of the right shape and range.
    """

    name: str
    action: Callable[[NDArray[np.float32]], Any]
    action_mode: str | OwnAction = "pace"
    observe_regime: bool = True
    features: Sequence[str | Feature] | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not callable(self.action):
            raise ValueError(f"action must be a function of observations, got {self.action!r}")
        if not isinstance(self.action_mode, OwnAction):
            check_choice("action_mode", self.action_mode, ACTION_MODES)
        check_flag("observe_regime", self.observe_regime)
        object.__setattr__(self, "features", listed_features(self.features))

    @property
    def follows_regimes(self) -> bool:
        """Whether the observations show the probabilities of the regimes, which a rollout computes with the path."""
        return follows(self.features)

    def unfit(self, market: Any) -> str:
        """Return why the filter of the regimes is not exact in a market, if the policy observes what it says, else ""."""
        return unfiltered(market) if self.follows_regimes else ""

    def act(self, situation: Situation) -> Any:
        """Return the shares of the action: a float for a situation of floats, else an array of shape (episodes,)."""
        market, remaining = situation.market, situation.remaining
        listed: Any = self.features
        observer, mode = translation(market, self.action_mode, self.observe_regime, listed)
        observation = np.atleast_2d(observe_all(observer, situation))
        action = self._checked(self.action(observation), len(observation), mode)
        if mode.own is not None:
            given = action if getattr(remaining, "ndim", 0) else action.item()
            return asked_shares(mode.own, observer, situation, given)
        base = mode.base.take(market.cell(situation.k, situation.seen))
        if getattr(remaining, "ndim", 0):
            return mode.shares(action, remaining, base)
        return float(mode.shares(action.item(), remaining, float(base)))

    def _checked(self, given: Any, episodes: int, mode: ActionMode) -> NDArray[Any]:
        """Return actions as an array of shape (episodes,), clipped to the bounds if they are continuous."""
        actions, discrete = np.asarray(given), mode.discrete
        if actions.shape not in ((episodes,), (episodes, 1)) or actions.dtype.kind not in ("iu" if discrete else "fiu"):
            wanted = "whole numbers" if discrete else "numbers"
            got = f"an array of {actions.dtype} of shape {actions.shape}"
            raise ValueError(f"actions of policy {self.name!r} must be {episodes} {wanted}, got {got}")
        actions = actions.reshape(episodes)
        if discrete:
            wrong = actions[(actions < 0) | (actions >= mode.levels)]
            if len(wrong):
                raise ValueError(f"actions of policy {self.name!r} must be in [0, {mode.levels - 1}], got {wrong[0]}")
            return actions
        return np.clip(actions.astype(np.float64), *mode.bounds)
