"""Write tests/golden_objectives.json: the solver's objectives and the simulated objective of every policy in every scenario.

Run this script after a change that is meant to change results, and commit the difference:

    python benchmarks/golden_objectives.py
"""

from __future__ import annotations

import json
from pathlib import Path

from hyperexec_env.baselines.policies import BASELINES, SANITY
from hyperexec_env.baselines.solver import solve
from hyperexec_env.evaluation.rollout import rollouts
from hyperexec_env.files import write_atomically
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.market.tables import build_market

TARGET = Path(__file__).parent.parent / "tests" / "golden_objectives.json"
EPISODES, SEED = 512, 0


def golden(name: str) -> dict[str, object]:
    """Return the computed objectives of a scenario and the mean simulated objective of each policy, bps."""
    scenario = get_scenario(name)
    solution = solve(scenario)
    policies = [make() for make in {**BASELINES, **SANITY}.values()]
    (outcomes,) = rollouts(build_market(scenario), policies, [False] * len(policies), SEED, EPISODES)
    return {
        "scenario_hash": scenario.hash,
        "computed": {
            key: getattr(solution, key)
            for key in ("optimum_bps", "stationary_bps", "bound_bps", "open_loop_bps", "regime_blind_bps", "twap_bps")
        },
        "simulated": {
            policy.name: float(outcome.statement.objective.mean()) for policy, outcome in zip(policies, outcomes, strict=True)
        },
    }


if __name__ == "__main__":
    names = (*scenario_names(), *scenario_names(archived=True))
    write_atomically(TARGET, json.dumps({name: golden(name) for name in names}, indent=1) + "\n")
    print(f"wrote {TARGET.name}")
