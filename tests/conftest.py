"""Settings of all tests: inputs that never change from run to run, a cache for the run, and a table of seconds per file."""

from __future__ import annotations

import os
import sys
import tempfile

os.environ.setdefault("MPLBACKEND", "Agg")
if "HYPEREXEC_CACHE" not in os.environ:  # set in the workers of a run, and by a user who keeps compiled loops between runs
    _CACHE = tempfile.TemporaryDirectory(prefix="hyperexec-cache-", ignore_cleanup_errors=True)
    os.environ["HYPEREXEC_CACHE"] = _CACHE.name

import hypothesis
import pytest

hypothesis.settings.register_profile("laws", derandomize=True, database=None, deadline=None, max_examples=60, print_blob=False)
hypothesis.settings.load_profile("laws")


@pytest.fixture(scope="module")
def without_numba():
    """Let the backend "auto" mean numpy in a module, as where numba is not installed.

    Each kind of market takes seconds to compile; tests of boards, commands and trainings need not.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "numba", None)
        yield


def pytest_configure(config):
    """Keep slow cases out of `-m fast`, and hand whole files to the processes of `pytest -n 2`.

    A process then makes each solved scenario, trained policy and wheel once.
    """
    if config.option.markexpr == "fast":
        config.option.markexpr = "fast and not slow"
    if getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadfile"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where a comparison with a stored result fails, print the command that renews the result."""
    report = yield
    marker = item.get_closest_marker("renewed_by")
    if report.failed and marker:
        (command,) = marker.args
        report.sections.append(("stored result", f"a change that is meant to move this result renews it: {command}"))
    return report


def pytest_terminal_summary(terminalreporter):
    """Print the seconds and the cases of each file, longest first."""
    seconds, cases = {}, {}
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if hasattr(report, "duration"):
                name = report.nodeid.partition("::")[0]
                seconds[name] = seconds.get(name, 0.0) + report.duration
                cases[name] = cases.get(name, 0) + (bool(outcome) and outcome != "deselected")
    if len(seconds) > 1:
        terminalreporter.section("seconds and cases per file")
        for name in sorted(seconds, key=seconds.get, reverse=True):
            terminalreporter.write_line(f"{seconds[name]:8.1f} s {cases[name]:5d}  {name}")
        terminalreporter.write_line(f"{sum(seconds.values()):8.1f} s {sum(cases.values()):5d}  in all")
