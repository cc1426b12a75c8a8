"""Presets: ranges, validation, and the published costs of Almgren, Thum, Hauptmann and Li (2005)."""

import itertools

import pytest

from hyperexec_env.execution.estimates import estimate_impact
from hyperexec_env.execution.presets import INFORMATION, LIQUIDITY, PREDATION, VOLATILITY, almgren_2005, preset

pytestmark = pytest.mark.fast

RANGES = {
    "kyle_lambda": (
        LIQUIDITY,
        {"large_cap": (0.1, 0.3), "mid_cap": (0.3, 0.6), "small_cap": (0.6, 1.0), "illiquid": (1.0, 2.0)},
    ),
    "temp_impact_alpha": (VOLATILITY, {"low": (0.1, 0.2), "normal": (0.2, 0.4), "high": (0.4, 0.6)}),
    "perm_impact_gamma": (INFORMATION, {"low": (0.0, 0.1), "medium": (0.1, 0.3), "high": (0.3, 0.5)}),
    "steganographic_factor": (
        PREDATION,
        {"none": (0.0, 0.2), "low": (0.2, 0.4), "medium": (0.4, 0.6), "high": (0.6, 1.0)},
    ),
}
CALIBRATED = {  # sigma, Theta / ADV, and the printed cost of 10 % of ADV over 0.1, 0.2 and 0.5 days, bps
    "IBM": (0.0157, 263.0, (32, 25, 18), (32.2203, 24.6349, 18.4143)),
    "DRI": (0.0226, 87.0, (43, 32, 23), (42.9285, 32.0093, 23.0549)),
}


def test_the_ranges_are_those_of_the_table():
    for table, ranges in RANGES.values():
        assert dict(table) == ranges


def test_a_preset_lies_in_the_ranges_of_the_table():
    """A setting depends on one table only, so every value of every table is met by combining the tables at the same place."""
    for place, position in itertools.product(range(4), (0.0, 0.5, 1.0)):
        names = [list(table)[place % len(table)] for table, _ in RANGES.values()]
        config = preset(*names, position=position)
        for (setting, (table, _)), name in zip(RANGES.items(), names, strict=True):
            low, high = table[name]
            assert getattr(config, setting) == pytest.approx(low + position * (high - low))


def test_a_combination_is_refused_only_where_its_ranges_are_inconsistent():
    """All combinations: a permanent impact above Kyle's lambda is refused, and nothing else."""
    for names in itertools.product(LIQUIDITY, VOLATILITY, INFORMATION, PREDATION):
        if names[0] == "large_cap" and names[2] == "high":
            with pytest.raises(ValueError, match=r"information 'high' .* must go with a liquidity .* got 'large_cap'"):
                preset(*names)
        else:
            config = preset(*names)
            for (setting, (table, _)), name in zip(RANGES.items(), names, strict=True):
                assert getattr(config, setting) == pytest.approx(sum(table[name]) / 2.0)


def test_other_settings_pass_through_and_override_the_table():
    config = preset("small_cap", predation="high", slices=20, temp_impact_alpha=0.5)
    assert (config.slices, config.temp_impact_alpha) == (20, 0.5)
    assert config.steganographic_factor == pytest.approx(0.8)
    assert preset("large_cap", information="high", perm_impact_gamma=0.2).perm_impact_gamma == 0.2
    with pytest.raises(ValueError, match="kyle_lambda must be at least perm_impact_gamma"):
        preset("large_cap", information="high", perm_impact_gamma=0.25)


def test_an_invalid_argument_raises_one_line():
    for values, message in [
        ({"liquidity": "midcap"}, "liquidity must be one of large_cap, .*did you mean 'mid_cap'"),
        ({"volatility": "hihg"}, "volatility must be one of .*did you mean 'high'"),
        ({"information": "lowe"}, "information must be one of .*did you mean 'low'"),
        ({"predation": 3}, "predation must be one of none, low, medium, high, got 3"),
        ({"position": 1.5}, r"position must be a number in \[0, 1\], got 1.5"),
        ({"slice": 3}, "unknown setting slice; did you mean 'slices'"),
        ({"slices": 0}, r"slices must be a whole number in \[1, 100000\], got 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            preset(**values)


def test_the_published_costs_of_almgren_thum_hauptmann_and_li():
    for adv in [1_000_000, 6_561_000]:
        for case in range(3):
            for share in CALIBRATED:
                sigma, ratio, printed, exact = CALIBRATED[share]
                days = (0.1, 0.2, 0.5)[case]
                found = estimate_impact(adv // 10, 50.0, sigma, days * adv, adv, config=almgren_2005(sigma, ratio))
                assert round(found.cost_bps) == printed[case]
                assert found.cost_bps == pytest.approx(exact[case], abs=1e-4)


def test_almgren_2005_has_no_transient_impact():
    config = almgren_2005(0.0157, 263.0, max_participation_rate=None)
    assert config.kyle_lambda == config.perm_impact_gamma == pytest.approx(0.314 * 0.0157 * 263.0**0.25)
    assert (config.temp_impact_alpha, config.temp_impact_beta, config.max_participation_rate) == (0.142, 0.6, None)


def test_almgren_2005_refuses_values_out_of_range():
    for values in [(0.0, 100.0), (float("nan"), 100.0), (0.02, 0.0), (0.02, float("inf"))]:
        with pytest.raises(ValueError, match=r"(daily_volatility|turnover_ratio) must be a number in \(0, "):
            almgren_2005(*values)


def test_a_volatility_in_percent_is_refused_with_the_fraction_to_pass():
    with pytest.raises(
        ValueError, match=r"daily_volatility must be a number in \(0, 0.25\] .*, got 1.57; for 1.57 % pass 0.0157"
    ):
        almgren_2005(1.57, 263.0)
    with pytest.raises(ValueError, match=r"got 15.7; for 15.7 % pass 0.157"):
        estimate_impact(1_000, 50.0, 15.7, 1e5, 1e6)
    with pytest.raises(ValueError, match=r"got -0.1$"):
        almgren_2005(-0.1, 263.0)
