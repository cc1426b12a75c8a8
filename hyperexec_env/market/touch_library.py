"""The touch scenarios that ship with the package. To add one, pass a record to `register_touch`."""

from __future__ import annotations

from typing import Final

from hyperexec_env.market.touch_scenario import TouchScenario, register_touch

__all__: list[str] = []

_SPY: Final = "measured: SPY, quotes of seconds, 7 to 11 October 2013, 10:00 to 15:50"
_AMZN: Final = "measured: AMZN, LOBSTER sample of 2012-06-21, 9:35 to 15:55"
_ASSUMED: Final = {
    "take_fee": "assumed: the usual fee of US exchanges, capped at 0.003 a share",
    "make_rebate": "assumed: the usual rebate of US exchanges",
    "deeper_queue": "assumed: half of the queue has come before the touch reaches the order",
}

register_touch(
    TouchScenario(
        name="touch-5min",
        description="20 lots of 1,000 shares in five minutes at a spread of one tick: the place in the queue decides",
        lots=20,
        lot_shares=1000.0,
        arrival_price=166.0,
        horizon_seconds=300.0,
        step_seconds=5.0,
        queue=11,
        deeper_queue=5,
        outflow=4.0,
        move_probability=0.27,
        sweep_probability=0.27,
        tick=0.01,
        half_spread=0.005,
        take_fee=0.003,
        make_rebate=0.002,
        adverse=0.004,
        impact=0.0002,
        volatility=0.008,
        risk_aversion=1e-6,
        market_making=0.5,
        provenance={
            "arrival_price": f"{_SPY}",
            "queue": f"{_SPY}: 11,000 shares at the bid on average (median 5,400)",
            "outflow": f"{_SPY}: 4,100 shares trade in 5 s at a bid that stays; the data have no cancellations",
            "move_probability": f"{_SPY}: the bid rises within 5 s with a frequency of 0.27",
            "sweep_probability": f"{_SPY}: the bid falls within 5 s with a frequency of 0.27, by cancellations too",
            "half_spread": f"{_SPY}: the mean spread is 0.0099",
            **_ASSUMED,
            "adverse": "assumed: 0.8 half-spreads after a fill of the queue; a sweep costs a whole tick",
            "impact": "assumed: half a tick for walking 25 lots of the book",
            "volatility": "assumed: a daily volatility of SPY in 2013",
            "risk_aversion": "assumed",
        },
    )
)
register_touch(
    TouchScenario(
        name="touch-thin",
        description="8 lots of 100 shares in one minute at a wide spread with a short queue: the order is urgent",
        lots=8,
        lot_shares=100.0,
        arrival_price=222.0,
        horizon_seconds=60.0,
        step_seconds=2.0,
        queue=2,
        deeper_queue=1,
        outflow=0.6,
        move_probability=0.15,
        sweep_probability=0.09,
        tick=0.062,
        half_spread=0.064,
        take_fee=0.003,
        make_rebate=0.002,
        adverse=0.066,
        impact=0.004,
        volatility=0.015,
        risk_aversion=0.012,
        market_making=0.2,
        provenance={
            "arrival_price": f"{_AMZN}",
            "queue": f"{_AMZN}: 230 shares at the bid on average, weighted by time",
            "outflow": f"{_AMZN}: 25 shares traded and 78 cancelled at the bid in 2 s; half of the cancellations stand ahead",
            "move_probability": f"{_AMZN}: the bid rises within 2 s with a frequency of 0.16, and falls with 0.14",
            "sweep_probability": f"{_AMZN}: executions empty the bid in 0.09 of the steps; other falls are cancellations",
            "tick": f"{_AMZN}: a bid that moves within 10 s moves by 0.062 on average, six price increments",
            "half_spread": f"{_AMZN}: the mean spread is 0.128, weighted by time",
            **_ASSUMED,
            "adverse": "assumed: half-spread and rebate, so that a fill of the queue saves and does not earn",
            "impact": "assumed",
            "volatility": "assumed",
            "risk_aversion": "assumed: an urgent order",
        },
    )
)
register_touch(
    TouchScenario(
        name="touch-queue",
        description="10 lots in five minutes behind a queue that the touch never sweeps: the deadline forces lots to take",
        lots=10,
        lot_shares=100.0,
        arrival_price=50.0,
        horizon_seconds=300.0,
        step_seconds=15.0,
        queue=6,
        deeper_queue=6,
        outflow=1.2,
        move_probability=0.15,
        sweep_probability=0.0,
        tick=0.02,
        half_spread=0.01,
        take_fee=0.003,
        make_rebate=0.002,
        adverse=0.006,
        impact=0.0004,
        volatility=0.02,
        risk_aversion=1.56e-4,
        market_making=1.35,
        provenance=dict.fromkeys(
            ("queue", "outflow", "move_probability", "sweep_probability", "adverse", "impact", "risk_aversion"),
            "assumed: an example with a published optimum of its own (docs/explanation/touch.md)",
        ),
    )
)
