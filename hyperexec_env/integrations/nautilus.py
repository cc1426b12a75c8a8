"""The desk as an execution algorithm of nautilus_trader: in its backtest, on paper and live; see docs/nautilus.md."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from hyperexec_env.baselines.live import LiveOrders
from hyperexec_env.checks import check_choice
from hyperexec_env.execution.config import ExecutionConfig
from hyperexec_env.execution.journal import LiveDesk
from hyperexec_env.extras import MissingExtra
from hyperexec_env.orders import ChildOrder

try:
    from nautilus_trader.config import ExecAlgorithmConfig
    from nautilus_trader.core.uuid import UUID4
    from nautilus_trader.execution.algorithm import ExecAlgorithm
    from nautilus_trader.execution.messages import CancelOrder
    from nautilus_trader.model.data import BarType
    from nautilus_trader.model.enums import AggressorSide, OrderSide, OrderType, TimeInForce
    from nautilus_trader.model.identifiers import ClientOrderId
except ModuleNotFoundError as error:
    raise MissingExtra('nautilus_trader is not installed: pip install "hyperexec-env[nautilus]"') from error

__all__ = ["DeskAlgorithm", "DeskConfig"]

SIDES: Final = {AggressorSide.BUYER: 1, AggressorSide.SELLER: -1}
TIMER: Final = "hyperexec"


def exact(value: Any) -> float:
    """Return a price or a quantity of the engine as the nearest float: its own conversion is off in the last digit."""
    return float(value.as_decimal())


class DeskConfig(ExecAlgorithmConfig, kw_only=True, frozen=True):
    """Settings of a :class:`DeskAlgorithm`.

    Args:
        agent: Fields of :class:`~hyperexec_env.execution.config.ExecutionConfig` that differ from their defaults.
        seed: Seed of the order hiding; None: drawn, and stored in the journal.
        timer_seconds: Seconds between two looks at the clock; a child is sent at the first look at which it is due.
        volume_window: Seconds of the past whose trades give the volume rate for the participation cap.
        bars: Bars that give the volume in place of trade ticks, such as "1-MINUTE-LAST-EXTERNAL"; "": trade ticks.
        journal: Path of a new file that stores the session; "": none.
        limit_ticks: Children are limit orders this many ticks beyond the opposite best price; None: market orders.
        time_in_force: Of children: "IOC" (a rest is cancelled, and sent again) or "GTC" (a rest stays until its order is over).
    """

    agent: dict[str, Any] = {}  # noqa: RUF012 - a struct copies it
    seed: int | None = None
    timer_seconds: float = 1.0
    volume_window: float = 300.0
    bars: str = ""
    journal: str = ""
    limit_ticks: int | None = None
    time_in_force: str = "IOC"


class DeskAlgorithm(ExecAlgorithm):
    """An execution algorithm that works market orders by the desk's agent, or by a policy.

    The order of a strategy is never sent: its children are, and it is closed (as cancelled) when the desk has closed it.
    The `exec_algorithm_params` of an order are its wishes; see :meth:`~hyperexec_env.baselines.live.LiveOrders.accept_wishes`.
    """

    def __init__(self, config: DeskConfig | None = None) -> None:
        """Check the settings."""
        super().__init__(DeskConfig() if config is None else config)
        self.settings, self.every = ExecutionConfig(**self.config.agent), timedelta(seconds=self.config.timer_seconds)
        check_choice("time_in_force", self.config.time_in_force, ("IOC", "GTC"))
        self.regime: str | None = None  # observed regime, set by whoever observes it; None: unknown

    def on_start(self) -> None:
        """Start the desk and its journal."""
        config = self.config
        self.desk = LiveDesk(
            self.settings, seed=config.seed, volume_window=config.volume_window, journal=config.journal or None
        )
        self._orders = LiveOrders(self.desk)
        self._primaries: dict[str, Any] = {}  # order of a strategy, by its id
        self._venue: dict[str, str] = {}  # child that an order at the venue stands for, by the id of that order

    def on_stop(self) -> None:
        """Cancel what is at the venue, and close all orders, with their reports, and the journal."""
        for name in self._primaries:
            self._cancel_at_venue(name)
        self.desk.stop(self._now())

    def _now(self) -> float:
        return float(self.clock.timestamp_ns() / 1e9)

    def on_quote_tick(self, tick: Any) -> None:
        """Hear a quote."""
        self.desk.quote(str(tick.instrument_id), exact(tick.bid_price), exact(tick.ask_price), self._now())

    def on_trade_tick(self, tick: Any) -> None:
        """Hear a trade."""
        side = SIDES.get(tick.aggressor_side, 0)
        self.desk.trade(str(tick.instrument_id), exact(tick.price), exact(tick.size), self._now(), side)

    def on_bar(self, bar: Any) -> None:
        """Count the volume of a bar."""
        self.desk.trade(str(bar.bar_type.instrument_id), exact(bar.close), exact(bar.volume), self._now())

    def on_order(self, order: Any) -> None:
        """Accept an order; one that cannot be worked is cancelled, with an error in the log."""
        name, symbol, side = order.client_order_id.value, str(order.instrument_id), 1 if order.side == OrderSide.BUY else -1
        self._subscribe(order.instrument_id)
        size, mid = exact(self.cache.instrument(order.instrument_id).size_increment), self.desk.feed(symbol).mid
        try:
            if order.order_type != OrderType.MARKET or mid is None:
                raise ValueError("a market order for an instrument that is quoted is expected")
            given = {"symbol": symbol, "side": side, "quantity": exact(order.quantity), "arrival_price": mid, "lot_size": size}
            self._orders.accept_wishes({**given, "id": name}, order.exec_algorithm_params or {}, self._now())
        except (TypeError, ValueError) as error:
            self.log.error(f"{order} is not accepted: {error}")
            self._cancel_locally(order)
            return
        self._primaries[name] = order
        if TIMER not in self.clock.timer_names:
            self.clock.set_timer(TIMER, self.every, callback=self.on_timer, fire_immediately=True)

    def _subscribe(self, instrument: Any) -> None:
        """Hear an instrument from now on, and its last quote."""
        if str(instrument) in self.desk.feeds:
            return
        self.subscribe_quote_ticks(instrument)
        if self.config.bars:
            self.subscribe_bars(BarType.from_str(f"{instrument}-{self.config.bars}"))
        else:
            self.subscribe_trade_ticks(instrument)
        if (tick := self.cache.quote_tick(instrument)) is not None:
            self.on_quote_tick(tick)

    def on_timer(self, event: Any) -> None:
        """Send the children that are due, and close the orders that are over."""
        for child in self._orders.timer(self._now(), self.regime):
            self._send(child)
        for name in self._orders.over():
            self._finish(name)

    def _send(self, child: ChildOrder) -> None:
        """Send the rest of a child."""
        primary, ticks = self._primaries[self._orders.owner(child)], self.config.limit_ticks
        instrument = self.cache.instrument(primary.instrument_id)
        wanted = {"quantity": instrument.make_qty(child.remaining), "time_in_force": TimeInForce[self.config.time_in_force]}
        if ticks is None:
            spawned = self.spawn_market(primary, reduce_primary=False, **wanted)
        else:
            tick = self.cache.quote_tick(primary.instrument_id)
            best = exact(tick.ask_price if child.side > 0 else tick.bid_price)
            price = instrument.make_price(best + child.side * ticks * exact(instrument.price_increment))
            spawned = self.spawn_limit(primary, price=price, reduce_primary=False, **wanted)
        self._venue[spawned.client_order_id.value] = child.id
        self.submit_order(spawned)

    def on_order_filled(self, event: Any) -> None:
        """Book a fill."""
        name = event.client_order_id.value
        child = self.desk.fill(self._venue[name], exact(event.last_qty), exact(event.last_px), self._now())
        if not child.remaining:
            del self._venue[name]

    def on_order_canceled(self, event: Any) -> None:
        """Take back the rest of a child; or close an order that its strategy cancelled."""
        name = event.client_order_id.value
        if name in self._venue:
            self._orders.come_back(self._venue.pop(name), self._now())
        elif name in self._primaries:
            self._finish(name)

    on_order_expired = on_order_canceled

    def on_order_rejected(self, event: Any) -> None:
        """Return a refused child to its order."""
        if event.client_order_id.value in self._venue:
            self._orders.come_back(self._venue.pop(event.client_order_id.value), self._now(), refused=True)

    on_order_denied = on_order_rejected

    def _finish(self, name: str) -> None:
        """Close an order: at the venue, at the desk and in the cache."""
        self._cancel_at_venue(name)
        self._orders.close(name, self._now())
        self._cancel_locally(self._primaries.pop(name))
        if not self._primaries:
            self.clock.cancel_timer(TIMER)

    def _cancel_at_venue(self, name: str) -> None:
        for client_id, child in list(self._venue.items()):
            if self._orders.owner(self.desk.children[child]) == name:
                self.cancel_order(self.cache.order(ClientOrderId(client_id)))

    def _cancel_locally(self, order: Any) -> None:
        if not order.is_closed:
            ids = (order.trader_id, order.strategy_id, order.instrument_id, order.client_order_id, None)
            self.execute(CancelOrder(*ids, UUID4(), self.clock.timestamp_ns()))
