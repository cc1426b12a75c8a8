"""The submissions and the bundle that the repository stores: intact, small, and what they say they achieve."""

import importlib
import json
from pathlib import Path

import pytest

pytest.importorskip("safetensors", reason="needs the extra `train`")

from hyperexec_env.evaluation.submission import load_submission
from hyperexec_env.sharing.bundle import read_bundle
from hyperexec_env.sharing.runs import make_bundle
from hyperexec_env.sharing.verification import verify_file

pytestmark = pytest.mark.usefixtures("without_numba")
ROOT = Path(__file__).parent.parent.parent
STORED = ROOT / "benchmarks" / "boards"
BUNDLE = STORED / "regime-day-ars.bundle.zip"
SUBMISSIONS = sorted(STORED.glob("*/*.submission.zip"))


@pytest.fixture
def leaderboard(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    return importlib.import_module("leaderboard")


@pytest.mark.fast
def test_the_stored_files_are_smaller_than_three_megabytes():
    assert sum(path.stat().st_size for path in STORED.rglob("*") if path.is_file()) < 3 * 2**20
    assert max(path.stat().st_size for path in SUBMISSIONS) < 45_000  # one method may not crowd out the others


def test_every_stored_submission_is_intact_and_names_its_scenario_and_seed():
    assert SUBMISSIONS
    seeds = {}
    for path in SUBMISSIONS:
        submission = load_submission(path)
        card = submission.card
        assert submission.kind in ("network", "onnx"), path  # nothing that runs code
        assert card.training_scenarios == (path.parent.name,), path
        assert path.name == f"{card.name.replace(' ', '-')}-{card.training_seed}.submission.zip"
        seeds.setdefault((path.parent.name, card.name), set()).add(card.training_seed)
    assert set(map(frozenset, seeds.values())) == {frozenset({0, 1, 2})}


@pytest.mark.renewed_by(
    "hyperexec bundle benchmarks/boards/regime-day/ARS-*.submission.zip --scenario regime-day --policy TWAP VWAP --episodes 64 "
    "--out benchmarks/boards/regime-day-ars.bundle.zip"
)
def test_the_stored_bundle_is_computed_again():
    found = verify_file(BUNDLE)
    assert found.verdict in ("equal", "last bits"), str(found)  # other processors round otherwise
    assert {row.policy for row in read_bundle(BUNDLE).boards[0].rows} == {"ARS", "TWAP", "VWAP", "optimum"}


@pytest.mark.slow  # solves flow-signal; the build of the documentation writes all of it
def test_the_leaderboard_of_the_documentation_is_verified(leaderboard, monkeypatch, tmp_path):
    assert [folder.name for folder in leaderboard.scenarios()] == ["basket-pairs", "flow-signal", "regime-day", "spy"]
    monkeypatch.setattr(leaderboard, "scenarios", lambda: [STORED / "flow-signal"])
    monkeypatch.setattr(leaderboard, "submissions", lambda folder: sorted(folder.glob("ARS-*.submission.zip"))[:1])
    site = leaderboard.write(tmp_path / "site", episodes=20)
    assert (site.scenarios, site.unverified) == (1, 0)
    assert "ARS" in (tmp_path / "site" / "data" / "rows.csv").read_text(encoding="utf-8")


@pytest.mark.slow  # every stored policy on a thousand episodes, computed twice
@pytest.mark.parametrize("folder", sorted(path for path in STORED.iterdir() if path.is_dir()), ids=lambda path: path.name)
def test_the_boards_of_the_stored_submissions_are_computed_again(folder, leaderboard, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra `export`")
    bundle = tmp_path / "board.zip"
    scenario = leaderboard.FILES.get(folder.name, folder.name)
    content, (board,) = make_bundle(leaderboard.submissions(folder), scenario, episodes=1_000)
    bundle.write_bytes(content)
    assert verify_file(bundle).verdict == "equal"
    gaps = {row.label: row.gap_bps for row in board.rows if row.training_seed is not None}
    assert all(gap > -0.02 for gap in gaps.values()), json.dumps(gaps)  # no policy beats the optimum
    best = min(gaps, key=gaps.get)
    assert best.startswith("Pathwise"), json.dumps(gaps)
