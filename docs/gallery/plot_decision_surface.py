"""
The decisions of the optimal policy
===================================

Pace of the optimal policy of ``regime-day`` by slice and remaining order in three regimes: the shares of the slice over the
shares of the expected-volume schedule. The last slice, which trades the rest, is left out.
"""

import matplotlib.pyplot as plt
import numpy as np

import hyperexec_env as hx
from hyperexec_env.market.tables import build_market

solution = hx.solve("regime-day")
market = build_market(solution.scenario)
names = solution.scenario.regimes.names
remaining = np.linspace(0.02, 1.0, 60) * solution.scenario.quantity


def pace(k, regime):
    """Return the shares of slice k over those of the expected-volume schedule, for each remaining order."""
    fresh = np.zeros_like(remaining)
    situation = hx.Situation(
        market=market,
        k=k,
        seen=np.full(len(remaining), names.index(regime)),
        side=fresh + 1.0,
        quantity=fresh + solution.scenario.quantity,
        remaining=remaining,
        permanent=fresh,
        transient=fresh,
        price=fresh + solution.scenario.arrival_price,
        flow=fresh,
        last_shares=fresh,
        last_volume=fresh + 1.0,
        last_price=fresh + solution.scenario.arrival_price,
    )
    expected = market.mean_volume[k, market.unknown] / market.rest_volume[k, market.unknown]
    return solution.policy.act(situation) / (remaining * expected)


figure, panels = plt.subplots(1, 3, figsize=(9.5, 3.4), sharey=True, layout="constrained")
for axes, regime in zip(panels, ("SIDEWAYS_LOW", "SIDEWAYS_HIGH", "CRISIS"), strict=True):
    surface = np.log2(np.maximum([pace(k, regime) for k in range(market.slices - 1)], 2.0**-4)).T
    image = axes.imshow(
        surface, origin="lower", aspect="auto", extent=(0, market.slices - 1, 0, 1), vmin=-2, vmax=2, cmap="RdBu_r"
    )
    axes.set(title=regime, xlabel="slice")
panels[0].set(ylabel="remaining, fraction of the order")
bar = figure.colorbar(image, ax=panels, label="pace, multiple of the expected volume", ticks=[-2, -1, 0, 1, 2])
bar.ax.set_yticklabels(["1/4", "1/2", "1", "2", "4"])
plt.show()
