"""The single environment: one episode at a time, in Python floats."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from hyperexec_env.envs.action import OwnAction
from hyperexec_env.envs.episode import Block, Episode, draw_block, requested_shares
from hyperexec_env.envs.episode_env import OVER, EpisodeEnv
from hyperexec_env.envs.features import Feature, observation_table
from hyperexec_env.envs.own import name_of
from hyperexec_env.envs.rendering import Painter, describe, look
from hyperexec_env.envs.reward import PARTS, Outcome, cost_and_risk, reward_space
from hyperexec_env.envs.task import Task, build_task
from hyperexec_env.envs.trial import nan_message, try_own
from hyperexec_env.envs.uncertainty import episode_of
from hyperexec_env.market.days import day_of
from hyperexec_env.market.path import Path

__all__ = ["HyperExecEnv"]

_BLOCK = 512


class HyperExecEnv(EpisodeEnv):
    r"""Execute a parent order before its deadline, slice by slice, at the least cost.

    ## Description

    A parent order to buy or sell X shares is cut into N child orders, one for each slice of the time until the deadline.
    Trade fast, and your own impact moves the price against you; trade slowly, and the market moves while you wait. The cost
    of impact and the speed of its recovery depend on the regime of the market, which changes during the order. The scenario
    sets the order, the market and the price of risk; ``hyperexec card NAME`` prints one. It may include a predator that trades
    ahead of regular child orders (or, with a negative strength, liquidity that they attract).

    ## Action Space

    One number per slice requests n_k shares. Here x_k are the remaining shares, and f_k is the fraction of them that the
    expected-volume (VWAP) schedule trades in the slice, given the regime.

    | action_mode | space | requested shares |
    | --- | --- | --- |
    | `pace` (default) | `Box(-1, 1, (1,), float32)` | n_k = x_k f_k (1 + a) / (1 - 3a/4): 0 at -1, the schedule at 0, 8 times its pace at +1 |
    | `fraction` | `Box(-1, 1, (1,), float32)` | n_k = x_k (1 + a) / 2: none at -1, all remaining shares at +1 |
    | `participation` | `Box(-1, 1, (1,), float32)` | n_k = c E[V_k] (1 + a) / 2, with V_k the market volume of the slice and c the participation cap (1 without a cap) |
    | `discrete` | `Discrete(7)` | n_k = x_k f_k p_a with the paces p = 0, 1/4, 1/2, 1, 2, 4, 8 |

    At most the remaining shares trade, and at most the participation cap times the volume of the slice. In the last slice all
    remaining shares trade, whatever the action (unless the scenario has `complete = false`). Actions are clipped to the bounds.
    `trade(shares)` is `step` with a number of shares as the action.

    An `OwnAction` in place of the name brings a space and a function from the action to shares (see *Own functions*).

    ## Observation Space

    A `Box` of 21 features, float32. All are known at the start of the slice. *Schedule* is the expected-volume schedule.

    | number | name | meaning | unit | minimum | maximum |
    | --- | --- | --- | --- | --- | --- |
    | 0 | remaining | remaining shares | fraction of the order | 0 | 1 |
    | 1 | behind_schedule | remaining shares minus the remaining shares of the schedule | fraction of the order | -1 | 1 |
    | 2 | required_participation | remaining shares over (remaining shares plus expected market volume until the deadline) | fraction | 0 | 1 |
    | 3 | transient_displacement | own transient displacement of the price; 0 if the regime is not observed | fraction of the largest that the order could cause: traded at once (if the transient exponent is below 1, spread over the slices) | 0 | 1 |
    | 4 | price_move | x / (1 + abs(x)) of the move of the mid against the order since arrival (if the regime is not observed, without the transient displacement) | x: standard deviations over the whole order (0 without volatility) | -1 | 1 |
    | 5 | last_participation | shares traded in the previous slice over (these shares plus its market volume) | fraction | 0 | 1 |
    | 6 | last_volume | market volume of the previous slice | multiple of its expected volume, averaged over regimes (with `volume_persistence`: in the regime of that slice, if it is observed) | 0 | 20 |
    | 7 | last_flow | order flow of the others in the previous slice; positive is on our side and moves the price against us | standard deviations | -400 | 400 |
    | 8 | side | side of the order | +1 buy, -1 sell | -1 | 1 |
    | 9 | time_left | time until the deadline | fraction of the horizon | 0 | 1 |
    | 10 | expected_volume | expected market volume of this slice | multiple of the mean over slices | 0 | 20 |
    | 11 | expected_volume_rest | expected market volume until the deadline | multiple of that at the start | 0 | 20 |
    | 12 | volatility | volatility of the regime now, without the shape of the day (`volatility_curve`) | multiple of the scenario's | 0 | 20 |
    | 13 | spread | half of the quoted spread now | multiple of its mean | 0 | 20 |
    | 14 | regime_BULL_TRENDING | whether this is the regime of the slice | 0 or 1 | 0 | 1 |
    | 15 | regime_BEAR_TRENDING | the same | 0 or 1 | 0 | 1 |
    | 16 | regime_SIDEWAYS_LOW | the same | 0 or 1 | 0 | 1 |
    | 17 | regime_SIDEWAYS_HIGH | the same | 0 or 1 | 0 | 1 |
    | 18 | regime_CRISIS | the same | 0 or 1 | 0 | 1 |
    | 19 | regime_RECOVERY | the same | 0 or 1 | 0 | 1 |
    | 20 | regime_UNKNOWN | whether the regime is not observed (`observe_regime=False`) | 0 or 1 | 0 | 1 |

    If the regime is not observed, features 10 to 13 hold expectations over the regimes. `observation_names()` returns the
    names, and `env.unwrapped.situation` the same information in natural units. With `features`, the observation is a list of
    these names and of the user's `Feature` records: `env.unwrapped.observation_names` and `observation_table` describe it.

    With `uncertainty=True` a hash of seed and episode chooses the draw of the posterior that the episode meets. The order is
    that of the scenario. Prices, fills, volumes and flow are those of the draw, in units of the point estimate; features 3 and
    10 to 13 are those of the point estimate, because a desk knows neither its own displacement nor the numbers of the market;
    feature 4 is the move of the true mid. Costs in `info` are nan until the end.

    ## Rewards

    In bps of the arrival notional X P0; a cost is negative.

    | reward | of a slice | summed over the episode |
    | --- | --- | --- |
    | `expected` (default) | -1e4 / (X P0) (transient + temporary + spread + drift + risk) | exactly minus `objective_bps` |
    | `realised` | the same, plus the permanent cost and the price noise (timing) | exactly minus (`shortfall_bps` + `risk_bps`) |
    | `cost-risk` | the vector of the cost part and the risk part of `expected`, float64 of shape (2,) | minus (`objective_bps` - `risk_bps`), minus `risk_bps` |

    The risk term is risk_aversion (sigma_m P0)^2 tau x_{k+1}^2 + price_risk S_k tau x_{k+1}. The objective excludes the
    zero-mean price noise, which no policy can change, and the permanent cost g X^2 / 2, which no schedule can change; the same
    policies are optimal under both rewards, and `expected` needs far fewer episodes to distinguish policies. Rewards are
    unbounded; `expected` is never positive if regimes have no drift and order flow does not persist. `cost-risk` follows
    MO-Gymnasium: `env.unwrapped.reward_space` and `reward_dim` describe the vector, whose parts add up to `expected`. A function
    in place of the name is the user's reward (see *Own functions*).

    ## Own Functions

    Functions of single numbers, which every execution calls; the first use tries each in every slice of one episode.

    | option | function | arguments |
    | --- | --- | --- |
    | `reward` | `reward(outcome)` returns the reward of a slice | `Outcome`: what traded, its cost by component, the order after it |
    | `features` | `Feature(name, low, high, function=f)`: `f(situation, known)` returns a number, clipped to the bounds | what the agent may see: the `Situation` without its market, and `Known`, the numbers of the slice that are known beforehand |
    | `action_mode` | `OwnAction(name, space, shares, mask)`: `shares(action, situation, known)` returns shares, `mask(level, situation, known)` whether a level is allowed | the same |

    ## Starting State

    The whole order remains, and our displacement of the price is zero. The regime is drawn from its stationary distribution
    unless the scenario names one. `reset(seed=s)` begins episode 0 of the seed s, and each further `reset()` the next episode;
    `reset(options={"episode": i})` begins episode i. The market depends on the seed, the episode and the slice only, never on
    the actions, so two policies with one seed meet the same market.

    The board of a seed has episodes of its own, which no reset with a seed alone begins, so any seed is fit for training.
    `reset(seed=s, options={"board": True, "episode": i})` replays episode i of the board of seed s (`hyperexec evaluate --seed
    s`), for the study of single episodes; later resets without a seed go on with the board's episodes.

    ## Episode End

    `terminated` is true when the order is complete or the last slice has traded: the deadline is part of the problem.
    `truncated` is always false.

    ## Information

    `info` is empty during the episode, except for `action_mask` (int8, 1 is allowed) with `action_mode="discrete"`. At the end
    (with `info="full"` at every step and at the reset, for the slices so far) it has:

    | key | meaning |
    | --- | --- |
    | `shortfall_bps` | implementation shortfall as the desk measures it |
    | `objective_bps` | J, which policies minimise; the risk term included |
    | `risk_bps` | the risk term |
    | `components_bps` | the shortfall by source: spread, temporary, transient, permanent, timing, drift, opportunity |
    | `forced_fraction` | fraction of the order that the deadline forced beyond the last action |
    | `side`, `quantity` | the order |

    With `info="full"`, the sums of rewards above hold at every step. If the regime is not observed, costs are nan until the
    end, because they would reveal it.

    ## Arguments

    Args:
        scenario: Name of a registered scenario, a dict of its values, a path to a TOML file, or a `Scenario`; None:
            "regime-day", or with `replay` the scenario calibrated to the days. With `replay`, a dict holds the fields that
            replace calibrated values.
        action_mode: "pace", "fraction", "participation" or "discrete", or an `OwnAction`.
        reward: "expected", "realised" or "cost-risk", or a function of an `Outcome`.
        observe_regime: Whether the policy observes the regime; if not, a policy with memory can do better.
        observe_beliefs: Whether the observation shows, behind its other features, mean and standard deviation of each unknown
            of the scenario given what the agent could see so far, by the exact filter (`volume_level_sd`: level_belief,
            level_belief_sd; `drift_sd`: drift_belief, drift_belief_sd; `temp_impact_sd`: slope_belief, slope_belief_sd;
            `kyle_sd`: kyle_belief, kyle_belief_sd). Without unknowns, and with `observe_regime=False` and several regimes: the
            probability of each regime of the coming slice (regime_probability_CRISIS, ...), by the filter of the policy
            `filtered`.
        random_side: Whether each episode draws its side; if not, every episode has the scenario's side.
        quantity_range: Smallest and largest quantity as multiples of the scenario's, drawn log-uniformly; None: the
            scenario's quantity.
        replay: Bars of real days (a path, paths, a data frame), a file of prepared days (``hyperexec replay --out``), or the
            result of `hyperexec_env.read_replay`: each episode is then a real day, which the key of the episode chooses; None:
            simulated days.
        split: Days of the replay: "train", "validation" or "test".
        uncertainty: Whether each episode meets another draw of the posterior of a measured scenario (see below); if not, every
            episode meets its point estimate.
        render_mode: None, "ansi" (text), "rgb_array" (pixels) or "human" (a window); pictures need the extra `plot`.
        info: "final" (results at the end of an episode) or "full" (results so far at every step, with the same keys).
        features: Names of built-in features and `Feature` records, in the order of the observation; None: the built-in ones.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.

    ## Example

    >>> import gymnasium as gym
    >>> import numpy as np
    >>> import hyperexec_env
    >>> env = gym.make("HyperExec-v0", scenario="regime-day")
    >>> observation, info = env.reset(seed=1)
    >>> total, terminated = 0.0, False
    >>> while not terminated:
    ...     action = np.zeros(1, dtype=np.float32)  # stay on the schedule
    ...     observation, reward, terminated, truncated, info = env.step(action)
    ...     total += reward
    >>> abs(total + info["objective_bps"]) < 1e-9
    True

    ## Version History

    * v0: first version. Since 0.3 of the package, the default scenario has measured, published and assumed impact in daily
      volatilities (see ``hyperexec card regime-day``); ``scenario="regime-day-2026"`` has the numbers before.
    """  # noqa: E501 - a table has one line for each row

    task: Task
    _block: Block | None
    _running: Episode | None
    _id = "HyperExec-v0"

    def __init__(
        self,
        scenario: Any = None,
        action_mode: str | OwnAction = "pace",
        reward: str | Callable[[Outcome], Any] = "expected",
        observe_regime: bool = True,
        observe_beliefs: bool = False,
        random_side: bool = False,
        quantity_range: Any = None,
        replay: Any = None,
        split: str = "train",
        uncertainty: bool = False,
        render_mode: str | None = None,
        info: str = "final",
        features: Sequence[str | Feature] | None = None,
        **unknown: Any,
    ) -> None:
        """Check the options, which the class documents."""

        def build() -> Task:
            task = build_task(
                scenario,
                action_mode=action_mode,
                reward=reward,
                observe_regime=observe_regime,
                observe_beliefs=observe_beliefs,
                random_side=random_side,
                quantity_range=quantity_range,
                replay=replay,
                split=split,
                uncertainty=uncertainty,
                features=features,
                **unknown,
            )
            try_own(task)
            return task

        self._open(build, render_mode, info, _BLOCK)
        task, mode = self.task, self.task.mode
        if task.parts:
            self.reward_space = reward_space()
            self.reward_dim = len(PARTS)
        self._discrete = mode.discrete
        self._pays = task.parts or task.own_reward is not None
        self._shows = task.observer.calls or task.observer.columns is not None
        self._has_extras = self._discrete or self._human or self._full or self._pays or self._shows
        self._read: Callable[[Any], float] = self._value
        if self._discrete:
            self._read = partial(self._level, mode.levels)
        elif mode.bounds != (-1.0, 1.0):
            self._read = partial(self._own_value, *mode.bounds)
        self._request = mode.shares if mode.own is None else self._own_shares

    def _draw(self, first: int, count: int) -> Block:
        """Return the block of some consecutive episodes."""
        return draw_block(self.task, self._numbers.seed, first, count, self._numbers.board)

    def _episode_of(self, block: Block, number: int) -> Episode:
        """Return an episode at its start."""
        return episode_of(self.task, block, number)

    def _first(self, episode: Episode) -> NDArray[np.float32]:
        """Return the first observation of an episode."""
        return self._observation(episode) if self._shows else episode.first

    def begin_on(self, change: Callable[[Path], Path]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the running episode anew on another path: what the same trades meet where nature draws otherwise.

        Args:
            change: Function from the path of the episode, fields of shape (time, 1), to the other path.

        Raises:
            ResetNeeded: No episode has begun.
        """
        running, number = self._begun("begin_on()"), self.number
        self._running = episode_of(self.task, Block(self.task, number, change(running.path)), number)
        return self._first(self._running), self._info(self._running)

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade one slice, given an action of the action space."""
        episode = self._running
        if episode is None or episode.over:
            raise ResetNeeded(OVER)
        read = self._read  # a local variable saves the attempt to bind a method
        observation, reward = episode.trade(self._request, read(action))
        if episode.over or self._has_extras:
            return self._complete(episode, observation, reward)
        return observation, reward, False, False, {}

    def trade(self, shares: float) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade one slice: :meth:`step` with a number of shares as the action, instead of an action of the mode."""
        episode = self._open_episode()
        if shares != shares:
            raise ValueError(f"shares to trade must be a number, got {shares}")
        return self._complete(episode, *episode.trade(requested_shares, float(shares)))

    def _complete(
        self, episode: Episode, observation: NDArray[np.float32], reward: float
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Return the results of a step that ends the episode, is rendered, or returns what most steps do not."""
        if self._human:
            self.render()
        if self._shows:
            observation = self._observation(episode)
        if self._pays:
            reward = self._reward(episode)
        return observation, reward, episode.over, False, self._info(episode)

    def _observation(self, episode: Episode) -> NDArray[np.float32]:
        """Return the observation with the user's features."""
        observation = episode.observation()
        if self.task.observer.calls and np.isnan(observation).any():
            raise ValueError(nan_message(self.task, observation, f"slice {episode.k}"))
        return observation

    def _reward(self, episode: Episode) -> Any:
        """Return the reward of the user's function, or the vector reward."""
        function, outcome = self.task.own_reward, episode.outcome()
        if function is None:
            return np.array(cost_and_risk(outcome))
        paid = function(outcome)
        if not math.isfinite(paid):
            raise ValueError(f"reward {name_of(function)} must return a finite number, got {paid} in slice {outcome.k}")
        return float(paid)

    def _own_shares(self, action: Any, remaining: float, base: float) -> float:
        """Return the shares that the user's action mode requests."""
        mode, episode = self.task.mode.own, self._running
        if mode is None or episode is None:
            raise ResetNeeded(OVER)
        asked = float(mode.shares(action, *episode.noticed()))
        if asked != asked:
            raise ValueError(f"shares of action mode {mode.name!r} must be a number, got {asked} in slice {episode.k}")
        return asked

    @staticmethod
    def _value(action: Any) -> float:
        """Return a continuous action as a float, clipped to the bounds."""
        try:
            if action.ndim == 1:
                value: float = action.item()
                if -1.0 <= value <= 1.0:
                    return value
        except (AttributeError, TypeError, ValueError):  # not an array, or not of one number
            pass
        shape = np.shape(action)
        if shape != (1,):
            raise ValueError(f"action must be an array of shape (1,), got shape {shape}")
        if np.asarray(action).dtype.kind not in "fiub":
            raise ValueError(f"action must be a number in [-1, 1], got {action[0]!r}")
        value = float(action[0])
        if value != value:
            raise ValueError(f"action must be a number in [-1, 1], got {value}")
        return min(max(value, -1.0), 1.0)

    @staticmethod
    def _own_value(low: float, high: float, action: Any) -> float:
        """Return a continuous action of the user's action mode as a float, clipped to the bounds."""
        value = np.asarray(action)
        if value.shape != (1,) or value.dtype.kind not in "fiub" or np.isnan(value[0]):
            raise ValueError(f"action must be an array of one number in [{low:g}, {high:g}], got {action!r}")
        return min(max(float(value[0]), low), high)

    @staticmethod
    def _level(levels: int, action: Any) -> int:
        """Return a discrete action as an int."""
        level = np.asarray(action)
        if level.shape != () or level.dtype.kind not in "iu" or not 0 <= level < levels:
            raise ValueError(f"action must be a whole number in [0, {levels - 1}], got {action!r}")
        return int(level)

    @property
    def observation_names(self) -> tuple[str, ...]:
        """Names of the features of the observation, in order."""
        return self.task.names

    @property
    def observation_table(self) -> str:
        """The table of the observation in Markdown, as in the class docstring, with the user's features."""
        return observation_table(self.task.observer.features, type(self).__doc__ or "")

    @property
    def episode(self) -> Episode:
        """The episode that was begun last, with its trades and costs so far, and its path: for reports, not for policies."""
        episode: Episode = self._begun()
        return episode

    @property
    def number(self) -> int:
        """Number of the episode of the seed; -1 before the first reset."""
        return self._numbers.episode

    @property
    def date(self) -> str:
        """Date of the episode in a replay, such as 2024-03-26; "" for a simulated day."""
        episode, days = self._begun("asking for the date"), self.task.market.days
        return "" if days is None else days.dates[day_of(days.day_count, episode.order.key)]

    def _text(self) -> str:
        """Return the episode so far as text."""
        return describe(look(self.episode))

    def _paint(self, painter: Painter, pause: float) -> None:
        """Draw the episode so far."""
        painter.paint(look(self.episode), pause)
