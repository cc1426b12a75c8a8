"""Every kind of scenario has a solver, a card, a certificate and a board, by one function each."""

from __future__ import annotations

import pytest

import hyperexec_env as hx
from hyperexec_env import cli
from hyperexec_env.baselines import kinds
from hyperexec_env.baselines.solver import choose
from hyperexec_env.market.basket_scenario import BASKETS
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.scenarios import CATALOGS, catalog_of, environment_of

pytestmark = pytest.mark.fast

RECORDS = {Scenario, *(catalog.record for catalog in CATALOGS)}


def test_every_kind_has_every_function():
    assert set(kinds._KINDS) == set(choose._SOLVERS) == RECORDS


def test_no_name_and_no_field_belongs_to_two_kinds():
    names = [*hx.scenario_names(archived=True), *(name for catalog in CATALOGS for name in catalog.names())]
    assert len(set(names)) == len(names)
    fields = [field for catalog in CATALOGS for field in catalog.own]
    assert len(set(fields)) == len(fields)
    assert not set(fields) & set(Scenario.__dataclass_fields__)


def test_a_name_and_its_record_are_of_the_same_kind():
    for catalog in CATALOGS:
        for name in catalog.names():
            assert catalog_of(name) is catalog_of(catalog.get(name)) is catalog
            assert environment_of({"base": name}) == catalog.environment
            with pytest.raises(ValueError, match=f"'{name}' is {catalog.word}, and this needs a scenario of HyperExec-v0"):
                hx.estimate_schedule(hx.ParentOrder(symbol="X", side=1, quantity=10, arrival_price=1.0), name)


def test_an_option_that_a_kind_does_not_have_is_refused_and_not_ignored(capsys):
    basket = BASKETS.names()[0]
    with pytest.raises(ValueError, match=f"threads is not an option of a basket, got 3 with '{basket}'"):
        hx.evaluate(basket, "TWAP", episodes=10, threads=3)
    for words in (
        ("evaluate", "--scenario", basket, "--threads", "3"),
        ("solve", basket, "--draws", "3"),
        ("certify", "touch-5min", "--trips", "2000"),
    ):
        assert cli.main(list(words)) == 2
        assert "is not an option of" in (said := capsys.readouterr().err) or "is an option of scenarios of one asset" in said
