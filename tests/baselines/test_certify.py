"""The command that certifies a scenario, and the verdict on its card."""

from __future__ import annotations

import json

import pytest

from hyperexec_env import cli
from hyperexec_env.baselines.card import card
from hyperexec_env.evaluation.certificate import certify
from hyperexec_env.market.scenario import get_scenario

WORDS = ("--trips", "1000")


def test_it_prints_the_report(capsys):
    assert cli.main(["certify", "mid-cap", *WORDS]) == 0
    assert capsys.readouterr().out == f"{certify(get_scenario('mid-cap'), trips=1000)}\n"


def test_a_market_that_pays_is_a_finding_and_the_exit_code_is_1(capsys):
    assert cli.main(["certify", "geo-compat", *WORDS]) == 1
    assert "certificate: NOT SOUND" in capsys.readouterr().out


def test_json_holds_the_same_numbers(capsys, tmp_path):
    target = tmp_path / "certificate.json"
    expected = certify(get_scenario("illiquid"), trips=1000, seed=3).to_dict()
    assert cli.main(["certify", "illiquid", *WORDS, "--seed", "3", "--json", str(target)]) == 0
    assert json.loads(target.read_text()) == json.loads(json.dumps(expected))
    capsys.readouterr()
    assert cli.main(["certify", "illiquid", *WORDS, "--seed", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(expected))


def test_a_scenario_of_ones_own_is_certified_too(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('base = "regime-day"\nname = "mine"\ntransient_exponent = 0.5\n')
    assert cli.main(["certify", str(path), *WORDS]) == 1
    out = capsys.readouterr().out
    assert out.startswith("mine (")
    assert "NOT SOUND" in out


@pytest.mark.parametrize(("words", "message"), [
    (("regimeday",), "did you mean 'regime-day'?"),
    (("regime-day", "--trips", "3"), "trips must be a whole number in [1000, 1000000000], got 3"),
    (("regime-day", "--json", "no/such/folder/x.json"), "cannot write no/such/folder/x.json"),
])  # fmt: skip
def test_a_mistake_is_one_clear_line(capsys, words, message):
    assert cli.main(["certify", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("name", "verdict"), [
    ("regime-day", "certificate: certified"),
    ("geo-compat", "certificate: NOT SOUND"),
    pytest.param("sunshine-day", "certificate: NOT SOUND", marks=pytest.mark.slow),  # the bound on its optimum takes the time
])  # fmt: skip
def test_the_card_ends_with_the_verdict(name, verdict):
    block = str(card(name)).split("\n\n")[-1]
    assert block.startswith(verdict)
    assert "round trips tried" in block
    assert "smallest cost" in block
