"""
The frontier of cost and risk
=============================

The efficient frontier of Almgren and Chriss (2000), with their own example: one million shares in five days. A larger risk
aversion trades faster, which costs more and risks less.
"""

import matplotlib.pyplot as plt
import numpy as np

from hyperexec_env.baselines.closed_forms import almgren_chriss

model = almgren_chriss.EXAMPLE
frontier = almgren_chriss.frontier(model, np.geomspace(1e-8, 1e-5, 100))

figure, axes = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
axes.plot(frontier.sd / 1e6, frontier.expected / 1e6, color="black")
for aversion in (1e-7, 1e-6, 4e-6):
    point = almgren_chriss.optimum(model, aversion)
    axes.plot(point.sd / 1e6, point.expected / 1e6, "o", color="tab:blue")
    axes.annotate(f"risk aversion {aversion:.0e}", (point.sd / 1e6, point.expected / 1e6), (8, 4), textcoords="offset points")
twap = almgren_chriss.twap(model)
axes.plot(twap.sd / 1e6, twap.expected / 1e6, "s", color="tab:orange", label="TWAP: least cost, most risk")
axes.set(xlabel="standard deviation of the cost, million currency", ylabel="expected cost, million currency", xlim=(0.1, 1.3))
axes.legend(frameon=False)
plt.show()
