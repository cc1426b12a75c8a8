"""The audit of an environment: the known artefacts of simulated execution, each with a check.

A check is a function of an adapter and of the settings of the audit. Every episode is played in a new environment, except
where the check is about what an environment keeps from one episode to the next; so a fault of the reset shows in its own check
only. Seeds are fixed: the same audit of the same environment finds the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from hyperexec_env.audit.adapter import Adapter, load_adapter
from hyperexec_env.audit.costs import check_bursts, check_halving, check_random
from hyperexec_env.audit.episodes import MOST_STEPS, Episode, Plan, evenly, in_bursts, play, randomly
from hyperexec_env.audit.findings import Audit, Finding, failed, not_run, passed
from hyperexec_env.audit.foresight import check_foresight
from hyperexec_env.audit.settings import Settings
from hyperexec_env.checks import check_integer, one_line, shown

__all__ = ["CHECKS", "Check", "audit_env"]

_PLAYS: Final = 4
"""Episodes of the checks that compare episodes bit for bit."""
_COMPARING: Final = ("future", "hidden", "reset", "arrival")
"""Checks that compare two episodes of one seed."""
_NEVER: Final = 10**9
"""A slice after everything that nature draws."""
_TOLERANCE: Final = 1e-6
"""Largest relative error of an account: single precision sums to about this."""


class Check(NamedTuple):
    """A check of an environment."""

    name: str
    meaning: str
    """The artefact that the check looks for, in one sentence."""
    needs: tuple[str, ...]
    """Functions of the adapter that the check needs."""
    run: Callable[[Adapter, Settings], Finding]


def audit_env(
    env: str | Adapter | Callable[[], Any],
    *,
    options: Mapping[str, Any] | None = None,
    episodes: int = 100,
    seed: int = 0,
) -> Audit:
    """Audit an environment: look for each known artefact of simulated execution.

    Args:
        env: An adapter, a function that makes an environment, or MODULE:NAME of either (see
            :func:`~hyperexec_env.audit.adapter.load_adapter`; the module is imported, which runs its code).
        options: Keyword arguments of the environment, where it is given by name or as a function.
        episodes: Episodes of each statistical comparison.
        seed: First seed of the episodes.

    Raises:
        ValueError: A bad argument, or the environment cannot be made.
    """
    settings = Settings(
        check_integer("episodes", episodes, low=10, high=1_000_000), check_integer("seed", seed, low=0, high=2**31)
    )
    if isinstance(env, str):
        name, adapter = env, load_adapter(env, options)
    elif isinstance(env, Adapter):
        if options:
            raise ValueError(f"options are for an environment or a function, and an adapter has none: got {shown(options)}")
        name, adapter = type(env.make()).__name__, env
    elif callable(env):
        made = env(**(options or {}))
        name, adapter = type(made).__name__, _adapter_of(lambda: env(**(options or {})), made)
    else:
        raise ValueError(f"env must be an adapter, a function or MODULE:NAME, got {shown(env)}")
    findings: list[Finding] = []
    for check in CHECKS:
        repeats = all(found.verdict == "passed" for found in findings if found.check == "repeatable")
        findings.append(_made(check, adapter, settings, repeats))
    return Audit(f"the environment {name}", tuple(findings), _notes(adapter, settings))


def _adapter_of(make: Callable[[], Any], made: Any) -> Adapter:
    from hyperexec_env.audit.own import own_adapter

    return own_adapter(make, made) or Adapter(make=make)


def _notes(adapter: Adapter, settings: Settings) -> tuple[str, ...]:
    """Return the sentences below the findings."""
    statistical = (
        f"Statistical checks: {settings.episodes} episodes of the seeds {settings.seed} to "
        f"{settings.seed + settings.episodes - 1}, paired by seed; each fails a sound environment with a probability of "
        "at most 0.1 %; intervals are 95 %."
    )
    needed = {name for check in CHECKS for name in check.needs}
    plain = all(getattr(adapter, name) is None for name in needed)
    missing = "Most checks need an adapter: a record of small functions, see docs/audit.md."
    return (statistical, *([missing] if plain else []))


def _made(check: Check, adapter: Adapter, settings: Settings, repeats: bool) -> Finding:
    """Make a check; an error of the environment or of the adapter is a fault."""
    lacking = adapter.lacks(*check.needs)
    if lacking:
        return not_run(check.name, lacking)
    if not repeats and check.name in _COMPARING and (check.run is not check_hidden or _hides(adapter)):
        return not_run(check.name, "it compares episodes bit for bit, and the episodes of one seed differ (see repeatable)")
    try:
        return check.run(adapter, settings)
    except Exception as error:
        text = one_line(f"the environment or its adapter raised {type(error).__name__}: {error}")
        return failed(check.name, text)


# --- what an environment shows


def check_spaces(adapter: Adapter, settings: Settings) -> Finding:
    """Observations lie in their space, rewards are finite, and episodes end."""
    env = adapter.make()
    seen = 0
    for seed in settings.seeds(_PLAYS):
        env.action_space.seed(seed)
        observation, _ = env.reset(seed=seed)
        for step in range(MOST_STEPS):
            if not env.observation_space.contains(observation):
                text = f"the observation before step {step} of the episode of seed {seed} is not in the observation space"
                return failed("spaces", f"{text}: {shown(observation)}", seed=seed, step=step)
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            seen += 1
            if not np.isfinite(float(reward)):
                return failed("spaces", f"the reward of step {step} of the episode of seed {seed} is {reward}", seed=seed)
            if terminated or truncated:
                break
        else:
            return failed("spaces", f"the episode of seed {seed} does not end within {MOST_STEPS:,} steps", seed=seed)
    return passed("spaces", f"{seen:,} observations of {_PLAYS} episodes lie in the space, and the episodes end", steps=seen)


def _probe(adapter: Adapter, seed: int) -> Plan | None:
    """Return trades that try the environment: random multiples of the steady pace, or actions drawn from the space."""
    return randomly(seed) if adapter.action is not None and adapter.remaining is not None else None


def _first_difference(one: Episode, other: Episode) -> str:
    """Return where two episodes differ first, "" where they are equal bit for bit."""
    for step, (left, right) in enumerate(zip(one.observations, other.observations, strict=False)):
        if not np.array_equal(left, right, equal_nan=True):
            return f"the observation before step {step} ({_change(left, right)})"
        if step and not _same_number(one.rewards[step - 1], other.rewards[step - 1]):
            return f"the reward of step {step - 1} ({one.rewards[step - 1]:.6g} and {other.rewards[step - 1]:.6g})"
    return "" if len(one.rewards) == len(other.rewards) else f"the length ({len(one.rewards)} and {len(other.rewards)} steps)"


def _same_number(one: float, other: float) -> bool:
    return one == other or (one != one and other != other)


def _change(left: Any, right: Any) -> str:
    """Return the first number that differs between two observations, as text."""
    if left.shape != right.shape:
        return f"{left.size} and {right.size} numbers"
    place = int(np.argmax(left != right))
    return f"number {place}: {left[place]:.9g} and {right[place]:.9g}"


def check_repeatable(adapter: Adapter, settings: Settings) -> Finding:
    """The same seed and the same actions give the same episode."""
    steps = 0
    for seed in settings.seeds(_PLAYS):
        one, other = (play(adapter, adapter.make(), seed, _probe(adapter, seed)) for _ in range(2))
        found = _first_difference(one, other)
        if found:
            text = f"two episodes of seed {seed} with the same actions differ in {found}"
            return failed("repeatable", f"{text}", seed=seed)
        steps += len(one.rewards)
    return passed("repeatable", f"{_PLAYS} seeds, {steps:,} steps, played twice: equal bit for bit", steps=steps)


def check_future(adapter: Adapter, settings: Settings) -> Finding:
    """Another future changes no observation before it."""
    assert adapter.perturb_future is not None  # noqa: S101 - the check needs it
    return _unmoved("future", adapter, settings, adapter.perturb_future, "what nature draws from slice k on")


def _hides(adapter: Adapter) -> bool:
    """Return whether an adapter declares that something is hidden."""
    return adapter.perturb_hidden is not None or adapter.twins is not None


def check_hidden(adapter: Adapter, settings: Settings) -> Finding:
    """What is hidden is not shown: neither by another value in one slice, nor by environments that differ in nothing else."""
    if not _hides(adapter):
        return not_run("hidden", f"{adapter.lacks('perturb_hidden', 'twins')}: nothing is declared to be hidden")
    evidence, numbers = [], {}
    if adapter.perturb_hidden is not None:
        found = _unmoved("hidden", adapter, settings, adapter.perturb_hidden, "what is hidden in slice k")
        if found.verdict != "passed":
            return found
        evidence.append(found.evidence)
        numbers.update(found.numbers)
    pairs = 0
    for one, other in adapter.twins() if adapter.twins is not None else ():
        for seed in settings.seeds(_PLAYS):
            left, right = (play(adapter, env, seed, _probe(adapter, seed)) for env in (one, other))
            for step, (seen, also) in enumerate(zip(left.observations, right.observations, strict=False)):
                if not np.array_equal(seen, also, equal_nan=True):
                    where = f"the observation before step {step} of seed {seed} ({_change(seen, also)})"
                    text = f"two environments that differ only in what is hidden differ in {where}: it shows what is hidden"
                    return failed("hidden", text, seed=seed, step=step)
        pairs += 1
    if pairs:
        evidence.append(f"{pairs} pairs of environments that differ only in what is hidden show the same observations")
    return passed("hidden", "; ".join(evidence), pairs=pairs, **numbers)


def _unmoved(name: str, adapter: Adapter, settings: Settings, change: Callable[[Any, int], Any], what: str) -> Finding:
    """Check that a change of nature in slice k moves no observation up to the start of slice k, and moves one after it."""
    compared, moved, places = 0, 0, set()
    for seed in settings.seeds(_PLAYS):
        plain = play(adapter, adapter.make(), seed, _probe(adapter, seed))
        found = _touched(adapter, seed, plain, change)
        if found:
            return not_run(name, f"the adapter changes the past: its change after the last slice moves {found}")
        last = len(plain.rewards) - 1
        for k in sorted({1, last // 4, last // 2, last - 1} & set(range(1, last + 1))):
            other = play(adapter, adapter.make(), seed, _probe(adapter, seed), change=lambda env, k=k: change(env, k))  # type: ignore[misc]
            places.add(k)
            for step in range(min(k, len(other.rewards)) + 1):
                compared += 1
                if not np.array_equal(plain.observations[step], other.observations[step], equal_nan=True):
                    by = _change(plain.observations[step], other.observations[step])
                    where = f"the observation before slice {step} of seed {seed} moves ({by})"
                    text = f"after a change of {what}, with k = {k}, {where}: it knows what has not happened"
                    return failed(name, text, seed=seed, slice=k, step=step)
            moved += bool(_first_difference(plain, other))
    if not moved:
        reason = (
            f"a change of {what} moves nothing in any of {_PLAYS} episodes, before or after: the perturbation has no effect"
        )
        return not_run(name, reason)
    listed = ", ".join(map(str, sorted(places)))
    text = f"after a change of {what}, k = {listed}, the {compared:,} observations up to slice k stay, and later ones move"
    return passed(name, text, observations=compared, slices=sorted(places))


def _touched(adapter: Adapter, seed: int, plain: Episode, change: Callable[[Any, int], Any]) -> str:
    """Return what a change of nature after everything that is drawn moves; "" where it moves nothing, as it should.

    An adapter that cannot be asked for so late a slice is asked for the slice after the last one of the episode.
    """
    for k in (_NEVER, len(plain.rewards)):
        try:
            other = play(adapter, adapter.make(), seed, _probe(adapter, seed), change=lambda env, k=k: change(env, k))  # type: ignore[misc]
        except Exception:
            if k != _NEVER:
                raise
            continue
        return _first_difference(plain, other)
    return ""


# --- what an environment keeps


def check_reset(adapter: Adapter, settings: Settings) -> Finding:
    """An episode is what it is alone, whatever was played before it."""
    first, second, *_ = settings.seeds(2)
    plan = _probe(adapter, second)
    alone = play(adapter, adapter.make(), second, plan)
    for name, steps in (("a whole episode", MOST_STEPS), ("half an episode", max(1, len(alone.rewards) // 2))):
        env = adapter.make()
        play(adapter, env, first, evenly if plan is not None else None, steps=steps)
        after = play(adapter, env, second, _probe(adapter, second))
        found = _first_difference(alone, after)
        if found:
            text = f"the episode of seed {second} after {name} of seed {first} differs from the same episode alone in {found}"
            return failed("reset", f"{text}: something is not reset", seed=second)
    return passed(
        "reset", f"the episode of seed {second} after a whole and after half an episode of seed {first} is what it is alone"
    )


def check_arrival(adapter: Adapter, settings: Settings) -> Finding:
    """Every episode measures its cost from its own opening price, also after the first one."""
    has_prices = adapter.price is not None and adapter.arrival_price is not None
    has_costs = adapter.cost is not None or adapter.shortfall_bps is not None
    plan: Plan | None = evenly if adapter.action is not None and adapter.remaining is not None else None
    if not has_prices and not has_costs:
        return not_run("arrival", adapter.lacks("arrival_price", "cost"))
    env, evidence = adapter.make(), []
    opened = [play(adapter, env, None if number else settings.seed, plan) for number in range(_PLAYS)]
    for number, episode in enumerate(opened if has_prices else ()):
        arrival, price = episode.arrival_price, episode.prices[0]
        if arrival is None or abs(price - arrival) > 1e-9 * abs(price):
            text = f"episode {number} opens at a price of {price:.6g} and measures its cost from {arrival:.6g}"
            return failed("arrival", text, episode=number, price=price, arrival_price=arrival)
    if has_prices:
        evidence.append(f"{_PLAYS} episodes one after the other open at their arrival price")
    if has_costs:
        seed = settings.seed + 1
        alone, after = play(adapter, adapter.make(), seed, plan), play(adapter, env, seed, plan)
        for name in ("cost", "shortfall_bps", "arrival_price"):
            one, other = getattr(alone, name), getattr(after, name)
            if one is not None and not np.isclose(one, other, rtol=1e-9, atol=1e-9):
                text = f"the {name} of the episode of seed {seed} is {one:.6g} alone and {other:.6g} after other episodes"
                return failed("arrival", text, alone=one, after=other)
        evidence.append(f"the cost of the episode of seed {seed} does not depend on the episodes before it")
    return passed("arrival", "; ".join(evidence))


# --- what an environment pays


def _schedules(adapter: Adapter) -> Sequence[tuple[str, Callable[[int], Plan | None]]]:
    """Return schedules that try the account, by name: functions of the seed."""
    if adapter.action is None or adapter.remaining is None or adapter.slices is None:
        return (("random actions", lambda seed: None),)
    return (
        ("the steady pace", lambda seed: evenly),
        ("bursts", lambda seed: in_bursts(3)),
        ("a block", lambda seed: lambda k, remaining, slices: remaining),
        ("random trades", randomly),
    )


def check_account(adapter: Adapter, settings: Settings) -> Finding:
    """The rewards of an episode sum to what the account says."""
    worst, count = 0.0, 0
    for name, plan in _schedules(adapter):
        for seed in settings.seeds(_PLAYS):
            episode = play(adapter, adapter.make(), seed, plan(seed))
            if not episode.ended or episode.account is None:
                return not_run("account", f"the episode of seed {seed} does not end within {MOST_STEPS:,} steps")
            paid, count = float(np.sum(episode.rewards)), count + 1
            scale = max(abs(episode.account), float(np.sum(np.abs(episode.rewards))))
            if not abs(paid - episode.account) <= _TOLERANCE * scale:
                text = f"with {name}, the rewards of the episode of seed {seed} sum to {paid:.6g}, and the account says"
                return failed("account", f"{text} {episode.account:.6g}", rewards=paid, account=episode.account, seed=seed)
            worst = max(worst, abs(paid - episode.account) / scale if scale else 0.0)
    text = f"the rewards of {count} episodes sum to the account, with a largest relative error of {worst:.1e}"
    return passed("account", text, episodes=count, largest_error=worst)


def check_fills(adapter: Adapter, settings: Settings) -> Finding:
    """Fills add up: shares to the order, cash to the implementation shortfall."""
    count = 0
    for name, plan in _schedules(adapter):
        for seed in settings.seeds(_PLAYS):
            episode = play(adapter, adapter.make(), seed, plan(seed))
            found = _shares_fault(episode)
            if found:
                return failed("fills", f"with {name} and seed {seed}, {found}", seed=seed)
            if episode.remaining[-1] > 1e-9 * episode.remaining[0] or not episode.ended:
                return not_run("fills", f"with {name} and seed {seed}, {episode.remaining[-1]:.6g} shares are never traded")
            if episode.arrival_price is None or episode.shortfall_bps is None:
                continue
            notional = episode.remaining[0] * episode.arrival_price
            cash = sum(shares * price for shares, price in episode.fills)
            bps = 1e4 * episode.side * (cash - notional) / notional
            if not np.isclose(bps, episode.shortfall_bps, rtol=_TOLERANCE, atol=_TOLERANCE):
                text = f"the fills of the episode of seed {seed} cost {bps:.6g} bps, and the environment reports"
                return failed("fills", f"with {name}, {text} {episode.shortfall_bps:.6g} bps", seed=seed, fills=bps)
            count += 1
    paid = f", and their cash to the shortfall of {count} episodes" if count else ""
    return passed("fills", f"the shares of the fills sum to the order in every episode{paid}", episodes=count)


def _shares_fault(episode: Episode) -> str:
    """Return how the shares of an episode do not add up; "" where they do."""
    left = np.array(episode.remaining)
    if not len(left) or left[0] <= 0.0:
        return f"the order is of {left[0] if len(left) else 0:.6g} shares"
    slack = 1e-9 * left[0]
    gone, filled = -np.diff(left), np.array([shares for shares, _ in episode.fills])
    if (gone < -slack).any() or (left < -slack).any():
        return f"the remaining shares go from {left.max():.6g} to {left.min():.6g}, and not down only, to zero"
    off = np.abs(gone - filled) > slack
    if off.any():
        k = int(np.argmax(off))
        return f"slice {k} fills {filled[k]:.6g} shares, and the remaining shares fall by {gone[k]:.6g}"
    return ""


CHECKS: Final = (
    Check("spaces", "Observations lie in their space, rewards are finite, and episodes end.", (), check_spaces),
    Check("repeatable", "The same seed and the same actions give the same episode.", (), check_repeatable),
    Check("future", "Another future changes no observation before it.", ("perturb_future",), check_future),
    Check("foresight", "No observation predicts the next price where past prices do not.", ("price",), check_foresight),
    Check("hidden", "What is hidden, such as a regime, cannot be read from an observation.", (), check_hidden),
    Check("reset", "An episode is what it is alone, whatever was played before it.", (), check_reset),
    Check("arrival", "Every episode measures its cost from its own opening price.", (), check_arrival),
    Check("account", "The rewards of an episode sum to what the account says.", ("account",), check_account),
    Check(
        "fills",
        "The shares of the fills sum to the order, and their cash to the implementation shortfall.",
        ("fill", "remaining"),
        check_fills,
    ),
    Check(
        "halving",
        "The cost of the steady pace converges as slices are halved.",
        ("sliced", "slices", "action", "remaining", "cost"),
        check_halving,
    ),
    Check(
        "bursts",
        "Trading every j-th slice is not cheaper than the steady pace.",
        ("slices", "action", "remaining", "cost"),
        check_bursts,
    ),
    Check(
        "random",
        "Random trades are not cheaper than the steady pace.",
        ("slices", "action", "remaining", "cost"),
        check_random,
    ),
)
"""The checks of an environment, in the order of the report."""
