"""Basket scenarios: round trips through dicts and TOML, hashes, the registry, and one clear error for each bad value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hyperexec_env.market import scenario as one_asset
from hyperexec_env.market.basket_scenario import BASKETS, BasketScenario, basket_names, get_basket, register_basket
from hyperexec_env.market.scenario import Scenario, scenario_names
from hyperexec_env.market.scenarios import get_scenario

pytestmark = pytest.mark.fast

A = Scenario(name="A", quantity=1000.0)
B = Scenario(name="B", quantity=2000.0, side=-1, arrival_price=50.0)
PAIR = BasketScenario(name="pair", assets=(A, B), correlation=((1.0, 0.5), (0.5, 1.0)))


@pytest.mark.parametrize("name", basket_names())
def test_a_basket_survives_a_dict_and_a_file(name, tmp_path):
    basket, path = get_basket(name), tmp_path / "basket.toml"
    path.write_text(basket.to_toml())
    assert get_basket(path) == get_scenario(str(path)) == BasketScenario.from_dict(basket.to_dict()) == basket
    assert get_basket(path).hash == basket.hash
    assert [dict(asset.provenance) for asset in get_basket(path).assets] == [dict(asset.provenance) for asset in basket.assets]
    assert get_scenario(name) is basket
    assert BASKETS.owns(path)


def test_names_of_baskets_and_of_scenarios_differ():
    assert basket_names() == ("basket-hedged", "basket-10", "basket-pairs", "basket-day")
    assert not set(basket_names()) & {*scenario_names(), *scenario_names(archived=True)}
    assert len({get_basket(name).hash for name in basket_names()}) == 4
    assert all(get_basket(name).provenance["cross_impact"].startswith("assumed") for name in basket_names())


def test_a_hash_covers_every_value_that_moves_a_result():
    variants = [
        PAIR,
        replace(PAIR, cross_impact=0.4),
        replace(PAIR, correlation=()),
        replace(PAIR, assets=(A, replace(B, side=1))),
        replace(PAIR, assets=(B, A)),
        PAIR.with_assets(risk_aversion=1e-6),
    ]
    assert len({basket.hash for basket in variants}) == len(variants)
    assert replace(PAIR, name="other", description="text").hash == PAIR.hash


def test_a_value_given_once_applies_to_every_asset():
    basket = get_basket(
        {
            "slices": 10,
            "risk_aversion": 1e-6,
            "volatility": 0.03,
            "regimes": {"names": ["CRISIS"]},
            "factors": [[0.9], [0.5]],
            "asset": [
                {"name": "X", "quantity": 5.0},
                {"base": "large-cap", "volatility": 0.01, "resilience": 10.0, "kyle_lambda": 0.3, "perm_impact_gamma": 0.2},
            ],
        }
    )
    assert [asset.volatility for asset in basket.assets] == [0.03, 0.01]
    assert {asset.slices for asset in basket.assets} == {10}
    assert basket.symbols == ("X", "asset-2")
    assert basket.regimes.names == ("CRISIS",)
    assert basket.matrix == pytest.approx(np.array([[1.0, 0.45], [0.45, 1.0]]))


def test_a_base_provides_the_rest(tmp_path):
    basket = get_basket({"base": "basket-10", "cross_impact": 0.0, "slices": 13})
    assert (basket.name, basket.slices, basket.cross_impact) == ("basket-10*", 13, 0.0)
    assert basket.matrix.tolist() == get_basket("basket-10").matrix.tolist()
    assert basket.provenance["cross_impact"] == "given"
    assert basket.provenance["correlation"] == get_basket("basket-10").provenance["correlation"]
    (tmp_path / "pair.toml").write_text(PAIR.to_toml())
    (tmp_path / "mine.toml").write_text(
        'base = "pair.toml"\nfactors = [[0.2], [0.3]]\n[[asset]]\nname = "B"\n[[asset]]\nname = "A"\n'
    )
    mine = get_basket(tmp_path / "mine.toml")
    assert [asset.hash for asset in mine.assets] == [B.hash, A.hash]
    assert mine.matrix[0, 1] == pytest.approx(0.06)


def test_a_scenario_is_a_basket_of_one():
    basket = get_basket("regime-day")
    assert (basket.symbols, basket.slices) == (("regime-day",), 26)
    assert basket.matrix.tolist() == [[1.0]]
    assert get_scenario("regime-day") is one_asset.get_scenario("regime-day")


REFUSED = {
    "slices must be equal for all assets, got 26 (A) and 13 (B)": {"assets": (A, replace(B, slices=13))},
    "horizon_minutes must be equal for all assets": {"assets": (A, replace(B, horizon_minutes=60.0))},
    "risk_aversion must be equal for all assets": {"assets": (A, replace(B, risk_aversion=1e-6))},
    "assets must have different names, got two called 'A'": {"assets": (A, replace(B, name="A"))},
    "perm_impact_gamma / kyle_lambda must be equal for all assets": {"assets": (A, replace(B, perm_impact_gamma=0.1))},
    "resilience must be equal for all assets": {"assets": (A, replace(B, resilience=20.0))},
    "flow_share must be equal for all assets": {"assets": (A, replace(B, flow_share=0.1))},
    "flow_persistence must be 0.0 in a basket, got 0.3 for B": {"assets": (A, replace(B, flow_persistence=0.3))},
    "predator must be 0.0 in a basket, got 0.3 for B": {"assets": (A, replace(B, predator=0.3))},
    "price_model must be abm in a basket, got 'gbm' for A": {"assets": (replace(A, price_model="gbm"), B)},
    "assets must be 1 to 50 scenarios, got 0": {"assets": ()},
    "correlation must be a list of 2 rows": {"correlation": ((1.0,),)},
    "correlation must be empty where factors are given": {"factors": ((0.5,), (0.5,))},
    "cross_impact must be a number in [0, 1], got 1.5": {"cross_impact": 1.5},
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_faulty_basket_is_refused(message):
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is compared below
        replace(PAIR, **REFUSED[message])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "x"}, "asset must list the assets of the basket"),
        ({"asset": [{"quantty": 5}]}, r"asset\[0\] \('asset-1'\): unknown field quantty; did you mean 'quantity'"),
        ({"asset": [{}], "cross_impct": 1}, "unknown field cross_impct; did you mean 'cross_impact'"),
        ({"asset": [{"side": 2}]}, r"asset\[0\] \('asset-1'\): side must be \+1 \(buy\) or -1 \(sell\), got 2"),
        ({"asset": 3}, "asset must be a list of tables"),
    ],
)
def test_faulty_values_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        BasketScenario.from_dict(values)


def test_a_basket_is_refused_where_one_asset_is_needed(tmp_path):
    (tmp_path / "pair.toml").write_text(PAIR.to_toml())
    for given in ("basket-10", PAIR, PAIR.to_dict(), tmp_path / "pair.toml", {"base": "basket-10"}):
        with pytest.raises(ValueError, match="is a basket, and this needs a scenario of HyperExec-v0; get_basket"):
            one_asset.get_scenario(given)
    with pytest.raises(ValueError, match="unknown scenario 'basket-11'; did you mean 'basket-10'"):
        get_scenario("basket-11")
    with pytest.raises(ValueError, match="unknown basket 'basket-hegded'; did you mean 'basket-hedged'"):
        get_basket("basket-hegded")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'basket-10' is already registered"):
        register_basket(replace(PAIR, name="basket-10"))
