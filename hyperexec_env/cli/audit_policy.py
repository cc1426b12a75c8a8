"""Audit a policy: its trades depend on nothing that they may not depend on, and it does not lose to policies that must lose.

POLICY is a name, the folder of a trained policy (policy.json and policy.safetensors), or MODULE:NAME of an object with `name`
and `act`, whose module is imported, which runs its code. Files that may hold pickles are not opened. docs/audit.md explains
the checks. The exit code is 1 if a check failed.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.audit.findings import Audit
from hyperexec_env.audit.policy import audit_policy

ORDER = 11.2


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec audit policy``."""

    policy: str = option(meaning="name, folder of a trained policy, or MODULE:NAME", positional=True, file="policy")
    scenario: str = option("", "name of a scenario or path of a .toml file (default: that of the training)", file="scenario")
    episodes: int = option(2_000, "episodes of the comparison with TWAP and the sanity policies")
    seed: int = option(0, "seed of the episodes")


def main(args: Args) -> Audit:
    """Return the audit."""
    return audit_policy(args.policy, scenario=args.scenario or None, episodes=args.episodes, seed=args.seed)
