"""One day, several orders: the pace of a visitor, the schedules of a desk and the optimal policy meet the same market.

`index.html` steps a `Race` in a browser (docs/howto/browser.md); the module needs the core only, so it runs anywhere.
"""

from __future__ import annotations

from typing import Any

import hyperexec_env as hx


class Order:
    """One environment, and what its order has paid so far."""

    def __init__(self, scenario: str, seed: int, policy: Any = None) -> None:
        """Begin the episode of a seed; without a policy, the visitor sets the pace."""
        self.env, self.policy = hx.make(scenario).unwrapped, policy
        self.env.reset(seed=seed)
        self.remaining, self.cost_bps, self.over = [1.0], [0.0], False

    def step(self, pace: float) -> None:
        """Trade one slice, unless the order is complete."""
        reward, over = 0.0, self.over
        if not over:
            step = self.env.step([pace]) if self.policy is None else self.env.trade(float(self.policy.act(self.env.situation)))
            reward, over = float(step[1]), bool(step[2])
        situation = self.env.situation
        self.remaining.append(float(situation.remaining / situation.quantity))
        self.cost_bps.append(self.cost_bps[-1] - reward)
        self.over = over


class Race:
    """The order of the visitor beside its rivals, on the same day."""

    def __init__(self, scenario: str = "regime-day", seed: int = 0) -> None:
        """Begin a day."""
        self.scenario, self.seed, self.market = scenario, seed, hx.get_scenario(scenario)
        self.orders = {"you": Order(scenario, seed), "TWAP": Order(scenario, seed, hx.get_policy("TWAP"))}
        self.paces: list[float] = []
        self.regimes = [self._regime()]

    def _regime(self) -> str:
        """Return the regime of the slice that begins now; TWAP trades in every slice, so its order sees all of them."""
        return str(self.market.regimes.names[int(self.orders["TWAP"].env.situation.seen)])

    def step(self, pace: float) -> dict[str, Any]:
        """Trade one slice of every order."""
        if len(self.paces) < self.market.slices:
            self.paces.append(pace)
            for order in self.orders.values():
                order.step(pace)
            if len(self.paces) < self.market.slices:
                self.regimes.append(self._regime())
        return self.state()

    def add_optimum(self) -> dict[str, Any]:
        """Solve the scenario (a few seconds), and let the optimal policy catch up with the day."""
        order = Order(self.scenario, self.seed, hx.solve(self.scenario).policy)
        for pace in self.paces:
            order.step(pace)
        self.orders["optimum"] = order
        return self.state()

    def state(self) -> dict[str, Any]:
        """Return what the page draws: slices, regimes so far, and of each order the remaining fraction and the cost in bps."""
        orders = {name: {"remaining": order.remaining, "cost_bps": order.cost_bps} for name, order in self.orders.items()}
        return {"slice": len(self.paces), "slices": self.market.slices, "regimes": self.regimes, "orders": orders}
