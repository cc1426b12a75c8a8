"""Laws of hidden liquidity: draws, expectations, and the greedy split over pools."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from hyperexec_env.market.liquidity import AllOrNothing, Atoms, PowerLaw, allocate, draw_size, expected_fill, law_of

pytestmark = pytest.mark.fast

LAWS = [Atoms(), Atoms((0.5,), (1.0,)), AllOrNothing(0.2), AllOrNothing(0.0), PowerLaw(), PowerLaw(0.0, 2.0, 5, 0.01)]


@pytest.mark.parametrize("law", LAWS)
def test_a_law_is_a_probability_distribution_and_survives_a_dict(law):
    assert law.sizes[0] == 0.0
    assert (np.diff(law.sizes) > 0.0).all()
    assert law.probabilities.sum() == pytest.approx(1.0, abs=1e-12)
    assert law_of(law.to_dict()) == law_of(law) == law
    assert law.found == pytest.approx(float(law.tail(1e-9)))


@pytest.mark.parametrize("law", LAWS)
def test_draws_have_the_law(law):
    draws = np.random.default_rng(1).integers(0, 2**32, 40_000)
    sizes = draw_size(law, draws)
    for size, probability in zip(law.sizes, law.probabilities, strict=True):
        assert (sizes == size).mean() == pytest.approx(probability, abs=5.0 * math.sqrt(probability / len(draws)) + 1e-12)
    ends = draw_size(law, np.array([0, 2**32 - 1]))
    assert ends[0] == law.sizes[law.probabilities > 0.0][0]
    assert ends[1] == law.sizes[law.probabilities > 0.0][-1]


def test_the_default_law_offers_one_percent_of_the_volume():
    assert float(expected_fill(Atoms(), math.inf)) == pytest.approx(0.01144, abs=1e-12)
    assert float(expected_fill(Atoms(), 0.0104)) == pytest.approx(0.3 * 0.0104)
    assert expected_fill(AllOrNothing(0.2), np.array([0.0, 1.0, 2.0])) == pytest.approx([0.0, 0.2, 0.4])


def _best_split(laws, lots):
    """Return the largest expected fill over all splits, pool after pool (dynamic programming)."""
    fills = [expected_fill(law, np.arange(lots + 1.0)) for law in laws]
    best = fills[0]
    for more in fills[1:]:
        best = np.array([max(best[n - m] + more[m] for m in range(n + 1)) for n in range(lots + 1)])
    return float(best[lots])


def test_the_greedy_split_of_ganchev_is_optimal():
    laws = [PowerLaw(0.7, 1.2, 60, 1.0), PowerLaw(0.85, 0.8, 120, 1.0), PowerLaw(0.5, 2.0, 30, 1.0)]
    split, filled = allocate(laws, 50, 1.0)
    assert split == [17, 28, 5]
    assert filled == pytest.approx(5.296041068, abs=1e-9)
    assert filled == pytest.approx(_best_split(laws, 50), abs=1e-12)
    equal = sum(float(expected_fill(law, n)) for law, n in zip(laws, (17, 17, 16), strict=True))
    assert (
        max(
            equal,
            *(
                sum(float(expected_fill(law, n)) for law, n in zip(laws, order, strict=True))
                for order in itertools.permutations((17, 17, 16))
            ),
        )
        < filled
    )
    assert equal == pytest.approx(4.827980, abs=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"law": "atom"}, "liquidity.law must be one of atoms, all-or-nothing, power, got 'atom'; did you mean 'atoms'"),
        ({"law": "power", "zeros": 0.5}, "unknown field liquidity.zeros; did you mean 'zero'"),
        ({"law": "power", "cap": 0}, "liquidity.cap must be a whole number"),
        ({"law": "all-or-nothing", "chance": 20}, "chance must be a number in"),
        ({"law": "atoms", "atoms": [0.2, 0.1], "chances": [0.1, 0.1]}, "liquidity.atoms must be positive numbers in ascending"),
        ({"law": "atoms", "atoms": [0.1, 0.2], "chances": [0.6, 0.6]}, "liquidity.chances must sum to at most 1, got 1.2"),
        ({"law": "atoms", "atoms": [0.1], "chances": [0.6, 0.1]}, "liquidity.chances must hold 1 numbers"),
        (0.3, "liquidity must be a table with `law`, got 0.3"),
    ],
)
def test_a_bad_law_is_one_clear_error(values, message):
    with pytest.raises(ValueError, match=message):
        law_of(values)
