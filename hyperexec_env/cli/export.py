"""Export your own model of stable-baselines3 or sb3-contrib as a policy without pickles: safetensors, JSON and numpy alone.

The model must have been trained on HyperExec-v0 with an `MlpPolicy`, on the observations of the environment itself (not
normalised by a wrapper). This is the only command that loads pickles, and only with --trust-pickle.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report
from hyperexec_env.envs.action import ACTION_MODES
from hyperexec_env.evaluation.network import policy_files
from hyperexec_env.training.export import ALGORITHMS, DISCRETE, export

ORDER = 7


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec export``."""

    model: str = option(meaning="zip file written by the model's `save`", positional=True, file="input")
    algorithm: str = option(meaning="algorithm of the model", choices=tuple(ALGORITHMS))
    out: str = option(meaning="folder of the policy", file="folder")
    action_mode: str | None = option(
        None, f"action mode of the training (default: discrete for {', '.join(DISCRETE)}; else pace)", choices=ACTION_MODES
    )
    observe_regime: bool = option(True, "whether the model observed the regime in training (the file does not record it)")
    trust_pickle: bool = option(False, "load the file although its pickles can run any code: for files that you made yourself")
    overwrite: bool = option(False, "delete the policy and the checkpoints of another run in the folder")

    @property
    def outputs(self) -> list[Path]:
        """The files of the policy."""
        return policy_files(self.out)


def main(args: Args) -> Report:
    """Export the policy, and return a report with the command line that evaluates it."""
    policy = export(**asdict(args))
    text = (
        f"exported {policy.name}, {len(policy.layers)} layers, to {args.out}\n"
        f"evaluate it: hyperexec evaluate --policy baselines {args.out}"
    )
    return Report(text, {"policy": policy.name, "folder": args.out, "layers": len(policy.layers), **policy.about})
