"""The command `hyperexec solve`: what it prints, what it writes, and what it refuses."""

import json

import pytest

from hyperexec_env import cli
from hyperexec_env.baselines.solver import solve
from hyperexec_env.market.scenario import get_scenario


def run(capsys, *words):
    code = cli.main(["solve", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("name", ["regime-day", "almgren-chriss"])
def test_it_prints_every_reference_and_the_error(capsys, name):
    code, out, _ = run(capsys, name)
    solution = solve(get_scenario(name))
    assert code == 0
    for value in (solution.optimum_bps, solution.regime_blind_bps, solution.open_loop_bps, solution.twap_bps):
        assert f"{value:.4f}" in out
    for text in (name, solution.scenario.hash, solution.method, *solution.by_regime, "stationary", "best fixed schedule"):
        assert text in out
    assert "exact" in out if name == "almgren-chriss" else f"{solution.relative_error:.1e}" in out


def test_json_carries_the_keys_that_others_read(capsys):
    code, out, _ = run(capsys, "regime-day", "--json")
    assert code == 0
    plain, solution = json.loads(out), solve(get_scenario("regime-day"))
    assert set(plain) >= {"optimum_bps", "open_loop_bps", "regime_blind_bps", "twap_bps", "relative_error", "seconds"}
    assert plain["scenario"] == "regime-day"
    assert plain["scenario_hash"] == solution.scenario.hash
    assert set(plain["optimum_bps"]) == {*solution.scenario.regimes.names, "stationary", "start"}
    assert plain["optimum_bps"]["start"] == solution.optimum_bps
    assert plain["optimum_bps"]["start"] == pytest.approx(plain["optimum_bps"]["stationary"], rel=1e-12)
    assert plain["optimum_bps"]["start"] < plain["regime_blind_bps"] < plain["open_loop_bps"] < plain["twap_bps"]
    assert len(plain["schedule"]) == 26
    assert sum(plain["schedule"]) == pytest.approx(1.0)


def test_json_goes_to_a_file_beside_the_text(capsys, tmp_path):
    target = tmp_path / "solution.json"
    code, out, _ = run(capsys, "almgren-chriss", "--json", str(target))
    assert code == 0
    assert "Riccati" in out
    assert json.loads(target.read_text())["method"] == "Riccati"


def test_what_is_not_solved_prints_its_bound_and_the_reason(capsys):
    code, out, _ = run(capsys, "hunted-day")
    solution = solve(get_scenario("hunted-day"))
    assert code == 0
    assert solution.reason in out
    assert f"{solution.bound_bps:.4f}" in out
    _, out, _ = run(capsys, "hunted-day", "--json")
    plain = json.loads(out)
    assert plain["optimum_bps"] == {"stationary": None, "start": None}
    assert plain["bound_bps"] == solution.bound_bps


def test_a_file_is_taken_where_a_name_is_and_the_cache_can_be_left_out(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HYPEREXEC_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mine.toml"
    path.write_text('base = "almgren-chriss"\nname = "mine"\nslices = 7\n')
    code, out, _ = run(capsys, str(path), "--no-cache")
    assert code == 0
    assert "mine (" in out
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("regme-day",), "unknown scenario 'regme-day'; did you mean 'regime-day'?"),
        (("regime-day", "--hidden", "--draws", "5"), "draws is an option of the optimum with the observed regime, got 5"),
        (("nowhere.toml",), "cannot read the scenario file nowhere.toml"),
        (("almgren-chriss", "--json", "no/such/folder/x.json"), "no/such/folder"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, words, message):
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
