"""
A volume curve from bars
========================

The share of the daily volume in each five minutes, from the example bars of the repository: each session, and the mean that a
calibrated scenario uses as its volume curve. Put your own file in place of the path.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import hyperexec_env as hx

folder = next(path for path in (Path.cwd(), *Path.cwd().parents) if (path / "benchmarks").is_dir())
sessions = hx.read_sessions(folder / "benchmarks" / "example_bars.csv")
shares = 100.0 * sessions.volume / sessions.volume.sum(axis=1, keepdims=True)
open_minutes = sessions.edges[:-1]

figure, axes = plt.subplots(figsize=(7.5, 3.5), layout="constrained")
axes.plot(open_minutes, shares.T, ".", color="0.7", markersize=3)
axes.step(open_minutes, shares.mean(axis=0), where="post", color="tab:blue", lw=2.0, label=f"mean of {len(shares)} sessions")
axes.axhline(100.0 / np.size(open_minutes), color="black", lw=0.8, ls=":", label="flat")
axes.set(xlabel="minutes after the open", ylabel="% of the daily volume", ylim=(0.0, None))
axes.legend(frameon=False)
plt.show()
