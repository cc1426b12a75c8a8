"""Make one file from a run, which another machine computes again byte for byte.

RUN is the folder of `hyperexec leaderboard`; or submissions and folders of trained policies, which are judged beside the
classical policies on one board for each scenario. The file holds scenarios, policies, seeds, versions, hashes, the boards and
the raw result of every episode. `hyperexec verify` computes it again; `hyperexec site` makes web pages of a folder of bundles.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from hyperexec_env.arguments import option
from hyperexec_env.backends.compiled import BACKENDS
from hyperexec_env.cli._command import Report
from hyperexec_env.files import write_atomically
from hyperexec_env.sharing.runs import make_bundle

ORDER = 7.2


@dataclass(frozen=True)
class Args:
    """Options of ``hyperexec bundle``."""

    run: tuple[str, ...] = option(
        meaning="folder of a leaderboard; or submissions, folders of policies", positional=True, file="policy"
    )
    out: str = option(meaning="file to write", file="output")
    scenario: tuple[str, ...] = option(
        (), "names of scenarios or baskets, or paths of .toml files (default: those of the run)", file="scenario"
    )
    policy: tuple[str, ...] = option(("all",), "policies of the package beside those of the run: names and groups, or `none`")
    episodes: int | None = option(None, "number of episodes (default: that of the leaderboard, or 10000)")
    seed: int | None = option(None, "seed of the board's episodes (default: that of the leaderboard, or 0)")
    optimum: bool = option(True, "solve for the optimum, and show each policy's gap to it")
    backend: str = option("numpy", "backend of rule policies; results of numpy do not depend on a compiler", choices=BACKENDS)
    trust_code: bool = option(False, "run policies that are Python code, which can read your files and use your network")


def main(args: Args) -> Report:
    """Write the bundle, and return a report with its hash; the exit code is 1 if a policy failed."""
    content, boards = make_bundle(
        args.run,
        args.scenario,
        policies=() if args.policy == ("none",) else args.policy,
        episodes=args.episodes,
        seed=args.seed,
        optimum=args.optimum,
        backend=args.backend,
        trust_code=args.trust_code,
    )
    write_atomically(args.out, content)
    digest = hashlib.sha256(content).hexdigest()
    text = "\n\n".join(map(str, boards)) + f"\n\nsha256 {digest} ({len(content):,} bytes)"
    plain = {"file": args.out, "sha256": digest, "bytes": len(content), "boards": [board.to_dict() for board in boards]}
    return Report(text, plain, max(board.exit_code for board in boards))
