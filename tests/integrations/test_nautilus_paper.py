"""A paper session in real time: quotes are played, the sandbox of nautilus_trader fills, and the journal replays."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("nautilus_trader", reason="needs the extra `nautilus`, in an environment of its own (docs/nautilus.md)")

from hyperexec_env.execution.journal import replay_journal

ROOT = Path(__file__).parent.parent.parent


def test_a_paper_session_replays_to_the_same_children(tmp_path):
    words = [sys.executable, str(ROOT / "examples" / "nautilus_paper.py"), "6"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = "children; the journal replays to the same: True"  # nautilus_trader may log something behind it
    assert [line for line in done.stdout.splitlines() if line.endswith(said)], done.stdout
    replayed = replay_journal(tmp_path / "session.jsonl")
    assert replayed.children
    (report,) = replayed.agent.get_reports()
    assert report.filled == sum(child.filled for child in replayed.children.values()) > 0
