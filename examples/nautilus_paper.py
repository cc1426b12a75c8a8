"""Trade on paper in nautilus_trader: recorded quotes arrive in real time, its sandbox fills the children of the desk.

    python examples/nautilus_paper.py 60                     a made market, for 60 seconds
    python examples/nautilus_paper.py 60 MESSAGES BOOK       a book in the form of LOBSTER, from its beginning

To trade on the data of a broker or an exchange, replace `Recorded` and its factory by those of the adapter; the rest stays. The
journal of the session replays to the same children: see docs/nautilus.md.
"""

import asyncio
import sys
import time
from pathlib import Path

import numpy as np
from nautilus_trader.adapters.sandbox.config import SandboxExecutionClientConfig
from nautilus_trader.adapters.sandbox.factory import SandboxLiveExecClientFactory
from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.config import LiveDataClientConfig, LoggingConfig, StrategyConfig, TradingNodeConfig
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.live.factories import LiveDataClientFactory
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import OrderSide
from nautilus_trader.model.identifiers import ClientId, ExecAlgorithmId
from nautilus_trader.model.objects import Price, Quantity
from nautilus_trader.trading.strategy import Strategy

import hyperexec_env as hx
from hyperexec_env.execution.journal import replay_journal
from hyperexec_env.integrations.nautilus import DeskAlgorithm, DeskConfig
from hyperexec_env.integrations.nautilus_data import equity, quote_ticks

JOURNAL = Path("session.jsonl")
STOCK = equity("X")
QUOTES = []
"""Recorded quotes; their times are replaced by the time at which they are played."""


def made_quotes(seconds):
    """Return quotes of a random walk, four a second."""
    mids = 100.0 + 0.01 * np.cumsum(np.random.default_rng(0).choice([-1, 0, 1], size=4 * seconds))
    at = [int(number * 25e7) for number in range(len(mids))]
    size = Quantity(300, 0)
    return [
        QuoteTick(STOCK.id, Price(m - 0.01, 2), Price(m + 0.01, 2), size, size, t, t) for m, t in zip(mids, at, strict=True)
    ]


class Recorded(LiveMarketDataClient):
    """A data client that plays recorded quotes in real time."""

    async def _connect(self):
        self._playing = self._loop.create_task(self._play())

    async def _play(self):
        first, begin = QUOTES[0].ts_event, time.time_ns()
        for tick in QUOTES:
            await asyncio.sleep(max(0.0, (begin + tick.ts_event - first - time.time_ns()) / 1e9))
            sizes, now = (tick.bid_size, tick.ask_size), self._clock.timestamp_ns()
            self._handle_data(QuoteTick(STOCK.id, tick.bid_price, tick.ask_price, *sizes, now, now))

    async def _disconnect(self):
        self._playing.cancel()

    async def _subscribe_quote_ticks(self, command):
        pass  # everything that was recorded is played

    async def _subscribe_trade_ticks(self, command):
        pass

    async def _unsubscribe_quote_ticks(self, command):
        pass

    async def _unsubscribe_trade_ticks(self, command):
        pass


class RecordedFactory(LiveDataClientFactory):
    """Makes the data client of a node."""

    @staticmethod
    def create(loop, name, config, msgbus, cache, clock):
        """Return a data client."""
        return Recorded(loop, ClientId(name), None, msgbus, cache, clock, InstrumentProvider())


class Client(Strategy):
    """Buys 1,000 shares by VWAP as soon as there is a quote."""

    seconds = 60

    def on_start(self):
        """Hear the quotes."""
        self.subscribe_quote_ticks(STOCK.id)

    def on_stop(self):
        """Leave the order to the algorithm."""

    def on_quote_tick(self, tick):
        """Submit the order at the first quote."""
        if not self.cache.orders():
            wishes = {"strategy": "VWAP", "volume_profile": [3, 2, 2, 3], "horizon_seconds": self.seconds - 3}
            desk = ExecAlgorithmId("HYPEREXEC")
            self.submit_order(
                self.order_factory.market(
                    STOCK.id, OrderSide.BUY, Quantity(1_000, 0), exec_algorithm_id=desk, exec_algorithm_params=wishes
                )
            )


def trade(seconds):
    """Run a node for some seconds, and return the algorithm."""
    sandbox = SandboxExecutionClientConfig(venue="SIM", starting_balances=["1_000_000 USD"], base_currency="USD")
    node = TradingNode(
        TradingNodeConfig(
            logging=LoggingConfig(log_level="WARNING"),
            data_clients={"SIM": LiveDataClientConfig()},
            exec_clients={"SIM": sandbox},
            timeout_connection=5.0,
            timeout_disconnection=1.0,
            timeout_post_stop=1.0,
        )
    )
    node.add_data_client_factory("SIM", RecordedFactory)
    node.add_exec_client_factory("SIM", SandboxLiveExecClientFactory)
    desk = DeskAlgorithm(
        DeskConfig(
            exec_algorithm_id=ExecAlgorithmId("HYPEREXEC"),
            timer_seconds=0.25,
            limit_ticks=1,  # limit orders that stay: the sandbox loses the rest of a market order
            time_in_force="GTC",
            journal=str(JOURNAL),
        )
    )
    client = Client(StrategyConfig(strategy_id="CLIENT-1"))
    client.seconds = seconds
    node.trader.add_exec_algorithm(desk)
    node.trader.add_strategy(client)
    node.build()
    node.cache.add_instrument(STOCK)
    node.kernel.loop.call_later(seconds, node.stop)
    try:
        node.run()
    finally:
        node.dispose()
    return desk


if __name__ == "__main__":
    length = int(sys.argv[1])
    QUOTES += quote_ticks(hx.read_book(*sys.argv[2:4]), STOCK) if len(sys.argv) > 2 else made_quotes(length)
    session = trade(length).desk
    for report in session.agent.get_reports():
        print(report)
    replayed = replay_journal(JOURNAL)
    print(f"{len(session.children)} children; the journal replays to the same: {replayed.children == session.children}")
