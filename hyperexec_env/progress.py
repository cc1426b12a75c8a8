"""Progress bar of long computations, shown on terminals only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]


@contextmanager
def progress(total: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error while the block runs (by tqdm; without tqdm or a terminal, show nothing).

    Args:
        total: Number of steps at the end; None: unknown.
        what: Label of the bar.

    Yields:
        A function that advances the bar by a number of steps.
    """
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield lambda done: None
        return
    with tqdm(total=total, desc=what, disable=not sys.stderr.isatty(), leave=False, unit_scale=True) as bar:
        yield lambda done: bar.update(done) and None
