"""Loops as text: run by Python itself they do what arrays do, and plans that do not fit together are refused."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from hyperexec_env.backends.arrays import ArrayLanes
from hyperexec_env.backends.generate import write
from hyperexec_env.backends.layout import TILE, Layout, Place, pack
from hyperexec_env.backends.plan import Add, For, Look, Pass, Pick, Refuse, Repeat, Show, Unless, made_by, taken_by, walk
from hyperexec_env.records import Constant, Real, Whole, leaves, numbered, numbers


def _load(name: str) -> Any:
    """Import a module beside this one, once for all that ask for it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


toy = _load("toy")
pytestmark = pytest.mark.fast


def feed_all(lanes, count, plans, seed=0):
    """Run plans on lanes; yield what they write."""
    rng = np.random.default_rng(seed)
    for name in plans:
        arrays = toy.arrays_for(count)
        chosen = (rng.random(count) < 0.7).astype(np.int64) if seed else np.ones(count, np.int64)
        coins = rng.integers(-256, 257, count) / 64.0  # sums of such numbers are exact in any order
        given = {"coins": coins, "chosen": chosen}
        yield lanes.run(name, {**given, **arrays}), arrays


STORY = ("open", "feed", "feed", "often", "last", "feed", "last", "open", "feed")


@pytest.mark.parametrize("count", [1, TILE - 1, TILE, TILE + 1])
def test_the_text_of_the_loops_does_what_arrays_do(count):
    texts, arrays = toy.TextLanes(toy.program(), count), ArrayLanes(toy.program(), count)
    told = 0
    for one, other in zip(feed_all(texts, count, STORY), feed_all(arrays, count, STORY), strict=True):
        assert one[0] == other[0]
        told += one[0][0]
        for name, values in one[1].items():
            np.testing.assert_array_equal(values, other[1][name], err_msg=name)
    assert told > 0
    for kind in (toy.Counter, toy.Note):
        values = dict(zip([path for path, _ in leaves(kind)], numbers(arrays.record(kind)), strict=True))
        for path, found in texts.record(kind).items():
            np.testing.assert_array_equal(found, values[path], err_msg=path)


# --- layout


def test_columns_have_the_order_of_the_fields_and_fixed_fields_have_none():
    layout = Layout(toy.program())
    assert layout.kept_columns(toy.Counter) == {
        "small": (0, "float32"),
        "count": (1, "int64"),
        "purse.balance": (2, "float64"),
        "purse.debt": (3, "float64"),
        "key": (4, "uint64"),
        "half": (5, "uint32"),
        "full": (6, "int64"),
    }
    assert layout.kept_columns(toy.Note) == {"told": (7, "float64")}
    assert layout.number(toy.Note, "tag") == "7.0"
    assert layout.number(toy.Note, "step") == "the_House.step"


def test_no_two_numbers_of_a_lane_share_memory():
    columns = {**Layout(toy.program()).kept_columns(toy.Counter), **Layout(toy.program()).kept_columns(toy.Note)}
    assert len({column for column, _ in columns.values()}) == len(columns) == Layout(toy.program()).columns["kept"]


def test_constants_are_written_into_the_text_and_not_into_the_numbers():
    quiet, loud = (toy.program(kind=toy.Kind(flag, toy.FACTOR)) for flag in (False, True))
    texts = [[line.text for line in write("feed", Layout(program)).lines] for program in (quiet, loud)]
    assert any("Kind(False, 3.0)" in text for text in texts[0])
    assert any("Kind(True, 3.0)" in text for text in texts[1])
    packed = [pack(program, Layout(program))[0] for program in (quiet, loud)]
    assert packed[0].tobytes() == packed[1].tobytes()


def test_other_numbers_leave_the_text_as_it_is():
    plain, other = toy.program(), toy.program()
    house = other.given[toy.House]._replace(step=2.0, times=9, salt=np.uint64(3))
    other = replace(other, given={toy.House: house})
    for name in plain.plans:
        assert write(name, Layout(plain)) == write(name, Layout(other))


def test_given_numbers_are_exact_in_every_machine_type():
    """A word of 64 bits has no place in a double."""
    program = toy.program()
    given, _ = pack(program, Layout(program))
    house = program.given[toy.House]
    assert given.view(np.uint64)[3] == house.salt
    assert np.uint64(given.view(np.uint64)[5]) == house.code
    assert np.float32(given[4]) == house.share


def test_tables_are_exact_in_every_machine_type():
    program = toy.program()
    layout = Layout(program)
    given, tables = pack(program, layout)
    width = len(leaves(toy.Tariff))
    begin = int(given[layout.tables[toy.Tariff]])
    rows = tables[begin : begin + 5 * width].reshape(5, width)
    for place, ((_, machine), values) in enumerate(zip(leaves(toy.Tariff), numbers(program.tables[toy.Tariff]), strict=True)):
        stored = {"float32": "float64", "uint32": "uint64"}.get(machine, machine)
        np.testing.assert_array_equal(np.ascontiguousarray(rows[:, place]).view(stored), values)


@pytest.mark.parametrize(
    ("field", "values"),
    [("bonus", np.array([0.5, 1.0, 1.0, 1.0, 1.0])), ("mask", np.full(5, -1)), ("code", np.full(5, 2**32))],
)
def test_a_table_that_its_machine_type_cannot_hold_is_refused(field, values):
    program = toy.program()
    table = program.tables[toy.Tariff]._replace(**{field: values})
    program = replace(program, tables={**program.tables, toy.Tariff: table})
    with pytest.raises(TypeError, match="cannot be stored as"):
        pack(program, Layout(program))


def test_a_table_may_have_another_type_that_holds_the_same_numbers():
    """Bits of a double are not taken for those of an integer."""
    program = toy.program()
    table = program.tables[toy.Tariff]
    other = table._replace(bonus=table.bonus.astype(np.float64), price=table.price)
    packed = [
        pack(replace(program, tables={**program.tables, toy.Tariff: each}), Layout(program))[1] for each in (table, other)
    ]
    assert packed[0].tobytes() == packed[1].tobytes()


# --- plans that do not fit together


def refusal(*lines, **changes):
    """Return the message with which a plan is refused."""
    program = toy.program(plans={"plan": lines}, **changes)
    with pytest.raises(TypeError) as caught:
        write("plan", Layout(program))
    return str(caught.value)


def test_a_record_that_no_line_makes_is_named_with_its_stage():
    message = refusal(Pass(toy.feed))
    assert message.startswith("stage feed takes ")
    assert any(name in message for name in ("Tariff", "Charge"))
    assert refusal(*toy.LOOKS, Pass(toy.feed)).startswith("stage feed takes Charge, which no line before it makes")
    assert refusal(*toy.LOOKS, Pass(toy.feed, toy.charge)).startswith("stage feed takes Charge")


def test_a_record_that_is_made_for_picked_lanes_only_is_not_there_for_all():
    picked = (*toy.LOOKS, Pick("full", toy.Counter, "full"), For("full", Pass(toy.charge)))
    assert refusal(*picked, Pass(toy.feed)).startswith("stage feed takes Charge")
    assert refusal(*toy.LOOKS, Pick("full", toy.Counter, "full"), Unless("full", Pass(toy.charge)), Pass(toy.feed))
    both = (*picked, Unless("full", Pass(toy.charge)), Pass(toy.feed))
    write("plan", Layout(toy.program(plans={"plan": both})))


def test_a_parameter_without_a_record_needs_a_value():
    assert refusal(Pass(toy.weigh)).startswith("stage weigh takes weights, which no line before it makes")
    write("plan", Layout(toy.program(plans={"plan": (Pass(toy.weigh),)}, extra={"weights": np.ones(2)})))


def test_lines_name_the_records_they_lack():
    assert "Show takes Seen" in refusal(toy.SHOW)
    assert "Pick takes Charge" in refusal(Pick("some", toy.Charge, "steps"))
    assert "Look takes Seen, which has no table" in refusal(Look(toy.tariff_row, toy.Seen))


def test_a_given_record_is_the_same_for_all_lanes_and_cannot_pick_among_them():
    assert "Pick takes House" in refusal(Pick("some", toy.House, "times"))


def test_lines_for_picked_lanes_cannot_pick_again():
    pick = Pick("full", toy.Counter, "full")
    assert "Pick line cannot be nested" in refusal(pick, For("full", Pick("again", toy.Counter, "full")))


def test_an_array_shows_all_lanes_or_picked_ones():
    show = (Pick("full", toy.Counter, "full"), For("full", Pass(toy.see), toy.SHOW))
    assert "'seen'" in refusal(*show, Pass(toy.see), toy.SHOW)


def renamed(function, name):
    """Return a function of the same code under another name."""
    other = type(function)(function.__code__, function.__globals__, name)
    other.__annotations__ = function.__annotations__
    return other


def test_two_stages_of_one_name_are_refused():
    """Text calls stages by name: the second would be called for the first."""
    other = renamed(toy.pay_nothing, "see")
    assert "'see'" in refusal(Pass(toy.see, other))
    other = renamed(toy.close_counter, "see")
    other.__annotations__ = toy.see.__annotations__
    assert "see" in refusal(Pass(toy.see), Pass(other))


def test_two_records_of_one_name_are_refused():
    class Paid(NamedTuple):
        sum: Real

    def pay_twice(counter: toy.Counter) -> Paid:
        return Paid(counter.count)

    pay_twice.__annotations__ = {"counter": toy.Counter, "return": Paid}
    assert "'Paid'" in refusal(Pass(toy.pay_nothing, pay_twice))


# --- what a plan says


def test_a_signature_says_what_a_stage_takes_and_makes():
    assert taken_by(toy.charge) == (toy.House, toy.Counter, toy.Tariff, toy.Level, toy.Coin)
    assert taken_by(toy.weigh) == ("weights", toy.Counter, toy.Coin)
    assert made_by(toy.feed) == (toy.Counter, toy.Note, toy.Paid)
    assert made_by(toy.see) == (toy.Seen,)


def test_walk_yields_lines_within_lines_in_order():
    inner = Pass(toy.see)
    lines = (Repeat(toy.House, "times", Unless("a", inner)), Add("sums", toy.by_row), Refuse(toy.Coin, "value", 0.0, 1.0))
    assert [type(line) for line in walk(lines)] == [Repeat, Unless, Pass, Add, Refuse]


def test_a_picture_may_stand_alone():
    """A row of a table is shown without a record before it."""
    program = toy.program(plans={"plan": (Show("bare", "pictures", toy.picture_row),)})
    text = "".join(line.text for line in write("plan", Layout(program)).lines)
    assert "target[0] = t0" in text
    assert "target[3]" not in text


@pytest.mark.parametrize("buffer", ["float64", "float32", ""])
def test_a_number_of_every_machine_type_is_read_as_it_was_written(buffer):
    rng = np.random.default_rng(2)
    words = rng.integers(0, 2**64, 50, dtype=np.uint64)
    values = {
        "float64": rng.normal(size=50),
        "int64": words.view(np.int64),
        "uint64": words,
        "float32": rng.normal(size=50).astype(np.float32),
        "uint32": (words >> np.uint64(32)).astype(np.uint32),
    }
    for kind, written in values.items():
        if buffer == "float32" and np.dtype(kind).itemsize > 4:
            continue
        place, kept = Place("kept[j]", kind, buffer), np.zeros(50, buffer or kind)
        for j, number in enumerate(written):
            exec(place.write("number"), {"np": np, "kept": kept, "j": j, "number": number})  # noqa: S102
        found = [eval(place.read(), {"np": np, "kept": kept, "j": j}) for j in range(50)]  # noqa: S307
        np.testing.assert_array_equal(found, written, err_msg=kind)
        assert {value.dtype for value in found} == {np.dtype(kind)}


def test_a_column_of_memory_has_one_number_for_each_lane_of_a_tile():
    record = numbered("Record", 2, Whole)
    layout = Layout(replace(toy.program(), kept=(record,)))
    elements = [f"np.float64(kept[np.uint64({column * TILE}) + j]).view(np.int64)" for column in range(2)]
    assert [layout.number(record, path) for path, _ in leaves(record)] == elements


def test_a_constant_has_no_place_among_the_numbers_given():
    class Mixed(NamedTuple):
        one: Constant
        two: Real

    layout = Layout(replace(toy.program(), given={Mixed: Mixed(1, 2.0)}))
    assert layout.offsets == {(Mixed, "two"): 0}


def test_a_field_with_the_name_of_an_array_does_not_ask_for_it():
    """The counter has a field `full`, and so has an array that this plan does not write."""
    assert write("begin", Layout(toy.program("begin"))).arrays == ()
