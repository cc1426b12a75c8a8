"""Verify a bundle or a submission: its hashes, its versions, and every number by a second computation.

Exit code 0: every byte is equal. Exit code 1: a report says what differs and by how much, and whether only last bits differ,
as they do with another numpy or processor. Exit code 2: the file is damaged, was changed or is hostile, or holds Python code
that may not run. A bundle is not signed: compare its sha256 with the published one.
"""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.sharing.verification import FileVerdict, verify_file

ORDER = 7.3


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec verify``."""

    file: str = option(meaning="bundle or submission", positional=True, file="input")
    trust_code: bool = option(False, "run policies that are Python code, which can read your files and use your network")


def main(args: Args) -> FileVerdict:
    """Return the verdict."""
    return verify_file(args.file, trust_code=args.trust_code)
