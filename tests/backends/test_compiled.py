"""Compiled lanes: what arrays do, to the last bit, for any number of lanes and threads; copies; the store on disk."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperexec_env.backends.arrays import ArrayLanes
from hyperexec_env.backends.compiled import CompiledLanes, default_threads, resolve_backend
from hyperexec_env.backends.layout import TILE
from hyperexec_env.extras import MissingExtra
from hyperexec_env.records import leaves, map_leaves, numbers

needs_numba = pytest.mark.skipif(find_spec("numba") is None, reason="needs the extra `fast`")
TOY = Path(__file__).with_name("toy.py")


def _load(name: str) -> Any:
    """Import a module beside this one, once for all that ask for it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


toy = _load("toy")
PROGRAM = toy.program()


def run(lanes, name, coins, chosen=None):
    """Run a plan; return how many lanes it picked, and what it wrote, rows of picked lanes in the order of the lanes."""
    arrays = toy.arrays_for(lanes.lanes, len(lanes.parts))
    chosen = np.ones(lanes.lanes, np.int64) if chosen is None else chosen
    counts = lanes.run(name, {"coins": coins, "chosen": chosen, **arrays})
    if counts[0] >= 0:
        spans = [slice(start, start + count) for (start, _), count in zip(lanes.parts, counts, strict=True)]
        for listed in ("closed", "last"):
            arrays[listed] = np.concatenate([arrays[listed][span] for span in spans])
        arrays["sums"] = arrays["sums"].sum(axis=0)
    return sum(counts), arrays


def assert_equal(one, other):
    """Whether two results of :func:`run` are equal to the last bit."""
    assert one[0] == other[0]
    for name, values in one[1].items():
        np.testing.assert_array_equal(values, other[1][name], err_msg=name)


def assert_remember_the_same(one, other):
    for kind in (toy.Counter, toy.Note):
        for (path, machine), ours, theirs in zip(
            leaves(kind), numbers(one.record(kind)), numbers(other.record(kind)), strict=True
        ):
            np.testing.assert_array_equal(ours, theirs, err_msg=path)
            assert (kind, path) in PROGRAM.fixed or ours.dtype == machine


def coins_for(lanes, seed):
    """Coins whose sums are exact in any order."""
    return np.random.default_rng(seed).integers(-256, 257, lanes) / 64.0


STORY = ("open", "feed", "feed", "often", "last", "feed", "last", "open", "feed", "feed")


@needs_numba
def test_compiled_lanes_do_what_arrays_do():
    for threads in [1, 2]:
        for lanes in [1, TILE - 1, TILE, TILE + 1, 600]:
            ours, reference = CompiledLanes(PROGRAM, lanes, threads), ArrayLanes(PROGRAM, lanes)
            assert len(ours.parts) == min(threads, -(-lanes // TILE))
            picked = set()
            for seed, name in enumerate(STORY):
                chosen = (np.random.default_rng(seed).random(lanes) < 0.5).astype(np.int64) if seed else None
                results = [run(each, name, coins_for(lanes, seed), chosen) for each in (ours, reference)]
                assert_equal(*results)
                assert_remember_the_same(ours, reference)
                picked.add(results[0][0])
            assert 0 in picked
            assert max(picked) > 0
            ours.close()


@needs_numba
@settings(max_examples=25)
@given(
    story=st.lists(st.sampled_from(["open", "feed", "last", "often"]), min_size=1, max_size=6),
    lanes=st.sampled_from([1, 7, TILE + 3]),
    share=st.sampled_from([0.0, 0.4, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_story_is_equal_in_both(story, lanes, share, seed):
    ours, reference = CompiledLanes(PROGRAM, lanes, 1), ArrayLanes(PROGRAM, lanes)
    rng = np.random.default_rng(seed)
    for number, name in enumerate(["open", *story]):
        chosen = (rng.random(lanes) < share).astype(np.int64) if number else None
        assert_equal(*(run(each, name, coins_for(lanes, seed + number), chosen) for each in (ours, reference)))
    assert_remember_the_same(ours, reference)


@needs_numba
def test_parts_that_threads_take_in_turn_change_nothing():
    for part in [TILE, 2 * TILE]:
        ours, reference = CompiledLanes(PROGRAM, 5 * TILE + 3, 2, part), ArrayLanes(PROGRAM, 5 * TILE + 3)
        for seed, name in enumerate(STORY):
            assert_equal(*(run(each, name, coins_for(each.lanes, seed)) for each in (ours, reference)))
        ours.close()


@needs_numba
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks of POSIX")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_lanes_with_threads_that_have_run_also_run_in_a_forked_process():
    lanes = CompiledLanes(PROGRAM, 600, 2)
    run(lanes, "open", coins_for(600, 0))
    kept = lanes._kept.copy()
    expected = run(lanes, "feed", coins_for(600, 1))
    lanes._kept[:] = kept
    child = os.fork()
    if child == 0:  # the child ends here, whatever happens
        try:
            assert_equal(run(lanes, "feed", coins_for(600, 1)), expected)
            os._exit(0)
        finally:
            os._exit(1)
    until, ended = time.monotonic() + 30.0, (0, 0)
    while ended[0] == 0 and time.monotonic() < until:
        ended = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if ended[0] == 0:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0), "the forked process hangs, or has other results"
    assert_equal(run(lanes, "feed", coins_for(600, 1)), expected)  # the threads of this process live on
    lanes.close()


def test_a_part_is_a_number_of_whole_tiles():
    for part in (0, 100, TILE + 1):
        with pytest.raises(ValueError, match=f"multiple of {TILE}"):
            CompiledLanes(PROGRAM, 600, 1, part)


# --- picks


both = pytest.mark.parametrize("kind", [ArrayLanes, pytest.param(CompiledLanes, marks=needs_numba)])


def started(kind, lanes, **full):
    """Return lanes that are open, some of them full."""
    made = kind(PROGRAM, lanes)
    run(made, "open", np.zeros(lanes))
    counter = made.record(toy.Counter)
    flags = np.zeros(lanes, np.int64)
    flags[full.get("at", [])] = 1
    made.put(toy.Counter, counter._replace(full=flags, count=np.where(flags == 1, 20, 3)))
    return made


@both
def test_picked_lanes_are_done_and_no_other(kind):
    """Full lanes are opened anew and pay nothing; all others are fed."""
    for at in [[], [0], [3, 263, 264], slice(None)]:
        lanes = started(kind, 270, at=at)
        full = lanes.record(toy.Counter).full == 1
        before = lanes.record(toy.Counter)
        counted, arrays = run(lanes, "feed", np.full(270, 2.0))
        after = lanes.record(toy.Counter)
        assert (after.count[full] == 0).all()
        assert (after.count[~full] > before.count[~full]).all()
        assert (arrays["amount"][full] == 0.0).all()
        assert (arrays["amount"][~full] != 0.0).all()
        assert counted == after.full.sum() == 0


@both
def test_listed_rows_come_in_the_order_of_the_lanes(kind):
    at = [5, 17, 263, 264, 269]
    lanes = started(kind, 270, at=at)
    counter = lanes.record(toy.Counter)
    counter = counter._replace(count=np.arange(270) + 100 * counter.full)
    lanes.put(toy.Counter, counter)
    counted, arrays = run(lanes, "last", np.zeros(270))
    closed = np.flatnonzero(lanes.record(toy.Counter).count == 0)
    assert counted == len(arrays["closed"]) == len(closed) > 200
    steps = arrays["closed"][:, 3] - counter.count[closed]
    assert np.isin(steps, (1, 2, 3)).all()
    np.testing.assert_array_equal(arrays["last"][:, 1], arrays["closed"][:, 3])


@both
@pytest.mark.parametrize(("bad", "lane"), [(9.0, 0), (-8.5, 264), (np.nan, 269), (np.inf, 264)])
def test_a_refused_number_changes_nothing(kind, bad, lane):
    lanes = started(kind, 270, at=[1, 264])
    before = [lanes.record(record) for record in (toy.Counter, toy.Note)]
    coins = np.ones(270)
    coins[lane:] = bad
    arrays = toy.arrays_for(270)
    untouched = copy.deepcopy(arrays)
    assert lanes.run("feed", {"coins": coins, "chosen": np.ones(270, np.int64), **arrays}) == [-1 - lane]
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, untouched[name], err_msg=name)
    for record, old in zip((toy.Counter, toy.Note), before, strict=True):
        for ours, theirs in zip(numbers(lanes.record(record)), numbers(old), strict=True):
            np.testing.assert_array_equal(ours, theirs)


@needs_numba
def test_a_refusal_in_one_part_stops_all_parts():
    lanes = CompiledLanes(PROGRAM, 600, 2)
    run(lanes, "open", np.zeros(600))
    before = lanes.record(toy.Counter)
    coins = np.zeros(600)
    coins[599] = np.nan
    assert lanes.run("feed", {"coins": coins, "chosen": coins, **toy.arrays_for(600, 2)}) == [-600]
    for ours, theirs in zip(numbers(lanes.record(toy.Counter)), numbers(before), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    lanes.close()


@needs_numba
def test_what_is_no_record_is_passed_by_its_name():
    program = toy.program(
        plans={"open": toy.PLANS["begin"], "weigh": (toy.Add("sums", toy.weighed),)},
        extra={"weights": np.array([2.0, 0.5])},
    )
    results = []
    for lanes in (CompiledLanes(program, 270, 1), ArrayLanes(program, 270)):
        arrays = {**toy.arrays_for(270), "coins": coins_for(270, 1), **program.extra}
        lanes.run("open", arrays)
        lanes.run("weigh", arrays)
        results.append(arrays["sums"])
    np.testing.assert_array_equal(*results)
    assert results[0].any()


@both
def test_a_number_that_is_the_same_for_all_lanes_counts_for_each(kind):
    """Arrays may hold one number for all lanes, right after all of them were begun."""
    plans = {
        "begin": (
            toy.Pass(toy.open_full),
            toy.Add("sums", toy.one_each),
            toy.Pick("full", toy.Counter, "full"),
            toy.For("full", toy.Add("sums", toy.one_each), toy.Pass(toy.close_counter)),
        )
    }
    lanes, arrays = kind(toy.program(plans=plans), 270), toy.arrays_for(270)
    assert lanes.run("begin", arrays) == [270]
    assert arrays["sums"].tolist() == [[0.0, 540.0, 0.0, 0.0, 0.0]]
    assert (arrays["closed"][:, 3] == 0.0).all()
    assert (arrays["closed"][:, 2] == float(2**64 - 977)).all()


# --- what lanes remember


@needs_numba
def test_what_is_put_is_what_is_remembered():
    """In every machine type, to the last bit, and for the lanes that there are."""
    for lanes in [1, TILE + 1]:
        rng = np.random.default_rng(3)
        ours = CompiledLanes(PROGRAM, lanes, 1)
        counter = toy.Counter(
            rng.normal(size=lanes).astype(np.float32),
            rng.integers(-(2**62), 2**62, lanes),
            toy.Purse(rng.normal(size=lanes), rng.normal(size=lanes)),
            rng.integers(0, 2**64, lanes, dtype=np.uint64),
            rng.integers(0, 2**32, lanes, dtype=np.uint32),
            rng.integers(0, 2, lanes),
        )
        note = toy.Note(np.full(lanes, 7.0), np.full(lanes, 0.1), rng.normal(size=lanes))
        ours.put(toy.Counter, counter)
        ours.put(toy.Note, note)
        for kind, put in ((toy.Counter, counter), (toy.Note, note)):
            for back, values in zip(numbers(ours.record(kind)), numbers(put), strict=True):
                np.testing.assert_array_equal(back, values)
                assert back.dtype == values.dtype


@needs_numba
def test_a_record_is_a_copy():
    lanes = started(CompiledLanes, 10)
    map_leaves(lambda values: values.fill(1), lanes.record(toy.Counter))
    assert lanes.record(toy.Counter).count.tolist() == [3] * 10


@both
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda lanes: pickle.loads(pickle.dumps(lanes))], ids=["copy", "pickle"])  # noqa: S301
def test_copies_go_their_own_way(kind, copied):
    lanes = started(kind, 300, at=[7])
    other = copied(lanes)
    assert_remember_the_same(lanes, other)
    run(lanes, "feed", coins_for(300, 1))
    assert (lanes.record(toy.Note).told != other.record(toy.Note).told).any()
    run(other, "feed", coins_for(300, 1))
    assert_remember_the_same(lanes, other)


# --- which backend, how many threads


@pytest.mark.fast
def test_backends_are_found_by_name(monkeypatch):
    assert resolve_backend("numpy") == "numpy"
    assert resolve_backend("auto") == ("numba" if find_spec("numba") else "numpy")
    with pytest.raises(ValueError, match="backend"):
        resolve_backend("torch")
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(MissingExtra, match="fast"):
        resolve_backend("numba")


@pytest.mark.fast
def test_few_lanes_are_work_for_one_thread():
    assert default_threads(1) == default_threads(4095) == 1
    assert 1 <= default_threads(10**6) <= (os.cpu_count() or 1)


@pytest.mark.fast
def test_backends_name_no_thing_of_the_house():
    """They know records and stages, not what is in them."""
    import ast

    from hyperexec_env import backends
    from hyperexec_env.envs.features import FEATURES
    from hyperexec_env.market.kernel import Components, Cost, Impact, Slice
    from hyperexec_env.market.regime import REGIME_NAMES, Regimes
    from hyperexec_env.market.scenario import Scenario
    from hyperexec_env.market.tables import MarketSpec, Numbers, SliceRow

    words = {*Cost._fields, *Components._fields, *REGIME_NAMES, *(feature.name for feature in FEATURES)}
    words |= {*Impact._fields, *Slice._fields, *MarketSpec._fields, *Numbers._fields, *SliceRow._fields}
    words |= {*Scenario.__dataclass_fields__, *Regimes.__dataclass_fields__}
    words -= {"name", "names", "start", "slices", "least", "limit", "width", "volume"}  # words that mean other things too
    for path in sorted(Path(backends.__file__).parent.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        found |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        found |= {node.arg for node in ast.walk(tree) if isinstance(node, (ast.arg, ast.keyword)) and node.arg}
        found |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
        assert not found & words, path.name
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        rooms = {name.split(".")[1] for name in imported if name and name.startswith("hyperexec_env.")}
        assert rooms <= {"backends", "records", "checks", "extras", "files"}, path.name


# --- the store on disk

STORING = """
import importlib.util, json, sys, types
from pathlib import Path
import numpy as np
from hyperexec_env.backends.compiled import CompiledLanes

told = []
for number, (name, replaced) in enumerate(json.loads(sys.argv[1])):
    text = Path({toy!r}).read_text()
    for old, new in replaced:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, "toy.py", "exec"), module.__dict__)
    lanes = CompiledLanes(module.program("begin"), 3, 1)
    lanes.run("begin", {{}})
    stats = lanes._compiled.plan("begin").driver.stats
    told.append([lanes.record(module.Counter).small.tolist()[0], sum(stats.cache_hits.values())])
print(json.dumps(told))
"""
INSIDE = "hyperexec_env.toy"


def begin(cache, *variants, says="", before=""):
    """Run a plan of each variant of the toy in one new process; return the first number and the hits of the store of each.

    `says` is the beginning of the only line on standard error, or a part of it; `before` is a text to run first.
    """
    environment = {**os.environ, "HYPEREXEC_CACHE": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)}
    script = before + STORING.format(toy=str(TOY))
    command = [sys.executable, "-W", "error", "-c", script, json.dumps(variants or [(INSIDE, [])])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=TOY.parent)
    assert done.returncode == 0, done.stderr
    assert says in done.stderr
    assert done.stderr.count("\n") <= 1
    return json.loads(done.stdout)


def stored(cache):
    return sorted(path.parent.name for path in Path(cache).rglob("loop.py"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder in which one process has stored a loop."""
    folder = tmp_path_factory.mktemp("cache")
    assert begin(folder) == [[0.125, 0]]
    return folder


@needs_numba
def test_a_second_process_loads_what_the_first_has_compiled(cache):
    files = stored(cache)
    assert len(files) == 1
    assert begin(cache) == [[0.125, 1]]
    assert stored(cache) == files


@needs_numba
def test_a_changed_constant_or_function_makes_another_file(cache):
    """However far away from the stage it is."""
    variants = [
        (INSIDE, [("FIRST = 0.25", "FIRST = 0.5")]),
        (INSIDE, [("return 0.5 * value", "return 2.0 * value")]),
        (INSIDE, []),
    ]
    assert begin(cache, *variants) == [[0.25, 0], [0.5, 0], [0.125, 1]]
    assert len(stored(cache)) == 3


@needs_numba
def test_the_text_on_disk_is_never_run(cache):
    for path in Path(cache).rglob("loop.py"):
        path.write_text("raise SystemExit('the text was run')\n")
    assert begin(cache)[0][0] == 0.125


@needs_numba
def test_a_damaged_file_is_compiled_again_and_replaced(cache):
    for file in Path(cache).rglob("*.loop"):
        whole = file.read_bytes()
        file.write_bytes(whole[:500] + bytes(len(whole) - 500))  # what a power failure leaves
    assert begin(cache, says="is not used (it is damaged)") == [[0.125, 0]]
    assert begin(cache) == [[0.125, 1]]


@needs_numba
@pytest.mark.slow
def test_code_of_others_is_not_run_and_a_full_disk_is_no_error(cache, tmp_path):
    """Fast twins: the tests of cached files."""
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    tmp_path.chmod(0o777)
    assert begin(tmp_path, says="others may write to it") == [[0.125, 0]]
    tmp_path.chmod(0o700)
    assert begin(tmp_path) == [[0.125, 1]]
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    assert begin(tmp_path / "new", before=full, says="compiled loops are not cached") == [[0.125, 0]]


FAR = "def half_of(value):\n    return 0.5 * value\n"
LOST = "\n\nhalf_of.__module__ = 'lost'\n"
OPEN = FAR.replace("0.5 * value", "operator.mul(0.5, value)")


@needs_numba
def test_functions_that_read_more_than_numbers_or_have_no_module_are_never_stored(tmp_path):
    """Nobody knows what the first depend on, and no process can load the second."""
    reads_a_library = ("elsewhere", [(FAR, f"import operator\n\n\n{OPEN}")])
    assert begin(tmp_path, reads_a_library, (INSIDE, [(FAR, FAR + LOST)])) == [[0.125, 0], [0.125, 0]]
    assert stored(tmp_path) == []


@needs_numba
def test_functions_of_a_users_module_are_stored_under_what_they_read(tmp_path):
    users = f"{FAR}\n\nimport string\nhalf_of.__module__ = 'string'\n"
    assert begin(tmp_path, (INSIDE, [(FAR, users)])) == [[0.125, 0]]
    assert begin(tmp_path, (INSIDE, [(FAR, users)])) == [[0.125, 1]]
    changed = [(INSIDE, [(FAR, users.replace("0.5", "2.0"))]), (INSIDE, [(FAR, users.replace("string", "textwrap"))])]
    assert [hits for _, hits in begin(tmp_path, *changed)] == [0, 0]
    assert len(stored(tmp_path)) == 3


@needs_numba
def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    file = tmp_path / "file"
    file.write_text("no folder")
    assert begin(file / "below") == [[0.125, 0]]


@needs_numba
def test_a_place_that_numba_cannot_use_is_done_without(cache, tmp_path):
    """The folder is there, and what numba would write into it cannot be written."""
    for name in stored(cache):
        folder = tmp_path / "compiled" / name
        folder.mkdir(parents=True)
        (folder / "__pycache__").write_text("no folder")
    assert begin(tmp_path) == [[0.125, 0]]
