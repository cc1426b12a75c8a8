"""Draws of a calibration: they agree with the stated errors, vary together where they share data, and are sound markets."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hyperexec_env.baselines.solver import solve, solve_interval
from hyperexec_env.data.calibration import calibration_of
from hyperexec_env.data.draws import DRAWS, draws_of_tape, public_draws, with_order_draws, with_tape_draws
from hyperexec_env.data.format import Format
from hyperexec_env.data.impact import Figure, decay_of, response_of, spreads_of, volatility_of
from hyperexec_env.data.measurement import measure
from hyperexec_env.data.reader import read_quotes, read_trades
from hyperexec_env.data.sessions import read_sessions
from hyperexec_env.data.tape import Tape, TapeDay
from hyperexec_env.data.temporary import PowerLaw, Temporary
from hyperexec_env.evaluation.certificate import certify
from hyperexec_env.market.posterior import draws_of
from hyperexec_env.market.published import ALMGREN_2005, PUBLIC_TAPES
from hyperexec_env.market.scenario import Scenario

DATA = Path(os.environ.get("HYPEREXEC_DATA", Path(__file__).parents[3] / "shared" / "data"))
BARS = Path(__file__).parents[2] / "benchmarks" / "example_bars.csv"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="real tape: set HYPEREXEC_DATA to the folder of the shared data")

GAMMA, TRANSIENT, RHO, HALF, SIGMA, ADV, SECONDS = 0.12, 0.15, 60.0, 2.0, 0.0025, 1e6, 21_600
"""Impact in arrival prices for one ADV, recovery per day, mean half-spread in bps, volatility of the rest, shares a day."""
STEP = 10
"""Seconds between two trades."""


def simulated(seed, days=5, rho=RHO):
    """Return a tape whose mid follows the propagator: every ten seconds a trade, then a quote."""
    rng = np.random.default_rng(seed)
    count, tau = SECONDS // STEP, STEP / SECONDS
    found = []
    for day in range(days):
        flow = rng.choice([-1.0, 1.0], count) * rng.lognormal(0.0, 0.7, count) * ADV / count / 1.27
        x, at = np.zeros(count + 1), 0.0
        for k, part in enumerate((flow / ADV).tolist()):
            at = (at + part) * np.exp(-rho * tau)
            x[k + 1] = at
        noise = np.concatenate([[0.0], np.cumsum(SIGMA * np.sqrt(tau) * rng.standard_normal(count))])
        mid = 50.0 * (1.0 + GAMMA * np.concatenate([[0.0], np.cumsum(flow / ADV)]) + TRANSIENT * x + noise)
        start = day * 86_400 * 10**9
        time = start + STEP * 10**9 * np.arange(count + 1)
        half = 1e-4 * HALF * mid * np.repeat(rng.uniform(0.5, 1.5, count // 60 + 1), 60)[: count + 1]
        side = np.sign(flow).astype(np.int8)
        traded = time[:-1] + 5 * 10**9
        found.append(TapeDay(str(day), start, int(time[-1]), time, mid, half, traded, mid[:-1], np.abs(flow), side, mid[:-1]))
    return Tape(tuple(found), ADV, SECONDS // 60, "the data", 0, ("simulated",), ())


@pytest.fixture(scope="module")
def tape():
    return simulated(3)


@pytest.fixture(scope="module")
def drawn(tape):
    return draws_of_tape(tape, 60.0, decay_of(tape), RHO)


def agrees(draws, figure, width=0.3):
    """Whether mean and standard deviation of draws are those of a figure: 64 draws know a standard deviation to 9 %."""
    assert draws.mean() == pytest.approx(figure.value, abs=4.0 * figure.error / np.sqrt(DRAWS))
    assert draws.std(ddof=1) == pytest.approx(figure.error, rel=width)


def test_draws_of_a_tape_have_the_stated_errors(tape, drawn):
    response = response_of(tape, 60.0)
    agrees(drawn.kyle_lambda, response.kyle_lambda)
    agrees(drawn.half_spread_bps, spreads_of(tape).quoted)
    agrees(drawn.volatility, volatility_of(tape))
    low, high = np.quantile(drawn.kyle_lambda, (0.025, 0.975))
    assert low == pytest.approx(response.kyle_lambda.low, abs=response.kyle_lambda.error)
    assert high == pytest.approx(response.kyle_lambda.high, abs=response.kyle_lambda.error)
    assert drawn.flow_share.mean() == pytest.approx(response.r_squared, abs=0.05)


def test_gamma_and_resilience_of_a_tape_that_identifies_them_have_the_stated_errors(tape, drawn):
    decay = decay_of(tape)
    assert decay.identified
    free = (drawn.perm_impact_gamma > 0.0) & (drawn.perm_impact_gamma < drawn.kyle_lambda)
    assert free.mean() > 0.9
    agrees(drawn.perm_impact_gamma, decay.gamma, width=0.4)
    assert decay.low < np.median(drawn.resilience) < decay.high
    assert np.mean((decay.low <= drawn.resilience) & (drawn.resilience <= decay.high)) > 0.8


def test_figures_that_share_moves_vary_together(drawn):
    """Volatile blocks have large moves, of which flow explains a part: lambda rises with the share that it explains."""
    assert np.corrcoef(drawn.kyle_lambda, drawn.flow_share)[0, 1] > 0.3
    assert np.corrcoef(drawn.perm_impact_gamma, drawn.resilience)[0, 1] > 0.2


def test_a_resilience_that_is_not_identified_covers_its_interval():
    tape = simulated(5, days=1, rho=2000.0)
    decay = decay_of(tape)
    assert not decay.identified
    found = draws_of_tape(tape, 60.0, decay, 20.0).resilience
    assert found.min() < 100.0
    assert found.max() > max(decay.low, 500.0)
    logs = np.log(found)
    assert logs.std() > 0.8


def test_draws_of_a_tape_are_the_same_each_time(tape, drawn):
    again = draws_of_tape(tape, 60.0, decay_of(tape), RHO)
    assert all(np.array_equal(a, b) for a, b in zip(drawn, again, strict=True))


@pytest.fixture(scope="module")
def calibration():
    return calibration_of(read_sessions((str(BARS),), Format()), "bars")


def test_draws_of_bars_have_the_stated_errors(calibration):
    scenario, errors = calibration.scenario, calibration.errors
    columns = scenario.posterior.to_dict()
    for name in ("adv", "volatility"):
        assert np.std(columns[name], ddof=1) == pytest.approx(errors[name], rel=0.25)
        assert np.mean(columns[name]) == pytest.approx(getattr(scenario, name), abs=3.0 * errors[name] / 8.0)
    assert "moving blocks" in scenario.provenance["posterior"]
    assert scenario.draw(3).adv == columns["adv"][3]


def test_impact_that_bars_do_not_show_has_the_range_of_public_tapes(calibration):
    columns = calibration.scenario.posterior.to_dict()
    ratio = np.divide(columns["perm_impact_multiple"], columns["kyle_multiple"])
    spans = {"kyle_lambda": columns["kyle_multiple"], "perm_impact_gamma": ratio}
    for name, (_, low, high) in PUBLIC_TAPES.items():
        found = np.asarray(spans.get(name, columns.get(name)))
        assert low * 0.999 <= found.min() < low + 0.1 * (high - low)
        assert high - 0.1 * (high - low) < found.max() <= high * 1.001
    for name, (value, error) in ALMGREN_2005.items():
        assert np.mean(columns[name]) == pytest.approx(value, abs=3.0 * error / 8.0)
        assert np.std(columns[name]) == pytest.approx(error, rel=0.3)


def test_a_number_that_the_user_states_has_no_draws():
    sessions = read_sessions((str(BARS),), Format())
    given = calibration_of(sessions, adv=2e6, kyle_lambda=0.2).scenario
    assert set(given.posterior.names) == {"volatility", "resilience", "flow_share", *ALMGREN_2005}
    assert calibration_of(sessions, kyle_multiple=30.0).scenario.draw(0).kyle_multiple == 30.0


def test_every_draw_passes_the_certificate(calibration):
    for scenario in draws_of(replace(calibration.scenario, slices=6), 6):
        assert certify(scenario, trips=1000).sound


def market(tape, base):
    """Return the scenario that a tape measures, with its draws, and temporary impact as in the true market."""
    decay, response, volatility = decay_of(tape), response_of(tape, 60.0), volatility_of(tape)
    kyle = max(response.kyle_lambda.value, 0.0)
    fields = {
        "volatility": volatility.value,
        "half_spread_bps": spreads_of(tape).quoted.value,
        "kyle_multiple": kyle / volatility.value,
        "perm_impact_multiple": min(max(decay.gamma.value, 0.0), kyle) / volatility.value,
        "resilience": decay.resilience,
        "flow_share": response.r_squared,
    }
    measured = with_tape_draws(replace(base, **fields), tape, 60.0, decay, volatility.value, volatility.value, ())
    known = {name: getattr(base, name) for name in ALMGREN_2005}
    return replace(measured, **{name: 1.0 * value for name, value in known.items()})


def test_draws_of_a_single_session_hold_the_volatility_of_the_same_blocks(tape):
    measured = market(tape, Scenario(slices=6))
    assert set(measured.posterior.names) == {
        *("volatility", "half_spread_bps", "kyle_multiple", "perm_impact_multiple", "resilience", "flow_share")
    }
    assert "one session has no error" in measured.provenance["posterior"]
    drawn = draws_of_tape(tape, 60.0, decay_of(tape), measured.resilience)
    assert [draw.kyle_lambda for draw in draws_of(measured)] == pytest.approx(drawn.kyle_lambda, rel=1e-3)


@pytest.mark.slow
def test_the_interval_of_the_optimum_covers_the_true_optimum():
    """40 tapes; an interval that covers 95 % misses more than 6 of 40 with a probability of 0.3 %.

    Lambda of a scenario is that of a minute, in which six trades have recovered for one to six steps.
    """
    base = Scenario(slices=6, adv=ADV, quantity=0.04 * ADV, arrival_price=50.0, temp_impact_alpha=0.142, temp_impact_beta=1.0)
    kept = np.exp(-RHO * STEP / SECONDS) ** np.arange(1, 7)
    fields = {"kyle_lambda": GAMMA + TRANSIENT * float(kept.mean()), "perm_impact_gamma": GAMMA, "resilience": RHO}
    volatility = float(np.mean([volatility_of(simulated(seed)).value for seed in range(900, 910)]))
    true = solve(replace(base, volatility=volatility, half_spread_bps=HALF, **fields), cached=False).optimum_bps
    missed = 0
    for seed in range(100, 140):
        low, high = solve_interval(market(simulated(seed), base), 32, cached=False).intervals["optimum_bps"]
        missed += not low <= true <= high
    assert missed <= 6


@needs_data
def test_draws_of_a_real_tape_hold_everything_that_is_measured():
    folder = DATA / "us_equity_tick"
    trades = read_trades([str(folder / "IBM_tick_trade_20131007_20131011.csv.gz")], Format())
    quotes = read_quotes([str(DATA / "us_equity_second" / "IBM_second_quote_20131007_20131011.csv.gz")], Format())
    scenario = measure(trades, quotes, Format()).scenario
    assert len(scenario.posterior) == DRAWS
    assert set(scenario.posterior.names) == {
        *("adv", "volatility", "half_spread_bps", "kyle_multiple", "perm_impact_multiple", "resilience", "flow_share"),
        *ALMGREN_2005,
    }
    assert all(draw.kyle_lambda >= draw.perm_impact_gamma >= 0.0 for draw in draws_of(scenario))


def test_public_draws_are_independent_of_each_other():
    columns = public_draws()
    share = columns["perm_impact_multiple"] / columns["kyle_multiple"]
    table = np.corrcoef([columns["kyle_multiple"], share, columns["resilience"], columns["flow_share"]])
    assert np.abs(table - np.eye(4)).max() < 0.35


def orders_of(alpha, beta, at, gamma=None):
    """Return what a desk's own orders say of temporary impact, from figures given as (value, error, low, high)."""
    fit = PowerLaw(Figure(*alpha), Figure(*beta), alpha[1], beta[1], Figure(*at), 1.0)
    return Temporary(fit, None, gamma and Figure(*gamma), 200, 20, (0.01, 0.05, 0.2), {}, ())


def test_draws_of_own_orders_have_their_errors_and_the_correlation_of_alpha_and_beta(calibration):
    found = orders_of((0.2, 0.05, 0.1, 0.3), (0.55, 0.1, 0.35, 0.75), (0.2, 0.03, 0.14, 0.26))
    base = replace(calibration.scenario, temp_impact_alpha=0.2, temp_impact_beta=0.55)
    columns = with_order_draws(base, found).posterior.to_dict()
    agrees(np.array(columns["temp_impact_alpha"]), found.fit.alpha)
    agrees(np.array(columns["temp_impact_beta"]), found.fit.beta)
    correlation = np.corrcoef(columns["temp_impact_alpha"], columns["temp_impact_beta"])[0, 1]
    assert correlation == pytest.approx(np.sqrt(1.0 - 0.6**2), abs=0.2)
    assert columns["kyle_multiple"] == base.posterior.to_dict()["kyle_multiple"]


def test_orders_that_say_nothing_leave_the_published_draws(calibration):
    nothing = orders_of((0.01, 0.1, -0.2, 0.2), (0.5, 1.0, 0.0, np.inf), (0.01, 0.1, -0.2, 0.2))
    assert with_order_draws(calibration.scenario, nothing) == calibration.scenario


def test_draws_of_own_permanent_impact_stay_below_lambda(calibration):
    found = orders_of((0.2, 0.05, 0.1, 0.3), (0.55, 0.1, 0.35, 0.75), (0.2, 0.03, 0.14, 0.26), (0.3, 0.1, 0.1, 0.5))
    base = replace(calibration.scenario, perm_impact_multiple=14.0)
    assert "kyle_multiple" not in base.posterior.names
    for draw in draws_of(with_order_draws(base, found)):
        assert draw.kyle_lambda >= draw.perm_impact_gamma
