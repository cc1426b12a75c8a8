"""
The optimal policy against TWAP on one day
==========================================

Both policies buy the same 4 % of the daily volume on the same day. The optimal policy waits while the market is in a crisis,
because the market volume collapses and temporary impact depends on the participation. TWAP holds its pace.
"""

import matplotlib.pyplot as plt
import numpy as np

import hyperexec_env as hx

SEED = 6  # a day with a crisis
scenario = hx.get_scenario("regime-day")
crisis = scenario.regimes.names.index("CRISIS")


def day(policy):
    """Return the remaining fraction at the start of each slice and the end, the regimes, and the objective in bps."""
    env = hx.make(scenario).unwrapped
    env.reset(seed=SEED)
    remaining, regimes, terminated = [1.0], [], False
    while not terminated:
        regimes.append(int(env.situation.seen))
        *_, terminated, _, info = env.trade(float(policy.act(env.situation)))
        remaining.append(float(env.situation.remaining) / scenario.quantity)
    return remaining, regimes, info["objective_bps"]


figure, axes = plt.subplots(figsize=(7.5, 4.0), layout="constrained")
for policy, colour in ((hx.solve(scenario).policy, "black"), (hx.get_policy("TWAP"), "tab:orange")):
    remaining, regimes, cost = day(policy)
    minutes = scenario.horizon_minutes * np.arange(len(remaining)) / scenario.slices
    axes.plot(minutes, remaining, color=colour, marker=".", label=f"{policy.name}: {cost:.1f} bps")
for k, regime in enumerate(regimes):  # of TWAP, which trades until the last slice
    if regime == crisis:
        axes.axvspan(minutes[k], minutes[k + 1], color="tab:red", alpha=0.15, lw=0)
axes.set(xlabel="minutes after the open", ylabel="remaining shares, fraction of the order", title="crisis shaded")
axes.legend(frameon=False)
plt.show()
