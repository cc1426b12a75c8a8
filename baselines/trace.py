"""The trace of episodes that a policy, or an environment, has played."""

from __future__ import annotations

from typing import Any

from hyperexec_env.checks import check_integer, check_seed
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.evaluation.policy import check_fit
from hyperexec_env.evaluation.trace import Trace, trace_of
from hyperexec_env.market.scenario import ScenarioLike

from .evaluate import PolicyLike, entrants

__all__ = ["trace"]


def trace(
    source: ScenarioLike | Any,
    policy: PolicyLike | None = None,
    *,
    seed: int = 0,
    episodes: int = 1,
    board: bool = False,
    **options: Any,
) -> Trace:
    """Return every child order of some episodes, with fill, prices and costs, as a table.

        hx.trace(env)                                        the episode of an environment so far
        hx.trace("regime-day", "TWAP", seed=7, episodes=20)  episodes that a policy plays

    Args:
        source: An environment (`hx.make(...)`, wrapped or not), or a scenario: a name, a dict, a path of a TOML file or a
            `Scenario`; None: the market of a `replay`.
        policy: For a scenario: the name of a policy, the folder of a trained policy, or a policy.
        seed: For a scenario: the seed of the episodes 0, 1, ...
        episodes: For a scenario: number of episodes.
        board: For a scenario: whether the seed is that of a board, whose episodes `hx.evaluate` judges.
        options: For a scenario: options of the environment (`replay`, `uncertainty`, `random_side`, ...).

    Raises:
        ValueError: The environment has no slice to show or is a vector environment, there is not one policy, or an option is
            bad; the message names it.
    """
    env = getattr(source, "unwrapped", None)
    if env is not None:
        return _trace_of_environment(env, policy)
    if policy is None:
        raise ValueError("policy must name the policy that trades the scenario, such as 'TWAP', got None")
    (entrant, *others) = entrants(policy)
    if others:
        raise ValueError(f"policy must be one policy, got {1 + len(others)}: call trace once for each")
    count = check_integer("episodes", episodes, low=1, high=100_000)
    made = HyperExecEnv(source, **entrant.options(**options))
    check_fit(entrant.policy, made.task.market)
    seed = check_seed(seed)

    def play() -> Any:
        for number in range(count):
            made.reset(seed=seed, options={"episode": number, "board": board})
            over = False
            while not over:
                over = made.trade(float(entrant.policy.act(made.situation)))[2]
            yield number, made.date, made.episode

    return trace_of(play())


def _trace_of_environment(env: Any, policy: Any) -> Trace:
    """Return the trace of the running episode of an environment."""
    if not isinstance(env, HyperExecEnv):
        raise ValueError(
            f"trace takes a single environment, whose episode is stored, got {type(env).__name__}: for episodes of a vector "
            "environment call trace with the scenario, the policy and the seed of the lane"
        )
    if policy is not None:
        raise ValueError("policy must be None with an environment: its own actions are traced")
    if env.episode.k == 0:
        raise ValueError("the episode of the environment has no slice yet: step it before trace")
    return trace_of([(env.number, env.date, env.episode)])
