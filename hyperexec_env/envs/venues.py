"""The single environment of an order over venues: one episode at a time, in Python floats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.envs.episode_env import EpisodeEnv, Stepped
from hyperexec_env.envs.rendering import Painter
from hyperexec_env.envs.venue_episode import VenueBlock, VenueEpisode, draw_venue_block
from hyperexec_env.envs.venue_frame import describe_venues, look_at_venues
from hyperexec_env.envs.venue_task import VenueTask, build_venue_task
from hyperexec_env.market.venue_path import VenuePath

__all__ = ["HyperExecVenuesEnv"]

_BLOCK = 128


class HyperExecVenuesEnv(EpisodeEnv):
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

    task: VenueTask
    _id = "HyperExecVenues-v0"

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
        self._open(
            lambda: build_venue_task(
                scenario,
                router=router,
                reward=reward,
                observe_regime=observe_regime,
                random_side=random_side,
                quantity_range=quantity_range,
                **unknown,
            ),
            render_mode,
            info,
        )
        self._shape = self.task.shape

    def _draw(self, first: int, count: int) -> VenueBlock:
        """Return the block of some consecutive episodes."""
        return draw_venue_block(self.task, self._numbers.seed, first, count, self._numbers.board)

    def _episode_of(self, block: VenueBlock, number: int) -> VenueEpisode:
        """Return an episode at its start."""
        return VenueEpisode(self.task, block, number)

    def begin_on(self, change: Callable[[VenuePath], VenuePath]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin the running episode anew on another path: what the same requests meet where nature draws otherwise.

        Raises:
            ResetNeeded: No episode has begun.
        """
        return self._begin(self.episode.begun_on(change))

    def step(self, action: Any) -> Stepped:
        """Trade one slice, given an action of the action space."""
        episode = self._open_episode()
        return self._traded(episode, *episode.trade(*episode.request(self._values(action))))

    def _values(self, action: Any) -> list[float]:
        """Return the numbers of an action, clipped to the bounds."""
        if type(action) is np.ndarray and action.shape == self._shape and action.dtype.kind == "f":
            values: list[float] = action.tolist()
            if all(-1.0 <= value <= 1.0 for value in values):
                return values
        return self.task.checked(action).tolist()  # type: ignore[no-any-return]

    def trade(self, shares: Any) -> Stepped:
        """Trade one slice: :meth:`step` with a request of shares for each venue as the action, shape (venues,)."""
        episode, given = self._open_episode(), np.asarray(shares, dtype=np.float64)
        count = self.task.market.count
        if given.shape != (count,) or np.isnan(given).any():
            raise ValueError(f"shares to trade must be {count} numbers, one for each venue, got {shares!r}")
        return self._traded(episode, *episode.trade(*episode.shares(given.tolist())))

    def observation_names(self) -> tuple[str, ...]:
        """Return the names of the features, such as `remaining`, `venue1.share` and `venue3.fill_rate`."""
        return self.task.names

    @property
    def episode(self) -> VenueEpisode:
        """The episode that was begun last, with its trades and its path: for reports, not for policies."""
        episode: VenueEpisode = self._begun()
        return episode

    def _text(self) -> str:
        """Return the episode so far as text."""
        return describe_venues(look_at_venues(self.episode))

    def _paint(self, painter: Painter, pause: float) -> None:
        """Draw a picture of the episode so far."""
        from hyperexec_env.envs.venue_picture import draw_venues  # a lazy import: drawing needs the extra `plot`

        painter.show(draw_venues(look_at_venues(self.episode)), pause)
