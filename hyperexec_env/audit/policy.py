"""The audit of a policy: whether its trades depend on what they may depend on only, and what they are worth.

A policy is a name, the folder of a trained network (safetensors and JSON), or MODULE:NAME of an object with `name` and `act`.
Files that may hold pickles are never opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.audit.adapter import import_object
from hyperexec_env.audit.costs import paired_text
from hyperexec_env.audit.findings import FALSE_ALARM, Audit, Finding, failed, not_run, passed, verdict
from hyperexec_env.audit.own import another_future, another_regime
from hyperexec_env.baselines.evaluate import PolicyLike, entrants
from hyperexec_env.baselines.policies import SANITY, get_policy, policy_names
from hyperexec_env.checks import check_integer, one_line
from hyperexec_env.envs.single import HyperExecEnv
from hyperexec_env.envs.situation import Situation
from hyperexec_env.envs.task import Task, build_task
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.network import NetworkPolicy, policy_files
from hyperexec_env.evaluation.policy import Policy, PolicyFailure, check_policy, follows_regimes
from hyperexec_env.evaluation.rollout import roll
from hyperexec_env.evaluation.rule import rule_of
from hyperexec_env.evaluation.statistics import p_value
from hyperexec_env.evaluation.submission import is_submission
from hyperexec_env.market.noise import Words, episode_keys
from hyperexec_env.market.path import Path as MarketPath
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import Scenario, ScenarioLike, get_scenario

__all__ = ["POLICY_CHECKS", "audit_policy", "find_policy"]

Floats = NDArray[np.float64]

_EPISODES: Final = 64
"""Episodes of the checks that compare trades."""
_ROUNDING: Final = 1e-6
"""Difference of two trades, as a fraction of the order, up to which they are equal: products of matrices in single precision
differ by less when they have other sizes."""
_PICKLED: Final = (".pkl", ".pickle", ".pt", ".pth", ".joblib", ".zip", ".npy", ".npz", ".ckpt")
_TIMEOUT: Final = 60.0


def find_policy(policy: PolicyLike) -> Entrant:
    """Return the entrant that a name, a folder, a file of a folder, a submission, MODULE:NAME or an object denotes.

    Raises:
        ValueError: It is unknown, or a file that may hold a pickle.
        TypeError: An object is not a policy.
    """
    if isinstance(policy, (str, os.PathLike)):
        text = os.fspath(policy)
        if os.path.isfile(text):
            return _one(entrants(text if is_submission(text) else _folder_of(text)))
        module, sign, name = text.partition(":")
        known = text.lower() in map(str.lower, policy_names())
        if sign and not known and name.isidentifier() and all(part.isidentifier() for part in module.split(".")):
            found = getattr(*import_object(text, "the policy"), None)
            if found is None:
                raise ValueError(f"the module {module} has no {name}")
            made = isinstance(found, Policy) and not isinstance(found, type)  # a class with a name satisfies the protocol too
            return _one(entrants(found if made or not callable(found) else found()))
    return _one(entrants(policy))


def _one(found: list[Entrant]) -> Entrant:
    if len(found) != 1:
        raise ValueError(f"policy must be one policy, got {len(found)}")
    return found[0]


def _folder_of(path: str) -> Path:
    """Return the folder of a policy, given one of its two files.

    Raises:
        ValueError: The file is another one.
    """
    with open(path, "rb") as file:
        head = file.read(4)
    kind = "a zip archive" if head[:2] == b"PK" else "a pickle" if head[:1] == b"\x80" else ""
    if kind or path.lower().endswith(_PICKLED):
        reason = f"{path} is {kind or 'a file of pickles by its name'}, which is not opened: a pickle runs code when it is read"
        raise ValueError(f"{reason}; `hyperexec export` makes safetensors and JSON of a stable-baselines3 model of your own")
    folder = Path(path).parent
    if Path(path).name not in [file.name for file in policy_files(folder)]:
        raise ValueError(f"{path} is no policy; give a folder with policy.json and policy.safetensors, a name or MODULE:NAME")
    return folder


class _Recorder:
    """A policy that records the situations that it is shown, and its trades."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.name, self.follows_regimes = policy, policy.name, follows_regimes(policy)
        self.situations: list[Situation] = []
        self.trades: list[Floats] = []

    def act(self, situation: Situation) -> Any:
        shares = self.policy.act(situation)
        self.situations.append(situation)
        self.trades.append(np.broadcast_to(np.asarray(shares, dtype=float), np.shape(situation.remaining)).copy())
        return shares


@dataclass(frozen=True)
class _Subject:
    """A policy in a market."""

    entrant: Entrant
    task: Task
    seed: int
    episodes: int

    @property
    def policy(self) -> Policy:
        return self.entrant.policy

    @cached_property
    def keys(self) -> Words:
        """Keys of the episodes of the checks that compare trades."""
        return episode_keys(self.seed, np.arange(_EPISODES))

    def path(self, keys: Words) -> MarketPath:
        return draw_path(self.task.market, keys, float(self.task.scenario.side))

    def play(self, path: MarketPath) -> _Recorder:
        """Return a record of whole episodes."""
        recorder = _Recorder(self.policy)
        roll(self.task.market, recorder, path, self.entrant.hidden, _TIMEOUT)
        return recorder

    def trades(self, path: MarketPath) -> Floats:
        """Return the trades of whole episodes, fractions of the order, shape (N, episodes)."""
        return np.array(self.play(path).trades) / self.task.scenario.quantity

    @cached_property
    def usual(self) -> Floats:
        """Trades of the episodes of the checks."""
        return self.trades(self.path(self.keys))

    def off(self, trades: Floats, expected: Floats | None = None) -> float:
        """Return the largest difference from expected trades (default: the usual ones), as a fraction of the order."""
        return float(np.max(np.abs(trades - (self.usual if expected is None else expected)), initial=0.0))


def audit_policy(policy: PolicyLike, *, scenario: ScenarioLike | None = None, episodes: int = 2_000, seed: int = 0) -> Audit:
    """Audit a policy.

    Args:
        policy: A name, the folder of a trained policy, MODULE:NAME (the module is imported, which runs its code), or an object.
        scenario: Scenario; None: the one that a trained policy records, else regime-day.
        episodes: Episodes of the comparison with TWAP and the sanity policies.
        seed: Seed of the episodes.

    Raises:
        ValueError: A bad argument, or a file that may hold a pickle.
        TypeError: The object is not a policy.
    """
    episodes, seed = (
        check_integer("episodes", episodes, low=50, high=1_000_000),
        check_integer("seed", seed, low=0, high=2**32 - 1),
    )
    entrant = find_policy(policy)
    chosen, note = _scenario_of(entrant.policy, scenario)
    subject = _Subject(entrant, build_task(chosen, observe_regime=not entrant.hidden), seed, episodes)
    findings: list[Finding] = []
    for name, check in POLICY_CHECKS.items():
        if findings and findings[0].verdict == "failed":
            findings.append(not_run(name, f"the policy fails ({findings[0].check})"))
        else:
            findings.append(_made(name, check, subject))
    return Audit(f"the policy {entrant.policy.name} on {chosen.name}", tuple(findings), note)


def _made(name: str, check: Callable[[_Subject], Finding], subject: _Subject) -> Finding:
    try:
        return check(subject)
    except PolicyFailure as error:
        return failed(name, one_line(str(error)))


def _scenario_of(policy: Policy, scenario: ScenarioLike | None) -> tuple[Scenario, tuple[str, ...]]:
    """Return the scenario of an audit, and a sentence on its choice.

    Raises:
        ValueError: The scenario is unknown, or the recorded one is invalid.
    """
    if scenario is not None:
        return get_scenario(scenario), ()
    recorded = policy.about.get("scenario") if isinstance(policy, NetworkPolicy) else None
    if recorded is None:
        return get_scenario("regime-day"), ("The scenario is regime-day; --scenario chooses another one.",)
    return Scenario.from_dict(recorded), ("The scenario is the one of the training, as the policy records it.",)


# --- checks


def _shares(subject: _Subject) -> Finding:
    """The policy returns finite shares in every slice."""
    check_policy(subject.policy, subject.task.market, _TIMEOUT)
    traded = subject.usual
    text = (
        f"finite shares in all {traded.shape[0]} slices of {_EPISODES} episodes, from {traded.min():.3g} to {traded.max():.3g}"
    )
    return passed("shares", f"{text} of the order")


def _repeatable(subject: _Subject) -> Finding:
    """The same episodes give the same trades."""
    off = subject.off(subject.trades(subject.path(subject.keys)))
    text = f"the same {_EPISODES} episodes again: trades differ by up to {off:.1e} of the order"
    return verdict(
        "repeatable", off == 0.0, text if off else f"the same {_EPISODES} episodes again: the same trades, bit for bit"
    )


def _batch(subject: _Subject) -> Finding:
    """Trades do not depend on the other episodes of the batch: neither on their order nor on their number."""
    order = np.random.default_rng(0).permutation(_EPISODES)
    worst = {"another order": subject.off(subject.trades(subject.path(subject.keys[order])), subject.usual[:, order])}
    for size in (1, 7):
        kept = np.arange(size)
        worst[f"batches of {size}"] = subject.off(subject.trades(subject.path(subject.keys[kept])), subject.usual[:, kept])
    worst["numbers instead of arrays"] = _alone(subject)
    name = max(worst, key=lambda key: worst[key])
    text = f"trades differ by up to {worst[name]:.1e} of the order (largest: {name})"
    return verdict("batch", worst[name] <= _ROUNDING, f"in another order, in batches of 1 and 7, and one by one: {text}")


def _alone(subject: _Subject) -> float:
    """Return the largest difference between the trades of one episode alone in the environment and in the batch."""
    env, quantity = HyperExecEnv(subject.task.scenario, **subject.entrant.options()), subject.task.scenario.quantity
    env.reset(seed=subject.seed)
    off, ended, k = 0.0, False, 0
    while not ended:
        shares = float(subject.policy.act(env.situation))
        off = max(off, abs(shares / quantity - float(subject.usual[k, 0])))
        ended, k = env.trade(shares)[2], k + 1
    return off


def _memory(subject: _Subject) -> Finding:
    """A policy remembers nothing of another episode, played to the end or given up."""
    others = subject.play(subject.path(episode_keys(subject.seed + 1, np.arange(_EPISODES))))
    after_whole = subject.off(subject.trades(subject.path(subject.keys)))
    for situation in others.situations[: max(1, len(others.situations) // 2)]:
        subject.policy.act(situation)
    after_half = subject.off(subject.trades(subject.path(subject.keys)))
    off = max(after_whole, after_half)
    text = f"after whole and after half episodes of another seed, trades differ by up to {off:.1e} of the order"
    return verdict("memory", off <= _ROUNDING, text)


def _places(subject: _Subject) -> list[int]:
    slices = subject.task.market.slices
    return sorted({0, 1, slices // 2, slices - 2} & set(range(slices)))


def _future(subject: _Subject) -> Finding:
    """Another future changes no trade before it."""
    path = subject.path(subject.keys)
    for k in _places(subject):
        other = subject.trades(another_future(subject.task, k)(path))
        off = subject.off(other[: k + 1], subject.usual[: k + 1])
        if off > _ROUNDING:
            text = f"after a change of what nature draws from slice {k} on, trades up to slice {k} move by up to {off:.1e}"
            return failed("future", f"{text} of the order: the policy knows the future")
    listed = ", ".join(map(str, _places(subject)))
    return passed("future", f"after a change of what nature draws from slice k on, k = {listed}, trades up to slice k stay")


def _hidden(subject: _Subject) -> Finding:
    """A policy that does not observe the regime does not trade on it."""
    if not subject.entrant.hidden:
        return not_run("hidden", "the policy observes the regime")
    if len(subject.task.scenario.regimes) == 1:
        return not_run("hidden", "the market has one regime")
    path = subject.path(subject.keys)
    for k in _places(subject):
        other = subject.trades(another_regime(subject.task, k)(path))
        off = subject.off(other[: k + 1], subject.usual[: k + 1])
        if off > _ROUNDING:
            text = f"with another regime in slice {k}, trades up to slice {k} move by up to {off:.1e} of the order"
            return failed("hidden", text)
    listed = ", ".join(map(str, _places(subject)))
    return passed("hidden", f"another regime in slice k, k = {listed}, moves no trade up to slice k")


def _function(subject: _Subject) -> Finding:
    """Equal situations give equal trades: a policy without memory is a function."""
    market, policy = subject.task.market, subject.policy
    if not isinstance(policy, NetworkPolicy) and rule_of(policy, market, subject.entrant.hidden) is None:
        return not_run("function", "the policy has neither a network nor a rule: it may have a memory within an episode")
    record = subject.play(subject.path(subject.keys))
    for place in np.random.default_rng(1).permutation(len(record.situations)):
        situation = record.situations[place]
        again = np.broadcast_to(np.asarray(policy.act(situation), dtype=float), record.trades[place].shape)
        off = subject.off(again, record.trades[place]) / subject.task.scenario.quantity
        if off > _ROUNDING:
            return failed(
                "function", f"the situations of slice {situation.k}, shown again, change trades by {off:.1e} of the order"
            )
    return passed(
        "function", f"all {len(record.situations)} x {_EPISODES} situations, shown again in another order: the same trades"
    )


def _sanity(subject: _Subject) -> Finding:
    """The policy does not lose to a policy that must lose."""
    market, path = subject.task.market, subject.path(episode_keys(subject.seed, np.arange(subject.episodes), board=True))
    own = roll(market, subject.policy, path, subject.entrant.hidden, _TIMEOUT).statement.objective
    rivals = {name: roll(market, get_policy(name), path).statement.objective for name in ("TWAP", *SANITY)}
    level = FALSE_ALARM / len(SANITY)
    differences = {name: own - costs for name, costs in rivals.items()}
    lost = [name for name in SANITY if differences[name].mean() > 0.0 and p_value(differences[name]) <= level]
    listed = "; ".join(f"{name} {paired_text(values, 'bps')}" for name, values in differences.items())
    numbers = {name: float(values.mean()) for name, values in differences.items()}
    text = f"objective of {subject.episodes:,} episodes of the board of seed {subject.seed}, minus that of: {listed}"
    if lost:
        return failed("sanity", f"{text}. It loses beyond doubt to {', '.join(lost)}", **numbers)
    return passed("sanity", text, **numbers)


def _training(subject: _Subject) -> Finding:
    """The record of the training is consistent, and its episodes are not those of boards."""
    policy = subject.policy
    if not isinstance(policy, NetworkPolicy):
        return not_run("training", "the policy was not trained by this package")
    recorded = policy.about.get("args")
    if not isinstance(recorded, dict) or "seed" not in recorded:
        return not_run("training", "the policy does not record how it was trained")
    if recorded["seed"] != policy.training_seed:
        text = f"the policy names the training seed {policy.training_seed}, and its record of the training {recorded['seed']}"
        return failed("training", text)
    said = policy.about.get("scenario_hash")
    where = "" if said in (None, subject.task.scenario.hash) else f"; it was trained on another market than this one ({said})"
    text = f"training seed {policy.training_seed}; no training meets the episodes of a board, whose random keys are its own"
    return passed("training", f"{text}{where}")


POLICY_CHECKS: Final[dict[str, Callable[[_Subject], Finding]]] = {
    "shares": _shares,
    "repeatable": _repeatable,
    "batch": _batch,
    "memory": _memory,
    "future": _future,
    "hidden": _hidden,
    "function": _function,
    "sanity": _sanity,
    "training": _training,
}
"""The checks of a policy by name, in the order of the report."""
