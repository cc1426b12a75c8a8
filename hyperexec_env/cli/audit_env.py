"""Audit an environment: look for the known artefacts of simulated execution, with the evidence.

ENV is MODULE:NAME: an adapter, a class or a function that makes an environment, or the id of a registered environment. The
module is imported, which runs its code: audit only code that you would run. The checks, and an adapter in 20 lines, are in
docs/audit.md. The exit code is 1 if a check failed; a check that needs a function which the adapter lacks is not run.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.audit.adapter import read_options
from hyperexec_env.audit.environment import audit_env
from hyperexec_env.audit.findings import Audit

ORDER = 11.1


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec audit env``."""

    env: str = option("hyperexec_env:HyperExec-v0", "MODULE:NAME of an adapter or an environment", positional=True)
    set: tuple[str, ...] = option((), "NAME=VALUE, an argument of the environment (a value is JSON, or else text)")
    episodes: int = option(100, "episodes of each statistical comparison")
    seed: int = option(0, "first seed of the episodes")


def main(args: Args) -> Audit:
    """Return the audit."""
    return audit_env(args.env, options=read_options(args.set), episodes=args.episodes, seed=args.seed)
