"""Progress of long work, on the terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress"]


@contextmanager
def progress(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Show a bar (with tqdm, where it is installed) while the block runs; yields a function that adds to it."""
    try:
        from tqdm import tqdm
    except ModuleNotFoundError:
        yield lambda done: None
        return
    with tqdm(total=total, desc=what, disable=not sys.stderr.isatty(), leave=False, unit_scale=True) as bar:
        yield lambda done: bar.update(done) and None
