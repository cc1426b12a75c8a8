"""The store: what was acknowledged is there, what is there is what was computed, and a contradiction is an alarm."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import zlib
from collections import namedtuple
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from hyperexec_env.baselines.policies import BASELINES, SANITY, EveryKth, Schedule, get_policy
from hyperexec_env.evaluation import identity, rollout
from hyperexec_env.evaluation.identity import Cell, cell_of, engine, policy_hash
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.rollout import Outcome, join, rollouts
from hyperexec_env.evaluation.store import DamagedCell, DeterminismAlarm, Store, difference
from hyperexec_env.evaluation.verification import verify
from hyperexec_env.market.account import Components, Statement
from hyperexec_env.market.compiled import resolve_backend
from hyperexec_env.market.model import build_market
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario

SCENARIO = get_scenario("regime-day")
MARKET = build_market(SCENARIO)
NAMES = (*BASELINES, *SANITY)


class Counting:
    """A policy that notes the batches it was asked for; its pace is its identity."""

    name = "counting"

    def __init__(self, pace=1.0, chance=None, stops_in=None):
        self.digest, self.pace, self.chance, self.stops_in, self.batches = str(pace), pace, chance, stops_in, []

    def act(self, situation):
        if situation.k == 0:
            self.batches.append(len(situation.remaining))
        if (len(self.batches), situation.k) == self.stops_in:
            raise KeyboardInterrupt
        pace = self.pace if self.chance is None else self.chance.random()
        return situation.remaining * pace / (situation.market.slices - situation.k)


def _rolled(policies, episodes, store=None, batch=64, seed=3):
    """The outcomes of each policy, batch after batch."""
    hidden = [False] * len(policies)
    return list(rollouts(MARKET, policies, hidden, seed, episodes, batch, store))


def _same(left, right):
    return all(not difference(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


def _made(episodes=3, value=1.5, path_hash="p"):
    """A small outcome."""
    costs = [np.full(episodes, value + i) for i in range(4)]
    parts = Components(*(np.full(episodes, value - i) for i in range(7)))
    return Outcome(Statement(*costs, parts), np.zeros(episodes), np.arange(episodes), np.full((2, 3), value), path_hash)


def _cell(**values):
    return Cell("engine", SCENARIO.hash, 0, 0, 3, "policy", False)._replace(**values)


def _put(store, cell, outcome):
    store.put(cell, outcome, SCENARIO, "made")


def _change(path, sql, *values):
    """Change a store behind its back."""
    with sqlite3.connect(path) as connection:
        connection.execute(sql, values)
    connection.close()


# --- results are the same with a store and without


def test_results_with_and_without_a_store_are_equal_bit_for_bit(tmp_path):
    policies = [get_policy(name) for name in NAMES]
    without = _rolled(policies, 150)
    with Store(tmp_path / "s") as store:
        assert _same(_rolled(policies, 150, store), without)
        assert len(store.cells()) == 3 * len(NAMES)
    with Store(tmp_path / "s") as store:
        assert _same(_rolled([get_policy(name) for name in NAMES], 150, store), without)


def test_what_is_stored_comes_back_with_its_types_and_shapes(tmp_path):
    ((rolled,),) = _rolled([get_policy("POV")], 40)
    with Store(tmp_path / "s") as store:
        ((_,),) = _rolled([get_policy("POV")], 40, store)
        (cell, _), *_ = store.cells()
        read = store.get(cell)
    for before, after in zip((*rolled.statement[:4], *rolled.statement.components, *rolled[1:4]),
                             (*read.statement[:4], *read.statement.components, *read[1:4]), strict=True):  # fmt: skip
        assert before.dtype == after.dtype
        assert before.tobytes() == after.tobytes()
        assert before.shape == after.shape
    assert read.path_hash == rolled.path_hash
    assert difference(join([read, read]), join([rolled, rolled])) == ""


@pytest.mark.parametrize("value", [float("nan"), -0.0, float("inf"), 5e-324])
def test_every_float_survives(tmp_path, value):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made(value=value))
        assert difference(store.get(_cell()), _made(value=value)) == ""
    assert "inventory" in difference(_made(value=0.0)._replace(inventory=-0.0 * np.ones((2, 3))), _made(value=0.0))


def test_two_arrays_of_the_same_name_are_refused(tmp_path):
    clashing = namedtuple("clashing", (*Components._fields, "risk"))
    made = _made()
    components = clashing(**made.statement.components._asdict(), risk=np.zeros(3))
    with Store(tmp_path / "s") as store, pytest.raises(TypeError, match="'risk'"):
        _put(store, _cell(), made._replace(statement=made.statement._replace(components=components)))


# --- only what is missing is rolled


def test_only_missing_cells_are_rolled(tmp_path):
    known, new = Counting(1.0), Counting(0.5)
    with Store(tmp_path / "s") as store:
        _rolled([known], 150, store)
        assert known.batches == [64, 64, 22]
        _rolled([known, new, known], 200, store)
    assert known.batches == [64, 64, 22, 64, 8]
    assert new.batches == [64, 64, 64, 8]


def test_nothing_is_drawn_where_nothing_is_missing(tmp_path, monkeypatch):
    with Store(tmp_path / "s") as store:
        first = _rolled([get_policy("TWAP")], 100, store)
        monkeypatch.setattr(rollout, "draw_path", lambda *args: pytest.fail("drawn"))
        assert _same(_rolled([get_policy("TWAP")], 100, store), first)


def test_the_path_is_drawn_once_for_all_that_is_missing(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(rollout, "draw_path", lambda *args: drawn.append(args) or draw_path(*args))
    with Store(tmp_path / "s") as store:
        _rolled([get_policy(name) for name in NAMES], 100, store)
    tried = resolve_backend("auto") == "numba"  # rules are compared with the answers of their policies, all on one path
    assert len(drawn) == 2 + tried


@pytest.mark.parametrize("change", ["seed", "scenario", "hidden", "engine", "policy"])
def test_another_cell_is_not_taken_for_this_one(tmp_path, change, monkeypatch):
    policy, market, seed, hidden = Counting(), MARKET, 3, False
    with Store(tmp_path / "s") as store:
        _rolled([policy], 10, store)
        if change == "engine":
            monkeypatch.setattr("hyperexec_env.evaluation.identity.engine", lambda compiled: "another")
        elif change == "scenario":
            market = build_market(replace(SCENARIO, quantity=1e5))
        elif change == "policy":
            policy.digest = "another"
        seed, hidden = (4 if change == "seed" else 3), change == "hidden"
        list(rollouts(market, [policy], [hidden], seed, 10, 64, store))
    assert policy.batches == [10, 10]


def test_a_run_that_was_interrupted_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt), Store(tmp_path / "s") as store:
        _rolled([get_policy("TWAP"), Counting(stops_in=(2, 5))], 150, store)
    again = Counting()
    with Store(tmp_path / "s") as store:
        assert len(store.cells()) == 3, "two batches of TWAP and one of the policy that stopped in its second"
        resumed = _rolled([get_policy("TWAP"), again], 150, store)
    assert again.batches == [64, 22]
    assert _same(resumed, _rolled([get_policy("TWAP"), Counting()], 150))


def test_what_is_yielded_is_stored_already(tmp_path):
    with Store(tmp_path / "s") as store, Store(tmp_path / "s") as other:
        for number, _ in enumerate(rollouts(MARKET, [get_policy("TWAP")], [False], 3, 150, 64, store), start=1):
            assert len(other.cells()) == number


# --- who a policy is


def test_every_classical_policy_has_an_identity_of_its_own():
    identities = {name: policy_hash(get_policy(name)) for name in NAMES}
    assert None not in identities.values()
    assert len(set(identities.values())) == len(NAMES)
    assert identities == {name: policy_hash(get_policy(name)) for name in NAMES}


def test_the_fields_of_a_policy_are_part_of_its_identity():
    assert policy_hash(EveryKth(5)) != policy_hash(EveryKth(6))
    assert policy_hash(Schedule("IS")) != policy_hash(Schedule("AC"))


def test_memory_is_no_part_of_the_identity():
    policy = get_policy("POV")
    before = policy_hash(policy)
    _rolled([policy], 10)
    assert policy_hash(policy) == before


@dataclass(frozen=True)
class Stranger:
    """A policy whose code the engine does not cover."""

    name: str = "stranger"

    def act(self, situation):
        return situation.remaining / 10.0


def test_a_policy_made_with_arguments_that_cannot_be_seen_has_no_identity():
    class Hidden(type(get_policy("POV"))):
        __module__ = "hyperexec_env.baselines.policies"

        def __init__(self, pace):
            super().__init__()

    assert policy_hash(Hidden(0.5)) is None


def test_a_policy_without_a_stable_identity_is_rolled_and_not_stored(tmp_path):
    with Store(tmp_path / "s") as store:
        assert _same(_rolled([Stranger()], 20, store), _rolled([Stranger()], 20))
        assert store.cells() == []
    assert policy_hash(Stranger()) is None
    assert cell_of(SCENARIO, Stranger(), False, 0) is None


def _network(scale=0.3, **values):
    rng = np.random.default_rng(0)
    shapes = ((16, 21), (16, 16), (1, 16))
    layers = tuple((rng.normal(0, scale, shape).astype(np.float32), np.zeros(shape[0], np.float32)) for shape in shapes)
    return replace(NetworkPolicy("net", layers, "tanh", "clip", "pace", True, 0), **values)


def test_a_network_is_known_by_what_it_does_not_by_what_it_is_called():
    same = _network(name="other", training_seed=9, about={"seconds": 3})
    assert same.digest == _network().digest
    others = [_network(scale=0.31), _network(activation="relu"), _network(head="tanh"), _network(observe_regime=False)]
    assert len({policy_hash(policy) for policy in [_network(), *others]}) == 5


def test_a_policy_that_changes_what_it_inherits_is_not_known_by_the_digest_of_its_parent():
    class Bold(NetworkPolicy):
        def act(self, situation):
            return situation.remaining

    class Vouched(Bold):
        digest = "everything that moves an answer"

    plain = {field.name: getattr(_network(), field.name) for field in fields(NetworkPolicy)}
    assert policy_hash(Bold(**plain)) is None
    assert policy_hash(Vouched(**plain)) is not None
    policy = replace(get_policy("TWAP"))  # a copy: the one that ships is everybody's
    vars(policy)["act"] = lambda situation: situation.remaining
    assert policy_hash(policy) is None
    vars(policy)["digest"] = "what is put in its place"
    assert policy_hash(policy) is not None


def test_the_engine_covers_the_code_that_makes_results_and_no_other(tmp_path, monkeypatch):
    files = set(identity._sources())
    assert {"market/kernel.py", "envs/observation.py", "execution/schedules.py", "evaluation/rollout.py"} <= files
    assert {"baselines/policies.py", "baselines/solver/policies.py", "orders.py"} <= files
    assert not {"cli.py", "training/ppo.py"} & files
    kernel, other = tmp_path / "hyperexec_env/market/kernel.py", tmp_path / "hyperexec_env/cli.py"
    kernel.parent.mkdir(parents=True)
    for path in (kernel, other, tmp_path / "hyperexec_env/orders.py"):
        path.write_text("before")
    monkeypatch.setattr(identity, "_PACKAGE", tmp_path / "hyperexec_env")
    before = engine.__wrapped__()
    other.write_text("after")
    assert engine.__wrapped__() == before
    kernel.write_text("after")
    assert engine.__wrapped__() != before


# --- a contradiction is an alarm


def test_the_same_result_may_be_put_again(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        _put(store, _cell(), _made())
        assert len(store.cells()) == 1


def test_another_result_for_the_same_cell_is_an_alarm_and_changes_nothing(tmp_path):
    changed = _made()
    changed.statement.components.timing[1] = np.nextafter(changed.statement.components.timing[1], 9.0)
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        with pytest.raises(
            DeterminismAlarm, match=r"made on scenario regime-day .* seed 0, episodes 0 to 2: .* 1 of 3 .* timing"
        ):
            _put(store, _cell(), changed)
        assert difference(store.get(_cell()), _made()) == ""
        _put(store, _cell(policy="another"), changed)  # and the store still takes what is sound


def test_a_policy_that_is_random_raises_the_alarm(tmp_path):
    chance = np.random.default_rng(0)
    with Store(tmp_path / "s") as store:
        _rolled([Counting(chance=chance)], 70, store)
        ((first, name), (second, _)) = store.cells()
        again = [batch[0] for batch in _rolled([Counting(chance=chance)], 70)]
        for cell, outcome in zip((first, second), again, strict=True):
            with pytest.raises(DeterminismAlarm, match="counting on scenario regime-day"):
                store.put(cell, outcome, SCENARIO, name)


def test_a_policy_that_met_another_market_raises_the_alarm(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        with pytest.raises(DeterminismAlarm, match="met another market than made"):
            _put(store, _cell(policy="another"), _made(path_hash="q"))
        _put(store, _cell(policy="another", seed=1), _made(path_hash="q"))


@pytest.mark.parametrize(("first", "second"), [(2, 5), (5, 2)])
def test_a_longer_and_a_shorter_batch_must_agree_on_what_they_share(tmp_path, first, second):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(episodes=first), _made(first))
        _put(store, _cell(episodes=second), _made(second, path_hash="q"))
        assert difference(store.get(_cell(episodes=first)), _made(first)) == ""
        wrong = _made(4)
        wrong.forced[1] = 1.0
        with pytest.raises(DeterminismAlarm, match=r"1 of 2 values of forced"):
            _put(store, _cell(episodes=4), wrong)
        assert len(store.cells()) == 2
        after = _made(4)
        after.forced[3] = 1.0
        with pytest.raises(DeterminismAlarm, match=r"1 of 4 values of forced"):
            _put(store, _cell(episodes=4), after)
        _put(store, _cell(episodes=4, first=8), wrong)


@pytest.mark.parametrize("policy", [*map(get_policy, NAMES), _network(), Counting(0.9)], ids=lambda policy: policy.name)
@pytest.mark.parametrize("market", ["regime-day", "flow-signal"])
def test_a_longer_run_agrees_with_a_shorter_one_to_the_last_bit(tmp_path, policy, market):
    with Store(tmp_path / "s") as store:
        for episodes in (1, 2, 17, 33, 250, 1000):
            list(rollouts(build_market(get_scenario(market)), [policy], [False], 3, episodes, store=store))
        assert sorted(cell.episodes for cell, _ in store.cells()) == [1, 2, 17, 33, 250, 1000]


# --- damage is seen


@pytest.mark.parametrize(("column", "value"), [
    ("data", zlib.compress(b"\0" * 8)), ("data", b"no zlib"), ("data", "text"), ("sha256", "0" * 64), ("path_hash", "q"),
    ("header", "[]"), ("header", "no json"), ("header", '[["forced", "|O", [3]]]'), ("header", '[["forced", "<f8", [-3]]]'),
    ("seed", 7), ("scenario", "another"), ("engine", "another"), ("policy", "another"), ("hidden", 1), ("first", 64),
])  # fmt: skip
def test_a_damaged_row_is_refused_and_not_returned(tmp_path, column, value):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
    _change(tmp_path / "s", f"UPDATE cells SET {column} = ?", value)  # noqa: S608 - a name of ours
    changed = _cell(**{column: value}) if column in Cell._fields else _cell()
    with Store(tmp_path / "s") as store:
        with pytest.raises(DamagedCell, match=r"is damaged: scenario .* policy .* seed .* 3 episodes from"):
            store.get(changed)
        with pytest.raises(DamagedCell, match="is damaged"):
            _put(store, changed, _made())


def test_a_single_bit_of_the_data_is_enough(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
    with sqlite3.connect(tmp_path / "s") as connection:
        (data,) = connection.execute("SELECT data FROM cells").fetchone()
    connection.close()
    raw = bytearray(zlib.decompress(data))
    for place in range(0, len(raw), 5):
        raw[place] ^= 1
        _change(tmp_path / "s", "UPDATE cells SET data = ?", zlib.compress(bytes(raw)))
        with Store(tmp_path / "s") as store, pytest.raises(DamagedCell):
            store.get(_cell())
        raw[place] ^= 1


# --- files that are no stores


def _foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE cells (x)")
    connection.close()


@pytest.mark.parametrize("make", [
    lambda path: path.write_text("name,value\n"), lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(84)), _foreign,
], ids=["text", "empty header", "another database"])  # fmt: skip
@pytest.mark.parametrize("journal", [False, True])
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path, make, journal):
    path = tmp_path / "s"
    make(path)
    if journal:
        (tmp_path / "s-journal").write_bytes(b"")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"s is not a store of results|cannot use the store .*s: "):
        Store(path)
    assert path.read_bytes() == before


def test_a_store_that_was_cut_off_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "s"
    with Store(path) as store:
        for seed in range(40):
            _put(store, _cell(seed=seed), _made())
    path.write_bytes(path.read_bytes()[: 3 * path.stat().st_size // 4])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"cannot use the store .*malformed"), Store(path) as store:
        store.check()
    assert path.read_bytes() == before


def test_a_store_of_another_format_is_refused(tmp_path):
    Store(tmp_path / "s").close()
    _change(tmp_path / "s", "PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="must have format 1, got 99"):
        Store(tmp_path / "s")


@pytest.mark.parametrize("name", ["missing/s", "", "file/s"])
def test_a_path_that_cannot_be_a_store_is_one_clear_error(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot (write|read|use)"):
        Store(f"{tmp_path}/{name}")


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write everywhere")
def test_a_folder_or_a_file_that_may_not_be_written_to_is_one_clear_error(tmp_path):
    Store(tmp_path / "s").close()
    (tmp_path / "s").chmod(0o444)
    with pytest.raises(ValueError, match="cannot use the store"):
        Store(tmp_path / "s")
    tmp_path.chmod(0o555)
    with pytest.raises(ValueError, match="may not be written to"):
        Store(tmp_path / "t")
    tmp_path.chmod(0o755)


def test_a_full_disk_is_one_clear_error_and_keeps_what_was_acknowledged(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        store._connection.execute(f"PRAGMA max_page_count = {store._pragma('page_count')}")
        with pytest.raises(ValueError, match=r"cannot use the store .* full"):
            _put(store, _cell(seed=1), _made(20_000, value=np.pi))
        assert difference(store.get(_cell()), _made()) == ""
        assert len(store.cells()) == 1


def test_a_name_that_means_memory_to_sqlite_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Store(":memory:").close()
    assert os.listdir(tmp_path) == [":memory:"]


def test_one_file_is_left_when_the_store_is_closed_and_it_is_durable(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        assert [store._pragma(name) for name in ("journal_mode", "synchronous")] == ["wal", 2]
    assert os.listdir(tmp_path) == ["s"]


# --- verification


def _policies(*policies):
    return {policy_hash(policy): policy for policy in policies}


def test_a_sound_store_is_verified_cell_by_cell(tmp_path):
    policies = [get_policy("POV"), _network()]
    with Store(tmp_path / "s") as store:
        _rolled(policies, 150, store)
        list(rollouts(MARKET, policies, [True, True], 3, 20, store=store))
        found = verify(store, _policies(*policies))
    assert found.sound
    assert [(row.policy, row.hidden, row.cells, row.episodes) for row in found.findings] == [
        *(("POV", False, 3, 150), ("POV", True, 1, 20), ("net", False, 3, 150), ("net", True, 1, 20)),
    ]
    assert str(found).endswith("8 cells: 8 equal bit for bit, 0 different or damaged, 0 skipped")


def test_a_consistent_forgery_is_found_by_verification(tmp_path):
    with Store(tmp_path / "s") as store:
        ((outcome,), _) = _rolled([get_policy("TWAP")], 100, store)
        (cell, name), _ = store.cells()
        store._connection.execute("DELETE FROM cells WHERE episodes = 64")
        forged = outcome._replace(forced=outcome.forced + 1e-9)
        store.put(cell._replace(episodes=64, first=0), forged, SCENARIO, name)
        found = verify(store, _policies(get_policy("TWAP")))
    assert not found.sound
    assert "episodes 0 to 63: DIFFERENT in 64 of 64 values of forced" in str(found)
    assert str(found).endswith("2 cells: 1 equal bit for bit, 1 different or damaged, 0 skipped")


def test_a_damaged_row_does_not_stop_the_verification(tmp_path):
    with Store(tmp_path / "s") as store:
        _rolled([get_policy("TWAP")], 100, store)
    _change(tmp_path / "s", "UPDATE cells SET data = zeroblob(9) WHERE first = 0")
    with Store(tmp_path / "s") as store:
        found = verify(store, _policies(get_policy("TWAP")))
    assert not found.sound
    assert "episodes 0 to 63: DAMAGED" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["different"] == 1


def test_what_cannot_be_computed_again_is_listed_as_skipped(tmp_path):
    with Store(tmp_path / "s") as store:
        _rolled([get_policy("TWAP"), get_policy("POV")], 10, store)
        _put(store, _cell(), _made())
        found = verify(store, _policies(get_policy("TWAP")))
    assert found.sound
    lines = str(found).splitlines()
    assert any("made [policy]" in line and "skipped, another engine" in line for line in lines)
    assert any("POV" in line and "skipped, the policy is not here" in line for line in lines)
    assert lines[-1] == "3 cells: 1 equal bit for bit, 0 different or damaged, 2 skipped"


def test_a_store_whose_structure_is_damaged_is_not_verified(tmp_path):
    path = tmp_path / "s"
    with Store(path) as store:
        for seed in range(60):
            _put(store, _cell(seed=seed), _made())
    content = bytearray(path.read_bytes())
    content[4096 * 3 + 8 : 4096 * 4] = bytes(4096 - 8)
    path.write_bytes(content)
    with Store(path) as store, pytest.raises(ValueError, match=r"the store .*s( is damaged)?: "):
        verify(store, {})


# --- several writers, and their death

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from test_store import _cell, _made, _put
from hyperexec_env.evaluation.store import Store

path, writer, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
with Store(path) as store:
    for number in range(start, 1_000_000):
        seed = number if number % 4 == 0 else 10**9 + number * 3 + writer  # a quarter of the cells is everybody's
        _put(store, _cell(seed=seed), _made(value=float(seed)))
        print(seed, flush=True)
"""


class Writer:
    """A process that puts cells without end and says which the store has acknowledged."""

    def __init__(self, folder, number, start):
        self.log = folder / f"{number}-{start}-{time.monotonic_ns()}"
        words = [sys.executable, "-c", WRITER, str(folder / "s"), str(number), str(start), os.path.dirname(__file__)]
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=out, stderr=subprocess.PIPE)

    def ready(self):
        while not self.log.read_bytes().endswith(b"\n"):
            assert self.process.poll() is None, self.process.stderr.read().decode()
            time.sleep(0.002)

    def go(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def kill(self):
        """End it at once, and return the cells that it had acknowledged."""
        assert self.process.poll() is None, self.process.stderr.read().decode()
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        return [int(line) for line in self.log.read_text().split("\n")[1:-1]]


def _started(folder, number, start):
    writer = Writer(folder, number, start)
    writer.ready()
    writer.go()
    return writer


def _killed(folder, kills):
    """Kill one of three writers at a random moment, again and again, and at last all; return what was acknowledged."""
    chance, acknowledged = np.random.default_rng(), []
    writers = [Writer(folder, number, 0) for number in range(3)]
    for writer in writers:
        writer.ready()
    for writer in writers:  # all open a file that is not there yet
        writer.go()
    for kill in range(kills):
        number = kill // 2 % 3  # each twice: in the middle, and its successor when it has hardly opened the store
        time.sleep(chance.uniform(0.0, 0.01 if kill % 2 else 0.1))
        acknowledged += writers[number].kill()
        writers[number] = _started(folder, number, 1000 * (kill + 1))
    for writer in writers:
        acknowledged += writer.kill()
    return acknowledged


@pytest.mark.skipif(os.name == "nt", reason="kill -9 of POSIX")
@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_no_acknowledged_row_is_lost_when_writers_are_killed(tmp_path, kills):
    acknowledged = _killed(tmp_path, kills)
    assert len(acknowledged) > kills
    with Store(tmp_path / "s") as store:
        store.check()
        for seed in acknowledged:
            stored = store.get(_cell(seed=seed))
            assert stored is not None, f"the row {seed} was acknowledged and is lost"
            assert difference(stored, _made(value=float(seed))) == ""
        seeds = {cell.seed for cell, _ in store.cells()}
        assert set(acknowledged) <= seeds
        assert len(seeds - set(acknowledged)) <= kills + 3, "each writer may have died between a row and its receipt"


def test_two_processes_may_write_the_same_cells_and_the_second_compares(tmp_path):
    writers = [Writer(tmp_path, 0, 0) for _ in range(2)]
    for writer in writers:
        writer.ready()
    for writer in writers:
        writer.go()
    while min(len(writer.log.read_bytes().splitlines()) for writer in writers) < 40:
        time.sleep(0.01)
    left, right = (set(writer.kill()) for writer in writers)
    assert len(left & right) >= 39
    with Store(tmp_path / "s") as store:
        seed = max(left & right)
        with pytest.raises(DeterminismAlarm):
            _put(store, _cell(seed=seed), _made(value=0.5))
        assert difference(store.get(_cell(seed=seed)), _made(value=float(seed))) == ""
