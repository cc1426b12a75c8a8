"""
A board with intervals
======================

Differences to TWAP on the same 4,000 episodes, with 95 % intervals. Sanity policies (grey) must lose; the optimum bounds what
any policy can reach.
"""

import matplotlib.pyplot as plt

import hyperexec_env as hx

SANITY = ("random", "every-5th")
board = hx.evaluate("regime-day", ["baselines", *SANITY], episodes=4000, backend="numpy")
rows = sorted((row for row in board.rows if row.policy != "TWAP"), key=lambda row: -row.diff_to_twap_bps)

figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for place, row in enumerate(rows):
    value, low, high = row.diff_to_twap_bps, row.diff_to_twap_low, row.diff_to_twap_high
    colour = "black" if row.policy == "optimum" else "0.6" if row.policy in SANITY else "tab:blue"
    axes.errorbar(value, place, xerr=[[value - low], [high - value]], fmt="o", capsize=3, color=colour)
axes.axvline(0.0, color="tab:orange", lw=1.0, label="TWAP")
axes.set(xlabel="objective less TWAP's, bps of the arrival notional")
axes.set_yticks(range(len(rows)), [row.policy for row in rows])
axes.legend(frameon=False)
plt.show()
