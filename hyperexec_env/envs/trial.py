"""Trials of a user's functions, before an environment is used: each is called in every slice of one episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from gymnasium import logger
from numpy.typing import NDArray

from hyperexec_env.backends.compiled import why_not_compiled
from hyperexec_env.checks import one_line, shown
from hyperexec_env.envs.episode import Episode, draw_block, requested_shares
from hyperexec_env.envs.own import name_of
from hyperexec_env.envs.task import Task
from hyperexec_env.envs.uncertainty import episode_of

__all__ = ["Trial", "compilable", "nan_message", "try_own"]


class Trial(NamedTuple):
    """A user's function and arguments with which it was called."""

    what: str
    """What the function is, for messages."""
    function: Callable[..., Any]
    given: list[tuple[Any, ...]]
    """Arguments of the calls, one tuple for each."""


def try_own(task: Task) -> list[Trial]:
    """Call the user's functions of a task in every slice of one episode, and return the functions with the arguments.

    The episode trades half of the expected-volume schedule, and the rest in the last slice.

    Raises:
        ValueError: A function raises an error or does not return a number, or a mask allows no level; the message names
            the function and the reason.
    """
    own, reward, features = task.mode.own, task.own_reward, task.observer.own
    trials = [Trial(f"feature {feature.name!r}", _function_of(feature), []) for feature in features]
    asking = [] if own is None else [Trial(f"shares of action mode {own.name!r}", own.shares, [])]
    masking = [] if own is None or own.mask is None else [Trial(f"mask of action mode {own.name!r}", own.mask, [])]
    paying = [] if reward is None else [Trial(f"reward {name_of(reward)}", reward, [])]
    if not (trials or asking or masking or paying):
        return []
    for episode in _moments(task):
        for trial in (*trials, *((*asking, *masking) if not episode.over else masking)):
            actions = _actions(task) if trial in asking else range(own.levels) if own and trial in masking else [None]
            for action in actions:
                _call(trial, *(() if action is None else (action,)), *episode.noticed())
        if masking:
            episode.mask()
        if episode.k:
            for trial in paying:
                _call(trial, episode.outcome())
    return [*trials, *asking, *masking, *paying]


def _function_of(feature: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = feature.function
    return function


def _actions(task: Task) -> Sequence[Any]:
    """Return actions to try: the ends and the middle of the range, or every level."""
    low, high = task.mode.bounds
    return range(task.mode.levels) if task.mode.discrete else (low, 0.5 * (low + high), high)


def _moments(task: Task) -> Iterator[Episode]:
    """Yield an episode before its first slice, and after each."""
    episode = episode_of(task, draw_block(task, 0, 0, 1), 0)
    yield episode
    while not episode.over:
        planned = task.market.plan[episode.k] - task.market.plan[episode.k + 1]
        episode.trade(requested_shares, 0.5 * float(planned) * episode.quantity)
        yield episode


def _title(trial: Trial) -> str:
    """Return what a function is, with its name."""
    return trial.what if trial.what.startswith("reward") else f"{trial.what} ({name_of(trial.function)})"


def _call(trial: Trial, *given: Any) -> None:
    """Call a function; keep the arguments.

    Raises:
        ValueError: The function raises an error, or does not return a number.
    """
    trial.given.append(given)
    title = _title(trial)
    try:
        made = trial.function(*given)
        made = float(made) if type(made) is int else made  # raises OverflowError beyond the range of floats
    except Exception as error:
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ValueError(f"{title} raises {reason}; its arguments were {shown(given)}") from error
    numeric = isinstance(made, (Real, np.bool_))
    if not numeric or math.isnan(made) or (math.isinf(made) and trial.what.startswith("reward")):
        kind = f"an array of shape {np.shape(made)}" if isinstance(made, np.ndarray) else shown(made)
        raise ValueError(f"{title} must return one finite number, got {kind}; its arguments were {shown(given)}")


def compilable(trials: list[Trial], required: bool) -> bool:
    """Return whether compiled loops can call a user's functions; warn with the reason if they cannot.

    Raises:
        ValueError: A function cannot be compiled, and that is required.
    """
    for trial in trials:
        reason = why_not_compiled(trial.function, trial.given)
        if reason:
            message = f"{_title(trial)} cannot be compiled: {reason}"
            if required:
                raise ValueError(f"{message}; pass backend='numpy' to call it lane by lane in Python")
            logger.warn("%s", f"{message}; the lanes run in numpy (pass backend='numpy' to say so)")
            return False
    return True


def nan_message(task: Task, observations: NDArray[np.float32], where: str) -> str:
    """Return the error for an observation with a feature that is not a number."""
    names = [feature.name for feature in task.observer.features]
    column = int(np.isnan(np.atleast_2d(observations)).any(axis=0).argmax())
    return f"feature {names[column]!r} must be a number, got nan in {where}"
