"""Write a trained policy to one ONNX file, for any runtime: weights, activations, masks and the head of the action inside.

The input `observation` of the graph is that of the environment, float32 of shape (n, features); at the touch a second input,
`mask`, has the possible actions. The output `action` is what the environment takes. Before the file is written, onnxruntime
computes 1,000 actions, which must equal those of the policy. Metadata of the file: observation, action mode and training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperexec_env.arguments import option
from hyperexec_env.baselines.onnx_file import NETWORKS, save_onnx
from hyperexec_env.cli._command import Report

ORDER = 7.05


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec onnx``."""

    policy: str = option(meaning=f"folder of the policy, or {' or '.join(NETWORKS)}", positional=True, file="policy")
    out: str = option(meaning="file to write, such as policy.onnx", file="output")
    scenario: str = option("", "market of a policy for many markets: its tables become part of the file", file="scenario")


def main(args: Args) -> Report:
    """Write the file, and return a report with what the graph takes and returns."""
    policy = save_onnx(args.policy, args.out, args.scenario or None)
    size, features = Path(args.out).stat().st_size, len(policy.names)
    text = f"{policy.name}: {features} features, action mode {policy.action_mode}, {size:,} bytes"
    plain = {"policy": policy.name, "file": args.out, "bytes": size, "action_mode": policy.action_mode, "digest": policy.digest}
    return Report(text, {**plain, "observation_names": list(policy.names)})
