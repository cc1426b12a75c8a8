"""Order records: validation, immutability and derived quantities."""

import math
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from hyperexec_env.orders import MAX_SHARES, ChildOrder, Fill, ParentOrder

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
