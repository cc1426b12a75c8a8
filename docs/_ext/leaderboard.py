"""Make the leaderboard of the site from the submissions in `benchmarks/boards`: bundles, their verification, and the pages.

``python docs/_ext/leaderboard.py build/docs/leaderboard`` makes it without the rest of the documentation.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from hyperexec_env.sharing.runs import make_bundle
from hyperexec_env.sharing.site import Site, make_site
from hyperexec_env.sharing.site_content import VERDICT
from hyperexec_env.sharing.verification import verify_file

ROOT: Final = Path(__file__).parent.parent.parent
SUBMISSIONS: Final = ROOT / "benchmarks" / "boards"
"""One folder for each scenario, with submissions (`*.submission.zip`)."""
FILES: Final = {"spy": ROOT / "benchmarks" / "spy.toml"}
"""Scenarios that are files, by folder."""
EPISODES: Final = 2_000
NAME, LICENCE, DATE = "HyperExec leaderboard", "CC-BY-4.0", "2026-11-30"


def setup(app: Any) -> dict[str, Any]:
    """Connect the leaderboard to the build of the pages."""
    app.connect("build-finished", _finished)
    return {"parallel_read_safe": True}


def _finished(app: Any, error: Any) -> None:
    if error is None and app.builder.format == "html":
        write(Path(app.outdir) / "leaderboard")


def scenarios() -> list[Path]:
    """Return the folders of submissions."""
    return sorted(path for path in SUBMISSIONS.iterdir() if path.is_dir())


def submissions(folder: Path) -> list[Path]:
    """Return the submissions of a folder."""
    return sorted(folder.glob("*.submission.zip"))


def write(out: Path, episodes: int = EPISODES) -> Site:
    """Write the leaderboard to a folder.

    Raises:
        ValueError: A bundle is not what its policies achieve in a second computation.
    """
    with tempfile.TemporaryDirectory() as place:
        for folder in scenarios():
            bundle = Path(place) / f"{folder.name}.zip"
            bundle.write_bytes(make_bundle(submissions(folder), FILES.get(folder.name, folder.name), episodes=episodes)[0])
            verdict = verify_file(bundle)
            if verdict.exit_code:
                raise ValueError(str(verdict))
            Path(f"{bundle}{VERDICT}").write_text(json.dumps(verdict.to_dict()), encoding="utf-8")
        return make_site(place, out, name=NAME, licence=LICENCE, date=DATE)


if __name__ == "__main__":
    print(write(Path(sys.argv[1])))
