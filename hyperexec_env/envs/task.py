"""The task of an agent: its market, observation, action mode and reward."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from gymnasium import logger, spaces

from hyperexec_env.checks import check_choice, check_flag, check_hashable, check_integer, check_numbers, nearest, shown
from hyperexec_env.envs.action import ActionMode, OwnAction, build_action_mode
from hyperexec_env.envs.feature import REGIME_BELIEFS, Feature, belief_names, follows
from hyperexec_env.envs.features import Observer, build_observer, listed_features, observation_names, observation_space
from hyperexec_env.envs.reward import COST_RISK, REWARDS, Outcome, Paid, Reward
from hyperexec_env.market.draws import MarketDraws, build_draws
from hyperexec_env.market.hidden import check_filter
from hyperexec_env.market.kernel import expected_cost, realised_cost
from hyperexec_env.market.lane import EpisodeOrder, Lane, Settled, settle_so_far
from hyperexec_env.market.numeric import where
from hyperexec_env.market.path import OrderDraw
from hyperexec_env.market.recording import Recording
from hyperexec_env.market.scenario import Scenario, get_scenario
from hyperexec_env.market.tables import Market, Numbers, build_market
from hyperexec_env.records import Whole, map_leaves

__all__ = [
    "INFOS",
    "Cut",
    "Limit",
    "Task",
    "build_task",
    "check_episode",
    "check_range",
    "check_reset_options",
    "final_info",
    "log_warnings",
    "order_draw",
    "refuse_unknown",
    "settle_cut",
    "task_of",
    "unseen",
]

OPTIONS: Final = (
    *("scenario", "action_mode", "reward", "features", "observe_regime", "observe_beliefs", "random_side", "quantity_range"),
    *("replay", "split", "uncertainty", "render_mode", "info"),
)
"""Names of the options of the environments of one asset."""
VECTOR_OPTIONS: Final = ("num_envs", "autoreset_mode", "max_episode_steps", "backend", "num_threads", "copy")
"""Names of the options of vector environments."""
ACCOUNTS: Final = ("expected", "realised")
"""Names of the rewards that every environment of slices has: the expected and the realised account."""
INFOS: Final = ("final", "full")
"""Names of the contents of `info`: the result of an episode at its end, or its result so far at every step."""


class Limit(NamedTuple):
    """The limit of an episode."""

    steps: Whole
    """Largest number of slices of an episode."""


class Cut(NamedTuple):
    """The effect of the limit on an episode."""

    truncated: Any
    """Whether the episode has reached the limit."""


def settle_cut(numbers: Numbers, order: EpisodeOrder, lane: Lane, paid: Paid) -> Settled:
    """Return the result of an episode that ended or has reached the limit."""
    return settle_so_far(numbers, order, lane, paid.terminated)


def unseen(settled: Settled, over: Any) -> Settled:
    """Return the result with costs of nan while the episode runs: they would reveal a regime that is not observed."""
    return settled._replace(statement=map_leaves(lambda value: where(over, value, math.nan), settled.statement))


def final_info(settled: Settled) -> dict[str, Any]:
    """Return the `info` of the result of an episode; values are numbers, or arrays over episodes."""
    statement = settled.statement
    return {
        "shortfall_bps": statement.shortfall,
        "objective_bps": statement.objective,
        "risk_bps": statement.risk,
        "forced_fraction": settled.forced,
        "side": settled.side,
        "quantity": settled.quantity,
        "components_bps": statement.components._asdict(),
    }


@dataclass(frozen=True, eq=False)
class Task:
    """What the single and the vector environment share, computed once by :func:`build_task`."""

    market: Market
    mode: ActionMode
    observer: Observer
    reward: Reward
    draw: OrderDraw
    slice_cost: Callable[[Any], Any]
    """Cost of a slice that the reward charges, currency, of a :class:`Cost` or of a plain tuple in its field order."""
    paid: str | Callable[[Outcome], Any] = "expected"
    """The reward: one of :data:`REWARDS`, or a user's function."""

    draws: MarketDraws | None = None
    """The markets of the draws, one of which each episode meets; None: every episode meets `market`."""

    @property
    def space(self) -> spaces.Space[Any]:
        """Action space of one episode."""
        return self.mode.space

    @property
    def observation_space(self) -> spaces.Box:
        """Observation space of one episode."""
        return observation_space(self.observer.features)

    @property
    def action_mode(self) -> str:
        """Name of the action mode."""
        return self.mode.name

    @property
    def discrete(self) -> bool:
        """Whether actions are the indices of levels."""
        return self.mode.discrete

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features of the observation."""
        return tuple(feature.name for feature in self.observer.features)

    @property
    def secret(self) -> bool:
        """Whether the costs of a running episode would reveal what the agent does not observe: regime, draw, or unknown."""
        spec = self.market.numbers.spec
        return self.observer.hidden or self.draws is not None or spec.unknown_drift or spec.unknown_slope

    @property
    def parts(self) -> bool:
        """Whether the reward is the vector of cost and risk."""
        return self.paid == COST_RISK

    @property
    def own_reward(self) -> Callable[[Outcome], Any] | None:
        """The user's reward, or None."""
        return self.paid if callable(self.paid) else None

    @property
    def realised(self) -> bool:
        """Whether the reward includes the price noise and the permanent cost."""
        return bool(self.reward.realised)

    @property
    def scenario(self) -> Scenario:
        """The scenario of the market."""
        return self.market.scenario


def build_task(
    scenario: Any = None,
    *,
    action_mode: str | OwnAction = "pace",
    reward: str | Callable[[Outcome], Any] = "expected",
    observe_regime: bool = True,
    observe_beliefs: bool = False,
    random_side: bool = False,
    quantity_range: Any = None,
    replay: Any = None,
    split: str = "train",
    uncertainty: bool = False,
    features: Sequence[str | Feature] | None = None,
    **unknown: Any,
) -> Task:
    """Check the options of the environment, which `HyperExecEnv` documents, and return its task.

    Raises:
        TypeError: An unknown option; the message names the nearest one.
        ValueError: A bad option; the message names it, its value and the range.
    """
    refuse_unknown(unknown, OPTIONS)
    if not callable(reward):
        if not isinstance(reward, str):
            raise ValueError(f"reward must be one of {', '.join(REWARDS)} or a function of an Outcome, got {shown(reward)}")
        check_choice("reward", reward, REWARDS)
    check_hashable("reward", reward)
    listed = listed_features(features)
    check_flag("observe_regime", observe_regime)
    check_flag("observe_beliefs", observe_beliefs)
    check_flag("random_side", random_side)
    if check_flag("uncertainty", uncertainty) and replay is not None:
        raise ValueError("uncertainty draws the market of simulated days: leave it out with replay, whose days are recorded")
    sizes = check_range(quantity_range)
    market = _market(scenario, replay, split)
    if observe_beliefs:
        listed = _with_beliefs(market, listed, observe_regime, uncertainty)
    _check_followed(market, listed, uncertainty)
    log_warnings(market.scenario.warnings)
    task = task_of(market, action_mode, reward, observe_regime, OrderDraw(random_side, sizes), listed)
    return replace(task, draws=build_draws(market.scenario) if uncertainty else None, paid=reward)


def task_of(
    market: Market,
    action_mode: str | OwnAction,
    reward: Any,
    observe_regime: bool,
    draw: OrderDraw | None = None,
    listed: tuple[str | Feature, ...] | None = None,
) -> Task:
    """Return the task of one asset, given options that were checked.

    Args:
        market: The market.
        action_mode: Name of the action mode, or the user's.
        reward: The reward; "realised" includes the price noise.
        observe_regime: Whether the policy observes the regime.
        draw: How orders vary between episodes; None: they are all the scenario's.
        listed: Features of the observation; None: the built-in ones.
    """
    return Task(
        market=market,
        mode=build_action_mode(action_mode, market),
        observer=build_observer(market, observe_regime, listed),
        reward=Reward(int(reward == "realised")),
        draw=OrderDraw() if draw is None else draw,
        slice_cost=realised_cost if reward == "realised" else expected_cost,
    )


def refuse_unknown(unknown: Mapping[str, Any], options: Sequence[str]) -> None:
    """Raise TypeError for an option that an environment does not have; the message names the nearest one.

    Args:
        unknown: Options that the environment does not have.
        options: Names of those that the single environment has; the vector environment also has :data:`VECTOR_OPTIONS`.
    """
    known = (*options, *VECTOR_OPTIONS)
    for key in unknown:
        # Python's own words, by which gymnasium and torchrl recognise an option that the environment does not have
        message = f"the environment got an unexpected keyword argument {key!r}"
        hint = "; only the vector environment (gym.make_vec) has it" if key in known else nearest(key, known)
        raise TypeError(f"{message}{hint} (known: {', '.join(known)})")


def order_draw(reward: Any, observe_regime: Any, random_side: Any, quantity_range: Any) -> OrderDraw:
    """Check the options of orders of several slices that all kinds have, and return how orders vary between episodes.

    Raises:
        ValueError: A bad option; the message names it, its value and the range.
    """
    check_choice("reward", reward, ACCOUNTS)
    check_flag("observe_regime", observe_regime)
    return OrderDraw(check_flag("random_side", random_side), check_range(quantity_range))


def log_warnings(warnings: Sequence[str]) -> None:
    """Write the warnings of a scenario to gymnasium's log."""
    for warning in warnings:
        logger.warn("%s", warning.removeprefix("WARNING: "))


def _with_beliefs(
    market: Market, listed: tuple[str | Feature, ...] | None, observe_regime: bool, uncertainty: bool
) -> tuple[str | Feature, ...] | None:
    """Return the features with those that show the beliefs about the unknowns of a market behind them.

    Raises:
        ValueError: There is no exact filter: the regime is not observed, or the numbers of the market are uncertain.
    """
    unknown = market.scenario.unknown
    names = observation_names() if listed is None else listed
    if not unknown:
        several = market.regimes > 1 and not observe_regime
        shown = [feature.name for name, feature in REGIME_BELIEFS.items() if several and name in market.scenario.regimes.names]
        return (*names, *shown) if shown else listed
    if uncertainty:
        raise ValueError("observe_beliefs must be False with uncertainty: the numbers of the filters are themselves uncertain")
    if market.regimes > 1 and not observe_regime:
        raise ValueError(
            f"observe_beliefs must be False where the regime is not observed and there are several: then there is no exact "
            f"filter of {' and '.join(unknown)}"
        )
    return (*names, *belief_names(unknown))


def _check_followed(market: Market, listed: tuple[str | Feature, ...] | None, uncertainty: bool) -> None:
    """Raise ValueError if features show the probabilities of the regimes, and the filter of the regimes is not exact."""
    if not follows(listed):
        return
    check_filter(market)
    if uncertainty or market.days is not None:
        got = "uncertainty=True" if uncertainty else "recorded days"
        raise ValueError(f"the filter of the regimes needs simulated days of a market that is known, got {got}")


def check_range(quantity_range: Any) -> tuple[float, float] | None:
    """Return the option `quantity_range` as two numbers, or None.

    Raises:
        ValueError: The range is not two numbers in order; the message names its values.
    """
    if quantity_range is None:
        return None
    low, high = check_numbers("quantity_range", quantity_range, low=1e-6, high=1e6, length=2)
    if low > high:
        raise ValueError(f"quantity_range must be (smallest, largest) multiple of the quantity, got ({low:g}, {high:g})")
    return low, high


def _market(scenario: Any, replay: Any, split: str) -> Market:
    """Return the market of a scenario, or of the recorded days of a split.

    Raises:
        ValueError: The scenario, the data or the split is invalid, or a recording comes with a scenario of its own.
    """
    if replay is None:
        if split != "train":
            raise ValueError(f"split is a part of the days of a replay, got {split!r} without replay")
        return build_market(get_scenario("regime-day" if scenario is None else scenario))
    if isinstance(replay, Recording):
        if scenario is not None:
            raise ValueError("scenario must be None with a recording, whose scenario is calibrated to its days")
        return replay.market(split)
    if not (scenario is None or isinstance(scenario, Mapping)):
        raise ValueError(
            f"scenario must be None or a dict of fields in place of calibrated ones where there is a replay, got {scenario!r}"
        )
    from hyperexec_env.data.replay import read_replay  # a lazy import: environments of simulated days read no data

    return read_replay(replay, **(scenario or {})).market(split)


def check_reset_options(options: Mapping[str, Any] | None, known: tuple[str, ...], seeded: bool) -> Mapping[str, Any]:
    """Check the names of the options of a reset and the option `board`, and return the options (empty for None).

    Args:
        options: The options.
        known: Names of the known options.
        seeded: Whether the reset has a seed.

    Raises:
        ValueError: An unknown option (the message names the nearest one), or `board` is not a flag or has no seed.
    """
    for key in options or {}:
        if key not in known:
            raise ValueError(f"unknown reset option {key!r}{nearest(key, known)} (known: {', '.join(known)})")
    if options and check_flag("reset option 'board'", options.get("board", False)) and not seeded:
        raise ValueError("reset option 'board' needs the seed of the board in the same reset, got no seed")
    return options or {}


def check_episode(number: Any) -> int:
    """Return the number of an episode, the reset option `episode`, as an int.

    Raises:
        ValueError: The number is not whole or out of range.
    """
    return check_integer("reset option 'episode'", number, low=0, high=2**63 - 1)
