"""A distribution of markets: repeatable draws within their ranges, each of them a valid scenario."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperexec_env.baselines.distribution import MARKETS, MarketDistribution, get_distribution
from hyperexec_env.market.scenario import Scenario
from hyperexec_env.market.tables import market_of

pytestmark = pytest.mark.fast


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_every_draw_is_a_valid_scenario_within_the_ranges(seed, number):
    market = MARKETS.draw(seed, number)
    again = Scenario.from_toml(market.to_toml())
    assert again.hash == market.hash == MARKETS.draw(seed, number).hash
    expected = market.adv * math.fsum(market.profile())
    assert MARKETS.participation[0] * 0.999 <= market.quantity / expected <= MARKETS.participation[1] * 1.001
    assert MARKETS.urgency[0] * 0.999 <= market.risk_aversion * market.notional <= MARKETS.urgency[1] * 1.001
    for field in (
        "adv",
        "volatility",
        "half_spread_bps",
        "temp_impact_alpha",
        "temp_impact_beta",
        "resilience",
        "volume_noise",
    ):
        low, high = getattr(MARKETS, field)
        assert low <= getattr(market, field) <= high, field
    assert market.start_minute + market.horizon_minutes <= market.day_minutes
    assert market.slices in MARKETS.slices
    assert market.perm_impact_gamma <= market.kyle_lambda
    assert len(market.regimes) <= 6


def test_a_draw_depends_on_its_seed_and_its_number_alone():
    first = [MARKETS.draw(1, number).hash for number in range(20)]
    assert [MARKETS.draw(1, number).hash for number in reversed(range(20))] == first[::-1]
    others = [MARKETS.draw(2, number).hash for number in range(20)]
    assert len({*first, *others}) == 40


def test_the_number_of_slices_changes_the_clock_and_nothing_else():
    market = MARKETS.draw(3, 4)
    finer = MARKETS.draw(3, 4, slices=2 * market.slices)
    assert replace(finer, slices=market.slices).hash == market.hash


def test_every_regime_can_be_reached():
    for number in range(30):
        law = market_of(MARKETS.draw(5, number)).laws
        assert (law > 0.0).all()


def test_a_distribution_returns_from_its_file(tmp_path):
    made = MarketDistribution(name="small", participation=(0.01, 0.02), slices=(5,), regimes=(1, 1))
    (tmp_path / "small.toml").write_text(made.to_toml(), encoding="utf-8")
    read = get_distribution(tmp_path / "small.toml")
    assert (read, read.hash) == (made, made.hash)
    assert made.hash == replace(made, name="other").hash != replace(made, adv=(1e6, 1e6)).hash
    assert len(made.draw(0, 0).regimes) == 1


def test_measured_markets_come_from_the_draws_of_their_posterior(tmp_path):
    posterior = {"volatility": [0.01, 0.02], "resilience": [5.0, 7.0]}
    measured = Scenario.from_dict({"volatility": 0.015, "resilience": 6.0, "posterior": posterior})
    (tmp_path / "measured.toml").write_text(measured.to_toml(), encoding="utf-8")
    made = MarketDistribution(measured=(str(tmp_path / "measured.toml"),), measured_share=0.5)
    drawn = [made.draw(0, number) for number in range(60)]
    own = [(market.volatility, market.resilience) for market in drawn if market.adv == measured.adv]
    assert set(own) == {(0.01, 5.0), (0.02, 7.0)}
    assert 15 < len(own) < 45
    assert len({market.quantity for market in drawn}) == 60


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"volatility": (0.02, 0.01)}, "volatility must be"),
        ({"volatility": (0.0, 0.01)}, "volatility"),
        ({"volatility": 0.01}, "volatility"),
        ({"temp_impact_beta": (0.5, 1.5)}, "temp_impact_beta"),
        ({"slices": ()}, "slices"),
        ({"slices": (1,)}, "slices must be"),
        ({"regimes": (0, 2)}, "regimes must be"),
        ({"regimes": (2,)}, r"regimes must be \(smallest, largest\), got \(2,\)"),
        ({"regimes": (3, 2)}, r"regimes must be \(smallest, largest\), got \(3, 2\)"),
        ({"measured_share": 1.5}, r"measured_share must be a number in \[0, 1\], got 1\.5"),
        ({"measured": ["regime-dya"]}, "measured must hold scenarios .*got 'regime-dya': unknown scenario.*'regime-day'"),
        ({"measured": [3]}, "measured must hold scenarios of one asset, got 3"),
        ({"measured": ["basket-10"]}, "measured must hold scenarios of one asset, got 'basket-10'"),
        ({"measured": ["hunted-day"]}, "measured must hold scenarios without a predator, got 'hunted-day'"),
        ({"measured": "regime-day"}, "measured must be a list"),
        ({"slices": 10}, "slices must be a list"),
        ({"volatilty": (0.01, 0.02)}, "did you mean 'volatility'"),
        ({"name": ""}, "name"),
    ],
)
def test_a_wrong_field_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        MarketDistribution.from_dict(values)


def test_an_unknown_distribution_is_refused(tmp_path):
    with pytest.raises(ValueError, match="distribution must be 'markets' or the path"):
        get_distribution("market")
    with pytest.raises(ValueError, match=r"none\.toml"):
        get_distribution(tmp_path / "none.toml")
    (tmp_path / "text.toml").write_text("adv = 1", encoding="utf-8")
    with pytest.raises(ValueError, match=r"text\.toml"):
        get_distribution(tmp_path / "text.toml")


def test_a_file_that_is_no_distribution_is_named_once(tmp_path):
    path = tmp_path / "markets.toml"
    for content, message in (
        (None, f"cannot read the distribution {path}: No such file or directory"),
        (b"adv = [1", f"{path}: not a distribution in TOML: Unclosed array (at end of document)"),
        (b"\xff", f"cannot read the distribution {path}: not text in UTF-8"),
    ):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
            get_distribution(path)
        assert str(raised.value) == message


def test_measured_files_lie_beside_the_file_that_names_them(tmp_path, monkeypatch):
    measured = Scenario.from_dict({"volatility": 0.015})
    (tmp_path / "mine.toml").write_text(measured.to_toml(), encoding="utf-8")
    path = tmp_path / "markets.toml"
    path.write_text('measured = ["mine.toml", "regime-day"]\nmeasured_share = 1.0\n', encoding="utf-8")
    here = get_distribution(path).draw(0, 0)
    monkeypatch.chdir(tmp_path)
    there = get_distribution("markets.toml")
    assert there.draw(0, 0) == here
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "copy.toml").write_text(there.to_toml(), encoding="utf-8")
    assert get_distribution(tmp_path / "again" / "copy.toml").hash == there.hash


def test_an_empty_file_is_no_distribution(tmp_path):
    (tmp_path / "empty.toml").write_text("# nothing\n")
    with pytest.raises(ValueError, match=r"empty.toml: the file is empty; give at least one field"):
        get_distribution(tmp_path / "empty.toml")


@pytest.mark.parametrize("slices", [0, -3, 1.5])
def test_a_draw_refuses_a_wrong_number_of_slices(slices):
    with pytest.raises(ValueError, match="slices must be a whole number in"):
        MarketDistribution().draw(0, 0, slices)
