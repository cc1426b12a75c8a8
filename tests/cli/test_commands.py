"""The command as its user types it: results, one clear line for a mistake, nothing half-written."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from hyperexec_env import cli
from hyperexec_env.baselines import evaluate
from hyperexec_env.baselines.policies import get_policy
from hyperexec_env.baselines.solver import solve as get_solution
from hyperexec_env.evaluation import rollout
from hyperexec_env.evaluation.board import Entrant
from hyperexec_env.evaluation.optimum import Optimum
from hyperexec_env.market.basket_scenario import basket_names
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.touch_scenario import touch_names
from hyperexec_env.market.venue_scenario import venue_names

pytestmark = pytest.mark.usefixtures("without_numba")


def _run(capsys, *words):
    """Run a command in this process; return its exit code, standard output and standard error."""
    try:
        code = cli.main(words)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def _refused(capsys, *words):
    """Run a command that must fail as bad input does; return its one line."""
    code, out, err = _run(capsys, *words)
    assert code == 2, (out, err)
    assert out == ""
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def test_evaluate_prints_a_table_and_writes_json(capsys, tmp_path):
    target = tmp_path / "board.json"
    words = ("--policy", "TWAP", "pov", "--episodes", "64", "--seed", "3", "--no-optimum", "--json", str(target))
    code, out, _ = _run(capsys, "evaluate", *words)
    assert code == 0
    assert "POV" in out
    assert "64 episodes of seed 3" in out
    plain = json.loads(target.read_text())
    assert [row["policy"] for row in plain["rows"]] == ["POV", "TWAP"]
    assert plain["seed"] == 3


def test_json_to_standard_output_is_nothing_but_json(capsys):
    _, out, _ = _run(capsys, "evaluate", "--policy", "TWAP", "--episodes", "10", "--no-optimum", "--json")
    assert json.loads(out)["episodes"] == 10


def test_the_same_command_gives_the_same_numbers(capsys):
    words = ("evaluate", "--policy", "all", "--episodes", "50", "--no-optimum", "--json")
    assert _run(capsys, *words)[1] == _run(capsys, *words)[1]


def test_evaluate_shows_the_gaps_to_the_optimum_unless_it_is_told_not_to(capsys, monkeypatch):
    monkeypatch.setattr(evaluate, "known_optimum", lambda scenario: Optimum(optimum_bps=20.0, policy=get_policy("AC")))
    words = ("evaluate", "--policy", "TWAP", "POV", "--episodes", "50")
    assert "gap [95 %]" in _run(capsys, *words)[1]
    assert "gap [95 %]" not in _run(capsys, *words, "--no-optimum")[1]
    plain = json.loads(_run(capsys, *words, "--json")[1])
    assert plain["optimum_bps"] == 20.0
    assert [row["policy"] for row in plain["rows"] if row["optimum"]] == ["optimum"]


def test_the_optimum_is_a_policy_like_any_other(capsys):
    words = ("evaluate", "--scenario", "almgren-chriss", "--episodes", "50", "--json", "--policy")
    for policies, options, names in (
        (("optimum",), (), ["optimum"]),
        (("VWAP", "Optimum"), (), ["optimum", "VWAP"]),
        (("VWAP", "optimum"), ("--no-optimum",), ["optimum", "VWAP"]),
    ):
        plain = json.loads(_run(capsys, *words, *policies, *options)[1])
        assert [row["policy"] for row in plain["rows"]] == names
        assert plain["rows"][0]["objective_bps"] == pytest.approx(get_solution("almgren-chriss").optimum_bps, rel=1e-9)
    said = _run(capsys, "evaluate", "--scenario", "hunted-day", "--policy", "optimum", "--episodes", "10")[2]
    assert said.startswith(
        "hyperexec: error: policy 'optimum' cannot trade hunted-day: it is not solved exactly (the memory of"
    )


def test_evaluate_says_on_standard_error_which_differences_it_will_find(capsys):
    words = ("evaluate", "--policy", "TWAP", "POV", "--seed", "6", "--no-optimum", "--json", "--episodes")
    _, out, err = _run(capsys, *words, "10000")
    assert json.loads(out)["episodes"] == 10_000
    said = re.fullmatch(
        r"regime-day: 10,000 episodes can detect differences of (\S+) bps in J and (\S+) bps in the realised shortfall "
        r"\(paired differences to TWAP; 95 %, power 80 %\)\n",
        err,
    )
    row = next(row for row in json.loads(out)["rows"] if row["policy"] == "POV")
    # half of a 95 % interval is 1.96 standard errors, the smallest difference 1.96 + 0.84; the pilot knows sd to a quarter
    for text, half in (
        (said[1], row["diff_to_twap_high"] - row["diff_to_twap_bps"]),
        (said[2], row["realised_diff_to_twap_high"] - row["realised_diff_to_twap_bps"]),
    ):
        assert float(text) == pytest.approx((1.96 + 0.84) / 1.96 * half, rel=0.25)


def test_the_pilot_does_not_look_at_the_episodes_of_the_run(monkeypatch):
    seeds = []
    original = evaluate.play
    monkeypatch.setattr(evaluate, "play", lambda *given, **named: (seeds.append(named["seed"]), original(*given, **named))[1])
    for seed in (0, 2**32 - 1):
        evaluate.resolution(get_scenario("regime-day"), evaluate.entrants(["POV"]), 100, seed)
    assert seeds == [1, 0]


def test_where_nobody_differs_from_twap_there_is_nothing_to_find(capsys):
    assert evaluate.resolution(get_scenario("regime-day"), evaluate.entrants(["TWAP"]), 100, 0) == ""
    assert _run(capsys, "evaluate", "--policy", "TWAP", "--episodes", "10", "--no-optimum")[2] == ""


def test_evaluate_takes_from_the_store_what_is_there(capsys, tmp_path, monkeypatch):
    words = ("evaluate", "--policy", "TWAP", "POV", "--episodes", "50", "--no-optimum", "--json")
    stored = (*words, "--store", str(tmp_path / "results.sqlite"))
    first = _run(capsys, *stored)[1]
    monkeypatch.setattr("hyperexec_env.cli.evaluate.announce", lambda *given: None)
    for roll in ("roll", "roll_rule"):
        monkeypatch.setattr(rollout, roll, lambda *given: pytest.fail("rolled again"))
    assert _run(capsys, *stored)[1] == first
    monkeypatch.undo()
    assert _run(capsys, *words)[1] == first


def test_a_store_that_is_something_else_is_one_clear_line(capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("kept" * 1000)
    said = _refused(capsys, "evaluate", "--episodes", "10", "--no-optimum", "--store", str(tmp_path / "notes.txt"))
    assert "notes.txt" in said
    assert (tmp_path / "notes.txt").read_text() == "kept" * 1000


def test_a_policy_that_does_not_return_is_shown_as_failed(capsys, monkeypatch):
    class Sleeper:
        name = "sleeper"

        def act(self, situation):
            time.sleep(1e6)

    monkeypatch.setattr("hyperexec_env.cli.evaluate.entrants", lambda *given: [*evaluate.entrants(*given), Entrant(Sleeper())])
    words = ("evaluate", "--policy", "TWAP", "--episodes", "10", "--no-optimum", "--policy-timeout")
    code, out, _ = _run(capsys, *words, "0.1")
    assert code == 1
    assert re.search(r"^ +1 +TWAP ", out, re.MULTILINE)
    assert re.search(r"^ +- +sleeper +failed ", out, re.MULTILINE)
    assert "WARNING: sleeper failed and has no results: policy 'sleeper' did not return within 0.1 s in slice 0" in out
    assert "policy_timeout must be a number in [0, 1e+06] s, got -1.0" in _refused(capsys, *words, "-1")


def test_scenarios_lists_every_scenario(capsys):
    code, out, _ = _run(capsys, "scenarios")
    assert code == 0
    names = (*scenario_names(), *basket_names(), *touch_names(), *venue_names())
    assert all(name in out for name in names)
    _, out, _ = _run(capsys, "scenarios", "--json")
    assert [entry["name"] for entry in json.loads(out)] == list(names)
    _, out, _ = _run(capsys, "scenarios", "--archived", "--json")
    assert [entry["name"] for entry in json.loads(out)] == list(scenario_names(archived=True))


def test_the_card_shows_every_parameter_with_its_unit(capsys):
    """Of a market that is solved with regimes, by its paper, and not at all; certificates of the others would take a minute."""
    for name in ("regime-day", "almgren-chriss", "hunted-day"):
        code, out, _ = _run(capsys, "card", name)
        assert code == 0
        for text in (
            "kyle_lambda",
            "fraction per square root of a day",
            "shares a day",
            "regimes (start",
            get_scenario(name).hash,
        ):
            assert text in out


def test_the_card_shows_the_transition_matrix_of_a_slice(capsys):
    """The rates of regime-day are 26 (P - I) of a rounded matrix P, so that its slices do not have the probabilities of P."""
    scenario = get_scenario("regime-day")
    _, out, _ = _run(capsys, "card", "regime-day")
    table = out.split("regime one slice (15 minutes) later, by the regime of the row [%]")[1].splitlines()[3:9]
    shown = {name: [float(cell) for cell in cells] for name, *cells in map(str.split, table)}
    assert shown["BULL_TRENDING"][0] == 90.67
    assert shown["SIDEWAYS_HIGH"][3] == 82.33
    expected = 100.0 * scenario.regimes.transition(scenario.tau)
    assert np.array(list(shown.values())) == pytest.approx(expected, abs=0.005)
    assert tuple(shown) == scenario.regimes.names


def test_the_card_of_every_scenario_is_json(capsys):
    for name in scenario_names():
        _, out, _ = _run(capsys, "card", name, "--json")
        plain = json.loads(out)
        assert plain.pop("hash") == get_scenario(name).hash
        assert Scenario.from_dict(plain) == get_scenario(name)


def test_a_scenario_file_is_taken_where_a_name_is(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "regime-day"\nname = "mine"\nquantity = 50_000\n')
    code, out, _ = _run(capsys, "evaluate", "--scenario", str(path), "--policy", "TWAP", "--episodes", "10", "--no-optimum")
    assert code == 0
    assert "mine (" in out


def test_a_mistake_is_one_clear_line(capsys):
    for words, message in [
        (("evalute",), "invalid choice: 'evalute'; did you mean 'evaluate'?"),
        (("train", "pppo"), "invalid choice: 'train pppo'; did you mean 'train ppo'?"),
        ((), "the following arguments are required: COMMAND"),
        (("evaluate", "--episods", "3"), "unrecognized arguments: --episods 3; did you mean '--episodes'?"),
        (("evaluate", "--episodes", "many"), "argument --episodes: invalid int value: 'many'"),
        (("evaluate", "--episodes", "1"), "episodes must be a whole number in [2, 1000000000], got 1"),
        (("evaluate", "--seed", "-1"), "seed must be a whole number in [0, 4294967295], got -1"),
        (("evaluate", "--scenario", "regme-day"), "unknown scenario 'regme-day'; did you mean 'regime-day'?"),
        (("evaluate", "--scenario", "no/such.toml"), "cannot read the scenario file no/such.toml"),
        (("evaluate", "--policy", "TWP"), "unknown policy 'TWP'; did you mean 'TWAP'?"),
        (("card", "crisisday"), "did you mean 'crisis-day'?"),
        (("evaluate", "--episodes", "10", "--json", "no/such/folder/x.json"), "cannot write no/such/folder/x.json"),
    ]:  # fmt: skip
        assert message in _refused(capsys, *words)


def test_a_bad_scenario_file_is_named(capsys, tmp_path):
    for line, message in [
        ("quantity = 0", "quantity must be a number in (0, 1e+15] shares, got 0"),
        ("quantity = -5", "quantity must be a number in (0, 1e+15] shares, got -5"),
        ("quantity = nan", "quantity must be a number in (0, 1e+15] shares, got nan"),
        ("quantty = 5", "unknown field quantty; did you mean 'quantity'?"),
        ("quantity = ", "not a scenario in TOML"),
        ("regimes = {rates = [[1.0]], names = ['CRISIS'], volatility = [1.0], volume = [1.0]}", "must sum to 0"),
        ("regimes = {name = ['CRISIS']}", "unknown field regimes.name; did you mean 'names'?"),
    ]:  # fmt: skip
        path = tmp_path / "bad.toml"
        path.write_text(line)
        said = _refused(capsys, "card", str(path))
        assert message in said
        assert str(path) in said


def test_a_base_is_relative_to_the_file_that_names_it(capsys, tmp_path):
    (tmp_path / "inner.toml").write_text('base = "crisis-day"\nname = "inner"\n')
    (tmp_path / "outer.toml").write_text('base = "inner.toml"\nquantity = 5000\n')
    code, out, _ = _run(capsys, "card", str(tmp_path / "outer.toml"))
    assert code == 0
    assert out.startswith("inner* (")


def test_a_file_that_is_its_own_base_is_one_clear_line(capsys, tmp_path):
    (tmp_path / "a.toml").write_text('base = "b.toml"\n')
    (tmp_path / "b.toml").write_text('base = "a.toml"\n')
    assert "base leads back to this file" in _refused(capsys, "card", str(tmp_path / "a.toml"))


def test_the_leaderboard_checks_its_options_before_it_trains(capsys, tmp_path, monkeypatch):
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("kept")
    for words, message in [
        (("--episodes", "1"), "episodes must be"), (("--seed", "-1"), "seed must be"),
        (("--training-seeds", "-1"), "training_seeds must"), (("--timesteps", "0"), "timesteps must be"),
        (("--json", "no/such/x.json"), "cannot write no/such/x.json"),
        (("--out", "file"), "cannot make the folder"), (("--out", "file/x"), "cannot make the folder"),
    ]:  # fmt: skip
        assert message in _refused(capsys, "leaderboard", "--quick", *words)
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert (tmp_path / "file").read_text() == "kept"


def test_a_target_that_cannot_be_written_is_refused_before_the_work(capsys, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for words in (("card",), ("scenarios",), ("evaluate", "--episodes", "10"), ("bench",)):
        assert "cannot write" in _refused(capsys, *words, "--json", str(tmp_path / "no" / "x.json"))
        assert "it is not a file" in _refused(capsys, *words, "--json", str(tmp_path / "pipe"))
        assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_policy_that_is_named_twice_takes_part_once(capsys):
    _, out, _ = _run(capsys, "evaluate", "--policy", "TWAP", "twap", "baselines", "--episodes", "10", "--no-optimum", "--json")
    names = [row["policy"] for row in json.loads(out)["rows"]]
    assert len(names) == len(set(names))


def test_a_folder_that_holds_no_policy_is_named(capsys, tmp_path):
    assert "holds no trained policy" in _refused(capsys, "evaluate", "--policy", str(tmp_path))


def test_a_known_name_goes_before_a_folder_of_that_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("baselines", "replan", "filtered"):
        (tmp_path / name).mkdir()
        words = ("evaluate", "--scenario", "almgren-chriss", "--policy", name, "--episodes", "10", "--no-optimum")
        assert _run(capsys, *words)[0] == 0
    assert "holds no trained policy" in _refused(capsys, "evaluate", "--policy", "./baselines", "--episodes", "10")


def test_a_missing_extra_is_one_line_with_the_install_command(tmp_path):
    blocker = "import sys; sys.modules['{}'] = None; from hyperexec_env import cli; sys.exit(cli.main({!r}))"
    for module, words, extra in (
        ("torch", ["train", "ppo"], "train"),
        ("matplotlib", ["leaderboard", "--quick"], "plot"),
        ("safetensors", ["evaluate", "--policy", str(tmp_path)], "train"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", blocker.format(module, words)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=_environment(),
        )
        assert done.returncode == 2, done.stderr
        assert done.stderr == f'hyperexec: error: {module} is not installed: pip install "hyperexec-env[{extra}]"\n'
        assert not list(tmp_path.iterdir())


def test_help_and_version_answer():
    for words in (["--help"], ["--version"], ["evaluate", "--help"], ["leaderboard", "--help"], ["train", "ppo", "--help"]):
        done = subprocess.run(
            [sys.executable, "-m", "hyperexec_env.cli", *words], capture_output=True, text=True, env=_environment()
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout


def test_a_signal_leaves_nothing_half_written(tmp_path):
    words = ["evaluate", "--episodes", "100000000", "--no-optimum", "--json", "board.json"]
    running = {
        number: subprocess.Popen(
            [sys.executable, "-m", "hyperexec_env.cli", *words],
            cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=_environment(),
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored by what a shell runs in the background
        )
        for number in (signal.SIGINT, signal.SIGTERM)
    }  # fmt: skip
    for number, process in running.items():
        assert "can detect differences" in process.stderr.readline()
        process.send_signal(number)
    for number, said in ((signal.SIGINT, "interrupted\n"), (signal.SIGTERM, "terminated\n")):
        assert running[number].communicate(timeout=60)[1] == said
        assert running[number].returncode == 128 + number
    assert not list(tmp_path.iterdir())


def _environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
