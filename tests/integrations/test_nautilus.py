"""The desk in nautilus_trader's backtest: fills, rests, refusals, cancellations, policies, and journals that replay."""

import json

import pytest

pytest.importorskip("nautilus_trader", reason="needs the extra `nautilus`, in an environment of its own (docs/nautilus.md)")

from nautilus_trader.backtest.config import BacktestEngineConfig
from nautilus_trader.backtest.engine import BacktestEngine
from nautilus_trader.config import LoggingConfig, RiskEngineConfig, StrategyConfig
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import Bar, BarType, BookOrder, OrderBookDepth10, QuoteTick, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, BookType, OmsType, OrderSide, OrderType
from nautilus_trader.model.identifiers import ExecAlgorithmId, TradeId, Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from hyperexec_env.execution.journal import replay_journal
from hyperexec_env.integrations.nautilus import DeskAlgorithm, DeskConfig
from hyperexec_env.integrations.nautilus_data import equity

START, SECOND = 1_700_000_000 * 10**9, 10**9
STOCK = equity("X")
QUIET = {"max_participation_rate": None, "steganographic_factor": 0.0, "slices": 4, "algorithm": "TWAP"}


def price(value):
    return Price(value, 2)


def shares(value):
    return Quantity(value, 0)


def market(seconds=60, levels=1, size=1_000, step=0.0):
    """A book and a quote each second; level i is i cents further away, the mid moves by `step` a second from 100."""
    data = []
    for second in range(seconds):
        at, mid = START + second * SECOND, 100.0 + step * second
        bids = [BookOrder(OrderSide.BUY, price(mid - 0.02 - 0.01 * i), shares(size), i + 1) for i in range(levels)]
        asks = [BookOrder(OrderSide.SELL, price(mid + 0.02 + 0.01 * i), shares(size), i + 1) for i in range(levels)]
        counts = [1] * levels
        data.append(OrderBookDepth10(STOCK.id, bids, asks, counts, counts, 0, second, at, at))
        data.append(QuoteTick(STOCK.id, bids[0].price, asks[0].price, shares(size), shares(size), at, at))
        side = AggressorSide.BUYER if second % 2 else AggressorSide.SELLER
        data.append(TradeTick(STOCK.id, price(mid), shares(50), side, TradeId(str(second)), at, at))
    return data


class Client(Strategy):
    """Submits orders one second into the session."""

    def __init__(self, orders, cancel_after):
        super().__init__(StrategyConfig(strategy_id="CLIENT-1"))
        self.wanted, self.cancel_after, self.orders = orders, cancel_after, []

    def on_start(self):
        self.clock.set_time_alert_ns("submit", START + SECOND, self.submit)
        if self.cancel_after:
            self.clock.set_time_alert_ns("cancel", START + self.cancel_after * SECOND + 1, self.cancel)

    def on_stop(self):
        pass

    def submit(self, event):
        for side, quantity, wishes in self.wanted:
            order = self.order_factory.market(
                STOCK.id,
                OrderSide.BUY if side > 0 else OrderSide.SELL,
                shares(quantity),
                exec_algorithm_id=ExecAlgorithmId("HYPEREXEC"),
                exec_algorithm_params={"horizon_seconds": 40, **wishes},
            )
            self.orders.append(order)
            self.submit_order(order)

    def cancel(self, event):
        self.cancel_order(self.orders[0])


class Ran:
    """A backtest that is over."""

    def __init__(self, orders, data, *, agent=(), cancel_after=0, book=BookType.L2_MBP, account=AccountType.MARGIN, **config):
        engine = BacktestEngine(
            BacktestEngineConfig(
                logging=LoggingConfig(bypass_logging=True), risk_engine=RiskEngineConfig(bypass=True), run_analysis=False
            )
        )
        engine.add_venue(Venue("SIM"), OmsType.NETTING, account, [Money(1_000_000_000, USD)], book_type=book)
        engine.add_instrument(STOCK)
        engine.add_data(data)
        name = ExecAlgorithmId("HYPEREXEC")
        self.desk = DeskAlgorithm(DeskConfig(exec_algorithm_id=name, seed=1, agent={**QUIET, **dict(agent)}, **config))
        engine.add_exec_algorithm(self.desk)
        client = Client(orders, cancel_after)
        engine.add_strategy(client)
        engine.run()
        self.primaries = client.orders
        self.spawned = [order for order in engine.cache.orders() if order.is_spawned]
        self.spawned.sort(key=lambda order: int(order.client_order_id.value.rpartition("-E")[2]))
        self.open_orders = engine.cache.orders_open_count() + engine.cache.orders_inflight_count()
        engine.dispose()

    @property
    def report(self):
        (report,) = self.desk.desk.agent.get_reports()
        return report

    @property
    def prices(self):
        """Price and shares of each fill."""
        return [(fill.price, fill.quantity) for fill in self.report.fills]


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("strategy", ["TWAP", "VWAP", "IS", "Adaptive", "POV"])
def test_an_order_pays_the_half_spread_in_a_quiet_market(strategy, side):
    ran = Ran([(side, 1_000, {"strategy": strategy, "expected_volume": 2_000.0})], market())
    assert (ran.report.reason, ran.report.filled) == ("filled", 1_000)
    assert ran.report.shortfall == pytest.approx(2.0)  # 0.02 of 100
    assert {fill.mid for fill in ran.report.fills} == {100.0}
    assert all(order.is_closed for order in ran.primaries)
    assert ran.open_orders == 0
    assert sum(int(order.filled_qty) for order in ran.spawned) == 1_000


@pytest.mark.parametrize("quantity", [59_375, 60_717, 63_899, 128_662])
def test_every_whole_quantity_is_accepted(quantity):
    """The float of such a quantity of nautilus_trader is not whole."""
    ran = Ran([(1, quantity, {})], market(size=100_000))
    assert (ran.report.parent.quantity, ran.report.filled) == (quantity, quantity)


def test_orders_of_both_sides_are_worked_side_by_side():
    ran = Ran([(1, 400, {}), (-1, 800, {"strategy": "IS"})], market(step=0.01))
    buy, sell = sorted(ran.desk.desk.agent.get_reports(), key=lambda report: -report.parent.side)
    assert (buy.filled, sell.filled) == (400, 800)
    assert buy.shortfall > 2.0 > sell.shortfall


def test_a_child_walks_the_levels_of_the_book():
    ran = Ran([(1, 1_000, {})], market(levels=3, size=100))
    child = [(100.02, 100), (100.03, 100), (100.04, 50)]
    assert ran.prices == child * 4


def test_a_rest_beyond_the_book_is_sent_again():
    ran = Ran([(1, 1_000, {})], market(size=100))
    assert ran.prices == [(100.02, 100), (100.02, 100), (100.02, 50)] * 4
    times = [fill.time for fill in ran.report.fills[:3]]
    assert times[1] - times[0] == times[2] - times[1] == 1.0
    assert len(ran.report.children) == 4
    assert len(ran.spawned) == 12


def test_what_cannot_be_filled_is_reported():
    ran = Ran([(1, 1_000, {})], market(size=10))
    assert ran.report.reason == "expired"
    assert 0 < ran.report.filled < 1_000
    assert ran.report.filled == sum(int(order.filled_qty) for order in ran.spawned)
    assert all(child.remaining == 0 for child in ran.desk.desk.children.values())
    assert ran.open_orders == 0


def test_limit_children_do_not_walk_beyond_their_price():
    ran = Ran([(1, 1_000, {})], market(levels=3, size=100), limit_ticks=1)
    assert {order.order_type for order in ran.spawned} == {OrderType.LIMIT}
    assert ran.prices == [(100.02, 100), (100.03, 100), (100.02, 50)] * 4
    assert ran.report.filled == 1_000


def test_a_refused_child_returns_to_its_order():
    ran = Ran([(-1, 400, {})], market(), account=AccountType.CASH)  # a cash account may not sell short
    assert (ran.report.reason, ran.report.filled) == ("expired", 0)
    assert len(ran.spawned) >= 4
    assert ran.open_orders == 0


def test_a_strategy_cancels_its_order():
    ran = Ran([(1, 1_000, {})], market(size=100), cancel_after=20)
    assert ran.report.reason == "cancelled"
    assert 0 < ran.report.filled < 1_000
    assert ran.report.end == pytest.approx(START / 1e9 + 20)
    assert ran.open_orders == 0


def test_the_end_of_the_session_closes_the_order():
    ran = Ran([(1, 1_000, {"horizon_seconds": 400})], market(seconds=30))
    assert ran.report.reason == "stopped"
    assert ran.report.filled < 1_000
    assert ran.open_orders == 0


def test_orders_that_stay_at_the_venue_are_cancelled_with_their_order():
    ran = Ran([(1, 1_000, {})], market(levels=1, size=100), limit_ticks=0, time_in_force="GTC")
    assert ran.report.filled == 1_000
    assert len(ran.spawned) == 4
    ran = Ran([(1, 1_000, {})], market(levels=1, size=10), limit_ticks=0, time_in_force="GTC")
    assert ran.report.reason == "expired"
    assert ran.report.filled == sum(int(order.filled_qty) for order in ran.spawned) < 1_000
    assert all(child.remaining == 0 for child in ran.desk.desk.children.values())
    assert ran.open_orders == 0


@pytest.mark.parametrize(
    "wishes",
    [{"strategy": "TWOP"}, {"horizon": 40}, {"horizon_seconds": -1}, {"strategy": "optimum", "scenario": "regime-dya"}],
)
def test_an_order_with_a_wrong_wish_is_cancelled_and_others_go_on(wishes):
    ran = Ran([(1, 400, wishes), (1, 400, {})], market())
    assert ran.report.filled == 400
    assert [order.is_closed for order in ran.primaries] == [True, True]


def test_the_cap_counts_trades_or_bars():
    free = Ran([(1, 1_000, {})], market())
    capped = Ran([(1, 1_000, {})], market(), agent={"max_participation_rate": 0.1, "complete": False})
    assert free.report.filled == 1_000
    assert capped.report.filled == pytest.approx(0.1 * 50 * 40, rel=0.2)  # a tenth of 50 shares a second in 40 seconds

    kind = BarType.from_str(f"{STOCK.id}-5-SECOND-LAST-EXTERNAL")
    at = [START + second * SECOND for second in range(0, 60, 5)]
    bars = [Bar(kind, *(price(100.0),) * 4, shares(500), time, time) for time in at]
    quotes = [item for item in market() if not isinstance(item, TradeTick)]
    by_bars = Ran(
        [(1, 1_000, {})],
        sorted([*quotes, *bars], key=lambda item: item.ts_init),
        agent={"max_participation_rate": 0.1, "complete": False},
        bars="5-SECOND-LAST-EXTERNAL",
    )
    assert by_bars.report.filled == pytest.approx(2 * capped.report.filled, rel=0.2)  # bars of 100 shares a second


def test_a_policy_trades_slice_by_slice():
    scenario = {"base": "obizhaeva-wang", "slices": 4, "adv": 1e5, "resilience": 1_000.0}
    ran = Ran([(1, 1_000, {"strategy": "optimum", "scenario": scenario})], market(), agent={"slices": 1})
    slices = [report.filled for report in ran.desk.desk.agent.get_reports()]
    assert sum(slices) == 1_000
    assert slices[0] == slices[-1] > slices[1] > 0  # the blocks of Obizhaeva and Wang at both ends
    assert ran.open_orders == 0
    assert all(order.is_closed for order in ran.primaries)


def test_a_recorded_session_replays_to_the_children_that_were_sent(tmp_path):
    path = tmp_path / "session.jsonl"
    scenario = {"base": "obizhaeva-wang", "slices": 4, "adv": 1e5}
    orders = [
        (1, 700, {"strategy": "VWAP", "volume_profile": [1, 5, 2]}),
        (-1, 900, {"urgency": 0.9, "strategy": "IS"}),
        (1, 500, {"strategy": "optimum", "scenario": scenario}),
    ]
    agent = {"steganographic_factor": 0.5, "max_participation_rate": 0.9}
    ran = Ran(orders, market(size=60, step=0.01), agent=agent, journal=str(path), cancel_after=25)
    replayed = replay_journal(path)
    assert replayed.children == ran.desk.desk.children
    assert [report.shortfall for report in replayed.agent.get_reports()] == [
        report.shortfall for report in ran.desk.desk.agent.get_reports()
    ]
    filled = {name: child.filled for name, child in replayed.children.items()}
    assert sum(filled.values()) == sum(int(order.filled_qty) for order in ran.spawned)
    kinds = {json.loads(line)["event"] for line in path.read_text().splitlines()}
    assert kinds == {"start", "order", "quote", "trade", "timer", "child", "fill", "cancel", "stop"}
    again = Ran(orders, market(size=60, step=0.01), agent=agent, cancel_after=25)
    assert [str(order.quantity) for order in again.spawned] == [str(order.quantity) for order in ran.spawned]


def test_a_book_of_one_level_fills_the_rest_one_tick_beyond():
    """The rule of the engine that the page names: with L1_MBP the whole rest of a market order is filled a tick beyond."""
    quotes = [item for item in market(size=100) if isinstance(item, QuoteTick)]
    ran = Ran([(1, 4_000, {})], quotes, book=BookType.L1_MBP, time_in_force="GTC")
    assert ran.prices == [(100.02, 100), (100.03, 900)] * 4


def test_a_trade_moves_a_book_of_one_level():
    """The rule of the engine that the page names: with L1_MBP a trade is the book until the next quote."""
    data = [item for item in market(size=1_000) if not isinstance(item, OrderBookDepth10)]
    ran = Ran([(1, 400, {})], data, book=BookType.L1_MBP)
    assert {paid for paid, _ in ran.prices} == {100.0}  # the price of the trades, at the mid


def test_settings_are_checked():
    with pytest.raises(ValueError, match="time_in_force must be one of"):
        DeskAlgorithm(DeskConfig(time_in_force="DAY"))
    with pytest.raises(ValueError, match="urgency"):
        DeskAlgorithm(DeskConfig(agent={"urgency": 3.0}))
