"""The single environment of a basket: one episode at a time, in Python floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from hyperexec_env.envs.basket_episode import BasketBlock, BasketEpisode, draw_basket_block
from hyperexec_env.envs.basket_task import BasketTask, build_basket_task
from hyperexec_env.envs.episode_env import EpisodeEnv, Stepped
from hyperexec_env.envs.rendering import Painter

__all__ = ["HyperExecBasketEnv"]


class HyperExecBasketEnv(EpisodeEnv):
    r"""Execute a list of orders before their deadline, slice by slice, at the least cost: HyperExec-v0 for several assets.

    ## Description

    Every asset has a market of :class:`HyperExecEnv`. Prices move together (a correlation matrix), and trades in one asset
    move the prices of the others (`cross_impact`). A list of buys and sells hedges itself: the agent that trades the legs at
    the wrong paces pays for risk that the list did not have. ``hyperexec solve NAME`` computes the optimum.

    ## Action Space

    With d assets:

    | action_mode | space | requested shares of each asset |
    | --- | --- | --- |
    | `pace` (default) | `Box(-1, 1, (d,), float32)` | as in HyperExec-v0, by the asset's own expected-volume schedule |
    | `dial` | `Box(-1, 1, (1,), float32)` | `pace` with one action for all assets |
    | `fraction`, `participation` | `Box(-1, 1, (d,), float32)` | as in HyperExec-v0 |
    | `discrete` | `MultiDiscrete([7] * d)` | as in HyperExec-v0; `info["action_mask"]` has the shape (d, 7) |

    In the last slice all remaining shares trade. `trade(shares)` is `step` with a number of shares for each asset.

    ## Observation Space

    A `Box`, float32: ten features of the basket, then 14 features of each asset (`observation_names()` lists all).

    | name | meaning | minimum | maximum |
    | --- | --- | --- | --- |
    | value_left | value of the remaining shares over that of the orders, at arrival prices | 0 | 1 |
    | variance_left | y / (1 + y), y: variance of the remaining basket over that of the whole one | 0 | 1 |
    | time_left, regime_* | as in HyperExec-v0 | 0 | 1 |
    | asset*i*.remaining ... last_participation | features 0 to 5 of HyperExec-v0, of asset i | | |
    | asset*i*.pull | correlation of asset i with the remaining basket, in the directions of the orders; negative: a hedge | -1 | 1 |
    | asset*i*.last_volume ... side | features 7 to 9 of HyperExec-v0, of asset i | | |
    | asset*i*.expected_volume ... spread | features 10 to 13 of HyperExec-v0, of asset i | | |

    ## Rewards

    As in HyperExec-v0, with the costs of all assets, in bps of the basket's arrival notional (the sum of X P0). The risk term
    of a slice is risk_aversion tau x' Sigma_m x with the covariance Sigma_m of the regime.

    ## Starting State

    All orders remain. Asset 0 meets the market that it meets alone with the same seed and episode; the regime is one for all.

    ## Episode End

    `terminated` is true when all orders are complete or the last slice has traded; `truncated` is always false.

    ## Information

    At the end (with `info="full"` at every step) `info` has `shortfall_bps`, `objective_bps`, `risk_bps`, `components_bps` and
    `forced_fraction` of the basket, and in `info["assets"][name]` the same of each asset, with its `side` and `quantity`. All
    costs are in bps of the basket's notional, so those of the assets sum to the basket's; a cost across assets belongs to the
    asset whose fills pay it. `forced_fraction` is a fraction of the value, for an asset of its own order.

    ## Arguments

    Args:
        scenario: Name of a registered basket, a dict of its values, a path to a TOML file, a `BasketScenario`, or a scenario
            of one asset; None: "basket-hedged".
        action_mode: "pace", "dial", "fraction", "participation" or "discrete".
        reward: "expected" or "realised".
        observe_regime: Whether the policy observes the regime.
        random_side: Whether each episode draws its side; the second side turns all orders around.
        quantity_range: Smallest and largest factor of all quantities, drawn log-uniformly; None: those of the scenario.
        render_mode: None, "ansi" (text), "rgb_array" (pixels) or "human" (a window); pictures need the extra `plot`.
        info: "final" (results at the end of an episode) or "full" (results so far at every step).

    Raises:
        ValueError: A bad option; the message names it, its value and the range.

    ## Example

    >>> import gymnasium as gym
    >>> import numpy as np
    >>> import hyperexec_env
    >>> env = gym.make("HyperExecBasket-v0", scenario="basket-hedged")
    >>> observation, info = env.reset(seed=1)
    >>> total, terminated = 0.0, False
    >>> while not terminated:
    ...     observation, reward, terminated, truncated, info = env.step(np.zeros(10, dtype=np.float32))
    ...     total += reward
    >>> abs(total + info["objective_bps"]) < 1e-9
    True

    ## Version History

    * v0: first version.
    """  # noqa: E501 - a table has one line for each row

    task: BasketTask
    _id = "HyperExecBasket-v0"

    def __init__(
        self,
        scenario: Any = None,
        action_mode: str = "pace",
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
            lambda: build_basket_task(
                scenario,
                action_mode=action_mode,
                reward=reward,
                observe_regime=observe_regime,
                random_side=random_side,
                quantity_range=quantity_range,
                **unknown,
            ),
            render_mode,
            info,
        )
        one_each = not self.task.discrete and self.action_space.shape == (len(self.task.assets),)
        self._shape = self.action_space.shape if one_each else None
        """Shape of an action whose elements are the actions of the assets; None: another action."""

    def _draw(self, first: int, count: int) -> BasketBlock:
        """Return the block of some consecutive episodes."""
        return draw_basket_block(self.task, self._numbers.seed, first, count, self._numbers.board)

    def _episode_of(self, block: BasketBlock, number: int) -> BasketEpisode:
        """Return an episode at its start."""
        return BasketEpisode(self.task, block, number)

    def step(self, action: Any) -> Stepped:
        """Trade one slice, given an action of the action space."""
        episode = self._open_episode()
        return self._traded(episode, *episode.step(self._values(action)))

    def _values(self, action: Any) -> list[Any]:
        """Return the action of each asset, clipped to the bounds."""
        if type(action) is np.ndarray and action.shape == self._shape and action.dtype.kind == "f":
            values: list[Any] = action.tolist()
            for value in values:  # half the time of `all` of a generator
                if not -1.0 <= value <= 1.0:
                    break
            else:
                return values
        return self.task.checked(action).tolist()  # type: ignore[no-any-return]

    def trade(self, shares: Any) -> Stepped:
        """Trade one slice: :meth:`step` with a number of shares for each asset as the action, shape (assets,)."""
        episode, given = self._open_episode(), np.asarray(shares, dtype=np.float64)
        count = len(self.task.assets)
        if given.shape != (count,) or np.isnan(given).any():
            raise ValueError(f"shares to trade must be {count} numbers, one for each asset, got {shares!r}")
        return self._traded(episode, *episode.trade(given.tolist()))

    def observation_names(self) -> tuple[str, ...]:
        """Return the names of the features, such as `value_left` and `asset3.remaining`."""
        return self.task.names

    def _text(self) -> str:
        """Return the episode so far as text."""
        text: str = self._begun().text()
        return text

    def _paint(self, painter: Painter, pause: float) -> None:
        """Draw a picture: a panel for each asset with its remaining fraction and its pull, and the risk that is left."""
        from hyperexec_env.envs.basket_picture import (  # a lazy import: drawing needs the extra `plot`
            draw_basket,
            look_at_basket,
        )

        painter.show(draw_basket(look_at_basket(self._begun())), pause)
