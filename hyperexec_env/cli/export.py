"""Export a stable-baselines3 model of your own as a policy without pickles: safetensors and JSON, which numpy alone runs.

The model must have been trained on HyperExec-v0 with an `MlpPolicy`, on the observations as the environment gives them (not
normalised by a wrapper). Pickles are loaded nowhere else, and here only when the user says that the file can be trusted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report
from hyperexec_env.envs.action import ACTION_MODES
from hyperexec_env.training.export import ALGORITHMS, export

ORDER = 7


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec export``."""

    model: str = option(meaning="zip file that the model's `save` wrote", positional=True, file="input")
    algorithm: str = option(meaning="algorithm of the model", choices=ALGORITHMS)
    out: str = option(meaning="folder to write the policy into")
    action_mode: str | None = option(None, "action mode it learned (default: pace; of dqn: discrete)", choices=ACTION_MODES)
    observe_regime: bool = option(True, "whether it was told the regime (the file does not say)")
    trust_pickle: bool = option(False, "load the file although its pickles can run any code: for files that you made yourself")


def main(args: Args) -> Report:
    """Export, and say how to judge the policy."""
    policy = export(**asdict(args))
    text = (
        f"exported {policy.name}, {len(policy.layers)} layers, to {args.out}\n"
        f"judge it: hyperexec evaluate --policy baselines {args.out}"
    )
    return Report(text, {"policy": policy.name, "folder": args.out, "layers": len(policy.layers), **policy.about})
