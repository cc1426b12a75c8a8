"""Baskets in submissions, bundles and sites: another computation gives every byte, and a policy meets its kind of scenario."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("safetensors", reason="needs the extra `train`")

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.envs.basket_features import ASSET, BASKET
from hyperexec_env.evaluation.archive import pack, unpack
from hyperexec_env.evaluation.basket_network import BasketNetworkPolicy, check_basket_layers
from hyperexec_env.evaluation.network import NetworkPolicy, load_policy, save_policy
from hyperexec_env.evaluation.submission import load_submission
from hyperexec_env.market.scenarios import complete_scenario
from hyperexec_env.sharing.bundle import read_bundle
from hyperexec_env.sharing.runs import make_bundle

TEN = hx.get_basket("basket-pairs")
PAIR = replace(TEN, name="pair", assets=TEN.assets[:2], correlation=((1.0, 0.6), (0.6, 1.0)), factors=())


def network(basket=PAIR, name="hedger"):
    """An untrained policy of a basket."""
    units, wide, rng = 4, len(BASKET) + len(ASSET), np.random.default_rng(0)
    first = (rng.normal(size=(units, wide)), rng.normal(size=(len(basket.assets), units)))
    layers = tuple(
        (weight.astype(np.float32), bias.astype(np.float32)) for weight, bias in (first, (np.zeros((1, units)), np.ones(1)))
    )
    about = {"algorithm": "none", "scenario": basket.to_dict(), "scenario_hash": basket.hash}
    return BasketNetworkPolicy(name, layers, "tanh", "clip", "pace", observe_regime=True, training_seed=0, about=about)


@pytest.fixture
def submission(tmp_path, capsys):
    """The file of a submission that trades a pair."""
    (tmp_path / "run").mkdir()
    save_policy(network(), tmp_path / "run")
    words = ["submit", str(tmp_path / "run"), "--authors", "A. Trader", "--licence", "MIT"]
    assert cli.main([*words, "--out", str(tmp_path / "hedger.submission.zip")]) == 0
    said = capsys.readouterr().out
    assert "observes the 38 features of HyperExecBasket-v0" in said
    assert "--scenario pair --out" in said
    return tmp_path / "hedger.submission.zip"


def test_a_board_of_a_basket_is_computed_again_and_gets_a_page(submission, tmp_path, capsys):
    (tmp_path / "boards").mkdir()
    (tmp_path / "pair.toml").write_text(PAIR.to_toml())
    made = tmp_path / "boards" / "pair.zip"
    words = ["bundle", str(submission), "--scenario", str(tmp_path / "pair.toml"), "--episodes", "16"]
    assert cli.main([*words, "--policy", "TWAP", "AC-basket", "--out", str(made)]) == 0
    assert make_bundle(submission, PAIR, policies=["TWAP", "AC-basket"], episodes=16)[0] == made.read_bytes()
    capsys.readouterr()
    assert cli.main(["verify", str(made), "--json", f"{made}.verdict.json"]) == 0
    assert "equal to the byte" in capsys.readouterr().out
    bundle = read_bundle(made)
    assert bundle.plans[0].scenario == PAIR
    assert {row.policy for row in bundle.boards[0].rows} == {"hedger", "TWAP", "AC-basket", "optimum"}
    assert cli.main(["site", str(tmp_path / "boards"), "--out", str(tmp_path / "site")]) == 0
    (page,) = (tmp_path / "site" / "scenario").glob("pair-*.html")
    said = page.read_text()
    for word in ("2 orders (buy", f"{PAIR.assets[1].quantity:,.0f} {PAIR.assets[1].name}", "hedger", PAIR.hash):
        assert word in said, word


def test_a_policy_meets_its_own_kind_of_scenario_only(submission, tmp_path, capsys):
    words = ["bundle", str(submission), "--policy", "none", "--episodes", "4", "--no-optimum", "--out", str(tmp_path / "x.zip")]
    assert cli.main([*words, "--scenario", "regime-day"]) == 2
    assert "the policy 'hedger' trades a basket, got 'regime-day'" in capsys.readouterr().err
    with pytest.raises(ValueError, match="trades a basket, got 'regime-day'"):
        hx.evaluate("regime-day", [submission], episodes=4, optimum=False)
    assert hx.evaluate(PAIR, [submission], episodes=4, optimum=False).rows[0].policy == "hedger"
    flipped = replace(PAIR, assets=(PAIR.assets[0], replace(PAIR.assets[1], side=-PAIR.assets[1].side)))
    (failure,) = hx.evaluate(flipped, [submission], episodes=4, optimum=False).failed
    assert "turns a hedge around" in failure.reason


def test_a_basket_of_a_stranger_names_no_file_of_this_machine(submission, tmp_path):
    (tmp_path / "made.zip").write_bytes(make_bundle(submission, PAIR, policies="TWAP", episodes=4, optimum=False)[0])
    archive = unpack(tmp_path / "made.zip")
    files = dict(archive.files)
    files["boards/00/scenario.toml"] = files["boards/00/scenario.toml"].replace(
        b"[[asset]]\n", b'[[asset]]\nbase = "x.toml"\n', 1
    )
    (tmp_path / "other.zip").write_bytes(pack("bundle", archive.about, files))
    with pytest.raises(ValueError, match="must be complete, got one with a base"):
        read_bundle(tmp_path / "other.zip")
    assert complete_scenario(PAIR.to_dict()) == PAIR
    assert replace(network(), about={"scenario": {"base": "basket-pairs"}}).sides == ()
    assert load_submission(submission).policy.sides == PAIR.sides


def test_a_policy_of_a_basket_must_state_its_basket_and_a_possible_number_of_assets(tmp_path, capsys):
    save_policy(replace(network(), about={}), tmp_path)
    given = ["--authors", "A. Trader", "--licence", "MIT", "--method", "none", "--out", str(tmp_path / "x.zip")]
    assert cli.main(["submit", str(tmp_path), *given]) == 2
    assert "must state the basket of the training" in capsys.readouterr().err
    (weight, biases), *rest = network().layers
    with pytest.raises(ValueError, match="at most 50 assets, got 51"):
        check_basket_layers(((weight, np.repeat(biases[:1], 51, axis=0)), *rest), "clip")


def test_a_policy_that_no_bundle_takes_is_refused_by_its_kind(tmp_path, capsys):
    about = {"scenario": hx.get_venues("venues-day").to_dict()}
    layers = ((np.zeros((1, 31), dtype=np.float32), np.zeros(1, dtype=np.float32)),)
    save_policy(NetworkPolicy("router", layers, "tanh", "clip", "pace", True, 0, about=about), tmp_path)
    assert cli.main(["submit", str(tmp_path), "--authors", "A. Trader", "--licence", "MIT"]) == 2
    kinds = "the policy was trained on a scenario with venues, 'venues-day', and this needs a policy of a scenario of one asset"
    assert kinds in capsys.readouterr().err
    for scenario, needs in (
        ("regime-day", "a scenario of one asset"),
        ("basket-10", "a basket"),
        ("touch-5min", "a touch scen"),
    ):
        with pytest.raises(
            ValueError, match=f"trained on a scenario with venues, 'venues-day', and this needs a policy of {needs}"
        ):
            hx.evaluate(scenario, [tmp_path], episodes=4)


def test_a_policy_whose_training_names_a_base_reads_no_file(tmp_path):
    layers = ((np.zeros((1, 31), dtype=np.float32), np.zeros(1, dtype=np.float32)),)
    about = {"scenario": {"base": "/dev/stdin.toml"}}
    save_policy(NetworkPolicy("router", layers, "tanh", "clip", "pace", True, 0, about=about), tmp_path)
    with pytest.raises(ValueError, match="layer 0 must take 21 inputs"):
        load_policy(tmp_path)


@pytest.mark.parametrize("name", [*hx.basket_names()])
def test_every_registered_basket_survives_a_bundle(name):
    given = hx.get_basket(name)
    read = type(given).from_toml(given.to_toml())
    assert (read, read.hash, read.to_toml()) == (given, given.hash, given.to_toml())
