"""Measurement: a simulated tape gives back its spread, impact, resilience and flow, with intervals that hold."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest

from hyperexec_env.cli import main
from hyperexec_env.data.aggregate import bars_of_trades
from hyperexec_env.data.format import Format
from hyperexec_env.data.impact import by_volatility, decay_of, displacement, response_of, spreads_of, volatility_of
from hyperexec_env.data.measurement import measure
from hyperexec_env.data.reader import read_book, read_quotes, read_trades
from hyperexec_env.data.tape import Flow, flow_of, tape_of
from hyperexec_env.market.scenario import load_scenario

from ..tape import ADV, GAMMA, HALF, RHO, TRANSIENT, drawn_flow, joined, mid_of, quotes_of, times_of, trades_of

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real tape: set HYPEREXEC_DATA to the folder that holds lobster/")

HOURS = Format(calendar="24/7", hours="10:00-16:00")


def frames(seed, days=5, side=True):
    """Return frames of trades and quotes: each second a trade at the touch, which moves the mid by the propagator."""
    rng, price = np.random.default_rng(seed), 50.0
    trades, quotes = [], []
    for day in range(days):
        flow, time = drawn_flow(rng), times_of(day)
        mid = mid_of(rng, flow, price)
        trades.append(trades_of(time, mid, flow))
        quotes.append(quotes_of(time, mid))
        price = mid[-1]
    columns = joined(trades)
    columns["side"] = columns["side"].astype(int)
    return pyarrow.table({name: columns[name] for name in columns if side or name != "side"}), pyarrow.table(joined(quotes))


def simulated(seed, **options):
    trades, quotes = frames(seed, **options)
    return tape_of(read_trades(trades, HOURS), read_quotes(quotes, HOURS), HOURS, adv=ADV)


@pytest.fixture(scope="module")
def tape():
    return simulated(0)


def within(figure, value, errors=3.0):
    return abs(figure.value - value) < errors * figure.error


def test_spreads_are_those_of_the_tape(tape):
    spreads = spreads_of(tape)
    assert spreads.quoted.value == pytest.approx(HALF, abs=1e-6)
    assert spreads.effective.value == pytest.approx(HALF, abs=1e-6)
    assert spreads.by_time == pytest.approx([HALF] * 12, abs=1e-6)


def test_permanent_and_transient_impact_are_recovered(tape):
    decay = decay_of(tape, 10.0)
    assert within(decay.gamma, GAMMA)
    assert within(decay.transient, TRANSIENT)
    assert decay.low < RHO < decay.high
    assert decay.identified


def test_the_transient_part_decays_within_a_day_and_starts_each_day_at_zero():
    flow = Flow(np.zeros(6), np.array([1.0, 0.0, 2.0, 4.0, 1.0, 0.0]), np.array([0, 0, 0, 1, 1, 1]), 60.0)
    kept = np.exp(-0.5)
    day = [[0.0, kept, kept**2], [0.0, 4.0 * kept, (4.0 * kept + 1.0) * kept]]
    assert displacement(flow, 5.0, 0.1) == pytest.approx(np.concatenate(day))


def test_the_response_falls_with_the_scale_as_the_transient_part_decays(tape):
    values = [response_of(tape, seconds).kyle_lambda for seconds in (2.0, 60.0, 900.0)]
    assert within(values[0], GAMMA + TRANSIENT)
    assert values[0].value > values[1].value > values[2].value > GAMMA - 3.0 * values[2].error
    assert response_of(tape, 60.0).robust_error == pytest.approx(values[1].error, rel=0.5)


def test_flow_without_memory_has_no_persistence(tape):
    for seconds in (10.0, 60.0, 300.0):
        assert within(response_of(tape, seconds).persistence, 0.0)


def test_the_volatility_is_that_of_the_mid(tape):
    moves = flow_of(tape, 300.0).move
    assert volatility_of(tape).value == pytest.approx(np.sqrt((moves**2).mean() * 21_600 / 300), rel=0.02)


def test_signs_by_the_quote_rule_are_those_of_the_data(tape):
    unsigned = simulated(0, side=False)
    assert "quote rule" in unsigned.signed_by
    same = [np.mean(a.side == b.side) for a, b in zip(tape.days, unsigned.days, strict=True)]
    assert min(same) == 1.0


def test_a_block_off_the_book_does_not_change_the_response():
    trades, quotes = frames(1, days=2)
    sizes = trades["size"].to_numpy().copy()
    sizes[5000] = 0.05 * ADV
    block = trades.set_column(2, "size", pyarrow.array(sizes))
    with_block, without = (
        tape_of(read_trades(frame, HOURS), read_quotes(quotes, HOURS), HOURS, adv=ADV) for frame in (block, trades)
    )
    assert with_block.left_out == without.left_out + 1
    slopes = [response_of(tape, 60.0).kyle_lambda.value for tape in (with_block, without)]
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-3)


def test_quotes_of_whole_seconds_are_valid_from_their_ends():
    trades, quotes = frames(2, days=1)
    times = quotes["ts"].to_numpy().astype("datetime64[s]").astype("datetime64[ms]")
    grid = tape_of(read_trades(trades, HOURS), read_quotes(quotes.set_column(0, "ts", pyarrow.array(times)), HOURS), HOURS)
    assert any("intervals of 1 s" in choice for choice in grid.choices)
    assert grid.days[0].quote_time[0] == times[0].astype("datetime64[ns]").astype(np.int64) + 10**9


def test_the_scenario_holds_the_measured_numbers_and_their_errors():
    trades, quotes = frames(3)
    found = measure(read_trades(trades, HOURS), read_quotes(quotes, HOURS), HOURS, name="mine", quantity=12_345)
    scenario = found.scenario
    assert (scenario.name, scenario.quantity, scenario.provenance["quantity"]) == ("mine", 12_345.0, "given")
    assert scenario.half_spread_bps == pytest.approx(HALF, rel=1e-3)
    assert 0.0 <= scenario.perm_impact_gamma <= scenario.kyle_lambda
    assert any(scenario.kyle_lambda == pytest.approx(item.kyle_lambda.value, rel=1e-3) for item in found.responses)
    assert replace(scenario, volatility=0.1).kyle_lambda == pytest.approx(0.1 * scenario.kyle_multiple)
    assert (scenario.temp_impact_alpha, scenario.temp_impact_beta) == (0.142, 0.6)
    assert "Almgren" in scenario.provenance["temp_impact_alpha"]
    for name in ("half_spread_bps", "kyle_lambda", "perm_impact_gamma"):
        assert "standard error" in scenario.provenance[name]
    assert scenario.provenance["adv"].startswith("mean daily volume of 5 sessions")
    assert found.to_dict()["decay"]["identified"] is True


def test_impact_is_scaled_to_the_volatility_of_longer_bars():
    trades, quotes = frames(3)
    tape = measure(read_trades(trades, HOURS), read_quotes(quotes, HOURS), HOURS)
    table = bars_of_trades(read_trades(trades, HOURS))
    middle = table.close.mean()
    wide = replace(table, **{name: middle + 2.0 * (getattr(table, name) - middle) for name in ("open", "high", "low", "close")})
    found = measure(read_trades(trades, HOURS), read_quotes(quotes, HOURS), HOURS, bars=wide, kyle_lambda=None)
    assert found.scenario.volatility == pytest.approx(2.0 * tape.scenario.volatility, rel=0.02)
    multiple = tape.scenario.kyle_lambda / tape.volatility.value
    assert found.scenario.kyle_lambda == pytest.approx(multiple * found.scenario.volatility, rel=1e-3)
    assert any("impact is scaled from the volatility of the tape" in text for text in found.moved)
    given = measure(read_trades(trades, HOURS), read_quotes(quotes, HOURS), HOURS, kyle_lambda=0.9, perm_impact_gamma=0.4)
    assert (given.scenario.kyle_lambda, given.scenario.perm_impact_gamma) == (0.9, 0.4)
    assert given.scenario.provenance["kyle_lambda"] == "given"


def test_a_short_tape_needs_an_adv():
    trades, quotes = frames(4, days=1)
    short = trades.slice(0, 3000), quotes.slice(0, 3000)
    with pytest.raises(ValueError, match=r"the tape covers 13.9% of its sessions; pass adv, .* \(--adv\)"):
        measure(read_trades(short[0], HOURS), read_quotes(short[1], HOURS), HOURS)
    found = measure(read_trades(short[0], HOURS), read_quotes(short[1], HOURS), HOURS, adv=ADV)
    assert found.tape.adv == ADV
    assert found.volatility.error > 0.0  # fifty minutes hold 50 moves of a minute and 10 of five
    assert "60-second moves of the mid" in found.scenario.provenance["volatility"]
    assert [value == pytest.approx(HALF) for value in found.spreads.by_time] == [True] * 2 + [False] * 10
    assert "2.00 2.00 - - " in str(found)
    assert found.to_dict()["spreads"]["by_time"][2:] == [None] * 10


def test_draws_of_a_tape_of_minutes_have_its_volatility():
    """Resamples of five minutes may hold no move of five minutes, and their impact in volatilities has no bound."""
    trades, quotes = (
        read(frame.slice(0, 301), HOURS) for read, frame in zip((read_trades, read_quotes), frames(4, 1), strict=True)
    )
    found = measure(trades, quotes, HOURS, adv=ADV).scenario
    assert 0.0 < found.kyle_multiple < max(found.posterior.to_dict()["kyle_multiple"]) < 10.0 * found.kyle_multiple


def test_a_tape_without_shared_sessions_or_quotes_is_refused():
    trades, quotes = frames(5, days=1)
    later = quotes.set_column(0, "ts", pyarrow.array(quotes["ts"].to_numpy() + np.timedelta64(9, "D")))
    with pytest.raises(ValueError, match="trades and quotes share no session of 24/7"):
        measure(read_trades(trades, HOURS), read_quotes(later, HOURS), HOURS)
    with pytest.raises(ValueError, match="quotes must be given with trades"):
        measure(read_trades(trades, HOURS), None, HOURS)


def test_the_command_writes_a_scenario(tmp_path, capsys):
    from pyarrow import csv

    for name, frame in zip(("trades", "quotes"), frames(6, days=2), strict=True):
        csv.write_csv(frame, tmp_path / f"{name}.csv")
    files = ["--trades", str(tmp_path / "trades.csv"), "--quotes", str(tmp_path / "quotes.csv")]
    hours = ["--calendar", "24/7", "--hours", "10:00-16:00"]
    assert main(["measure", *files, *hours, "--out", str(tmp_path / "out.toml")]) == 0
    text = capsys.readouterr().out
    assert "half-spread [bps]: quoted 2" in text
    assert load_scenario(tmp_path / "out.toml").name == "out"
    assert main(["measure", *files[:2], *hours, "--out", str(tmp_path / "out.toml")]) == 2
    assert "give --trades and --quotes, --book MESSAGES BOOK, or --bars alone" in capsys.readouterr().err


def test_lambda_goes_with_volatility_in_both_halves(tape):
    calm, volatile = by_volatility(tape)
    assert calm.volatility < volatile.volatility
    assert within(calm.response.kyle_lambda, response_of(tape, 60.0).kyle_lambda.value, 4.0)
    assert calm.response.intervals + volatile.response.intervals == response_of(tape, 60.0).intervals


def test_the_spread_of_each_half_is_that_of_its_blocks():
    """In half-hours of twice the volatility, the half-spread is 6 instead of 2 bps."""
    trades, quotes = frames(7, days=2, side=False)
    seconds = (quotes["ts"].to_numpy() - np.datetime64("2024-03-04T10:00", "ms")).astype(float) / 1000.0 % 86_400.0
    mid = 0.5 * (quotes["bid"].to_numpy() + quotes["ask"].to_numpy())
    wide = (seconds // 1800.0) % 2 == 1
    moves = np.diff(mid, prepend=mid[0]) * np.where(wide, 2.0, 1.0)
    mid = mid[0] + np.cumsum(moves)
    half = np.where(wide, 6e-4, 2e-4) * mid
    stamps = pyarrow.array(quotes["ts"].to_numpy())
    wider = pyarrow.table({"ts": stamps, "bid": mid - half, "ask": mid + half})
    side = pyarrow.array(frames(7, days=2)[0]["side"].to_numpy())
    paid = pyarrow.array(mid[np.searchsorted(quotes["ts"].to_numpy(), trades["ts"].to_numpy(), side="left") - 1])
    signed = trades.set_column(1, "price", paid).append_column("side", side)
    calm, volatile = by_volatility(tape_of(read_trades(signed, HOURS), read_quotes(wider, HOURS), HOURS, adv=ADV))
    assert calm.half_spread.value == pytest.approx(2.0, rel=0.01)
    assert volatile.half_spread.value == pytest.approx(6.0, rel=0.01)
    assert volatile.volatility == pytest.approx(2.0 * calm.volatility, rel=0.1)
    assert calm.half_spread_volatilities == 1e-4 * calm.half_spread.value / calm.volatility


def test_bars_alone_get_the_impact_of_public_tapes_and_say_so(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = ["ts,open,high,low,close,volume"]
    for day in range(4, 9):
        for minute in range(600, 960, 5):
            close = 100.0 + rng.normal()
            ts = f"2024-03-{day:02d}T{minute // 60:02d}:{minute % 60:02d}:00"
            rows.append(
                f"{ts},100,{max(100, close) + 0.1:.2f},{min(100, close) - 0.1:.2f},{close:.2f},{rng.integers(900, 1100)}"
            )
    (tmp_path / "bars.csv").write_text("\n".join(rows) + "\n")
    words = ["measure", "--bars", str(tmp_path / "bars.csv"), "--calendar", "24/7", "--hours", "10:00-16:00"]
    assert main([*words, "--out", str(tmp_path / "out.toml")]) == 0
    assert "bars do not identify impact; assumed:" in capsys.readouterr().out
    scenario = load_scenario(tmp_path / "out.toml")
    assert (scenario.kyle_multiple, scenario.perm_impact_multiple) == (25.0, 12.5)
    assert scenario.kyle_lambda == pytest.approx(25.0 * scenario.volatility)
    assert scenario.provenance["kyle_lambda"].startswith("assumed: 25 daily volatilities")


@pytest.mark.slow
def test_intervals_of_95_percent_hold_in_200_tapes():
    truth = {"gamma": GAMMA, "transient": TRANSIENT, "quoted": HALF, "persistence": 0.0}
    hits = dict.fromkeys((*truth, "resilience", "lambda"), 0)
    tapes = 200
    for seed in range(tapes):
        tape = simulated(1000 + seed, days=3)
        decay, fast = decay_of(tape, 10.0), response_of(tape, 1.0)
        found = {"gamma": decay.gamma, "transient": decay.transient, "persistence": response_of(tape, 60.0).persistence}
        hits["quoted"] += abs(spreads_of(tape).quoted.value - HALF) < 1e-6
        hits["resilience"] += decay.low <= RHO <= decay.high
        hits["lambda"] += fast.kyle_lambda.low <= GAMMA + TRANSIENT * np.exp(-RHO / 21_600) <= fast.kyle_lambda.high
        for name, figure in found.items():
            hits[name] += figure.low <= truth[name] <= figure.high
    shares = {name: count / tapes for name, count in hits.items()}
    print(shares)
    assert shares.pop("quoted") == 1.0
    assert all(0.92 <= share <= 0.98 for share in shares.values()), shares


@needs_data
def test_the_public_tape_gives_the_known_values():
    lobster = sorted((DATA / "lobster").glob("AMZN*"))
    amazon = measure(read_book(*lobster))
    assert amazon.spreads.quoted.value == pytest.approx(2.9, abs=0.1)
    assert amazon.spreads.effective.value == pytest.approx(2.1, abs=0.1)
    ibm = measure(
        read_trades(next((DATA / "us_equity_tick").glob("IBM*"))), read_quotes(next((DATA / "us_equity_second").glob("IBM*")))
    )
    assert ibm.spreads.quoted.value == pytest.approx(1.3, abs=0.05)
    for found, kyle, share in ((amazon, 0.257, 0.40), (ibm, 0.191, 0.29)):
        minute = found.responses[1]
        assert within(minute.kyle_lambda, kyle, 1.0)
        assert minute.r_squared == pytest.approx(share, abs=0.02)
