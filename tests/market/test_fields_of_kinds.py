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


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base": "regime-day", "lots": 4}, f"base: 'regime-day' is {ONE}, and this needs {TOUCH} (known: touch-5min, "),
        ({"base": "venues-day", "queue": 4}, f"base: 'venues-day' is {VENUES}, and this needs {TOUCH} (known: touch-5min, "),
        ({"asset": PAIR, "base": "touch-5m"}, "base: unknown basket 'touch-5m'"),
        ({"asset": PAIR, "base": "venues-day"}, f"base: 'venues-day' is {VENUES}, and this needs {BASKET} (known: basket-"),
        ({"lots": 4, "base": "touch-5m"}, "base: unknown touch scenario 'touch-5m'; did you mean 'touch-5min'? (known: "),
    ],
)
def test_a_base_of_another_kind_is_named(values, message):
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the beginning of the message is compared
        get_scenario(values)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize("field", ["correlation", "factors"])
@pytest.mark.parametrize("value", [3, None])
def test_a_matrix_that_is_no_list_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field} must be a list of 2 rows, one per asset, got {value}"):
        get_scenario({"asset": PAIR, field: value})


@pytest.mark.parametrize("base", ["basket-10", "touch-5min", "venues-day", "regime-day"])
def test_a_provenance_that_is_no_table_is_refused(base):
    with pytest.raises(ValueError, match="provenance must be a table of texts, got 3"):
        get_scenario({"base": base, "provenance": 3})


def test_a_provenance_of_an_asset_that_is_no_table_is_refused():
    with pytest.raises(ValueError, match=r"asset\[0\].provenance must be a table of texts, got 3"):
        get_scenario({"asset": [{"name": "A", "quantity": 1e3, "provenance": 3}]})
