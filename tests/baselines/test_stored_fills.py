"""The stored boards of venues and of the touch: small, and what their policies achieve when they are computed again."""

import json
from pathlib import Path

import pytest

pytest.importorskip("safetensors", reason="needs the extra `train`")

from hyperexec_env.baselines.kinds import evaluate

STORED = Path(__file__).parents[2] / "benchmarks" / "fills"
FOLDERS = sorted(path for path in STORED.iterdir() if path.is_dir())
COMMAND = (
    "hyperexec evaluate --scenario NAME --policy baselines benchmarks/fills/NAME/* --episodes 2000 "
    "--json benchmarks/fills/NAME.json"
)


def board_of(folder):
    return json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))


def policies_of(folder):
    return sorted(str(path.parent) for path in folder.glob("*/policy.json"))


@pytest.mark.fast
def test_the_stored_boards_are_small_and_name_every_stored_policy():
    assert [folder.name for folder in FOLDERS] == ["touch-5min", "venues-day"]
    assert sum(path.stat().st_size for path in STORED.rglob("*") if path.is_file()) < 400_000
    for folder in FOLDERS:
        board = board_of(folder)
        trained = sorted(
            f"{row['policy'].lower()}-{row['training_seed']}" for row in board["rows"] if row["training_seed"] is not None
        )
        assert trained == [Path(path).name for path in policies_of(folder)]
        assert board["scenario"] == folder.name
        assert not board["faults"]
        assert all(row["gap_high"] >= 0.0 for row in board["rows"])  # nothing beats the optimum


@pytest.mark.slow  # solves venues-day
@pytest.mark.renewed_by(COMMAND)
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_stored_board_is_computed_again(folder):
    stored = board_of(folder)
    again = evaluate(
        folder.name, ["baselines", *policies_of(folder)], episodes=stored["episodes"], seed=stored["seed"]
    ).to_dict()
    assert again["scenario_hash"] == stored["scenario_hash"]
    assert [row["policy"] for row in again["rows"]] == [row["policy"] for row in stored["rows"]]
    for found, row in zip(again["rows"], stored["rows"], strict=True):
        for name, value in row.items():  # other processors round otherwise
            assert found[name] == (
                value if isinstance(value, str) or value is None else pytest.approx(value, rel=1e-6, abs=1e-9)
            )
