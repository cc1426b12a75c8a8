"""Lanes with members: text, arrays and compiled loops do what a computation by hand does, and bad plans are refused."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pytest

from hyperexec_env.backends.arrays import ArrayLanes
from hyperexec_env.backends.compiled import CompiledLanes
from hyperexec_env.backends.generate import write
from hyperexec_env.backends.layout import TILE, Layout
from hyperexec_env.backends.plan import Each, For, Look, Pass, Pick, Program, Refuse, Show, Sum, Unless
from hyperexec_env.records import Constant, Real, Single, Whole

from .toy import TextLanes


class Habit(NamedTuple):
    doubles: Constant
    share: Real


class Purse(NamedTuple):
    """A purse of a member, which persists."""

    coins: Real
    fixed: Real


class House(NamedTuple):
    """A house, which its members share and which persists."""

    days: Whole
    full: Whole
    wealth: Real


class Coin(NamedTuple):
    value: Real


class Price(NamedTuple):
    price: Real


class Spent(NamedTuple):
    amount: Real
    count: Whole


class Gifts(NamedTuple):
    received: Real


class Wealth(NamedTuple):
    total: Real


class Told(NamedTuple):
    wealth: Real


class Seen(NamedTuple):
    coins: Single


class Left(NamedTuple):
    coins: Real


def open_purse(habit: Habit, house: House) -> Purse:
    return Purse(habit.share + house.days * 0.0, 7.0)


def open_house() -> House:
    return House(0, 0, 0.0)


def price_row(house: House) -> int:
    return house.days % 3


def spend(habit: Habit, house: House, purse: Purse, coin: Coin, price: Price) -> Spent:
    amount = coin.value * price.price + house.days + purse.fixed
    if habit.doubles:
        amount = amount * 2.0
    return Spent(amount, 1)


def receive(purse: Purse, spent: Spent, gifts: Gifts) -> Purse:
    return Purse(purse.coins - spent.amount + gifts.received, purse.fixed)


def close_day(house: House, wealth: Wealth) -> tuple[House, Told]:
    days = house.days + 1
    return House(days, (days + (wealth.total > 40.0) >= 3) * 1, wealth.total), Told(wealth.total)


def see(purse: Purse) -> Seen:
    return Seen(np.float32(purse.coins))


def leave(purse: Purse) -> Left:
    return Left(purse.coins)


def tell_nothing() -> Told:
    return Told(0.0)


SEE = (Each(Pass(see), Show("seen", "pictures", price_row, Seen, first=2)), Show("seen", "two", price_row))
BEGIN = (Pass(open_house), Each(Pass(open_purse)))
DAY = (
    Each(Look(price_row, Price), Pass(spend)),
    Sum("friends", Spent, "amount", Gifts, "received"),
    Each(Pass(receive)),
    Sum("one", Purse, "coins", Wealth, "total"),
    Pass(close_day),
)
LAST = (Each(Pass(leave)), Each(Pass(spend)), Sum("friends", Spent, "amount", Gifts, "received"), Each(Pass(receive)), *BEGIN)
PLANS = {
    "begin": (*BEGIN, *SEE),
    "day": (
        Refuse(Coin, "value", -8.0, 8.0),
        Pick("resting", House, "full"),
        Unless("resting", *DAY),
        For("resting", *BEGIN, Pass(tell_nothing)),
        Pick("full", House, "full"),
        For("full", Each(Pass(leave))),
        *SEE,
    ),
    "last": (*DAY, Pick("full", House, "full"), For("full", *LAST), *SEE),
}
MEMBERS = 7


def program(habits=(False,) * MEMBERS, **changes: Any) -> Program:
    """Return the program of houses with seven members; numbers are small and whole, so sums are exact in any order."""
    rng = np.random.default_rng(2)
    friends = rng.integers(-1, 2, (MEMBERS, MEMBERS)).astype(float) / 4.0
    friends[0, 1:] = 0.0
    values = {
        "plans": PLANS,
        "kept": (House,),
        "given": {},
        "outputs": {Told: ("wealth",)},
        "rows": {"two": np.arange(6.0, dtype=np.float32).reshape(3, 2)},
        "weights": {"friends": friends, "one": np.ones(MEMBERS)},
        "members": tuple(_member(number, doubles, rng) for number, doubles in enumerate(habits)),
    }
    return Program(**{**values, **changes})


def _member(number, doubles, rng):
    return Program(
        plans={},
        kept=(Purse,),
        given={Habit: Habit(doubles, float(number))},
        inputs={Coin: "coins"},
        listed={Left: "left"},
        tables={Price: Price(rng.integers(1, 4, 3).astype(float))},
        rows={"pictures": rng.integers(0, 9, (3, 1)).astype(np.float32)},
        fixed={(Purse, "fixed"): 7.0},
    )


def arrays_for(lanes):
    return {
        "seen": np.zeros((lanes, 2 + 2 * MEMBERS), np.float32),
        "wealth": np.zeros(lanes),
        "left": np.zeros((MEMBERS, lanes, 1)),
    }


def live(lanes, count, plans=("begin", "day", "day", "last", "day", "day", "last", "day")):
    """Run plans on lanes; yield what they write."""
    rng = np.random.default_rng(0)
    for name in plans:
        arrays = arrays_for(count)
        coins = rng.integers(-4, 5, (MEMBERS, count)).astype(float)
        yield lanes.run(name, {"coins": coins, **arrays}), arrays
    yield [0], {**lanes.record(House)._asdict(), **{f"purse{i}": one.coins for i, one in enumerate(lanes.record(Purse))}}


class Recording(TextLanes):
    """Text lanes whose records are not compared."""

    def record(self, kind):
        nothing = kind(*(None for _ in kind._fields))
        return nothing if kind is House else [nothing] * MEMBERS


MIXED = (False, False, True, False, True, True, True)


@pytest.mark.fast
@pytest.mark.parametrize("habits", [(True,) * MEMBERS, MIXED])
@pytest.mark.parametrize("count", [1, TILE + 1])
def test_the_text_of_loops_over_members_does_what_arrays_do(count, habits):
    made = program(habits)
    told = 0
    for one, other in zip(live(Recording(made, count), count), live(ArrayLanes(made, count), count), strict=True):
        assert one[0] == other[0]
        told += one[0][0]
        for name, values in one[1].items():
            if values is not None:
                np.testing.assert_array_equal(values, other[1][name], err_msg=name)
    assert told > 0


@pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
def test_compiled_loops_over_members_do_what_arrays_do_and_remember_what_is_put():
    count, made = 2 * TILE + 5, program(MIXED)
    compiled, arrays = CompiledLanes(made, count), ArrayLanes(made, count)
    plans = ("begin", *("day",) * 5)  # each plan takes seconds to compile
    for one, other in zip(live(compiled, count, plans), live(arrays, count, plans), strict=True):
        assert one[0] == other[0]
        for name, values in one[1].items():
            np.testing.assert_array_equal(values, other[1][name], err_msg=name)
    purses = [Purse(np.arange(count) + number, np.full(count, 7.0)) for number in range(MEMBERS)]
    for lanes in (compiled, arrays):
        lanes.put(Purse, purses)
        for kept, given in zip(lanes.record(Purse), purses, strict=True):
            np.testing.assert_array_equal(kept.coins, given.coins)
    coins = np.zeros((MEMBERS, count))
    coins[3, 300] = np.nan
    for lanes in (compiled, arrays):
        assert lanes.run("day", {"coins": coins, **arrays_for(count)}) == [-301]


@pytest.mark.fast
def test_arrays_do_what_a_computation_by_hand_does():
    made, coins = program(MIXED), np.arange(MEMBERS, dtype=float)[:, None]
    lanes, arrays = ArrayLanes(made, 1), arrays_for(1)
    lanes.run("begin", {"coins": coins, **arrays})
    lanes.run("day", {"coins": coins, **arrays})
    prices = [member.tables[Price].price[0] for member in made.members]
    spent = [
        (coin * price + 7.0) * (2.0 if twice else 1.0) for coin, price, twice in zip(coins[:, 0], prices, MIXED, strict=True)
    ]
    purses = np.arange(MEMBERS) - spent + made.weights["friends"] @ spent
    np.testing.assert_array_equal([purse.coins[0] for purse in lanes.record(Purse)], purses)
    assert arrays["wealth"] == purses.sum()


@pytest.mark.fast
def test_the_text_does_not_depend_on_the_number_of_members():
    """One compiled loop serves baskets of any size; members with other constants need their own."""
    texts = [write("day", Layout(program((False,) * count))).driver.text for count in (2, 3)]
    assert texts[0] == texts[1]
    mixed = write("day", Layout(program(MIXED)))
    assert "for m in range(0, 2):" in mixed.driver.text
    assert len({line.name for line in mixed.lines if line.name.startswith("spend_")}) == 2


@pytest.mark.fast
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((Pass(see),), "takes Purse of the members outside of an Each line"),
        ((Each(Look(price_row, Price), Pass(spend)), Sum("one", Spent, "count", Wealth, "total")), "double precision"),
        ((Each(Pass(receive)),), "no line before it makes"),
        ((Sum("one", Spent, "amount", Wealth, "total"),), "no line before it makes"),
    ],
)
def test_a_plan_that_mixes_up_lanes_and_members_is_refused(lines, message):
    with pytest.raises(TypeError, match=message):
        write("bad", Layout(replace(program(), plans={"bad": lines})))
