"""A field of another kind of scenario is refused in one sentence that names the kind."""

import pytest

from hyperexec_env.market.scenarios import get_scenario

pytestmark = pytest.mark.fast
ONE, BASKET, TOUCH, VENUES = "a scenario of one asset", "a basket", "a touch scenario", "a scenario with venues"
PAIR = [{"name": "A", "quantity": 1e3}, {"name": "B", "quantity": 1e3}]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base": "basket-hedged", "unknown": {"drift_sd": 0.01}}, f"`unknown` belongs to {ONE}, and this is {BASKET}"),
        ({"base": "touch-5min", "unknown": {"drift_sd": 0.01}}, f"`unknown` belongs to {ONE}, and this is {TOUCH}"),
        ({"base": "touch-5min", "regimes": {}}, f"`regimes` belongs to {ONE}, and this is {TOUCH}"),
        ({"asset": PAIR, "venue": []}, f"`venue` belongs to {VENUES}, and this is {BASKET}"),
        ({"asset": PAIR, "lots": 4}, f"`lots` belongs to {TOUCH}, and this is {BASKET}"),
        ({"base": "touch-5min", "venue": []}, f"`venue` belongs to {VENUES}, and this is {TOUCH}"),
        ({"base": "regime-day", "correlation": []}, f"`correlation` belongs to {BASKET}, and this is {ONE}"),
        (
            {"asset": PAIR, "venues": []},
            f"unknown field venues; did you mean 'venue'? It belongs to {VENUES}, and this is {BASKET}",
        ),
        (
            {"base": "regime-day", "assets": []},
            f"unknown field assets; did you mean 'asset'? It belongs to {BASKET}, and this is {ONE}",
        ),
        ({"base": "basket-hedged", "correlations": []}, "unknown field correlations; did you mean 'correlation'?"),
        ({"base": "basket-hedged", "xyz": 1}, "unknown field xyz"),
    ],
)
def test_a_field_of_another_kind_is_named(values, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        get_scenario(values)
    assert str(raised.value) == message
