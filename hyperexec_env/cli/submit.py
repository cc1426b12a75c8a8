"""Pack a policy with its card into one file for the boards of others.

FOLDER holds one policy, which is a trained network (policy.json and policy.safetensors), an ONNX graph (policy.onnx) or Python
code (policy.py), and a card, card.toml. Options replace what the card says. The policy trades three episodes before it is
packed; this runs the code of policy.py. Equal folders yield equal files. docs/howto/submit.md describes the card.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hyperexec_env.arguments import option
from hyperexec_env.cli._command import Report
from hyperexec_env.evaluation.submission import CARD, KINDS
from hyperexec_env.sharing.submit import pack_folder

ORDER = 7.1


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec submit``."""

    folder: str = option(meaning="folder of the policy and its card", positional=True, file="policy")
    out: str = option("", "file to write (default: NAME.submission.zip in this folder)", file="output")
    name: str = option("", "name on the board")
    authors: tuple[str, ...] = option((), "authors")
    method: str = option("", "how the policy was made, in a sentence")
    licence: str = option("", "licence of the submission, an SPDX identifier if there is one")

    @property
    def inputs(self) -> list[Path]:
        """The files of the policy and its card."""
        return [Path(self.folder) / name for name in (CARD, *(name for names in KINDS.values() for name in names))]


def main(args: Args) -> Report:
    """Pack the policy, and return a report with its hash."""
    given = {name: value for name in ("name", "authors", "method", "licence") if (value := getattr(args, name))}
    packed = pack_folder(args.folder, args.out, given)
    return Report(packed.text, packed.to_dict())
