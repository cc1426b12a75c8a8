"""What must agree between executions, for a package that was edited: run as a script with a list of checks in JSON.

`test_one_edit.py` runs it in a process of its own, with a copy of the package on the path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

STEPS = 60
SEEDS = [5, 6, 7]


def near(ours, theirs, error=1e-9):
    """Raise where two results differ by more than rounding; dictionaries key by key."""
    if isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            near(ours[key], theirs[key], error)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=error, atol=error)


def actions_for(env, steps=STEPS):
    """Random actions; the first lanes hurry."""
    rng = np.random.default_rng(3)
    if env.action_space.shape == (len(SEEDS),):
        return rng.integers(0, 7, (steps, len(SEEDS)))
    return rng.uniform(-1.0, np.linspace(1.0, 0.2, len(SEEDS)), (steps, len(SEEDS)))[..., None].astype(np.float32)


def lanes(scenario="regime-day", backend="numpy", **options):
    """Lane i is the single environment; return what the first episode showed, was paid and came to."""
    from hyperexec_env.envs.single import HyperExecEnv
    from hyperexec_env.envs.vector import HyperExecVectorEnv

    env = HyperExecVectorEnv(len(SEEDS), "SameStep", backend, scenario=scenario, **options)
    singles = [HyperExecEnv(scenario, **options) for _ in SEEDS]
    observation, _ = env.reset(seed=SEEDS)
    exact = np.testing.assert_array_equal if backend == "numpy" else lambda one, other: near(one, other, 3e-7)
    for lane, single in enumerate(singles):
        exact(observation[lane], single.reset(seed=SEEDS[lane])[0])
    running, facts = set(range(len(SEEDS))), {"observations": [], "rewards": []}
    for action in actions_for(env):
        observation, reward, terminated, _, info = env.step(action)
        for lane in sorted(running):
            seen, paid, over, _, told = singles[lane].step(action[lane])
            near(reward[lane], paid)
            assert terminated[lane] == over
            if over:
                running.remove(lane)
                exact(info["final_obs"][lane], seen)
                final = {key: value for key, value in info["final_info"].items() if not key.startswith("_")}
                ours = {key: value[lane] for key, value in final.items() if not isinstance(value, dict)}
                parts = {key: value[lane] for key, value in final["components_bps"].items() if not key.startswith("_")}
                near(ours | {"components_bps": parts}, told)
            else:
                exact(observation[lane], seen)
            if lane == 0:
                facts["observations"].append([float(value) for value in seen])
                facts["rewards"].append(float(paid))
                facts["info"] = told
        if not running:
            break
    assert not running
    return facts


def picture(scenario="regime-day"):
    """Draw an episode that ended; return its text, and the colours of the regimes."""
    from hyperexec_env.envs.picture import _BANDS, draw
    from hyperexec_env.envs.rendering import cost_components, describe, look
    from hyperexec_env.envs.single import HyperExecEnv

    env = HyperExecEnv(scenario)
    env.reset(seed=1)
    while not env.step(np.zeros(1, np.float32))[2]:
        pass
    frame = look(env._running)
    assert draw(frame).ndim == 3
    near(sum(value for _, value in cost_components(frame.statement)), frame.statement.shortfall)
    return {"text": describe(frame), "colours": _BANDS}


def rollouts(scenario="regime-day", compiled=True, policies=("VWAP", "POV", "Adaptive"), episodes=300):
    """The rollout in arrays is the one in a compiled loop; return the mean statement of each policy.

    The policy "by regime" trades another fraction of what remains in each regime.
    """
    from hyperexec_env.baselines.policies import get_policy
    from hyperexec_env.evaluation.loop import RuleLoop
    from hyperexec_env.evaluation.rollout import roll, roll_rule
    from hyperexec_env.evaluation.rule import RulePolicy, plan_rule, rule_of
    from hyperexec_env.market.noise import episode_keys
    from hyperexec_env.market.path import draw_path
    from hyperexec_env.market.scenario import get_scenario
    from hyperexec_env.market.tables import build_market
    from hyperexec_env.records import numbers

    class ByRegime(RulePolicy):
        name = "by regime"

        def rule(self, market, hidden):
            return plan_rule(np.tile(np.linspace(0.02, 0.2, market.regimes + 1), (market.slices, 1)), market)

    market = build_market(get_scenario(scenario))
    path = draw_path(market, episode_keys(3, np.arange(episodes)), float(market.scenario.side))
    found = {}
    for name in policies:
        policy = ByRegime() if name == "by regime" else get_policy(name)
        outcome = roll(market, policy, path)
        statement = outcome.statement
        near(sum(statement.components), statement.shortfall)
        if compiled:
            ruled = roll_rule(market, RuleLoop(market, rule_of(policy, market, False)), path.keys)
            assert ruled.path_hash == outcome.path_hash
            for ours, theirs in zip(numbers(ruled.statement), numbers(statement), strict=True):
                near(ours, theirs)
        found[name] = {key: float(np.mean(value)) for key, value in statement.components._asdict().items()}
        found[name] |= {"objective": float(np.mean(statement.objective)), "shortfall": float(np.mean(statement.shortfall))}
    return found


def torch_rollout(scenario="regime-day", action_mode="pace"):
    """The rollout in torch is the one in arrays: what is seen, and what it costs."""
    import torch

    from hyperexec_env.envs.task import build_task
    from hyperexec_env.evaluation.rollout import roll
    from hyperexec_env.market.noise import episode_keys
    from hyperexec_env.market.path import draw_path
    from hyperexec_env.training.torch_rollout import lanes_of
    from hyperexec_env.training.torch_rollout import roll as roll_in_torch

    task = build_task(scenario, action_mode=action_mode)
    path = draw_path(task.market, episode_keys(3, np.arange(20)), float(task.scenario.side))
    met, seen = [], []
    weights = 0.3 * np.random.default_rng(0).normal(size=task.observer.known.shape[1] + 100)

    class Linear:
        name = "linear"

        def act(self, situation):
            observation = task.observer.observe(situation)
            met.append(observation)
            base = task.mode.base.take(task.market.cell(situation.k, situation.seen))
            answer = np.tanh(observation.astype(float) @ weights[: observation.shape[1]])
            return task.mode.shares(answer, situation.remaining, base)

    def act(observation):
        seen.append(observation.numpy())
        return torch.tanh(observation.float().double() @ torch.tensor(weights[: observation.shape[1]]))

    statement = roll(task.market, Linear(), path).statement
    outcome = roll_in_torch(task.observer, task.mode, lanes_of(task.observer, task.mode, path, torch.float64), act)
    near(outcome.objective.numpy(), statement.objective)
    near(outcome.shortfall.numpy(), statement.shortfall)
    near(np.stack(seen), np.stack(met), 1e-5)
    return len(met)


def names():
    """Return the names of the features, and whether the space has as many."""
    from hyperexec_env.envs.features import observation_names, observation_space

    assert observation_space().shape == (len(observation_names()),)
    return list(observation_names())


def hashes():
    """Return the hash of each registered scenario."""
    from hyperexec_env.market.scenario import get_scenario, scenario_names

    return {name: get_scenario(name).hash for name in scenario_names()}


def scenario_field(name, value, wrong):
    """Return the hash with a value of a new field, and what its card and its file say; a wrong value is refused."""
    from dataclasses import replace

    from hyperexec_env.baselines.card import card
    from hyperexec_env.market.scenario import Scenario, get_scenario
    from hyperexec_env.market.tables import build_market

    changed = replace(get_scenario("regime-day"), **{name: value})
    assert Scenario.from_toml(changed.to_toml()) == changed
    assert Scenario.from_dict(changed.to_dict()) == changed
    assert getattr(build_market(changed).scenario, name) == value
    refused = ""
    try:
        replace(changed, **{name: wrong})
    except ValueError as error:
        refused = str(error)
    lines = [line for line in str(card(changed)).splitlines() if name in line]
    return {"hash": changed.hash, "toml": changed.to_toml(), "card": lines, "refused": refused}


def certificate(scenario="regime-day"):
    """Return the parts that the certificate judges, and its verdict."""
    from hyperexec_env.evaluation.certificate import COMPONENTS, certify

    found = certify(scenario, trips=1_000)
    return {"parts": list(COMPONENTS), "judged": sorted({row.part for row in found.halvings}), "verdict": found.verdict}


def board(scenario="regime-day"):
    """Return the board of two policies as text and as plain values."""
    from hyperexec_env.baselines.evaluate import evaluate

    found = evaluate(scenario, ["TWAP", "VWAP"], episodes=64, optimum=False, backend="numpy")
    return {"text": str(found), "json": json.loads(found.to_json())}


def optimum(scenario="almgren-chriss"):
    """Return the optimum and the best schedule, bps."""
    from hyperexec_env.baselines.solver import solve

    found = solve(scenario)
    return [found.optimum_bps, found.open_loop_bps]


def estimate(scenario="almgren-chriss"):
    """Return the expected shortfall by source of a schedule, computed from the scenario."""
    from hyperexec_env.execution.estimates import estimate_schedule
    from hyperexec_env.market.scenario import get_scenario
    from hyperexec_env.orders import ParentOrder

    chosen = get_scenario(scenario)
    parent = ParentOrder(symbol="X", side=chosen.side, quantity=int(chosen.quantity), arrival_price=chosen.arrival_price)
    return dict(estimate_schedule(parent, chosen, algorithm="TWAP").components_bps)


def main(text):
    """Run checks, `[[name, arguments], ...]`, and print what they return."""
    import hyperexec_env

    assert Path.cwd() in Path(hyperexec_env.__file__).parents, hyperexec_env.__file__
    print(json.dumps([globals()[name](**arguments) for name, arguments in json.loads(text)]))


if __name__ == "__main__":
    main(sys.argv[1])
