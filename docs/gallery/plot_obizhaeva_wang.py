"""
Transient impact: buckets at both ends
======================================

With transient impact only, the optimal schedule of Obizhaeva and Wang (2013) trades a block at the start, a block at the end,
and a constant rate between. The slower the book recovers, the larger are the blocks.
"""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from hyperexec_env.baselines.closed_forms import obizhaeva_wang

figure, panels = plt.subplots(1, 3, figsize=(8.5, 3.0), sharey=True, layout="constrained")
for axes, resilience in zip(panels, (1.0, 5.0, 25.0), strict=True):
    model = replace(obizhaeva_wang.EXAMPLE, resilience=resilience)
    trades = obizhaeva_wang.discrete_trades(model, 13) / model.quantity
    axes.bar(np.arange(1, len(trades) + 1), 100.0 * trades, color="tab:blue")
    axes.set(title=f"resilience {resilience:g} a day", xlabel="child order")
panels[0].set(ylabel="shares, % of the order")
plt.show()
