"""Store: acknowledged rows survive, damage is detected, and a result that disagrees raises an alarm."""

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

from hyperexec_env.backends.compiled import resolve_backend
from hyperexec_env.baselines.policies import BASELINES, SANITY, EveryKth, Schedule, get_policy
from hyperexec_env.evaluation import identity, rollout
from hyperexec_env.evaluation.identity import Cell, cell_of, engine, policy_hash
from hyperexec_env.evaluation.network import NetworkPolicy
from hyperexec_env.evaluation.rollout import Outcome, join, rollouts
from hyperexec_env.evaluation.store import DamagedCell, DeterminismAlarm, Store, difference
from hyperexec_env.evaluation.verification import verify
from hyperexec_env.market.account import Statement
from hyperexec_env.market.kernel import Components
from hyperexec_env.market.path import draw_path
from hyperexec_env.market.scenario import get_scenario
from hyperexec_env.market.tables import build_market

pytestmark = pytest.mark.usefixtures("without_numba")

SCENARIO = get_scenario("regime-day")
MARKET = build_market(SCENARIO)
NAMES = (*BASELINES, *SANITY)


class Counting:
    """A policy that records the sizes of the batches it acts on; its pace is its digest."""

    name = "counting"

    def __init__(self, pace=1.0, rng=None, stops_in=None):
        self.digest, self.pace, self.rng, self.stops_in, self.batches = str(pace), pace, rng, stops_in, []

    def act(self, situation):
        if situation.k == 0:
            self.batches.append(len(situation.remaining))
        if (len(self.batches), situation.k) == self.stops_in:
            raise KeyboardInterrupt
        pace = self.pace if self.rng is None else self.rng.random()
        return situation.remaining * pace / (situation.market.slices - situation.k)


def _rolled(policies, episodes, store=None, batch=64, seed=3):
    """Return the outcomes of each policy, batch by batch."""
    hidden = [False] * len(policies)
    return list(rollouts(MARKET, policies, hidden, seed, episodes, batch, store))


def _equal(left, right):
    return all(not difference(a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x, y, strict=True))


def _made(episodes=3, value=1.5, path_hash="p"):
    """Return a small outcome."""
    costs = [np.full(episodes, value + i) for i in range(4)]
    parts = Components(*(np.full(episodes, value - i) for i in range(7)))
    return Outcome(Statement(*costs, parts), np.zeros(episodes), np.arange(episodes), np.full((2, 3), value), path_hash)


def _cell(**values):
    return Cell("engine", SCENARIO.hash, 0, 0, 3, "policy", False)._replace(**values)


def _put(store, cell, outcome):
    store.put(cell, outcome, SCENARIO, "made")


def _change(path, sql, *values):
    """Execute a statement on the file of a store, past the checks of the store."""
    with sqlite3.connect(path) as connection:
        connection.execute(sql, values)
    connection.close()


# --- a store does not change results


def test_results_with_and_without_a_store_are_equal_bit_for_bit(tmp_path):
    policies = [get_policy(name) for name in NAMES]
    without = _rolled(policies, 150)
    with Store(tmp_path / "s") as store:
        assert _equal(_rolled(policies, 150, store), without)
        assert len(store.cells()) == 3 * len(NAMES)
    with Store(tmp_path / "s") as store:
        assert _equal(_rolled([get_policy(name) for name in NAMES], 150, store), without)


def test_arrays_are_read_back_with_their_types_and_shapes(tmp_path):
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


def test_every_float_survives(tmp_path):
    for value in (float("nan"), -0.0, float("inf"), 5e-324):
        with Store(tmp_path / str(value)) as store:
            _put(store, _cell(), _made(value=value))
            assert difference(store.get(_cell()), _made(value=value)) == ""
        assert "inventory" in difference(_made(value=0.0)._replace(inventory=-0.0 * np.ones((2, 3))), _made(value=0.0))


def test_two_arrays_of_the_same_name_are_refused(tmp_path):
    clashing = namedtuple("clashing", (*Components._fields, "risk"))
    made = _made()
    components = clashing(**made.statement.components._asdict(), risk=np.zeros(3))
    with Store(tmp_path / "s") as store, pytest.raises(TypeError, match="'risk'"):
        _put(store, _cell(), made._replace(statement=made.statement._replace(components=components)))


# --- only missing cells are rolled out


def test_only_missing_cells_are_rolled_out(tmp_path):
    known, new = Counting(1.0), Counting(0.5)
    with Store(tmp_path / "s") as store:
        _rolled([known], 150, store)
        assert known.batches == [64, 64, 22]
        _rolled([known, new, known], 200, store)
    assert known.batches == [64, 64, 22, 64, 8]
    assert new.batches == [64, 64, 64, 8]


def test_no_path_is_drawn_where_no_cell_is_missing(tmp_path, monkeypatch):
    with Store(tmp_path / "s") as store:
        first = _rolled([get_policy("TWAP")], 100, store)
        monkeypatch.setattr(rollout, "draw_path", lambda *args: pytest.fail("drawn"))
        assert _equal(_rolled([get_policy("TWAP")], 100, store), first)


def test_the_path_is_drawn_once_for_all_missing_cells(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(rollout, "draw_path", lambda *args: drawn.append(args) or draw_path(*args))
    with Store(tmp_path / "s") as store:
        _rolled([get_policy(name) for name in NAMES], 100, store)
    tried = resolve_backend("auto") == "numba"  # rules are compared with their policies, all on one more path
    assert len(drawn) == 2 + tried


@pytest.mark.parametrize("change", ["seed", "scenario", "hidden", "engine", "policy"])
def test_a_cell_with_another_key_is_not_reused(tmp_path, change, monkeypatch):
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


def test_an_interrupted_run_resumes_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt), Store(tmp_path / "s") as store:
        _rolled([get_policy("TWAP"), Counting(stops_in=(2, 5))], 150, store)
    again = Counting()
    with Store(tmp_path / "s") as store:
        assert len(store.cells()) == 3, "two batches of TWAP and one of the policy that stopped in its second"
        resumed = _rolled([get_policy("TWAP"), again], 150, store)
    assert again.batches == [64, 22]
    assert _equal(resumed, _rolled([get_policy("TWAP"), Counting()], 150))


def test_outcomes_are_stored_before_they_are_yielded(tmp_path):
    with Store(tmp_path / "s") as store, Store(tmp_path / "s") as other:
        for number, _ in enumerate(rollouts(MARKET, [get_policy("TWAP")], [False], 3, 150, 64, store), start=1):
            assert len(other.cells()) == number


# --- the hash of a policy


def test_every_classical_policy_has_its_own_hash():
    hashes = {name: policy_hash(get_policy(name)) for name in NAMES}
    assert None not in hashes.values()
    assert len(set(hashes.values())) == len(NAMES)
    assert hashes == {name: policy_hash(get_policy(name)) for name in NAMES}


def test_the_fields_of_a_policy_are_part_of_its_hash():
    assert policy_hash(EveryKth(5)) != policy_hash(EveryKth(6))
    assert policy_hash(Schedule("IS")) != policy_hash(Schedule("AC"))


def test_the_memory_of_a_policy_is_not_part_of_its_hash():
    policy = get_policy("POV")
    before = policy_hash(policy)
    _rolled([policy], 10)
    assert policy_hash(policy) == before


@dataclass(frozen=True)
class Foreign:
    """A policy whose code the engine does not cover."""

    name: str = "foreign"

    def act(self, situation):
        return situation.remaining / 10.0


def test_a_policy_with_constructor_arguments_outside_its_fields_has_no_hash():
    class Hidden(type(get_policy("POV"))):
        __module__ = "hyperexec_env.baselines.policies"

        def __init__(self, pace):
            super().__init__()

    assert policy_hash(Hidden(0.5)) is None


def test_a_policy_without_a_hash_is_rolled_out_and_not_stored(tmp_path):
    with Store(tmp_path / "s") as store:
        assert _equal(_rolled([Foreign()], 20, store), _rolled([Foreign()], 20))
        assert store.cells() == []
    assert policy_hash(Foreign()) is None
    assert cell_of(SCENARIO, Foreign(), False, 0) is None


def _network(scale=0.3, **values):
    rng = np.random.default_rng(0)
    shapes = ((16, 21), (16, 16), (1, 16))
    layers = tuple((rng.normal(0, scale, shape).astype(np.float32), np.zeros(shape[0], np.float32)) for shape in shapes)
    return replace(NetworkPolicy("net", layers, "tanh", "clip", "pace", True, 0), **values)


def test_the_hash_of_a_network_depends_on_its_weights_and_not_on_its_name():
    same = _network(name="other", training_seed=9, about={"seconds": 3})
    assert same.digest == _network().digest
    others = [_network(scale=0.31), _network(activation="relu"), _network(head="tanh"), _network(observe_regime=False)]
    assert len({policy_hash(policy) for policy in [_network(), *others]}) == 5


def test_a_subclass_does_not_inherit_the_digest_of_a_network():
    class Changed(NetworkPolicy):
        def act(self, situation):
            return situation.remaining

    class WithDigest(Changed):
        digest = "covers everything that affects its shares"

    plain = {field.name: getattr(_network(), field.name) for field in fields(NetworkPolicy)}
    assert policy_hash(Changed(**plain)) is None
    assert policy_hash(WithDigest(**plain)) is not None
    policy = replace(get_policy("TWAP"))  # a copy: all tests share the registered policy
    vars(policy)["act"] = lambda situation: situation.remaining
    assert policy_hash(policy) is None
    vars(policy)["digest"] = "of the new act"
    assert policy_hash(policy) is not None


def test_the_engine_covers_the_code_that_computes_results_and_no_other(tmp_path, monkeypatch):
    files = set(identity._sources())
    assert {
        "market/kernel.py",
        "envs/features.py",
        "records.py",
        "backends/compiled.py",
        "execution/schedules.py",
        "evaluation/rollout.py",
    } <= files
    assert {"baselines/policies.py", "baselines/solver/policies.py", "orders.py"} <= files
    assert not {"cli.py", "training/ppo.py"} & files
    kernel, other = tmp_path / "hyperexec_env/market/kernel.py", tmp_path / "hyperexec_env/cli.py"
    kernel.parent.mkdir(parents=True)
    for path in (kernel, other, *(tmp_path / "hyperexec_env" / name for name in ("orders.py", "records.py"))):
        path.write_text("before")
    monkeypatch.setattr(identity, "_PACKAGE", tmp_path / "hyperexec_env")
    before = engine.__wrapped__()
    other.write_text("after")
    assert engine.__wrapped__() == before
    kernel.write_text("after")
    assert engine.__wrapped__() != before


# --- a result that disagrees with a stored one raises an alarm


def test_an_equal_result_may_be_put_again(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        _put(store, _cell(), _made())
        assert len(store.cells()) == 1


def test_a_different_result_for_the_same_cell_raises_the_alarm_and_changes_nothing(tmp_path):
    changed = _made()
    changed.statement.components.timing[1] = np.nextafter(changed.statement.components.timing[1], 9.0)
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        with pytest.raises(
            DeterminismAlarm, match=r"made on scenario regime-day .* seed 0, episodes 0 to 2: .* 1 of 3 .* timing"
        ):
            _put(store, _cell(), changed)
        assert difference(store.get(_cell()), _made()) == ""
        _put(store, _cell(policy="another"), changed)  # the store remains usable


def test_a_random_policy_raises_the_alarm(tmp_path):
    rng = np.random.default_rng(0)
    with Store(tmp_path / "s") as store:
        _rolled([Counting(rng=rng)], 70, store)
        ((first, name), (second, _)) = store.cells()
        again = [batch[0] for batch in _rolled([Counting(rng=rng)], 70)]
        for cell, outcome in zip((first, second), again, strict=True):
            with pytest.raises(DeterminismAlarm, match="counting on scenario regime-day"):
                store.put(cell, outcome, SCENARIO, name)


def test_an_outcome_of_another_market_raises_the_alarm(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        with pytest.raises(DeterminismAlarm, match="the market differs from the stored market of policy made"):
            _put(store, _cell(policy="another"), _made(path_hash="q"))
        _put(store, _cell(policy="another", seed=1), _made(path_hash="q"))


@pytest.mark.parametrize(("first", "second"), [(2, 5), (5, 2)])
def test_a_longer_and_a_shorter_batch_must_agree_on_the_shared_episodes(tmp_path, first, second):
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


@pytest.mark.parametrize("scenario", ["regime-day", "flow-signal"])
def test_a_longer_run_agrees_with_a_shorter_one_to_the_last_bit(tmp_path, scenario):
    market, policies = build_market(get_scenario(scenario)), [*map(get_policy, NAMES), _network(), Counting(0.9)]
    lengths = [1, 2, 17, 33, 300]
    with Store(tmp_path / "s") as store:
        for episodes in lengths:
            list(rollouts(market, policies, [False] * len(policies), 3, episodes, store=store))
        found = sorted(cell.episodes for cell, _ in store.cells())
    assert found == sorted(lengths * len(policies))


# --- damage is detected


def test_a_damaged_row_raises_and_is_not_returned(tmp_path):
    damages = [
        ("data", zlib.compress(b"\0" * 8)), ("data", b"no zlib"), ("data", "text"), ("sha256", "0" * 64), ("path_hash", "q"),
        ("header", "[]"), ("header", "no json"), ("header", '[["forced", "|O", [3]]]'), ("header", '[["forced", "<f8", [-3]]]'),
        ("seed", 7), ("scenario", "another"), ("engine", "another"), ("policy", "another"), ("hidden", 1), ("first", 64),
    ]  # fmt: skip
    for number, (column, value) in enumerate(damages):
        path = tmp_path / str(number)
        with Store(path) as store:
            _put(store, _cell(), _made())
        _change(path, f"UPDATE cells SET {column} = ?", value)  # noqa: S608 - a constant
        changed = _cell(**{column: value}) if column in Cell._fields else _cell()
        with Store(path) as store:
            with pytest.raises(DamagedCell, match=r"is damaged: scenario .* policy .* seed .* 3 episodes from"):
                store.get(changed)
            with pytest.raises(DamagedCell, match="is damaged"):
                _put(store, changed, _made())


@pytest.mark.parametrize("header", [
    f'[["forced", "<f8", [{10**30}]]]', '[["forced", "<f8", [1000000000]]]', "[" * 100_000, '[["forced", "<f8", [1e400]]]',
    "5", '{"forced": 1}', '[[["forced"], "<f8", [3]]]',
], ids=["huge", "large", "nested", "infinite", "number", "object", "list as a name"])  # fmt: skip
def test_a_row_of_an_absurd_shape_is_a_damaged_one(tmp_path, header):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
    _change(tmp_path / "s", "UPDATE cells SET header = ?", header)
    with Store(tmp_path / "s") as store, pytest.raises(DamagedCell, match="is damaged"):
        store.get(_cell())


def test_a_row_with_a_key_that_no_store_writes_is_one_clear_error(tmp_path):
    changes = [("seed", "x"), ("first", -5), ("episodes", 2**62), ("hidden", 7), ("name", b"\xff")]
    for number, (column, value) in enumerate(changes):
        path = tmp_path / str(number)
        with Store(path) as store:
            _put(store, _cell(), _made())
        _change(path, f"UPDATE cells SET {column} = ?", value)  # noqa: S608 - a constant
        with Store(path) as store, pytest.raises(DamagedCell, match="it holds a row with the key"):
            store.cells()


def test_a_scenario_that_is_nested_without_end_is_one_clear_error(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        store._connection.execute("UPDATE scenarios SET content = ?", ("[" * 100_000,))
        with pytest.raises(ValueError, match="holds no intact scenario"):
            store.scenario(SCENARIO.hash)


def test_a_row_larger_than_memory_is_not_read(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
    _change(tmp_path / "s", "UPDATE cells SET data = zeroblob(300000000)")
    with Store(tmp_path / "s") as store, pytest.raises(ValueError, match="too big"):
        store.get(_cell())
    with Store(tmp_path / "t") as store, pytest.raises(ValueError, match="a cell may have 1,048,576 episodes"):
        _put(store, _cell(episodes=2**21), _made())


def test_a_single_flipped_bit_is_detected(tmp_path):
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


# --- files that are not stores


def _foreign(path):
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE cells (x)")
    connection.close()


@pytest.mark.parametrize("make", [
    lambda path: path.write_text("name,value\n"), lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(84)), _foreign,
], ids=["text", "empty header", "another database"])  # fmt: skip
@pytest.mark.parametrize("journal", [False, True])
def test_a_file_that_is_not_a_store_raises_and_is_not_changed(tmp_path, make, journal):
    path = tmp_path / "s"
    make(path)
    if journal:
        (tmp_path / "s-journal").write_bytes(b"")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"s is not a store of results|cannot use the store .*s: "):
        Store(path)
    assert path.read_bytes() == before


def test_a_truncated_store_raises_and_is_not_changed(tmp_path):
    path = tmp_path / "s"
    with Store(path) as store:
        for seed in range(40):
            _put(store, _cell(seed=seed), _made())
    path.write_bytes(path.read_bytes()[: 3 * path.stat().st_size // 4])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"cannot use the store .*malformed"), Store(path) as store:
        store.check()
    assert path.read_bytes() == before


def test_a_store_of_another_format_raises(tmp_path):
    Store(tmp_path / "s").close()
    _change(tmp_path / "s", "PRAGMA user_version = 99")
    with pytest.raises(ValueError, match="must have format 1, got 99"):
        Store(tmp_path / "s")


@pytest.mark.parametrize("name", ["missing/s", "", "file/s"])
def test_an_unusable_path_is_one_clear_error(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot (write|read|use)"):
        Store(f"{tmp_path}/{name}")


@pytest.mark.skipif(os.name == "nt" or getattr(os, "geteuid", lambda: 0)() == 0, reason="root may write everywhere")
def test_a_read_only_folder_or_file_is_one_clear_error(tmp_path):
    Store(tmp_path / "s").close()
    (tmp_path / "s").chmod(0o444)
    with pytest.raises(ValueError, match="cannot use the store"):
        Store(tmp_path / "s")
    tmp_path.chmod(0o555)
    with pytest.raises(ValueError, match="may not be written to"):
        Store(tmp_path / "t")
    tmp_path.chmod(0o755)


def test_a_full_disk_is_one_clear_error_and_keeps_acknowledged_rows(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        store._connection.execute(f"PRAGMA max_page_count = {store._pragma('page_count')}")
        with pytest.raises(ValueError, match=r"cannot use the store .* full"):
            _put(store, _cell(seed=1), _made(20_000, value=np.pi))
        assert difference(store.get(_cell()), _made()) == ""
        assert len(store.cells()) == 1


def test_the_name_of_sqlites_in_memory_database_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Store(":memory:").close()
    assert os.listdir(tmp_path) == [":memory:"]


def test_a_closed_store_is_one_file_and_writes_are_synchronous(tmp_path):
    with Store(tmp_path / "s") as store:
        _put(store, _cell(), _made())
        assert [store._pragma(name) for name in ("journal_mode", "synchronous")] == ["wal", 2]
    assert os.listdir(tmp_path) == ["s"]


# --- verification


def _policies(*policies):
    return {policy_hash(policy): policy for policy in policies}


def test_an_intact_store_is_verified_cell_by_cell(tmp_path):
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


def test_verification_detects_a_forged_row_with_a_valid_hash(tmp_path):
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


def test_verification_continues_after_a_damaged_row(tmp_path):
    with Store(tmp_path / "s") as store:
        _rolled([get_policy("TWAP")], 100, store)
    _change(tmp_path / "s", "UPDATE cells SET data = zeroblob(9) WHERE first = 0")
    with Store(tmp_path / "s") as store:
        found = verify(store, _policies(get_policy("TWAP")))
    assert not found.sound
    assert "episodes 0 to 63: DAMAGED" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["different"] == 1


def test_cells_that_cannot_be_recomputed_are_listed_as_skipped(tmp_path):
    with Store(tmp_path / "s") as store:
        _rolled([get_policy("TWAP"), get_policy("POV")], 10, store)
        _put(store, _cell(), _made())
        found = verify(store, _policies(get_policy("TWAP")))
    assert found.sound
    lines = str(found).splitlines()
    assert any("made [policy]" in line and "skipped, another engine" in line for line in lines)
    assert any("POV" in line and "skipped, the policy is not available" in line for line in lines)
    assert lines[-1] == "3 cells: 1 equal bit for bit, 0 different or damaged, 2 skipped"


def test_a_store_with_a_damaged_structure_is_not_verified(tmp_path):
    path = tmp_path / "s"
    with Store(path) as store:
        for seed in range(60):
            _put(store, _cell(seed=seed), _made())
    content = bytearray(path.read_bytes())
    content[4096 * 3 + 8 : 4096 * 4] = bytes(4096 - 8)
    path.write_bytes(content)
    with Store(path) as store, pytest.raises(ValueError, match=r"the store .*s( is damaged)?: "):
        verify(store, {})


# --- concurrent writers, killed at random

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
        seed = number if number % 4 == 0 else 10**9 + number * 3 + writer  # all writers share a quarter of the cells
        _put(store, _cell(seed=seed), _made(value=float(seed)))
        print(seed, flush=True)
"""


class Writer:
    """A process that puts cells endlessly and prints each cell that the store has acknowledged."""

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
        """Kill the process, and return the seeds of the cells that the store had acknowledged."""
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
    """Kill one of three writers at a random moment, `kills` times, then all; return the seeds of the acknowledged cells."""
    rng, acknowledged = np.random.default_rng(), []
    writers = [Writer(folder, number, 0) for number in range(3)]
    for writer in writers:
        writer.ready()
    for writer in writers:  # all open a file that does not exist yet
        writer.go()
    for kill in range(kills):
        number = kill // 2 % 3  # twice each: while it writes, and its successor while it opens the store
        time.sleep(rng.uniform(0.0, 0.01 if kill % 2 else 0.1))
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
            assert stored is not None, f"row {seed} was acknowledged and is lost"
            assert difference(stored, _made(value=float(seed))) == ""
        seeds = {cell.seed for cell, _ in store.cells()}
        assert set(acknowledged) <= seeds
        assert len(seeds - set(acknowledged)) <= kills + 3, "each writer may be killed between a commit and its acknowledgement"


def test_two_processes_may_write_the_same_cells_and_a_different_result_still_raises(tmp_path):
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
