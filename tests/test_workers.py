"""Work shared by processes: the results of one process in their order, whoever dies on the way."""

import itertools
import json
import multiprocessing

import pytest

import hyperexec_env as hx
from hyperexec_env.evaluation.store import Store
from hyperexec_env.workers import ALONE, Workers, check_workers

HELPERS = '''
import os
import time
from pathlib import Path

def squares(offset):
    return lambda item: item * item + offset

def slow_first(shared):
    def work(item):
        time.sleep(0.3 if item == 0 else 0.0)
        return item
    return work

def dies_once(folder):
    """Kill the process at the third item, unless it was killed there before."""
    def work(item):
        mark = Path(folder) / f"{item}"
        if item == 3 and not mark.exists():
            mark.touch()
            os._exit(1)
        return item
    return work

def always_dies(shared):
    return lambda item: os._exit(1)

def endless(shared):
    return lambda item: item if item == 0 else time.sleep(600)

def fails(shared):
    def work(item):
        raise ValueError(f"item {item} is wrong")
    return work
'''


@pytest.fixture
def helpers(tmp_path, monkeypatch):
    """A module that worker processes can import too."""
    (tmp_path / "worker_helpers.py").write_text(HELPERS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    import worker_helpers

    return worker_helpers


def test_processes_give_the_results_of_one_in_the_same_order(helpers):
    alone = [*ALONE.map(helpers.squares, 5, range(9))]
    assert alone == [item * item + 5 for item in range(9)]
    assert [*Workers(2).map(helpers.squares, 5, range(9))] == alone
    assert [*Workers(2).map(helpers.slow_first, None, range(5))] == [0, 1, 2, 3, 4]
    assert [*Workers(2).map(helpers.squares, 0, ())] == []


def test_items_are_taken_as_they_are_needed(helpers):
    taken = itertools.count()
    results = Workers(2).map(helpers.squares, 0, taken)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert next(taken) <= 3 + 2 * 2
    results.close()


def test_the_work_of_a_process_that_dies_is_done_again(helpers, tmp_path):
    assert [*Workers(2).map(helpers.dies_once, str(tmp_path), range(6))] == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "3").exists()


def test_work_that_is_given_up_ends(helpers):
    results = Workers(2).map(helpers.endless, None, range(5))
    assert next(results) == 0
    results.close()
    assert multiprocessing.active_children() == []


def test_work_that_kills_every_process_is_given_up(helpers):
    with pytest.raises(RuntimeError, match="workers died one after the other"):
        [*Workers(1, "")._replace(processes=2).map(helpers.always_dies, None, range(3))]


def test_an_error_of_the_work_is_raised_where_its_result_is_needed(helpers):
    with pytest.raises(ValueError, match="item 0 is wrong"):
        [*Workers(2).map(helpers.fails, None, range(3))]


def test_what_cannot_be_sent_is_refused(helpers):
    with pytest.raises(ValueError, match=r"can be sent to other processes.*use one worker"):
        Workers(2).map(helpers.squares, lambda: None, range(3))


@pytest.mark.parametrize("count", [0, -1, 1.5, True, 10**6])
def test_a_wrong_number_of_workers_is_named(count):
    with pytest.raises(ValueError, match="workers must be a whole number"):
        check_workers(count, "")


def test_a_board_of_several_processes_is_that_of_one(tmp_path):
    """Batches of 4,096 episodes, some of them stored by a shorter run before; stateful policies among them."""
    options = {"policies": ("TWAP", "Adaptive", "POV", "random", "optimum"), "backend": "numpy", "episodes": 9000}
    alone = hx.evaluate("almgren-chriss", **options)
    with Store(tmp_path / "results.sqlite") as store:
        hx.evaluate("almgren-chriss", store=store, **{**options, "episodes": 4096})
        shared = hx.evaluate("almgren-chriss", store=store, workers=2, **options)
        cells = sum(1 for _ in store.cells())
    assert shared.to_json() == alone.to_json()
    with Store(tmp_path / "results.sqlite") as store:
        assert hx.evaluate("almgren-chriss", store=store, **options).to_json() == alone.to_json()
        assert sum(1 for _ in store.cells()) == cells


@pytest.mark.parametrize(("scenario", "episodes"), [("kratz-schoneborn", 2100), ("touch-5min", 8200)])
def test_a_board_of_venues_or_at_the_touch_of_several_processes_is_that_of_one(scenario, episodes):
    """Every named policy, on batches of 1,024 or 8,192 episodes."""
    alone, shared = (hx.evaluate(scenario, episodes=episodes, workers=workers).to_dict() for workers in (1, 2))
    assert json.dumps(shared) == json.dumps(alone)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """A ray cluster of two nodes with one CPU each, whose workers can import the helpers."""
    pytest.importorskip("ray", reason="needs ray (extra dist)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made.address
    made.shutdown()


@pytest.mark.slow
def test_a_cluster_of_two_nodes_gives_the_board_of_one_process(cluster):
    options = {"policies": ("TWAP", "AC"), "backend": "numpy", "episodes": 9000}
    board = hx.evaluate("almgren-chriss", ray=cluster, **options)
    assert board.to_json() == hx.evaluate("almgren-chriss", **options).to_json()


@pytest.mark.slow
def test_the_work_of_a_node_that_dies_is_done_again(cluster, helpers, tmp_path):
    assert [*Workers(ray=cluster).map(helpers.dies_once, str(tmp_path), range(6))] == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "3").exists()


@pytest.mark.slow
def test_a_leaderboard_of_several_processes_is_that_of_one(tmp_path):
    """Two trainings at once, and the boards of both folders byte for byte."""
    pytest.importorskip("stable_baselines3", reason="needs the extra `train`")
    pytest.importorskip("matplotlib", reason="needs the extra `plot`")
    options = {"training_seeds": 2, "timesteps": 2000, "episodes": 50, "progress": False}
    for workers in (1, 2):
        hx.leaderboard("almgren-chriss", out=tmp_path / f"{workers}", workers=workers, **options)
    for name in ("almgren-chriss.json", "almgren-chriss.md", "policies/ppo-almgren-chriss-1/policy.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
