"""
The trade-off of hiding
=======================

TWAP with jittered sizes, in three markets: without a predator, with one that trades ahead of regular children, and with
liquidity that regular children attract. Jitter leaves the plan, which always costs; it pays where somebody watches.
"""

import matplotlib.pyplot as plt
import numpy as np

import hyperexec_env as hx


class Jittered:
    """TWAP whose sizes vary by up to +-strength; the jitter is a hash of the last order flow, equal for every strength."""

    def __init__(self, strength):
        self.strength, self.name = strength, f"jitter {strength:g}"

    def act(self, situation):
        twap = situation.remaining / (situation.market.slices - situation.k)
        return twap * (1.0 + self.strength * (2.0 * np.mod(1e4 * np.abs(situation.flow), 1.0) - 1.0))


strengths = (0.0, 0.25, 0.5, 0.75, 1.0)
figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
for name, colour in (("regime-day", "0.5"), ("hunted-day", "tab:red"), ("sunshine-day", "tab:green")):
    policies = [Jittered(strength) for strength in strengths]
    board = hx.evaluate(name, ["TWAP", *policies], episodes=2000, optimum=False, backend="numpy")
    found = {row.policy: row for row in board.rows}
    rows = [found[policy.name] for policy in policies]
    value = np.array([row.diff_to_twap_bps for row in rows])
    low, high = (np.array([getattr(row, f"diff_to_twap_{end}") for row in rows]) for end in ("low", "high"))
    axes.errorbar(strengths, value, [value - low, high - value], marker="o", capsize=3, color=colour, label=name)
axes.axhline(0.0, color="black", lw=0.8, ls=":")
axes.set(xlabel="strength of the jitter", ylabel="objective less TWAP's, bps")
axes.legend(frameon=False)
plt.show()
