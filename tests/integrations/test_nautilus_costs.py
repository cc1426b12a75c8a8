"""The comparison of predicted and obtained cost: a made book whose costs are known, folds, and wrong arguments."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("nautilus_trader", reason="needs the extra `nautilus`, in an environment of its own (docs/nautilus.md)")

from hyperexec_env.data.format import Format
from hyperexec_env.data.zones import MINUTE

ROOT = Path(__file__).parent.parent.parent


def script():
    spec = importlib.util.spec_from_file_location("nautilus_costs", ROOT / "benchmarks" / "nautilus_costs.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COSTS = script()


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Messages and book of a session: executions that move a mid whose half-spread is always 2 cents of 100."""
    rng, folder = np.random.default_rng(4), tmp_path_factory.mktemp("book")
    count = 6_000
    clock = np.sort(rng.uniform(34_201.0, 57_599.0, count))
    direction = rng.choice([-1, 1], count)
    mid = 1_000_000 + 100 * np.cumsum(-direction * (rng.random(count) < 0.3))
    paths = [folder / f"MADE_2024-03-08_34200000_57600000_{name}_1.csv" for name in ("message", "orderbook")]
    messages = [
        f"{at:.6f},4,{number},{size},{price - 200 * side},{side}"
        for number, (at, size, price, side) in enumerate(zip(clock, rng.integers(50, 150, count), mid, direction, strict=True))
    ]
    paths[0].write_text("\n".join(messages) + "\n")
    paths[1].write_text("\n".join(f"{price + 200},400,{price - 200},400" for price in mid) + "\n")
    return [str(path) for path in paths]


@pytest.fixture(scope="module")
def compared(book, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "orders.json"
    small = ["--minutes", "10", "--participation", "0.02", "--slices", "4", "--episodes", "40", "--out", str(out)]
    COSTS.main(["--book", *book, *small])
    return json.loads(out.read_text())


def test_the_obtained_spread_is_that_of_the_book(compared):
    assert len(compared) == 2 * 6 * 4 * 2  # halves of the session, starts, strategies, sides
    for row in compared:
        assert row["obtained"]["filled"] == 1.0
        assert row["obtained"]["spread"] == pytest.approx(1e4 * 0.02 / row["order"]["arrival_price"], rel=0.05)
        assert row["predicted"]["spread"] == pytest.approx(row["obtained"]["spread"], rel=0.05)
        assert row["obtained"]["shortfall"] == pytest.approx(row["obtained"]["spread"] + row["obtained"]["timing"])
        assert row["predicted"]["low"] < row["predicted"]["shortfall"] < row["predicted"]["high"]


def test_buying_and_selling_together_cancels_the_timing(compared):
    pairs = {}
    for row in compared:
        order = row["order"]
        pairs.setdefault((order["strategy"], order["start"]), []).append(row["obtained"]["timing"])
    assert max(abs(sum(pair)) for pair in pairs.values()) < 1e-6 < max(abs(pair[0]) for pair in pairs.values())


def test_the_tables_name_every_group(book, capsys):
    small = ["--minutes", "10", "--participation", "0.02", "--slices", "2", "--episodes", "20", "--depth", "tick"]
    COSTS.main(["--book", *book, *small])
    printed = capsys.readouterr().out
    for name in ("| all |", "| TWAP |", "| optimum |", "| 2% of the volume |", "| 10 minutes |", "| strategy |"):
        assert name in printed


def test_each_part_takes_either_role():
    day = 24 * 60 * MINUTE
    monday = 1_709_562_600 * 10**9  # 2024-03-04 09:30 in New York
    one = COSTS.folds_of(np.array([monday, monday + 390 * MINUTE - 1]), Format())
    (morning,), (afternoon,) = one[0]
    assert (morning.end, afternoon.end - morning.start) == (afternoon.start, 390 * MINUTE)
    assert one[1] == one[0][::-1]
    several = COSTS.folds_of(np.array([monday, monday + 4 * day]), Format())
    assert [len(part) for part in several[0]] == [3, 2]
    assert {span.start for part in several[0] for span in part} == {span.start for part in several[1] for span in part}


def test_wrong_arguments_are_named(book, capsys):
    for words, message in (
        ([], "give --book MESSAGES BOOK, or --trades and --quotes"),
        (["--book", *book, "--depth", "none"], "invalid choice: 'none'"),
        (["--bok", *book], "did you mean '--book'"),
    ):
        with pytest.raises(SystemExit) as stop:
            COSTS.main(words)
        assert stop.value.code == 2
        assert message in capsys.readouterr().err
