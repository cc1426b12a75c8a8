"""What all tests share: inputs that never change from run to run, and one thread for each library."""

from __future__ import annotations

import os

os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis

hypothesis.settings.register_profile("laws", derandomize=True, database=None, deadline=None, max_examples=60, print_blob=False)
hypothesis.settings.load_profile("laws")
