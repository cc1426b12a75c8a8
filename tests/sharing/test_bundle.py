"""Bundles: the same run has the same bytes, another process computes every byte again, and no tampering passes."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env import cli
from hyperexec_env.evaluation.archive import pack, to_json, unpack
from hyperexec_env.market.scenario import get_scenario, scenario_names
from hyperexec_env.sharing.bundle import read_bundle
from hyperexec_env.sharing.runs import make_bundle
from hyperexec_env.sharing.submit import pack_folder
from hyperexec_env.sharing.verification import verify_file
from hyperexec_env.sharing.versions import different_versions

pytestmark = pytest.mark.usefixtures("without_numba")

TRAINED = Path(__file__).parents[1] / "data" / "ppo-regime-day"
SCENARIO = "almgren-chriss"
OPTIONS = {"policies": ["TWAP", "VWAP"], "episodes": 64}
CARD = 'name = "Even"\nauthors = ["A. Trader"]\nmethod = "equal slices"\nlicence = "MIT"\n'
CODE = "def decide(p, s): return s.remaining / (s.market.slices - s.k)\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A bundle of two policies of the package and a trained one."""
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    path = tmp_path_factory.mktemp("made") / "made.zip"
    path.write_bytes(make_bundle(TRAINED, SCENARIO, **OPTIONS)[0])
    return path


@pytest.fixture
def code(tmp_path):
    """A submission that is Python code."""
    (tmp_path / "even").mkdir()
    (tmp_path / "even" / "card.toml").write_text(CARD)
    (tmp_path / "even" / "policy.py").write_text(CODE)
    return pack_folder(tmp_path / "even", tmp_path / "even.submission.zip").file


def changed(made, target, change):
    """A bundle with other files or another description, and the hashes of what it then holds."""
    archive = unpack(made)
    about, files = json.loads(json.dumps(archive.about)), dict(archive.files)
    change(about, files)
    target.write_bytes(pack("bundle", about, files))
    return target


def test_the_bundle_of_the_same_run_has_equal_bytes(made):
    assert make_bundle(TRAINED, SCENARIO, **OPTIONS)[0] == made.read_bytes()


def test_another_process_with_another_cache_computes_every_byte_again(made, tmp_path):
    words = [sys.executable, "-m", "hyperexec_env.cli", "verify", str(made), "--json", "-"]
    environment = {**os.environ, "HYPEREXEC_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    plain = json.loads(done.stdout)
    assert (plain["verdict"], plain["versions"]) == ("equal", [])
    assert [board["verdict"] for board in plain["boards"]] == ["equal"]


def test_the_bundle_holds_the_result_of_every_episode(made):
    (board,) = read_bundle(made).boards
    assert {row.label for row in board.rows} == {"TWAP", "VWAP", "PPO (seed 0)", "optimum"}
    for row, outcome in zip(board.rows, board.outcomes, strict=True):
        assert outcome.statement.objective.shape == (64,)
        assert outcome.statement.objective.mean() == pytest.approx(row.objective_bps)


# --- tampering, with hashes that fit


def other(value):
    """Another value of the same type."""
    return value + 1.0 if isinstance(value, float) else value[:-1] + ("0" if value[-1] != "0" else "1")


def edit(name, change):
    """Change one JSON file of the first board."""

    def apply(about, files):
        plain = json.loads(files[f"boards/00/{name}"])
        change(plain)
        content = json.dumps(plain, indent=2) + "\n"
        files[f"boards/00/{name}"] = content.encode() if name == "board.json" else to_json(plain)

    return apply


def a_number(name, place, value, board=False):
    """Change one number of the raw results of a row, and the board with it."""

    def apply(about, files):
        plain = json.loads(files["boards/00/board.json"])
        row = next(number for number, each in enumerate(plain["rows"]) if each["policy"] == name)
        numbers = np.frombuffer(files[f"boards/00/results/{row:03d}.bin"], "<f8").copy()
        numbers[place] = value(numbers[place])
        files[f"boards/00/results/{row:03d}.bin"] = numbers.tobytes()
        if board:
            plain["rows"][row]["objective_bps"] = float(numbers[64:128].mean())
            files["boards/00/board.json"] = (json.dumps(plain, indent=2) + "\n").encode()

    return apply


def row(index=0, **values):
    return edit("board.json", lambda plain: plain["rows"][index].update(values))


def set_about(**values):
    return lambda about, files: about["boards"][0].update(values)


def everywhere(about, files, **values):
    """Change the description of the first board, and the board."""
    set_about(**values)(about, files)
    edit("board.json", lambda plain: plain.update(values))(about, files)


def weights(about, files):
    folder = "policies/00"
    described = json.loads(files[f"{folder}/policy.json"])
    content = bytearray(files[f"{folder}/policy.safetensors"])
    content[-2] ^= 1
    described["sha256"] = hashlib.sha256(content).hexdigest()
    files |= {f"{folder}/policy.safetensors": bytes(content), f"{folder}/policy.json": json.dumps(described).encode()}


DIFFERENT = {
    "a bound": row(objective_low=0.0),
    "a name": lambda about, files: about["boards"][0].update(entrants=["TWAP", "POV", "policies/00"]),
    "a rank": row(1, rank=1, win_rate=0.9),
    "the seed": lambda about, files: everywhere(about, files, seed=1),
    "an episode and its mean": a_number("VWAP", 70, lambda x: x - 5.0, board=True),
    "another number of an episode": a_number("VWAP", 5, lambda x: x - 5.0),
    "the regime of an episode": a_number("VWAP", 831, lambda x: np.int64(x.view(np.int64) + 1).view(float)),
    "a warning": edit("board.json", lambda plain: plain["warnings"].append("all is well")),
    "spaces": lambda about, files: files.update({"boards/00/board.json": files["boards/00/board.json"] + b" "}),
    "the weights": weights,
    "no optimum": set_about(optimum=False),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_a_bundle_that_states_other_results_is_not_verified(kind, made, tmp_path, capsys):
    path = changed(made, tmp_path / "x.zip", DIFFERENT[kind])
    assert cli.main(["verify", str(path)]) == 1
    report = capsys.readouterr().out
    assert "NOT VERIFIED" in report
    assert "DIFFERENT" in report


def test_a_difference_of_the_last_bit_is_said_to_be_one(made, tmp_path, capsys):
    path = changed(made, tmp_path / "x.zip", a_number("VWAP", 5, lambda x: np.nextafter(x, np.inf)))
    assert cli.main(["verify", str(path)]) == 1
    report = capsys.readouterr().out
    assert "only last bits differ" in report
    assert "1 of 838 numbers differ, by up to" in report


def results(change):
    return edit("results.json", change)


def scenario(old, new):
    name = "boards/00/scenario.toml"
    return lambda about, files: files.update({name: files[name].replace(old, new, 1)})


DAMAGED = {
    "NaN": (a_number("VWAP", 5, lambda x: np.nan), "must be 64 finite numbers"),
    "a mean": (row(objective_bps=1.0), "the mean objective of"),
    "an episode": (a_number("VWAP", 70, lambda x: x - 5.0), "the mean objective of 'VWAP'"),
    "a field of a row": (row(fame=1), "a Row must have the fields"),
    "a type": (row(rank="1"), "rank must be of type int"),
    "control characters": (row(policy="\x1b[31m"), "policy must be printable text"),
    "no row": (edit("board.json", lambda plain: plain["rows"].pop()), "results.json must list the policies"),
    "too many episodes": (
        lambda about, files: everywhere(about, files, episodes=10**9),
        "must be 1,000,000,000 finite numbers",
    ),
    "episodes of the manifest alone": (set_about(episodes=65), "episodes in board.json must be 65, got 64"),
    "a path": (set_about(entrants=["TWAP", "/etc"]), "unknown policy '/etc'"),
    "a group": (set_about(entrants=["all"]), "unknown policy 'all'"),
    "another backend": (set_about(backend="gpu"), "backend must be one of numba, numpy"),
    "a field of the manifest": (set_about(fame=1), "board 0 must have the fields"),
    "another scenario": (scenario(b"risk_aversion = 1e-06", b"risk_aversion = 2e-06"), "but the manifest names"),
    "a base": (scenario(b"name =", b'base = "regime-day"\nname ='), "must be complete, got one with a base"),
    "a comment": (scenario(b"name of the scenario", b"comment"), "is not the text that the program writes"),
    "no scenario": (lambda about, files: files.pop("boards/00/scenario.toml"), "holds no boards/00/scenario.toml"),
    "a stray file": (lambda about, files: files.update({"boards/07/x": b""}), "a file of no board and no policy"),
    "a stray result": (
        lambda about, files: files.update({"boards/00/results/9.bin": b""}),
        "one file of results for each row",
    ),
    "a shape": (results(lambda plain: plain[0]["arrays"][0].__setitem__(2, [10**30])), "arrays must take at most"),
    "a negative shape": (results(lambda plain: plain[0]["arrays"][0].__setitem__(2, [-1])), "bad shape"),
    "an object array": (results(lambda plain: plain[0]["arrays"][0].__setitem__(1, "|O")), "unknown type"),
    "no arrays": (results(lambda plain: plain[0].update(arrays=None)), "boards/00: "),
    "a policy under a name of the package": (
        lambda about, files: files.update(
            {"policies/00/card.json": to_json({**json.loads(files["policies/00/card.json"]), "name": "optimum"})}
        ),
        "must not be that of a policy of this package",
    ),
    "no boards": (lambda about, files: about.update(boards=[]), "may hold 1 to 99 boards, got 0"),
    "versions": (lambda about, files: about["versions"].update(numpy=7), "the version of numpy must be printable text"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_bundle_that_contradicts_itself_is_one_clear_error(kind, made, tmp_path, capsys):
    change, message = DAMAGED[kind]
    path = changed(made, tmp_path / "x.zip", change)
    assert cli.main(["verify", str(path)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert str(path) in err


def test_other_versions_are_named(made, tmp_path, capsys):
    path = changed(made, tmp_path / "x.zip", lambda about, files: about["versions"].update(numpy="1.0"))
    assert cli.main(["verify", str(path)]) == 0
    assert "version of numpy: 1.0 made the file, " in capsys.readouterr().out
    assert different_versions({"a": "1"}, {"a": "1", "b": "2"}) == ["b: none made the file, 2 is installed"]


# --- code


def test_code_in_a_bundle_runs_only_if_it_may(code, tmp_path, capsys):
    words = ["bundle", code, "--scenario", SCENARIO, "--policy", "TWAP", "--episodes", "4", "--no-optimum", "--out"]
    assert cli.main([*words, str(tmp_path / "x.zip")]) == 2
    assert "--trust-code" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()
    assert cli.main([*words, str(tmp_path / "x.zip"), "--trust-code"]) == 0
    capsys.readouterr()
    assert cli.main(["verify", str(tmp_path / "x.zip")]) == 2
    assert "is Python code, and to verify the bundle runs it" in capsys.readouterr().err
    assert cli.main(["verify", str(tmp_path / "x.zip"), "--trust-code"]) == 0


def test_a_submission_is_verified_without_running_it(code, capsys):
    assert cli.main(["verify", code]) == 0
    assert "Even by A. Trader, code; not run" in capsys.readouterr().out
    assert verify_file(code).verdict == "intact"


# --- runs


def test_a_leaderboard_is_bundled_as_it_was_made_and_a_forged_one_is_not(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    monkeypatch.setattr("hyperexec_env.training.leaderboard.announce", lambda *args: None)
    words = [
        "leaderboard",
        "--scenario",
        SCENARIO,
        "--training-seeds",
        "0",
        "--episodes",
        "20",
        "--no-optimum",
        "--no-progress",
    ]
    run = tmp_path / "run"
    assert cli.main([*words, "--out", str(run)]) == 0
    assert cli.main(["bundle", str(run), "--out", str(tmp_path / "x.zip")]) == 0
    (board,) = read_bundle(tmp_path / "x.zip").boards
    written = json.loads((run / f"{SCENARIO}.json").read_text())
    assert [row.policy for row in board.rows] == [row["policy"] for row in written["rows"]]
    assert board.plan.optimum is False
    written["rows"][0]["objective_bps"] -= 1.0
    (run / f"{SCENARIO}.json").write_text(json.dumps(written))
    capsys.readouterr()
    assert cli.main(["bundle", str(run), "--out", str(tmp_path / "y.zip")]) == 2
    assert "the board or the policy was changed" in capsys.readouterr().err
    assert cli.main(["bundle", str(run), "--scenario", "regime-day", "--out", str(tmp_path / "y.zip")]) == 2
    assert "is a leaderboard: it is bundled alone" in capsys.readouterr().err


def test_a_run_that_is_none_is_one_clear_error(tmp_path, capsys):
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
    for words, message in (
        ([str(tmp_path / "none")], "there is no run at"),
        ([str(tmp_path)], "must hold one policy"),
        ([str(tmp_path / "a.zip"), "--scenario", SCENARIO], "is not a submission"),
    ):
        assert cli.main(["bundle", *words, "--out", str(tmp_path / "x.zip")]) == 2
        assert message in capsys.readouterr().err


def test_the_scenario_of_a_training_is_that_of_its_folder(tmp_path):
    pytest.importorskip("safetensors", reason="needs the extra `train`")
    shutil.copytree(TRAINED, tmp_path / "run")
    (tmp_path / "run" / "scenario.toml").write_text(get_scenario(SCENARIO).to_toml())
    content, _ = make_bundle(tmp_path / "run", policies="TWAP", episodes=4, optimum=False)
    (tmp_path / "x.zip").write_bytes(content)
    assert read_bundle(tmp_path / "x.zip").plans[0].scenario == get_scenario(SCENARIO)
    os.remove(tmp_path / "run" / "scenario.toml")
    with pytest.raises(ValueError, match="scenario must be given"):
        make_bundle(tmp_path / "run")


def test_every_registered_scenario_survives_a_bundle():
    for name in (*scenario_names(), *scenario_names(archived=True)):
        given = get_scenario(name)
        read = type(given).from_toml(given.to_toml())
        assert (read, read.hash, read.to_toml()) == (given, given.hash, given.to_toml())
