"""
A basket under its optimal schedule
===================================

Ten orders, seven to buy and three to sell, after 8 of 26 slices of the optimal policy. Each panel is one order: the remaining
fraction, the schedule of the expected volume (dashed), and the pull, the correlation of the asset with what remains of the
basket. Buys with a large pull trade early. The sell A4, whose pull is negative, hedges the buys of its sector and waits.
"""

import matplotlib.pyplot as plt

import hyperexec_env as hx
from hyperexec_env.baselines.basket_policies import basket_policy

env = hx.make("basket-hedged", render_mode="rgb_array").unwrapped
env.reset(seed=0)
optimum = basket_policy("optimum")
for _ in range(8):
    env.trade(optimum.act(env.situation))

figure = plt.figure(figsize=(9.6, 6.4))
axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
axes.imshow(env.render())
axes.set_axis_off()
plt.show()
