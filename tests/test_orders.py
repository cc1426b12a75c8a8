"""Order records: validation, immutability and derived quantities."""

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.orders import MAX_SHARES, ChildOrder, Fill, ParentOrder, lots_of, shares_of

pytestmark = pytest.mark.fast

GOOD = {"symbol": "IBM", "side": 1, "quantity": 10_000, "arrival_price": 150.0}


def test_a_parent_order_holds_its_arguments():
    parent = ParentOrder(**GOOD, deadline=300.0, algorithm="TWAP", urgency=0.7)
    assert (parent.symbol, parent.side, parent.quantity, parent.arrival_price) == ("IBM", 1, 10_000, 150.0)
    assert (parent.deadline, parent.algorithm, parent.urgency) == (300.0, "TWAP", 0.7)
    assert parent.notional == 1_500_000.0
    assert parent.order == (1.0, 10_000.0)
    with pytest.raises(FrozenInstanceError):
        parent.quantity = 5


def test_each_parent_order_has_a_unique_id():
    assert len({ParentOrder(**GOOD).id for _ in range(1000)}) == 1000
    assert ParentOrder(**GOOD, id="mine").id == "mine"


def test_whole_quantities_of_any_numeric_type_become_int():
    for quantity in (7, 7.0, np.int64(7), np.float64(7.0), np.uint8(7)):
        assert type(ParentOrder(**{**GOOD, "quantity": quantity}).quantity) is int
    assert ParentOrder(**{**GOOD, "quantity": MAX_SHARES}).quantity == int(np.int64(MAX_SHARES))


def test_a_quantity_is_a_whole_number_of_lots():
    for lot_size, quantity, stored in [
        (100, 10_000, 10_000),
        (0.1, 0.1 + 0.2, 0.3),  # 0.30000000000000004
        (0.001, 1.234, 1.234),
        (1e-8, 1e7, 1e7),
        (1 / 3, 1.0, 0.9999999999999999),  # three lots of 0.3333333333333333
        (0.1, 1e14, 1e14),
    ]:
        parent = ParentOrder(**{**GOOD, "quantity": quantity, "lot_size": lot_size})
        assert parent.quantity == stored
        assert type(parent.quantity) is (int if lot_size == int(lot_size) else float)
    for lot_size, quantity in [(100, 50), (100, 150), (0.1, 0.25), (0.1, 1.1e14), (0.001, math.inf), (0.1, "1")]:
        with pytest.raises(ValueError, match="quantity must be"):
            ParentOrder(**{**GOOD, "quantity": quantity, "lot_size": lot_size})


@given(st.integers(0, MAX_SHARES), st.sampled_from([1, 7, 0.1, 1e-8, 1 / 3, 0.30000000000000004, 12.5]))
def test_lots_and_shares_are_the_same_quantity(lots, lot_size):
    assert lots_of(shares_of(lots, lot_size), lot_size) == lots


@given(st.lists(st.integers(1, 10**12), max_size=20))
def test_a_total_is_exact_in_lots(pieces):
    parent = ParentOrder(**{**GOOD, "quantity": 0.1, "lot_size": 0.1})
    assert parent.total(shares_of(piece, 0.1) for piece in pieces) == shares_of(sum(pieces), 0.1)


def test_urgency_is_clamped():
    for urgency, clamped in [(-3.0, 0.0), (0.3, 0.3), (7, 1.0), (None, None)]:
        assert ParentOrder(**GOOD, urgency=urgency).urgency == clamped


def test_an_invalid_value_is_named():
    for field, value, message in [
        ("quantity", 0, r"quantity must be a whole number in \[1, 1000000000000000\], got 0"),
        ("quantity", -5, "quantity must be a whole number"),
        ("quantity", 1.5, "quantity must be a whole number"),
        ("quantity", math.nan, "quantity must be"),
        ("quantity", "7", "quantity must be"),
        ("quantity", True, "quantity must be"),
        ("quantity", MAX_SHARES + 1, "quantity must be"),
        ("side", 0, r"side must be \+1 \(buy\) or -1 \(sell\), got 0"),
        ("side", 2, "side must be"),
        ("side", "buy", "side must be"),
        ("arrival_price", 0.0, "arrival_price must be"),
        ("arrival_price", math.nan, "arrival_price must be"),
        ("arrival_price", -1.0, "arrival_price must be"),
        ("arrival_price", math.inf, "arrival_price must be"),
        ("symbol", "", "symbol must be a non-empty text"),
        ("symbol", 5, "symbol must be"),
        ("id", "", "id must be"),
        ("deadline", math.nan, "deadline must be"),
        ("urgency", math.nan, "urgency must be"),
        ("algorithm", 5, "algorithm must be"),
        ("volume_profile", (1.0, -1.0), r"volume_profile\[1\] must be"),
        ("volume_profile", (0.0,), "volume_profile must sum to"),
        ("volume_profile", 5.0, "volume_profile must be a list"),
        ("expected_volume", 0.0, "expected_volume must be"),
        ("adv", -1.0, "adv must be"),
        ("lot_size", 0.0, r"lot_size must be a number in \[1e-12, 1e\+09\] shares, got 0.0"),
        ("lot_size", math.nan, "lot_size must be"),
        ("lot_size", 300, r"quantity must be a multiple of the lot size 300, got 10000; the nearest is 9900"),
        ("min_child", -1.0, r"min_child must be a number in \[0, 1e\+15\] shares, got -1.0"),
        ("volatility", -0.1, "volatility must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            ParentOrder(**{**GOOD, field: value})


def test_replace_validates_the_new_value():
    with pytest.raises(ValueError, match="quantity must be"):
        replace(ParentOrder(**GOOD), quantity=0)


def test_a_child_order_derives_its_filled_quantity_price_and_latencies():
    parent = ParentOrder(**GOOD, id="p")
    child = ChildOrder(parent, 3, 1000, 30.0)
    assert (child.id, child.symbol, child.side, child.filled, child.remaining) == ("p/3", "IBM", 1, 0, 1000)
    assert math.isnan(child.vwap)
    assert math.isnan(child.latency)
    assert math.isnan(child.fill_latency)
    filled = child._replace(released=30.5, fills=(Fill(31.0, 300, 150.0), Fill(33.0, 100, 152.0)))
    assert (filled.filled, filled.remaining) == (400, 600)
    assert filled.vwap == pytest.approx(150.5)
    assert filled.latency == 0.5
    assert filled.fill_latency == pytest.approx((300 * 0.5 + 100 * 2.5) / 400)
    assert filled.parent is parent
