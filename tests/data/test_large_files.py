"""Large files: memory grows with the columns that are kept, and progress is shown on a terminal."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

MEASURE = """
import sys, warnings
warnings.simplefilter("ignore")
import exchange_calendars, pyarrow.compute, pyarrow.csv, pyarrow.parquet
from hyperexec_env.data.format import Format
from hyperexec_env.data.reader import read_trades

def peak():  # of this process alone: the maximum of getrusage begins at the size of the process that started it
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))

table = read_trades(sys.argv[1], Format(calendar="24/7"))
print(len(table), peak())
"""
needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="peak memory is read from /proc")
START = 1_709_562_600 * 10**9


def trades(count):
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "timestamp": pa.array((START + np.cumsum(rng.integers(0, 4_000_000, count))) // 1000, pa.timestamp("us", "UTC")),
            "price": np.round(170.0 + np.cumsum(rng.normal(0.0, 0.001, count)), 2),
            "size": rng.integers(1, 1000, count),
            "side": pa.array(np.array(["buy", "sell"])[rng.integers(0, 2, count)]),
        }
    )


def peak_of_reading(folder, count, form):
    """Write and read a file of trades in a process of its own; return its peak memory, bytes."""
    path, table = folder / f"data.{form}", trades(count)
    if form == "parquet":
        parquet.write_table(table, path)
    else:
        csv.write_csv(table.set_column(0, table.schema.names[0], table[0].cast(pa.string())), path)
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    path.unlink()
    rows, peak = map(int, done.stdout.split())
    assert rows == count
    return peak


@needs_proc
@pytest.mark.slow  # `hyperexec bench` holds the memory of 10 million rows to its limit
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_memory_grows_with_the_columns_and_not_with_the_text(tmp_path, form):
    few, many = (peak_of_reading(tmp_path, count, form) for count in (2_000_000, 4_000_000))
    kept = 8 + 8 + 8 + 4 + 2 + 1  # time, price, size, row, source and side of a trade, bytes
    assert (many - few) / 2_000_000 < 2.5 * kept


def on_a_terminal(code, *words):
    """Run Python with a terminal as standard error; return what it shows there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    shown = []

    def read():
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # the terminal is closed
                return
            if not data:
                return
            shown.append(data)

    reader = threading.Thread(target=read)
    reader.start()
    subprocess.run([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=theirs, check=True)
    os.close(theirs)
    reader.join(10)
    os.close(ours)
    return b"".join(shown).decode()


def test_progress_is_shown_on_a_terminal_alone(tmp_path):
    path = tmp_path / "trades.parquet"
    parquet.write_table(trades(600_000), path)
    code = f"import tqdm\ntqdm.tqdm.monitor_interval = 0\n{MEASURE}"
    assert "rows of trades.parquet" in on_a_terminal(code, str(path))
    quiet = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert quiet.stderr == ""
