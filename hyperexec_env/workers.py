"""Work shared by processes of this machine, or by a ray cluster: the results of one process, in the same order.

A piece of work is a function of the shared objects and an item, so it gives the same result wherever it runs. Items are taken
as workers need them, so memory does not grow with their number. The work of a worker that dies is done again by another one.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final, NamedTuple, TypeVar

from hyperexec_env.checks import check_integer
from hyperexec_env.extras import need

__all__ = ["ALONE", "Workers", "batches_of", "check_workers"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_DEATHS: Final = 5
"""Workers that may die in a row before the work is given up: something in it kills them."""
_AHEAD: Final = 2
"""Items for each worker that are taken before their results are needed."""


class Workers(NamedTuple):
    """Who works."""

    processes: int = 1
    """Number of processes; 1 with no cluster: this process. With a cluster: tasks at a time, 1 for as many as it has CPUs."""
    ray: str = ""
    """Address of a ray cluster ("auto": the one of this machine); "" for processes of this machine."""

    @property
    def alone(self) -> bool:
        """Whether this process does all the work."""
        return self.processes == 1 and not self.ray

    def map(self, make: Callable[[Any], Callable[[Item], Result]], shared: Any, items: Iterable[Item]) -> Iterator[Result]:
        """Yield the result of each item, in the order of the items.

        Args:
            make: Function of a module, (shared) -> the function of an item; called once in each worker.
            shared: What every worker gets; it is pickled once.
            items: The items.

        Raises:
            ValueError: `shared` cannot be pickled.
            RuntimeError: Workers die again and again.
            MissingExtra: A cluster is asked for, and ray is not installed.
        """
        if self.alone:
            return map(make(shared), items)
        try:
            ForkingPickler.dumps((make, shared))
        except Exception as error:  # whatever an object raises when it is pickled
            raise ValueError(f"workers need objects that can be sent to other processes: {error}; use one worker") from None
        return _on_cluster(self, make, shared, items) if self.ray else _on_processes(self.processes, make, shared, items)


ALONE: Final = Workers()
"""This process alone."""


def check_workers(workers: int, ray: str) -> Workers:
    """Return the workers of two options, after a check.

    Raises:
        ValueError: The number is out of range.
        MissingExtra: A cluster is asked for, and ray is not installed.
    """
    count = check_integer("workers", workers, low=1, high=4096)
    if ray:
        need("ray", "dist")
    return Workers(count, ray)


def batches_of(count: int, size: int) -> Iterator[range]:
    """Yield the numbers from 0 to a count in batches of a size; the last one may be smaller."""
    return (range(first, min(first + size, count)) for first in range(0, count, size))


_work: Callable[[Any], Any] | None = None
"""The function of an item, in a worker."""


def _begin(make: Callable[[Any], Callable[[Any], Any]], shared: Any) -> None:
    """Make the function of a worker; an interrupt is left to the process that started it, or to the work itself."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _work = make(shared)


def _do(item: Any) -> Any:
    """Return the result of an item, in a worker."""
    if _work is None:
        raise RuntimeError("the worker has not begun")
    return _work(item)


def _on_processes(
    count: int, make: Callable[[Any], Callable[[Item], Result]], shared: Any, items: Iterable[Item]
) -> Iterator[Result]:
    """Yield the results of processes of this machine; see :meth:`Workers.map`."""

    def started() -> ProcessPoolExecutor:
        return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin, (make, shared))

    left, taken, deaths = iter(items), deque[tuple[Item, Future[Result]]](), 0
    others = {*multiprocessing.active_children()}
    executor = started()
    try:
        while True:
            while len(taken) < _AHEAD * count:
                try:
                    item = next(left)
                except StopIteration:
                    break
                taken.append((item, _submit(executor, item)))
            if not taken:
                return
            try:
                result = taken[0][1].result()
            except BrokenProcessPool:
                deaths += 1
                if deaths > _DEATHS:
                    raise RuntimeError(f"{deaths} workers died one after the other: the work ends them, or memory") from None
                executor.shutdown(wait=True)
                executor = started()
                taken = deque((item, future if _succeeded(future) else _submit(executor, item)) for item, future in taken)
                continue
            deaths = 0
            taken.popleft()
            yield result
    finally:
        if taken:  # the work is given up: a training that is asked to end writes a checkpoint
            for process in {*multiprocessing.active_children()} - others:
                process.terminate()
        executor.shutdown(wait=True, cancel_futures=True)


def _submit(executor: ProcessPoolExecutor, item: Any) -> Future[Any]:
    """Give an item to the processes; where they are dead already, return a future that says so."""
    try:
        return executor.submit(_do, item)
    except BrokenProcessPool as error:
        broken: Future[Any] = Future()
        broken.set_exception(error)
        return broken


def _succeeded(future: Future[Any]) -> bool:
    """Return whether a future has a result."""
    return future.done() and not future.cancelled() and future.exception() is None


def _on_cluster(
    workers: Workers, make: Callable[[Any], Callable[[Item], Result]], shared: Any, items: Iterable[Item]
) -> Iterator[Result]:
    """Yield the results of tasks on a ray cluster, each on one CPU; see :meth:`Workers.map`.

    A task whose worker or node dies runs again elsewhere. The package must be installed on every node.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray = need("ray", "dist")
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=workers.ray, log_to_driver=False, logging_level="WARNING")
    count = workers.processes if workers.processes > 1 else max(1, int(ray.cluster_resources().get("CPU", 1)))
    known = ray.put((f"{os.getpid()}-{next(_NUMBERS)}", make, shared))
    task = ray.remote(num_cpus=1, max_retries=_DEATHS)(_on_node)
    left, taken = iter(items), deque[Any]()
    try:
        while True:
            while len(taken) < _AHEAD * count:
                try:
                    taken.append(task.remote(known, next(left)))
                except StopIteration:
                    break
            if not taken:
                return
            yield ray.get(taken.popleft())
    finally:
        for waiting in taken:
            ray.cancel(waiting, force=True)
        if ours:
            ray.shutdown()


_NUMBERS: Final = itertools.count()
_made: tuple[str, Callable[[Any], Any]] | None = None
"""The name of the work that a worker of a cluster has met last, and its function of an item."""


def _on_node(known: tuple[str, Callable[[Any], Callable[[Any], Any]], Any], item: Any) -> Any:
    """Return the result of an item on a node of a cluster; the function of an item is made once in each worker."""
    global _made
    name, make, shared = known
    if _made is None or _made[0] != name:
        _made = name, make(shared)
    return _made[1](item)
