"""Configuration of the execution agent: every setting with its default and its valid range."""

from __future__ import annotations

from dataclasses import dataclass

from hyperexec_env.checks import check_flag, check_integer, check_number
from hyperexec_env.execution.algorithms import ADAPTIVE, check_algorithm

__all__ = ["ExecutionConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionConfig:
    """Settings of an :class:`~hyperexec_env.execution.agent.ExecutionAgent`.

    Args:
        name: Name of the agent.
        enabled: Whether the agent accepts orders.
        priority: Rank among agents, for the caller; the agent does not use it.
        verbose: Whether the agent logs its actions (logger ``hyperexec_env.execution``, level INFO).
        max_latency_us: Limit in microseconds; the status counts slower `process` calls, and a verbose agent logs them. After a
            change of regime a call replans only as many orders as fit into it by nominal times.
        algorithm: Default algorithm, for orders that name none.
        urgency: Default urgency, for orders that give none, 0 to 1.
        horizon_seconds: Default time to the deadline, for orders that give none, seconds on the agent's clock.
        slices: Number of intervals of an order (Adaptive: only in the regimes in which it uses IS).
        max_participation_rate: Cap on the shares released in an interval, as a fraction of the quoted market volume; None: no
            cap.
        complete: Whether the last child exceeds the cap to complete the order (its excess shares are reported as forced);
            otherwise the report shows the rest as unfilled.
        steganographic_factor: Scale of the jitter of times and sizes, 0 (none) to 1.
        kyle_lambda: Kyle's lambda, arrival prices for one ADV.
        temp_impact_alpha: Temporary impact at a participation of one, volatilities of a day.
        temp_impact_beta: Exponent of the temporary impact in the participation.
        perm_impact_gamma: Permanent impact, arrival prices for one ADV.
        half_spread_bps: Half of the quoted spread, bps of the arrival price.
        resilience: Recovery rate of the transient impact, per day.
        fee_per_share: Fee of the broker and the venue, currency per share.
        fee_bps: Fee in bps of the traded notional; both fees add up.
        min_fee: Smallest fee of a child with a fill, currency. Brokers charge a minimum on each order that they receive (here a
            child), not on its partial fills.
        risk_aversion: Price of quadratic variation, 1 / currency (for the AC algorithm).
        day_seconds: Length of the trading day, seconds on the agent's clock.

    Raises:
        ValueError: A value is out of range; the message names the field, the value and the range.
    """

    name: str = "ExecutionAgent"
    enabled: bool = True
    priority: int = 100
    verbose: bool = False
    max_latency_us: float = 500.0
    algorithm: str = ADAPTIVE
    urgency: float = 0.5
    horizon_seconds: float = 300.0
    slices: int = 10
    max_participation_rate: float | None = 0.1
    complete: bool = True
    steganographic_factor: float = 0.3
    kyle_lambda: float = 0.3
    temp_impact_alpha: float = 0.3
    temp_impact_beta: float = 0.5
    perm_impact_gamma: float = 0.2
    half_spread_bps: float = 1.0
    resilience: float = 10.0
    fee_per_share: float = 0.0
    fee_bps: float = 0.0
    min_fee: float = 0.0
    risk_aversion: float = 1e-6
    day_seconds: float = 23_400.0

    def __post_init__(self) -> None:
        """Check every value once."""
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"name must be a non-empty text, got {self.name!r}")
        for key in ("enabled", "verbose", "complete"):
            check_flag(key, getattr(self, key))
        put = object.__setattr__
        put(self, "priority", check_integer("priority", self.priority, low=-1_000_000, high=1_000_000))
        put(self, "slices", check_integer("slices", self.slices, low=1, high=100_000))
        check_algorithm("algorithm", self.algorithm)
        limits: dict[str, tuple[float, float, bool]] = {
            "max_latency_us": (0.0, 1e12, True),
            "urgency": (0.0, 1.0, False),
            "horizon_seconds": (0.0, 1e9, True),
            "steganographic_factor": (0.0, 1.0, False),
            "kyle_lambda": (0.0, 1e6, False),
            "temp_impact_alpha": (0.0, 1e6, False),
            "temp_impact_beta": (0.0, 2.0, True),
            "perm_impact_gamma": (0.0, 1e6, False),
            "half_spread_bps": (0.0, 5e3, False),
            "resilience": (0.0, 1e6, False),
            "fee_per_share": (0.0, 1e6, False),
            "fee_bps": (0.0, 1e4, False),
            "min_fee": (0.0, 1e9, False),
            "risk_aversion": (0.0, 1e6, False),
            "day_seconds": (0.0, 1e9, True),
        }
        for key, (low, high, open_low) in limits.items():
            put(self, key, check_number(key, getattr(self, key), low=low, high=high, open_low=open_low))
        cap = self.max_participation_rate
        if cap is not None:
            cap = check_number(
                "max_participation_rate", cap, low=0.0, high=1.0, open_low=True, unit="fraction of the market volume"
            )
            put(self, "max_participation_rate", cap)
        if self.kyle_lambda < self.perm_impact_gamma:
            raise ValueError(
                f"kyle_lambda must be at least perm_impact_gamma ({self.perm_impact_gamma:g}): it is the sum of the "
                f"permanent and the transient slope, got {self.kyle_lambda:g}"
            )
