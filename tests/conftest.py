"""What all tests share: inputs that never change from run to run, one thread for each library, and a cache of their own."""

from __future__ import annotations

import os
import tempfile

os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" not in os.environ:  # the workers of a run share the folder of the process that started them
    _CACHE = tempfile.TemporaryDirectory(prefix="hyperexec-cache-", ignore_cleanup_errors=True)
    os.environ["HYPEREXEC_CACHE"] = _CACHE.name

import hypothesis

hypothesis.settings.register_profile("laws", derandomize=True, database=None, deadline=None, max_examples=60, print_blob=False)
hypothesis.settings.load_profile("laws")
