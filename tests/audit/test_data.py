"""The audit of data: the findings of the inspection, as verdicts."""

import os
from pathlib import Path

import numpy as np
import pytest

import hyperexec_env as hx
from hyperexec_env.audit.data import FAULTS
from hyperexec_env.data.format import Format

BARS = Path(__file__).parents[2] / "benchmarks" / "example_bars.csv"
DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
pytest.importorskip("exchange_calendars", reason="needs the extra `data`")


@pytest.fixture
def spoilt(tmp_path):
    """Write the example bars with some rows changed: a function of (index, time, open, high, low, close, volume)."""

    def write(change):
        header, *lines = BARS.read_text().splitlines()
        kept = filter(None, (change(index, line.split(",")) for index, line in enumerate(lines)))
        path = tmp_path / "bars.csv"
        path.write_text("\n".join([header, *(",".join(map(str, cells)) for cells in kept)]) + "\n")
        return hx.audit_data(path, Format())

    return write


def test_the_example_bars_pass():
    found = hx.audit_data(BARS)
    assert found.checks("passed") == ["usable", "sessions", *FAULTS]
    assert found.exit_code == 0
    assert "2026-03-02" in found.table


VOLUMES = np.array([float(line.split(",")[5]) for line in BARS.read_text().splitlines()[1:]]).reshape(-1, 78)
TOTALS = VOLUMES.cumsum(axis=1).ravel()


def running_total(index, cells):
    """The volume of the third session is that of the day so far."""
    return [*cells[:5], TOTALS[index]] if index // 78 == 2 else cells


def spike(index, cells):
    if index == 200:
        cells[1:5] = [f"{3.0 * float(value):.4f}" for value in cells[1:5]]
    return cells


def frozen(index, cells):
    if 90 <= index < 150:
        cells[1:5] = ["100.0"] * 4
    return cells


def gap(index, cells):
    return None if 100 <= index < 140 else cells


@pytest.mark.parametrize(
    ("change", "check"), [(running_total, "contaminated"), (spike, "spike"), (frozen, "frozen"), (gap, "gap")]
)
def test_a_fault_is_caught_by_its_check_and_by_no_other(change, check, spoilt):
    found = spoilt(change)
    assert found.checks("failed") == [check], str(found)
    assert "line " in found.named(check).evidence


def test_data_that_cannot_be_used_fail(spoilt):
    found = spoilt(lambda index, cells: [*cells[:5], TOTALS[index]])
    assert found.checks("failed") == ["usable"]
    assert found.checks("not run") == ["sessions", *FAULTS]


@pytest.mark.skipif(not DATA.is_dir(), reason="real data: set HYPEREXEC_DATA to the folder that holds dirty/")
def test_real_contaminated_volumes_are_caught():
    found = hx.audit_data(DATA / "dirty" / "AAPL_1min_contaminated_volume.csv.gz")
    assert {"usable", "sessions", "contaminated"} == set(found.checks("failed"))
    assert set(found.checks("not run")) == set(FAULTS) - {"contaminated"}
    assert hx.audit_data(DATA / "bars_1min" / "JPM_1min_2019-02-11_2019-02-15.csv.gz").checks("failed") == []
