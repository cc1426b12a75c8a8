"""The step of the market: conservation, convexity, the papers' closed forms, and one function for every kind of number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperexec_env.market.kernel import (
    ROLES,
    Components,
    Cost,
    Impact,
    Slice,
    State,
    close,
    expected_cost,
    fill_price,
    mid_price,
    move,
    paid_cost,
    realised_cost,
    shortfall_cost,
    step,
)

pytestmark = pytest.mark.fast

BETAS = (0.5, 0.6, 1.0)
EXPONENTS = (0.5, 0.7, 1.0, 2.0)
"""Exponents of the transient impact; that of a sound market is 1."""

IMPACT = Impact(permanent_slope=4e-6, transient_slope=2e-6, beta=0.5)
PLAIN = Slice(
    volume=50_000.0,
    least=0.0,
    limit=math.inf,
    temporary_scale=0.6,
    half_spread=0.01,
    transient_decay=0.7,
    drift=0.002,
    innovation=-0.15,
    risk=3e-9,
)


def trade(schedule, quantity, impact=IMPACT, slice=PLAIN):
    """Run a schedule through one kind of slice; return the last state and the total cost."""
    state, costs = State(quantity, 0.0, 0.0), []
    for shares in schedule:
        state, cost = step(impact, state, slice, shares)
        costs.append(cost)
    return state, Cost(*map(sum, zip(*costs, strict=True)))


fractions = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12).filter(lambda weights: sum(weights) > 1e-3)
quantities = st.floats(1.0, 1e6)
slopes = st.floats(0.0, 1e-4)


# --- one function for every kind of number


@st.composite
def situations(draw):
    remaining = draw(st.floats(0.0, 1e6))
    volume = draw(st.floats(1.0, 1e7))
    state = State(remaining, draw(st.floats(0.0, 5.0)), draw(st.floats(0.0, 5.0)))
    slice = Slice(
        volume,
        draw(st.sampled_from([0.0, math.inf])),
        draw(st.sampled_from([math.inf, 0.1 * volume])),
        draw(st.floats(0.0, 10.0)),
        draw(st.floats(0.0, 1.0)),
        draw(st.floats(0.0, 1.0)),
        draw(st.floats(-1.0, 1.0)),
        draw(st.floats(-5.0, 5.0)),
        draw(st.floats(0.0, 1e-6)),
        draw(st.floats(0.0, 1.0)),
    )
    impact = Impact(draw(slopes), draw(slopes), draw(st.sampled_from(BETAS)), draw(st.sampled_from(EXPONENTS)))
    return impact, state, slice, draw(st.floats(-100.0, 1.5)) * remaining


@given(situations())
def test_floats_arrays_and_tensors_are_the_same_step(situation):
    torch = pytest.importorskip("torch")
    impact, state, slice, shares = situation
    by_float = step(impact, state, slice, shares)

    def array(record):
        return type(record)(*(np.array([value, value]) for value in record))

    def tensor(record):
        return type(record)(*(torch.tensor([value], dtype=torch.float64) for value in record))

    by_array = step(impact, array(state), array(slice), np.array([shares, shares]))
    by_tensor = step(impact, tensor(state), tensor(slice), torch.tensor([shares], dtype=torch.float64))
    for expected, arrays, tensors in zip(by_float, by_array, by_tensor, strict=True):
        for value, from_array, from_tensor in zip(expected, arrays, tensors, strict=True):
            assert from_array.tolist() == [pytest.approx(value, rel=1e-12, abs=1e-300)] * 2
            assert from_tensor.tolist() == [pytest.approx(value, rel=1e-12, abs=1e-300)]


@given(situations())
def test_plain_tuples_make_the_same_step(situation):
    impact, state, slice, shares = situation
    after, cost = move(tuple(impact), tuple(state), list(slice), shares)
    assert (after, cost) == step(impact, state, slice, shares)
    record = Cost(*cost)
    assert (expected_cost(cost), shortfall_cost(cost)) == (record.expected, record.shortfall)


def test_costs_are_sums_of_their_components():
    cost = Cost(permanent=1.0, transient=2.0, temporary=4.0, spread=8.0, drift=16.0, timing=32.0, risk=64.0)
    assert cost.expected == 2.0 + 4.0 + 8.0 + 16.0 + 64.0
    assert cost.shortfall == 1.0 + 2.0 + 4.0 + 8.0 + 16.0 + 32.0
    assert realised_cost(cost) == 1.0 + 2.0 + 4.0 + 8.0 + 16.0 + 32.0 + 64.0
    assert paid_cost(cost) == 1.0 + 2.0 + 4.0 + 8.0


def test_every_cost_of_the_shortfall_is_stated_and_every_cost_has_a_role():
    assert set(ROLES) == set(Cost._fields)
    assert {name for name, role in ROLES.items() if role.shortfall} == {*Components._fields} - {"opportunity"}
    for total, chosen in ((expected_cost, "objective"), (shortfall_cost, "shortfall"), (paid_cost, "child")):
        for name, role in ROLES.items():
            only = Cost(*(float(field == name) for field in Cost._fields))
            assert total(only) == float(getattr(role, chosen)), (chosen, name)


def test_floats_stay_floats_and_arrays_keep_their_shape():
    state, cost = step(IMPACT, State(1000.0, 0.0, 0.0), PLAIN, 10.0)
    assert all(type(value) is float for value in (*state, *cost))
    state, cost = step(IMPACT, State(np.full((3, 2), 1000.0), 0.0, 0.0), PLAIN, np.full((3, 2), 10.0))
    assert state.remaining.shape == cost.temporary.shape == (3, 2)


@pytest.mark.parametrize("beta", BETAS)
def test_gradients_are_finite_where_nothing_trades(beta):
    torch = pytest.importorskip("torch")
    shares = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    state = State(torch.full((4,), 1000.0, dtype=torch.float64), 0.02, 0.01)
    slice = PLAIN._replace(limit=torch.full((4,), 5e3, dtype=torch.float64))
    after, cost = step(IMPACT._replace(beta=beta), state, slice, shares)
    (cost.expected + after.transient).sum().backward()
    # the first share bought pays the displacement and the spread (sold, it would pay the spread with the other sign), and
    # takes the drift and the risk of what remains with it
    marginal = 0.01 - PLAIN.drift - 2 * PLAIN.risk * 1000.0 + IMPACT.transient_slope * PLAIN.transient_decay
    assert bool(torch.isfinite(shares.grad).all())
    assert bool((abs(shares.grad - marginal) <= PLAIN.half_spread + 1e-12).all())


@pytest.mark.parametrize("beta", BETAS)
def test_gradients_agree_with_differences(beta):
    torch = pytest.importorskip("torch")
    impact = IMPACT._replace(beta=beta)

    def objective(first, second):
        state, one = step(impact, State(3000.0, 0.0, 0.0), PLAIN, first)
        _, two = step(impact, state, PLAIN, second)
        return one.expected + two.expected

    first, second = (torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in (1200.0, 700.0))
    objective(first, second).backward()
    width = 1e-2
    assert first.grad.item() == pytest.approx(
        (objective(1200.0 + width, 700.0) - objective(1200.0 - width, 700.0)) / (2 * width), rel=1e-6
    )
    assert second.grad.item() == pytest.approx(
        (objective(1200.0, 700.0 + width) - objective(1200.0, 700.0 - width)) / (2 * width), rel=1e-6
    )


# --- the exponent of the transient impact


@given(situations())
def test_with_exponent_one_the_transient_push_is_the_slope_times_the_shares_to_the_last_bit(situation):
    impact, state, slice, shares = situation
    impact = impact._replace(transient_exponent=1.0)
    assert step(impact, state, slice, shares) == step(Impact(*impact[:3]), state, slice, shares)  # 1 is the default
    after, _ = step(impact, state, slice, shares)
    traded = min(max(shares, slice.least), state.remaining, slice.limit)
    assert after.transient == (state.transient + impact.transient_slope * traded) * slice.transient_decay


@given(situations(), st.sampled_from(EXPONENTS))
def test_a_child_pushes_by_the_slope_times_a_power_of_its_participation(situation, exponent):
    """It pays half of its own push, whatever the exponent, and nothing else depends on it."""
    impact, state, slice, shares = situation
    linear, other = impact._replace(transient_exponent=1.0), impact._replace(transient_exponent=exponent)
    after, cost = step(other, state, slice, shares)
    traded = min(max(shares, slice.least), state.remaining, slice.limit)
    push = impact.transient_slope * (traded if exponent == 1.0 else (traded / slice.volume) ** exponent)
    assert after.transient == pytest.approx((state.transient + push) * slice.transient_decay, rel=1e-12, abs=1e-300)
    assert cost.transient == pytest.approx(traded * (state.transient + 0.5 * push), rel=1e-12, abs=1e-300)
    reference, reference_cost = step(linear, state, slice, shares)
    assert after._replace(transient=0.0) == reference._replace(transient=0.0)
    assert cost._replace(transient=0.0) == reference_cost._replace(transient=0.0)


def test_a_square_root_push_is_the_same_to_the_last_bit_for_floats_and_arrays():
    impact = IMPACT._replace(transient_exponent=0.5, transient_slope=7.3e-3)
    shares = np.random.default_rng(4).uniform(0.0, 2e5, 2000)
    by_array, cost = step(impact, State(np.full(2000, 1e6), 0.0, 0.0), PLAIN, shares)
    by_float = [step(impact, State(1e6, 0.0, 0.0), PLAIN, child) for child in shares.tolist()]
    assert by_array.transient.tolist() == [state.transient for state, _ in by_float]
    assert by_array.transient.tolist() == (7.3e-3 * np.sqrt(shares / PLAIN.volume) * PLAIN.transient_decay).tolist()
    assert cost.transient.tolist() == [cost.transient for _, cost in by_float]


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_gradients_of_any_transient_push_are_finite_and_agree_with_differences(exponent):
    torch = pytest.importorskip("torch")
    slope = IMPACT.transient_slope if exponent == 1.0 else IMPACT.transient_slope * PLAIN.volume
    impact, slice = IMPACT._replace(transient_slope=slope, transient_exponent=exponent), PLAIN._replace(holding=0.005)

    def objective(first):
        state, one = step(impact, State(3000.0, 0.0, 0.0), slice, first)
        _, two = step(impact, state, slice, 700.0)
        return one.expected + two.expected

    first, width = torch.tensor(1200.0, dtype=torch.float64, requires_grad=True), 1e-2
    total = objective(first)
    total.backward()
    assert total.item() == pytest.approx(objective(1200.0), rel=1e-12)
    assert math.isfinite(first.grad.item())
    slope = (objective(1200.0 + width) - objective(1200.0 - width)) / (2 * width)
    assert first.grad.item() == pytest.approx(slope, rel=1e-6)


# --- the price of holding


@given(situations(), st.floats(0.0, 1.0))
def test_holding_is_paid_on_what_remains_as_a_part_of_the_risk_alone(situation, holding):
    """lambda S_k tau x_{k+1} (Gatheral and Schied 2011): the objective grows by it, the shortfall and the state do not."""
    impact, state, slice, shares = situation
    free, free_cost = step(impact, state, slice._replace(holding=0.0), shares)
    after, cost = step(impact, state, slice._replace(holding=holding), shares)
    assert after == free
    assert cost._replace(risk=0.0) == free_cost._replace(risk=0.0)
    assert cost.shortfall == free_cost.shortfall
    assert cost.risk == pytest.approx(free_cost.risk + holding * after.remaining, rel=1e-12)
    assert cost.expected == pytest.approx(free_cost.expected + holding * after.remaining, rel=1e-9, abs=1e-9)


def test_without_a_price_of_holding_the_risk_is_the_quadratic_one_to_the_last_bit():
    for shares in np.random.default_rng(5).uniform(0.0, 1e4, 200).tolist():
        state, cost = step(IMPACT, State(1e4, 0.0, 0.0), PLAIN, shares)
        assert cost.risk == PLAIN.risk * state.remaining * state.remaining


# --- laws


@given(st.floats(0.0, 1e6), st.floats(0.0, 3.0), st.floats(0.0, 3.0), st.sampled_from(BETAS))
def test_trading_nothing_costs_nothing(remaining, permanent, transient, beta):
    quiet = PLAIN._replace(drift=0.0, innovation=0.0, risk=0.0)
    state, cost = step(IMPACT._replace(beta=beta), State(remaining, permanent, transient), quiet, 0.0)
    assert cost == Cost(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert state == State(remaining, permanent, transient * quiet.transient_decay)


@given(fractions, quantities)
def test_shares_are_conserved(weights, quantity):
    state, traded = State(quantity, 0.0, 0.0), []
    for weight in weights:
        after, _ = step(IMPACT, state, PLAIN, weight * quantity)
        traded.append(state.remaining - after.remaining)
        assert 0.0 <= traded[-1] <= weight * quantity + 1e-15 * quantity
        state = after
    assert sum(traded) + state.remaining == pytest.approx(quantity, rel=1e-12)
    assert state.permanent == pytest.approx(IMPACT.permanent_slope * sum(traded), rel=1e-9, abs=1e-15)


@given(fractions, quantities, slopes)
def test_permanent_cost_does_not_depend_on_the_schedule(weights, quantity, slope):
    schedule = [weight / sum(weights) * quantity for weight in weights]
    schedule[-1] = 2.0 * quantity  # the kernel holds it at what is left
    state, cost = trade(schedule, quantity, IMPACT._replace(permanent_slope=slope))
    assert state.remaining == 0.0
    assert cost.permanent == pytest.approx(0.5 * slope * quantity**2, rel=1e-10, abs=1e-12)


@given(st.floats(0.0, 1e5), st.floats(0.0, 1e5), st.floats(0.0, 1.0), st.sampled_from(BETAS), st.floats(0.0, 1.0))
def test_cost_is_convex_in_the_shares(a, b, weight, beta, displacement):
    impact = IMPACT._replace(beta=beta)

    def cost(shares):
        return step(impact, State(1e5, displacement, displacement), PLAIN, shares)[1]

    middle = cost(weight * a + (1.0 - weight) * b)
    for part in ("expected", "shortfall", "temporary", "transient", "permanent", "risk"):
        ends = weight * getattr(cost(a), part) + (1.0 - weight) * getattr(cost(b), part)
        assert getattr(middle, part) <= ends + 1e-9 * (1.0 + abs(ends))


@given(st.floats(0.01, 1.0), st.sampled_from(BETAS))
def test_a_slice_of_twice_the_volume_takes_twice_the_shares_at_the_same_impact(participation, beta):
    impact = Impact(0.0, 0.0, beta)
    volume = PLAIN.volume
    one = step(impact, State(1e9, 0.0, 0.0), PLAIN, participation * volume)[1]
    two = step(impact, State(1e9, 0.0, 0.0), PLAIN._replace(volume=2 * volume), 2 * participation * volume)[1]
    assert two.temporary == pytest.approx(2 * one.temporary, rel=1e-12)
    assert one.temporary == pytest.approx(PLAIN.temporary_scale * participation**beta * participation * volume, rel=1e-12)


# --- what may trade


def test_a_trade_is_held_between_nothing_and_what_is_left():
    for asked, traded in ((-5.0, 0.0), (40.0, 40.0), (100.0, 100.0), (1e9, 100.0), (math.inf, 100.0)):
        state, _ = step(IMPACT, State(100.0, 0.0, 0.0), PLAIN, asked)
        assert state.remaining == 100.0 - traded


def test_a_cap_holds_a_trade_and_leaves_the_rest():
    state, _ = step(IMPACT, State(100.0, 0.0, 0.0), PLAIN._replace(limit=30.0), 80.0)
    assert state.remaining == 70.0


def test_the_slice_that_has_to_finish_takes_all_that_is_left():
    for asked in (0.0, 1.0, 1e9):
        state, _ = step(IMPACT, State(100.0, 0.0, 0.0), PLAIN._replace(least=math.inf), asked)
        assert state.remaining == 0.0


# --- examples and closed forms


def test_two_slices_by_hand():
    """Buy 300 shares as 100 + 200 at P0 = 50, g = 0.001, kappa = 0.002, linear temporary impact 0.5 n / V."""
    impact = Impact(0.001, 0.002, 1.0)
    first = Slice(1000.0, 0.0, math.inf, 0.5, 0.02, 0.5, 0.01, 0.30, 1e-6)
    second = Slice(2000.0, math.inf, math.inf, 0.5, 0.02, 0.5, -0.01, 0.10, 1e-6)
    start = State(300.0, 0.0, 0.0)

    middle, one = step(impact, start, first, 100.0)
    assert middle == pytest.approx(State(200.0, 0.1, 0.1))
    assert one == pytest.approx(
        Cost(permanent=5.0, transient=10.0, temporary=5.0, spread=2.0, drift=2.0, timing=60.0, risk=0.04)
    )
    assert one.expected == pytest.approx(19.04)
    assert one.shortfall == pytest.approx(84.0)
    assert fill_price(impact, start, first, 100.0, 50.0, 1.0) == pytest.approx(50.0 + 0.05 + 0.10 + 0.05 + 0.02)
    assert mid_price(middle, 50.31, 1.0) == pytest.approx(50.51)

    end, two = step(impact, middle, second, 200.0)
    assert end == pytest.approx(State(0.0, 0.3, 0.25))
    assert two == pytest.approx(
        Cost(permanent=40.0, transient=60.0, temporary=10.0, spread=4.0, drift=0.0, timing=0.0, risk=0.0)
    )
    assert fill_price(impact, middle, second, 200.0, 50.31, 1.0) == pytest.approx(50.31 + 0.2 + 0.3 + 0.05 + 0.02)
    # shares times fills less the arrival notional is the shortfall of the two slices
    assert one.shortfall + two.shortfall == pytest.approx(100.0 * 50.22 + 200.0 * 50.88 - 300.0 * 50.0)
    assert close(impact, end, 300.0) == (0.0, 0.0)


@given(st.lists(st.floats(0.0, 1e4), min_size=1, max_size=8), st.floats(0.0, 1.0))
def test_transient_displacement_is_the_sum_of_decaying_trades(schedule, kept):
    """Obizhaeva and Wang (2013): D_k is the sum over past trades of kappa n_j kept^(k - j)."""
    state, _ = trade(schedule, 1e9, slice=PLAIN._replace(transient_decay=kept))
    count = len(schedule)
    expected = sum(IMPACT.transient_slope * shares * kept ** (count - j) for j, shares in enumerate(schedule))
    assert state.transient == pytest.approx(expected, rel=1e-12, abs=1e-300)


def test_obizhaeva_and_wang_cost_of_a_schedule():
    """The transient cost is the quadratic form sum_k n_k (kappa n_k / 2 + sum_j<k kappa n_j e^(-rho (t_k - t_j)))."""
    rng = np.random.default_rng(1)
    shares, rho, tau = rng.uniform(0.0, 1000.0, 9), 12.0, 0.02
    times = tau * np.arange(9)
    kernel = np.exp(-rho * np.abs(times[:, None] - times[None, :]))
    expected = 0.5 * IMPACT.transient_slope * shares @ kernel @ shares
    _, cost = trade(shares.tolist(), 1e9, slice=PLAIN._replace(transient_decay=math.exp(-rho * tau)))
    assert cost.transient == pytest.approx(expected, rel=1e-12)


def test_almgren_and_chriss_expected_cost_and_variance_of_a_schedule():
    """Almgren and Chriss (2000), equations 4 and 5, with the numbers of their example.

    E = gamma X^2 / 2 + epsilon X + (eta - gamma tau / 2) / tau sum n_k^2 and V = sigma^2 tau sum x_k^2. In a slice of volume V
    the linear temporary impact here is temporary_scale n / V.
    """
    quantity, slices, tau = 1e6, 5, 1.0
    gamma, eta, epsilon, sigma = 2.5e-7, 2.5e-6, 0.0625, 0.95
    left = quantity * np.sinh(0.6 * (slices - np.arange(slices + 1)) * tau) / np.sinh(0.6 * slices * tau)
    schedule = -np.diff(left)
    expected = 0.5 * gamma * quantity**2 + epsilon * quantity + (eta - 0.5 * gamma * tau) / tau * np.sum(schedule**2)
    variance = sigma**2 * tau * np.sum(left[1:] ** 2)

    volume = 5e6 * tau
    slice = Slice(volume, 0.0, math.inf, (eta / tau - 0.5 * gamma) * volume, epsilon, 1.0, 0.0, 0.0, sigma**2 * tau)
    state, cost = trade(schedule.tolist(), quantity, Impact(gamma, 0.0, 1.0), slice)
    assert state.remaining == pytest.approx(0.0, abs=1e-6)
    assert cost.shortfall == pytest.approx(expected, rel=1e-12)
    assert cost.transient == 0.0
    assert cost.risk == pytest.approx(variance, rel=1e-9)


@given(st.floats(1.0, 1e5), st.floats(0.0, 1e5), st.floats(0.0, 2.0), st.floats(0.0, 2.0))
def test_what_is_left_is_marked_at_our_displacement(quantity, left, permanent, transient):
    left = min(left, quantity)
    marked, in_objective = close(IMPACT, State(left, permanent, transient), quantity)
    assert marked == pytest.approx(left * (permanent + transient))
    traded = quantity - left
    assert in_objective == pytest.approx(marked - 0.5 * IMPACT.permanent_slope * (quantity**2 - traded**2), abs=1e-6)


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_buyers_pay_more_than_the_mid_and_sellers_get_less(side):
    state = State(1000.0, 0.03, 0.02)
    fill, mid = fill_price(IMPACT, state, PLAIN, 100.0, 100.0, side), mid_price(state, 100.0, side)
    assert side * (fill - mid) > PLAIN.half_spread
    assert side * (mid - 100.0) == pytest.approx(0.05)
