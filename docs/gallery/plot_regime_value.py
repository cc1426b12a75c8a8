"""
The value of knowing the regime
===============================

TWAP's distance to the optimum has three parts: what a better fixed schedule saves, what the past regimes add, and what only an
observer of the present regime can save. The solver computes all three without simulation.
"""

import matplotlib.pyplot as plt
import numpy as np

import hyperexec_env as hx

names = ("large-cap", "regime-day", "mid-cap", "crisis-day")
parts = []
for name in names:
    solution = hx.solve(name)
    values = (solution.twap_bps, solution.open_loop_bps, solution.regime_blind_bps, solution.optimum_bps)
    parts.append(-np.diff(values))

figure, axes = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
left = np.zeros(len(names))
for label, width in zip(("a better schedule", "past regimes", "the regime now"), np.array(parts).T, strict=True):
    axes.barh(names, width, left=left, label=label)
    left = left + width
axes.set(xlabel="TWAP's objective above the optimum, bps of the arrival notional")
axes.legend(frameon=False)
plt.show()
