"""Predicted and obtained side by side: whole child orders at the touch in our model, and in hftbacktest's matching engine.

    python3 -m venv .venv-hftbacktest && .venv-hftbacktest/bin/pip install -e ".[hftbacktest]"
    .venv-hftbacktest/bin/python benchmarks/touch_orders.py --data FOLDER

Trained networks take part in the scenario of their training: `--write SCENARIOS` writes the measured scenarios, `hyperexec
train ppo --scenario SCENARIOS/AMZN-trades-only.toml` (or `train dqn`) trains, and `--policy all RUNS` adds the network.

FOLDER holds `lobster` (a day at level 1) and `crypto_l1` (quotes and trades of BTCUSDT). The touch is measured on the first
half of a tape; the policies of the touch boards, the optimum for that touch among them, trade in the second half, as buyers and
as sellers. hftbacktest replays the recorded book, which does not react; its queue model says how cancellations move an order
forward: not at all ("trades only"), or by a power of the shares before and behind it ("power 2"). The scenario makes the same
assumption: none of the cancellations, or half of them, stand ahead. There are two predictions: "by tape" measures quotes and
trades alone; "predicted" takes the adverse selection from orders that rested in the engine in the first half. hftbacktest pins
numpy below 2.3, so it has an environment of its own.

The cost of an order is that of the model's account, in bps: each fill against the mid at the end of its step, fees, and the
risk of the lots that are left. Against a mid without drift this has the mean of the shortfall, with less noise; `--json` has
the shortfall too. Level 1 shows nothing behind the best quote, so lots that take pay the best quote, whatever its size, and an
order one tick deeper finds an empty level.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from hftbacktest import GTX, LIMIT, BacktestAsset, HashMapMarketDepthBacktest
from numpy.typing import NDArray
from touch_tape import Facts, Tape, events, measured, mirrored, read_crypto, read_lobster, scenario_of

from hyperexec_env.baselines.touch_board import touch_entrants
from hyperexec_env.baselines.touch_policies import touch_policy
from hyperexec_env.evaluation.statistics import bootstrap_means, interval
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.evaluation.touch_rollout import TouchSituation, rollout_touch
from hyperexec_env.market.touch import DEEP, DEEPER, KEEP, NONE, NOWHERE, RESTS, TOUCH, Place, TouchMarket, build_touch
from hyperexec_env.market.touch_scenario import TouchScenario

Floats = NDArray[np.float64]

QUEUES: Final = {"trades only": 0.0, "power 2": 0.5}
"""Queue models of hftbacktest, and the part of the cancellations that a scenario puts ahead of an order for each."""
URGENCY: Final = 0.5
"""Price of risk: the risk of holding the whole order to the end, as a multiple of the cost of taking it."""
PROBE: Final = "join-and-wait"
"""Policy of the orders whose fills in the first half measure the adverse selection."""
EPISODES: Final = 20_000
"""Simulated orders of a prediction."""
_ENDLESS: Final = 1e6
"""Lots of an order in the engine, which is never filled completely by the queue: it shows what came past the front since it
joined, and the order of the policy has the lesser of that and of its own lots, which it may take without losing its place."""
_NEW, _FILLED = 1, 3


@dataclass(frozen=True)
class Setting:
    """How a tape is traded."""

    tape: Tape
    lots: int
    lot: float
    """Shares of a lot."""
    steps: int
    step: int
    """Nanoseconds of a step."""
    fees: tuple[float, float]
    """Fee of taking and of a fill that rested, fractions of the price; a negative one is a rebate."""
    block: int
    """Nanoseconds of a block of orders; intervals resample blocks."""
    margin: int
    """Nanoseconds at both ends of the tape that are left out."""


class Order(NamedTuple):
    """What an order cost, in bps of the arrival price."""

    start: int
    """Nanoseconds."""
    cost: float
    """Fills against the mid at the end of their step, and fees."""
    shortfall: float
    """Fills against the mid at the start, and fees."""
    risk: float
    rested: float
    """Part of the lots that were filled while they rested."""
    swept: float
    """Part of the lots that a trade below their price filled, or an offer at it."""
    resting: float
    """What the lots that rested cost, of all lots."""


class Engine:
    """The buyer's view of a tape in hftbacktest."""

    def __init__(self, tape: Tape, made: NDArray[Any], queue: str, lot: float) -> None:
        """Begin at the first event."""
        asset = BacktestAsset().data(made).linear_asset(1.0).constant_order_latency(0, 0)
        asset = asset.risk_adverse_queue_model() if queue == "trades only" else asset.power_prob_queue_model(2.0)
        asset = asset.partial_fill_exchange().trading_value_fee_model(0.0, 0.0)
        self._engine = HashMapMarketDepthBacktest([asset.tick_size(tape.increment).lot_size(tape.smallest)])
        self._engine.elapse(1)
        self._lot, self._orders, self._events = lot, 0, made  # the engine reads the array without keeping it

    def wait(self, time: int) -> bool:
        """Go on to a time; return whether the tape goes so far."""
        going = self._engine.elapse(max(time - self._engine.current_timestamp, 0)) == 0
        self._engine.clear_inactive_orders(0)
        return bool(going)

    @property
    def quotes(self) -> tuple[float, float, float]:
        """Best bid, its size in lots, and best ask."""
        depth = self._engine.depth(0)
        return depth.best_bid, depth.best_bid_qty / self._lot, depth.best_ask

    def rest(self, price: float) -> int:
        """Rest an order at a price; return its number, 0 if the price would take."""
        self._orders += 1
        self._engine.submit_buy_order(0, self._orders, price, _ENDLESS * self._lot, GTX, LIMIT, True)
        return self._orders if self._engine.orders(0).get(self._orders).status == _NEW else 0

    def passed(self, number: int) -> float:
        """Return the lots that came past the front of an order's queue since it joined; infinity where the touch swept it."""
        order = self._engine.orders(0).get(number)
        if order is None or order.status == _FILLED:
            return float("inf")
        return float(order.qty - order.leaves_qty) / self._lot

    def cancel(self, number: int) -> None:
        """Cancel an order."""
        self._engine.cancel(0, number, True)

    def close(self) -> None:
        """Release the engine."""
        self._engine.close()


class Resting(NamedTuple):
    """The order of a policy in the engine."""

    number: int
    """0: it rests nowhere."""
    price: float
    deeper: bool
    """Whether it was put one tick deeper, and the touch has not reached it."""
    ahead: float
    """Lots that the trader counts before it: those at its price when it joined, less what sellers took since."""
    gone: float
    """Lots of the engine's order that were filled before the present step."""


_NOWHERE: Final = Resting(0, 0.0, False, 0.0, 0.0)


class Trader:
    """Runs a policy as a buyer in the engine.

    Args:
        policy: A policy of a touch board.
        market: The market of the scenario that the policy assumes.
        tape: The tape.
        engine: The engine of the tape.
    """

    def __init__(self, policy: Any, market: TouchMarket, tape: Tape, engine: Engine) -> None:
        self.policy, self.market, self.tape, self.engine = policy, market, tape, engine
        scenario = market.scenario
        self.lot, self.step = scenario.lot_shares, round(scenario.step_seconds * 1e9)
        self.deeper = max(round(scenario.tick / tape.increment), 1) * tape.increment
        sold = np.where(tape.seller, tape.size, 0.0) / self.lot
        self._sold = np.concatenate([[0.0], np.cumsum(sold)])

    def _taken(self, price: float, start: int, end: int) -> float:
        """Return the lots that sellers took at a price between two times."""
        first, last = np.searchsorted(self.tape.trade_time, [start, end], side="right")
        if self._sold[first] == self._sold[last]:
            return 0.0
        here = self.tape.seller[first:last] & (np.abs(self.tape.price[first:last] - price) < 0.5 * self.tape.increment)
        return float(self.tape.size[first:last][here].sum()) / self.lot

    def trade(self, start: int) -> Order | None:
        """Return what an order that begins at a time costs; None if the tape ends before it."""
        market, engine = self.market, self.engine
        scenario = market.scenario
        if not engine.wait(start):
            return None
        bid, _, ask = engine.quotes
        arrival = mid = 0.5 * (bid + ask)
        left, order = float(scenario.lots), _NOWHERE
        paid = later = risk = rested = swept = resting = outflow = filled = moved = since = ticks = 0.0
        for k in range(scenario.steps):
            if left <= 0.0:
                break
            bid, size, ask = engine.quotes
            place, order = self._place(order, bid, size)
            situation = TouchSituation(market, k, left, place, outflow, filled, moved, since, ticks)
            take, request = divmod(int(self.policy.act(situation)), len(RESTS))
            taken = min(float(take), left)
            left -= taken
            order = self._request(order, request if left > 0.0 else NONE, bid, size)
            now = start + k * self.step
            if not engine.wait(now + self.step):
                return None
            passed = engine.passed(order.number) if order.number else 0.0
            new = min(max(passed - order.gone, 0.0), left)
            left -= new
            after, _, after_ask = engine.quotes
            outflow = float(round(self._taken(order.price or bid, now, now + self.step)))
            if order.number:
                order = order._replace(gone=order.gone + new, ahead=max(order.ahead - outflow, 0.0))
            ended = 0.5 * (after + after_ask)
            paid += taken * (ask - arrival + scenario.take_fee) + new * (order.price - arrival - scenario.make_rebate)
            later += taken * (ask - mid + scenario.take_fee) + new * (order.price - ended - scenario.make_rebate)
            risk += scenario.risk * left * left
            rested, swept = rested + new, swept + (new if passed == np.inf else 0.0)
            resting += new * (order.price - ended - scenario.make_rebate)
            filled, moved = new, float(np.sign(after - bid))
            since, ticks, mid = 0.0 if moved else since + 1.0, ticks + moved, ended
        if order.number:
            engine.cancel(order.number)
        ask = engine.quotes[2]
        paid += left * (ask - arrival + scenario.take_fee)
        later += left * (ask - mid + scenario.take_fee)
        scale = 1e4 / (arrival * scenario.lots)
        parts = rested / scenario.lots, swept / scenario.lots
        return Order(start, later * scale, paid * scale, risk * scale, *parts, resting * scale)

    def _place(self, order: Resting, bid: float, size: float) -> tuple[Place, Resting]:
        """Return the place of an order as its policy sees it, and the order."""
        if not order.number:
            return Place(NOWHERE, 0.0), _NOWHERE
        if order.deeper and bid > order.price + 0.5 * self.tape.increment:
            return Place(DEEPER, 0.0), order
        if order.deeper:  # the touch has reached it
            order = order._replace(deeper=False, ahead=min(self.market.deeper_back, size))
        ahead = order.ahead
        if bid > order.price + 0.5 * self.tape.increment:  # the touch moved away, and the order will join its back
            ahead = self.market.back
        elif bid < order.price - 0.5 * self.tape.increment:  # cancellations left the order alone
            ahead = 0.0
        return Place(TOUCH, min(float(np.ceil(ahead)), self.market.back)), order

    def _request(self, order: Resting, request: int, bid: float, size: float) -> Resting:
        """Do what a policy requests of the lots that it does not take; return the order in the engine."""
        gap = 0.5 * self.tape.increment
        deep = request == DEEP or (request == KEEP and order.deeper)
        wanted = bid - self.deeper if deep else bid
        stays = request == KEEP or (request == DEEP and order.deeper)
        away = order.price < wanted - gap  # the touch moved away, and the order follows it
        if order.number and stays and not away:
            return order
        if order.number:
            self.engine.cancel(order.number)
        if request == NONE or (request == KEEP and not order.number):
            return _NOWHERE
        number = self.engine.rest(wanted)
        return Resting(number, wanted, deep, 0.0 if deep else size, 0.0) if number else _NOWHERE


@dataclass(frozen=True)
class _Assumed:
    """A policy that goes on as if the market were that of its scenario."""

    policy: Any
    market: TouchMarket

    @property
    def name(self) -> str:
        """Name of the policy."""
        return str(self.policy.name)

    def act(self, situation: TouchSituation) -> Any:
        """Return the actions in the market that is assumed."""
        place = situation.place._replace(ahead=np.minimum(situation.place.ahead, self.market.back))
        return self.policy.act(situation._replace(market=self.market, place=place))


class Row(NamedTuple):
    """A policy in the model and in the engine; costs in bps of the arrival price, risk included."""

    policy: str
    by_tape: float
    """Predicted from the quotes and trades of the first half."""
    predicted: float
    """The same with the adverse selection of orders that rested in the engine in the first half."""
    obtained: float
    low: float
    high: float
    shortfall: float
    """Mean realised shortfall in the engine, without the risk."""
    rested: float
    """Predicted part of the lots that were filled while they rested."""
    rested_obtained: float
    rested_low: float
    rested_high: float
    resting_by_tape: float
    """Predicted cost of a lot that was filled while it rested, from quotes and trades."""
    resting: float
    """The same with the adverse selection of orders."""
    resting_obtained: float
    swept_obtained: float
    """Part of the lots that were filled while they rested that a trade below their price filled, or an offer at it."""


class Report(NamedTuple):
    """The comparison of one tape and one queue model."""

    tape: str
    queue: str
    scenario: TouchScenario
    facts: tuple[Facts, Facts]
    """Of the first and of the second half."""
    rows: list[Row]
    orders: int
    blocks: int

    def __str__(self) -> str:
        """Return the table, and what the halves were like."""
        header = ["", "policy", "by tape", "predicted", "obtained", "95 %", "rested %", "obtained", "95 %"]
        header += ["a lot by tape", "predicted", "obtained", "swept %"]
        cells = [
            [
                "",
                row.policy,
                *(f"{value:.3f}" for value in (row.by_tape, row.predicted, row.obtained)),
                f"{row.low:.3f} to {row.high:.3f}",
                *(f"{100.0 * value:.1f}" for value in (row.rested, row.rested_obtained)),
                f"{100.0 * row.rested_low:.1f} to {100.0 * row.rested_high:.1f}",
                *(f"{value:.3f}" if row.rested else "-" for value in (row.resting_by_tape, row.resting)),
                f"{row.resting_obtained:.3f}" if row.rested_obtained else "-",
                f"{100.0 * row.swept_obtained:.1f}" if row.rested_obtained else "-",
            ]
            for row in self.rows
        ]
        scenario = self.scenario
        lines = [
            f"{self.tape}, queue model {self.queue!r}: {scenario.lots} lots of {scenario.lot_shares:g} in {scenario.steps} "
            f"steps of {scenario.step_seconds:g} s; {self.orders} orders in {self.blocks} blocks of time; bps of the arrival "
            "price",
            "",
            text_table(header, cells),
            "",
        ]
        for name, facts in zip(("first half", "second half"), self.facts, strict=True):
            lines.append(f"{name}: " + ", ".join(f"{key} {value:.4g}" for key, value in asdict(facts).items()))
        return "\n".join(lines)


class Measured(NamedTuple):
    """What the first half of a tape says of a scenario."""

    facts: tuple[Facts, Facts]
    """Of the first and of the second half."""
    by_tape: TouchScenario
    scenario: TouchScenario
    """The same with the adverse selection of orders that rested in the engine."""
    sides: list[tuple[Tape, Any]]
    """The buyer's and the seller's view, and their events."""
    middle: int
    """Start of the second half, nanoseconds."""
    starts: NDArray[np.int64]
    """Starts of the orders of the second half, nanoseconds."""


def measure(setting: Setting, queue: str) -> Measured:
    """Return the scenario of a tape and a queue model.

    Args:
        setting: The tape, and how it is traded.
        queue: One of :data:`QUEUES`.
    """
    tape, begun = setting.tape, int(setting.tape.time[0])
    middle, end = begun + int(tape.time[-1] - begun) // 2, int(tape.time[-1]) - setting.margin
    halves = (begun + setting.margin, middle), (middle, end)
    facts = [measured(tape, *half, setting.step, setting.lot) for half in halves]
    by_tape = scenario_of(
        facts[0],
        name=tape.name,
        lots=setting.lots,
        lot=setting.lot,
        steps=setting.steps,
        step=setting.step,
        ahead=QUEUES[queue],
        fees=setting.fees,
        urgency=URGENCY,
        increment=tape.increment,
    )
    sides = [(each, events(each)) for each in (tape, mirrored(tape))]
    first, second = (
        np.arange(half[0], half[1] - setting.steps * setting.step, setting.steps * setting.step) for half in halves
    )
    probes = _obtained(sides, queue, touch_policy(PROBE), build_touch(by_tape), first.tolist())
    scenario = _selected(by_tape, probes, tape.increment)
    return Measured((facts[0], facts[1]), by_tape, scenario, sides, middle, second)


def compare(setting: Setting, queue: str, entrants: Sequence[str]) -> Report:
    """Return predicted and obtained costs of some policies.

    Args:
        setting: The tape, and how it is traded.
        queue: One of :data:`QUEUES`.
        entrants: Names of policies, `all`, and folders of trained policies, which trade in the scenario of their training only.
    """
    facts, by_tape, scenario, sides, middle, second = measure(setting, queue)
    markets = [build_touch(each) for each in (by_tape, scenario)]
    policies = [each for each in touch_entrants(entrants) if _trained_in(each) in ("", scenario.hash)]
    bps = 1e4 * scenario.half_spread / scenario.arrival_price
    simulated = []
    for market in markets:
        outcomes = rollout_touch(market, [_Assumed(policy, markets[1]) for policy in policies], EPISODES, 0)
        simulated.append(
            [(each.objective.mean() * bps, 1.0 - each.taken.mean(), each.bill.rest.mean() * bps) for each in outcomes]
        )
    found = np.array([_obtained(sides, queue, policy, markets[1], second.tolist()) for policy in policies])
    groups = (second[: found.shape[1]] - middle) // setting.block
    blocks = np.array([found[:, groups == group].mean(axis=1) for group in np.unique(groups)])  # (blocks, policies, numbers)
    rows = []
    for number, name in enumerate(map(_label, policies)):
        cost, shortfall, rested, swept, resting = found[number].mean(axis=0).tolist()
        cost_range, rest_range = (interval(bootstrap_means(blocks[:, number, at][None])[0]) for at in (0, 2))
        (tape_cost, _, tape_earned), (predicted, passive, earned) = (tuple(map(float, each[number])) for each in simulated)
        lots, own = max(passive, 1e-12), max(rested, 1e-12)
        quality = tape_earned / lots, earned / lots, resting / own, swept / own
        rows.append(Row(name, tape_cost, predicted, cost, *cost_range, shortfall, passive, rested, *rest_range, *quality))
    rows.sort(key=lambda row: row.predicted)
    return Report(setting.tape.name, queue, scenario, facts, rows, 2 * found.shape[1], len(blocks))


def _trained_in(policy: Any) -> str:
    """Return the hash of the scenario in which a policy was trained; empty if it was not trained."""
    return str(getattr(policy, "about", {}).get("scenario_hash", ""))


def _label(policy: Any) -> str:
    """Return the name of a policy, with the seed of its training."""
    seed = getattr(policy, "training_seed", None)
    return str(policy.name) if seed is None else f"{policy.name} (seed {seed})"


def _selected(scenario: TouchScenario, probes: Floats, increment: float) -> TouchScenario:
    """Return a scenario whose fills, by the queue or by a sweep, cost what those of orders in the engine did."""
    _, _, rested, _, resting = probes.mean(axis=0)
    if rested == 0.0:
        return scenario
    lost = float(resting / rested) * 1e-4 * scenario.arrival_price + scenario.half_spread + scenario.make_rebate
    return replace(scenario, adverse=max(lost, 0.0), tick=max(lost, increment))


def _obtained(sides: Sequence[tuple[Tape, Any]], queue: str, policy: Any, market: TouchMarket, starts: list[int]) -> Floats:
    """Return the mean over both sides of what orders cost that begin at some times, shape (orders, numbers).

    The numbers are the cost with the risk, the shortfall, the parts that rested and were swept, and the cost of what rested.
    """
    found = []
    for tape, made in sides:
        engine = Engine(tape, made, queue, market.scenario.lot_shares)
        trader = Trader(policy, market, tape, engine)
        orders = [order for order in map(trader.trade, starts) if order is not None]
        engine.close()
        found.append([(each.cost + each.risk, each.shortfall, each.rested, each.swept, each.resting) for each in orders])
    count = min(map(len, found))
    return np.mean([side[:count] for side in found], axis=0)


def settings(folder: Path) -> list[Setting]:
    """Return the tapes of a folder that are there, and how they are traded; fees are those of small customers (assumed)."""
    second, found = 1_000_000_000, list[Setting]()
    for messages in sorted((folder / "lobster").glob("*_message_1.csv*")):
        tape = read_lobster(messages, messages.with_name(messages.name.replace("_message_", "_orderbook_")))
        fees = tuple(fee / float(np.median(tape.bid)) for fee in (0.003, -0.002))
        found.append(Setting(tape, 4, 100.0, 30, 2 * second, (fees[0], fees[1]), 600 * second, 300 * second))
    for name, increment, smallest, lot, fees in (
        ("spot", 0.01, 1e-5, 0.1, (1e-3, 1e-3)),
        ("usdm", 0.1, 1e-3, 0.5, (5e-4, 2e-4)),
    ):
        for quotes in sorted((folder / "crypto_l1").glob(f"*_{name}_quotes_*")):
            tape = read_crypto(quotes, quotes.with_name(quotes.name.replace("quotes", "trades")), increment, smallest)
            found.append(Setting(tape, 4, lot, 10, second // 2, fees, 15 * second, 0))
    return found


def main() -> None:
    """Print the comparison of every tape and queue model."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with lobster and crypto_l1")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--policy", nargs="+", default=["all"], help="names, `all`, or folders of trained policies")
    parser.add_argument("--write", type=Path, help="only write the measured scenarios to this folder, to train in them")
    args = parser.parse_args()
    tapes = settings(args.data)
    if not tapes:
        parser.error(f"--data must be a folder with files in lobster or crypto_l1, got {args.data}")
    if args.write:
        args.write.mkdir(parents=True, exist_ok=True)
        for setting, queue in product(tapes, QUEUES):
            name = f"{setting.tape.name} {queue}".replace(" ", "-")
            (args.write / f"{name}.toml").write_text(replace(measure(setting, queue).scenario, name=name).to_toml())
        return
    reports = [compare(setting, queue, args.policy) for setting, queue in product(tapes, QUEUES)]
    print("\n\n".join(map(str, reports)))
    if args.json:
        plain = [
            {**each._asdict(), "scenario": each.scenario.to_dict(), "facts": [*map(asdict, each.facts)]} for each in reports
        ]
        args.json.write_text(
            json.dumps([{**each, "rows": [row._asdict() for row in each["rows"]]} for each in plain], indent=1)
        )


if __name__ == "__main__":
    main()
