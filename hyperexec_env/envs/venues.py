"""The single environment of an order over venues: one episode at a time, in Python floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from numpy.typing import NDArray

from hyperexec_env.checks import check_choice
from hyperexec_env.envs.rendering import Painter
from hyperexec_env.envs.seeding import EpisodeNumbers, next_block
from hyperexec_env.envs.task import INFOS
from hyperexec_env.envs.venue_episode import VenueBlock, VenueEpisode, draw_venue_block
from hyperexec_env.envs.venue_frame import describe_venues, look_at_venues
from hyperexec_env.envs.venue_task import VenueSituation, build_venue_task
from hyperexec_env.market.venue_path import VenuePath

__all__ = ["HyperExecVenuesEnv"]

_BLOCK = 128


class HyperExecVenuesEnv(gym.Env[NDArray[np.float32], Any]):
    r"""Execute a parent order over lit venues, dark pools and as a resting order, at the least cost: HyperExec-v0 with venues.

    ## Description

    Every slice offers several venues. Lit venues share the market volume; their shares move, and each has a fee. A dark pool,
    or the flow that reaches a resting order, offers a hidden, random number of shares without temporary impact: a fill tells
    that at least so much was there, and nothing more. All venues have one price, so a fill anywhere moves it by Kyle's whole
    slope, and where a pool selects adversely, its liquidity comes with a move of the price against the fill. ``hyperexec solve
    NAME`` computes the optimum. With one venue it is HyperExec-v0 to the last bit.

    ## Action Space

    `Box(-1, 1, (1 + hidden,), float32)`: the pace of the lit request as in HyperExec-v0, then for each hidden venue a number a
    that posts the fraction (1 + a) / 2 of what the lit request leaves (posts are scaled to at most that, before nature is
    seen). The desk's router splits the lit request at the least toll (water-filling). With `router="agent"` there is one number
    more for each lit venue, which scales its mean share by exp(3 a).

    In the last slice all remaining shares trade in lit venues; hidden venues are void. `trade(shares)` is `step` with a number
    of shares for each venue.

    ## Observation Space

    A `Box`, float32: the 21 features of HyperExec-v0, then those of the venues (`observation_names()` lists all). The hidden
    liquidity is never shown.

    | name | meaning | minimum | maximum |
    | --- | --- | --- | --- |
    | remaining ... regime_UNKNOWN | as in HyperExec-v0 | | |
    | venue*i*.share | share of the lit venue in this slice over its mean (with several lit venues) | 0 | 20 |
    | venue*i*.fee | fee of the lit venue, bps of the arrival price (with several lit venues) | -20 | 20 |
    | venue*i*.filled | part of the last request that the hidden venue filled | 0 | 1 |
    | venue*i*.censored | whether it filled all of it: more may have been there | 0 | 1 |
    | venue*i*.since | slices since its last fill over N (1 before the first) | 0 | 1 |
    | venue*i*.fill_rate | part of all requests that it filled | 0 | 1 |

    ## Rewards

    As in HyperExec-v0. Fees are part of the cost. The expected account charges each fill of a hidden venue its adverse
    selection; the realised account has it in the price, so that the timing cost has mean zero whatever the policy does.

    ## Starting State

    As in HyperExec-v0: the market is the one that the order meets without venues, with the same seed and episode.

    ## Episode End

    `terminated` is true when the order is complete or the last slice has traded; `truncated` is always false.

    ## Information

    At the end (with `info="full"` at every step) `info` has the keys of HyperExec-v0; `components_bps` has `fees` and `adverse`
    beside the spread, and sums to `shortfall_bps`; `filled_fraction` has the fraction of the order that each venue filled.

    ## Arguments

    Args:
        scenario: Name of a registered scenario with venues, a dict of its values, a path to a TOML file, a `VenueScenario`, or
        a
            scenario of one asset; None: "venues-day".
        router: "water-filling" or "agent".
        reward: "expected" or "realised".
        observe_regime: Whether the policy observes the regime.
        random_side: Whether each episode draws its side.
        quantity_range: Smallest and largest quantity as multiples of the scenario's, drawn log-uniformly; None: the scenario's.
        render_mode: None, "ansi" (text), "rgb_array" (pixels) or "human" (a window); pictures need the extra `plot`.
        info: "final" (results at the end of an episode) or "full" (results so far at every step).

    Raises:
        ValueError: A bad option; the message names it, its value and the range.

    ## Example

    >>> import gymnasium as gym
    >>> import numpy as np
    >>> import hyperexec_env
    >>> env = gym.make("HyperExecVenues-v0", scenario="venues-day")
    >>> observation, info = env.reset(seed=1)
    >>> total, terminated = 0.0, False
    >>> while not terminated:
    ...     on_schedule_and_post_the_rest = np.array([0.0, 1.0], dtype=np.float32)
    ...     observation, reward, terminated, truncated, info = env.step(on_schedule_and_post_the_rest)
    ...     total += reward
    >>> abs(total + info["objective_bps"]) < 1e-9
    True

    ## Version History

    * v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi", "rgb_array", "human"], "render_fps": 4}  # noqa: RUF012 - gymnasium's

    def __init__(
        self,
        scenario: Any = None,
        router: str = "water-filling",
        reward: str = "expected",
        observe_regime: bool = True,
        random_side: bool = False,
        quantity_range: Any = None,
        render_mode: str | None = None,
        info: str = "final",
        **unknown: Any,
    ) -> None:
        """Check the options, which the class documents."""
        if render_mode is not None:
            check_choice("render_mode", render_mode, self.metadata["render_modes"])
        self._full = check_choice("info", info, INFOS) == "full"
        self.task = build_venue_task(
            scenario,
            router=router,
            reward=reward,
            observe_regime=observe_regime,
            random_side=random_side,
            quantity_range=quantity_range,
            **unknown,
        )
        self.render_mode = render_mode
        self.action_space = self.task.space
        space: Any = self.task.observation_space
        self.observation_space = space
        self._shape = self.task.shape
        self._numbers = EpisodeNumbers()
        self._block: VenueBlock | None = None
        self._running: VenueEpisode | None = None
        self._painter = None if render_mode in (None, "ansi") else Painter(window=render_mode == "human")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the next episode of the seed; of a new seed, episode 0.

        Args:
            seed: Seed, a whole number of any size; None: the seed of the last reset, or a random one.
            options: `episode`: the number of the episode to begin; `board`: whether the seed is that of a board, whose
                episodes are replayed.

        Raises:
            ValueError: A bad seed or option; the environment stays as it is.
        """
        if self._numbers.advance(seed, options, self._seeded):
            self._block = None
        numbers = self._numbers
        self._block = next_block(
            self._block,
            numbers.episode,
            _BLOCK,
            lambda first, count: draw_venue_block(self.task, numbers.seed, first, count, numbers.board),
        )
        return self._begin(VenueEpisode(self.task, self._block, numbers.episode))

    def _seeded(self, seed: int | None) -> int:
        """Reset gymnasium's generator, and return the seed that it has."""
        super().reset(seed=seed)
        return int(self.np_random_seed or 0)

    def _begin(self, episode: VenueEpisode) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode."""
        self._running = episode
        if self.render_mode == "human":
            self.render()
        return episode.first, self._info(episode)

    def begin_on(self, change: Callable[[VenuePath], VenuePath]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the running episode anew on another path: what the same requests meet where nature draws otherwise.

        Raises:
            ResetNeeded: No episode has begun.
        """
        return self._begin(self.episode.begun_on(change))

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade one slice, given an action of the action space."""
        episode = self._open_episode()
        return self._traded(episode, *episode.request(self._values(action)))

    def _values(self, action: Any) -> list[float]:
        """Return the numbers of an action, clipped to the bounds."""
        if type(action) is np.ndarray and action.shape == self._shape and action.dtype.kind == "f":
            values: list[float] = action.tolist()
            if all(-1.0 <= value <= 1.0 for value in values):
                return values
        return self.task.checked(action).tolist()  # type: ignore[no-any-return]

    def trade(self, shares: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade one slice: :meth:`step` with a request of shares for each venue as the action, shape (venues,)."""
        episode, given = self._open_episode(), np.asarray(shares, dtype=np.float64)
        count = self.task.market.count
        if given.shape != (count,) or np.isnan(given).any():
            raise ValueError(f"shares to trade must be {count} numbers, one for each venue, got {shares!r}")
        return self._traded(episode, *episode.shares(given.tolist()))

    def _open_episode(self) -> VenueEpisode:
        """Return the running episode."""
        if self._running is None or self._running.over:
            raise ResetNeeded("the episode is over or was never begun: call reset() first")
        return self._running

    def _traded(
        self, episode: VenueEpisode, asked: list[float], wanted: float
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Trade the requests of a step."""
        observation, reward = episode.trade(asked, wanted)
        if self.render_mode == "human":
            self.render()
        return observation, reward, episode.over, False, self._info(episode)

    def _info(self, episode: VenueEpisode) -> dict[str, Any]:
        """Return the `info` of an episode."""
        return episode.info() if episode.over or self._full else {}

    def observation_names(self) -> tuple[str, ...]:
        """Return the names of the features, such as `remaining`, `venue1.share` and `venue3.fill_rate`."""
        return self.task.names

    @property
    def episode(self) -> VenueEpisode:
        """The episode that was begun last, with its trades and its path: for reports, not for policies."""
        if self._running is None:
            raise ResetNeeded("call reset() before asking for the episode")
        return self._running

    @property
    def situation(self) -> VenueSituation:
        """The information of a policy now, in natural units, floats."""
        return self.episode.situation()

    def render(self) -> Any:
        """Show the episode so far: text ("ansi"), pixels of shape (640, 960, 3) ("rgb_array") or a window ("human").

        Raises:
            ResetNeeded: No episode has begun.
            DependencyNotInstalled: A picture needs Pillow, and a window matplotlib: the extra `plot`.
        """
        if self.render_mode is None:
            name = self.spec.id if self.spec else "HyperExecVenues-v0"
            gym.logger.warn(
                "You are calling render method without specifying any render mode. You can specify the render_mode at "
                f'initialization, e.g. gym.make("{name}", render_mode="rgb_array")'
            )
            return None
        frame = look_at_venues(self.episode)
        if self._painter is None:
            return describe_venues(frame)
        from hyperexec_env.envs.venue_picture import draw_venues  # a lazy import: drawing needs the extra `plot`

        self._painter.show(draw_venues(frame), 1.0 / self.metadata["render_fps"])
        return self._painter.pixels() if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the window. The environment can be used again."""
        if self._painter is not None:
            self._painter.close()
