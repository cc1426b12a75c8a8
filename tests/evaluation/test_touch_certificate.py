"""The certificate of the touch: the best round trip of both sides, and what the scenario states of it."""

import itertools
import json
import math
from dataclasses import replace
from functools import cache

import pytest

import hyperexec_env as hx
from hyperexec_env.evaluation.touch_certificate import certify_touch
from hyperexec_env.market.touch_scenario import TouchScenario, get_touch, touch_names

TINY = TouchScenario(
    lots=1,
    horizon_seconds=15.0,
    step_seconds=5.0,
    max_take=2,
    queue=1,
    deeper_queue=0,
    outflow=0.7,
    move_probability=0.3,
    sweep_probability=0.1,
    adverse=0.001,
)


@pytest.mark.parametrize("name", touch_names())
def test_shipped_scenarios_earn_no_more_than_they_state(name):
    found = certify_touch(name)
    assert found.sound, found.verdict
    assert 0.8 * found.stated < found.value <= found.stated  # the statement is close
    assert found.taking > 0.0


def written_again(scenario, held):
    """The value of the best round trip by recursion over numbers."""
    law = [math.exp(-scenario.outflow) * scenario.outflow**n / math.factorial(n) for n in range(12)]
    law.append(1.0 - sum(law))
    earned = scenario.half_spread + scenario.make_rebate - scenario.adverse
    swept = scenario.half_spread + scenario.make_rebate - scenario.tick
    s, w = scenario.sweep_probability, scenario.move_probability - scenario.sweep_probability
    # (chance, the bid's move, the offer's move): +1 away, -1 through
    moves = ((s, 1, -1), (s, -1, 1), (w, 1, 0), (w, 0, 1), (1.0 - 2.0 * scenario.move_probability, 0, 0))

    def taking(m):
        return (scenario.half_spread + scenario.take_fee) * m + scenario.impact * m * m

    @cache
    def side(place, size, move, o):
        """Return fill, place and gain of one resting order."""
        if place == "none" or size == 0:
            return 0, "none", 0.0
        if place == "deeper":
            return 0, scenario.deeper_queue if move == -1 else "deeper", 0.0
        if move == -1:
            return size, "none", size * swept
        z = min(max(o - place, 0), size)
        after = "none" if z == size else scenario.queue if move == 1 else max(place - o, 0)
        return z, after, z * earned

    @cache
    def resting(t, i, bid, offer, buys, sells):
        total = 0.0
        for chance, up, down in moves:
            for (o, p), (n, q) in itertools.product(enumerate(law), enumerate(law)):
                z, at, gain = side(bid, buys, up, o)
                y, to, more = side(offer, sells, down, n)
                total += chance * p * q * (gain + more + value(t + 1, i + z - y, at, to))
        return total

    @cache
    def value(t, i, bid, offer):
        if t == scenario.steps:
            return -taking(abs(i))
        best = -math.inf
        for after in range(-held, held + 1):
            if abs(after - i) <= scenario.max_take:
                for at, to in itertools.product(
                    {"none", "deeper", scenario.queue, bid}, {"none", "deeper", scenario.queue, offer}
                ):
                    for buys, sells in itertools.product(range(held - after + 1), range(held + after + 1)):
                        best = max(best, resting(t, after, at, to, buys, sells) - taking(abs(after - i)))
        return best

    return value(0, 0, "none", "none")


def test_the_search_written_again_gives_the_same_value():
    found = certify_touch(TINY, held=1)
    assert found.value > 0.1
    assert found.value * TINY.half_spread == pytest.approx(written_again(TINY, 1), rel=1e-7)


@pytest.mark.fast
def test_a_gain_that_is_not_stated_is_a_fault():
    free = replace(TINY, market_making=0.0)
    found = certify_touch(free)
    assert not found.sound
    assert found.exit_code == 1
    assert f"state market_making = {found.value:.4g}" in found.verdict
    assert certify_touch(replace(TINY, market_making=found.value)).sound
    paid = certify_touch(replace(TINY, take_fee=-0.01))
    assert "by taking earns" in paid.faults[0]


@pytest.mark.fast
def test_resting_that_only_saves_earns_nothing():
    """Adverse selection of half-spread and rebate, and no sweep that pays: the best round trip is none."""
    fair = replace(TINY, adverse=TINY.half_spread + TINY.make_rebate)
    found = certify_touch(fair)
    assert found.value == pytest.approx(0.0, abs=1e-12)
    assert "no round trip earns" in found.verdict


@pytest.mark.fast
def test_a_longer_queue_earns_less():
    values = [certify_touch(replace(TINY, queue=queue)).value for queue in (0, 1, 3, 6)]
    assert values == sorted(values, reverse=True)


@pytest.mark.fast
def test_the_certificate_prints_and_a_queue_that_is_too_long_is_refused():
    found = certify_touch("touch-thin")
    assert "market-making value" in str(found)
    assert json.loads(json.dumps(found.to_dict()))["sound"]
    with pytest.raises(ValueError, match="queue must be shorter for an exact certificate, got 150 lots"):
        certify_touch(replace(get_touch("touch-thin"), queue=150))
    assert hx.certify_touch is certify_touch
