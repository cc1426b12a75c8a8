r"""Certificate of a basket: no round trip over several assets earns money.

The persistent cost of trades n_k of both signs is a quadratic form. With E_m = diag(exp(-rho tau)) the decay of slice m,

    sum_k n_k' [ Gam (n_0 + ... + n_(k-1)) + Gam n_k / 2 + sum_(j < k) E_j ... E_(k-1) K n_j + K n_k / 2 ]

A round trip ends where it began, sum_k n_k = 0. If the form is not negative on round trips, none earns money; a negative
eigenvalue is a round trip that earns money once it is large enough, because its gain grows with the square of the size, the
spread with the size, and temporary impact with the power 1 + beta. For symmetric positive semidefinite Gam and K and one
decay for all assets the form is not negative (Alfonsi, Klock and Schied 2016); the certificate checks the eigenvalues and, as
a second way, searches signed round trips in pairs, loops and at random, with spread and temporary impact and without.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_integer
from hyperexec_env.evaluation.table import text_table
from hyperexec_env.market.basket_path import BasketMarket, build_basket
from hyperexec_env.market.basket_scenario import BasketLike, get_basket

__all__ = ["BasketCertificate", "BasketImpact", "BasketTrip", "certify_basket", "certify_basket_model", "impact_of_basket"]

Floats = NDArray[np.float64]

_ROUNDING: Final = 1e-9
"""Eigenvalue, asymmetry or gain, as a fraction of its scale, that counts as rounding."""
_SIZES: Final = (1e-3, 1e-2, 1e-1, 1.0)
"""Sizes of the trades of a round trip, fractions of ADV."""
_SLICES: Final = 12
"""Most slices of a tested round trip; the market's slices are long enough to decay."""


class BasketImpact(NamedTuple):
    """An impact model of a basket, in the coordinates of prices; it need not be sound."""

    name: str
    permanent: Any
    """Gam, currency per share for each share bought, shape (assets, assets)."""
    transient: Any
    """K, currency per share for each share bought, shape (assets, assets)."""
    decays: Any
    """Decay of the transient displacement of each asset in one slice, by regime, shape (regimes, assets)."""
    temporary: Any
    """Temporary cost of trading one ADV in a slice, currency, shape (assets,)."""
    power: Any
    """Exponent 1 + beta of that cost, shape (assets,)."""
    spread: Any
    """Half-spread, currency per share, shape (assets,)."""
    adv: Any
    """Average daily volume, shares, shape (assets,)."""
    prices: Any
    """Arrival prices, currency per share, shape (assets,)."""


class BasketTrip(NamedTuple):
    """The cheapest round trip of one kind."""

    kind: str
    linear_bps: float
    """Persistent cost, bps of the traded value; negative earns money before spread and temporary impact."""
    cost_bps: float
    """Cost with spread and temporary impact, bps of the traded value."""
    size: float
    """Largest trade, fraction of ADV."""


@dataclass(frozen=True)
class BasketCertificate:
    """The result of the tests; `str` renders it as text."""

    name: str
    hash: str
    asymmetry: dict[str, float]
    """Largest difference between two mirrored entries of each matrix, as a fraction of its largest entry."""
    eigenvalues: dict[str, float]
    """Lowest eigenvalue of the symmetric part of each matrix, as a fraction of the largest."""
    resilience: float
    """Largest difference between the decays of two assets in one regime."""
    form: float
    """Lowest eigenvalue of the cost of a round trip, as a fraction of the largest, over the regime paths that were tried."""
    trips: tuple[BasketTrip, ...]
    tried: int
    """Number of round trips that were tried."""
    paths: int
    """Number of regime paths that were tried."""

    @property
    def faults(self) -> tuple[str, ...]:
        """What is wrong, one line each; empty for a sound market."""
        found = [f"{name} impact is not symmetric (by {gap:.2g})" for name, gap in self.asymmetry.items() if gap > _ROUNDING]
        found += [
            f"{name} impact is not positive semidefinite (lowest eigenvalue {value:.2g} of the largest)"
            for name, value in self.eigenvalues.items()
            if value < -_ROUNDING
        ]
        if self.resilience > _ROUNDING:
            found.append(f"assets recover at different speeds (decays of a slice differ by {self.resilience:.2g})")
        if self.form < -_ROUNDING:
            found.append(f"a round trip earns money (lowest eigenvalue of its cost {self.form:.2g} of the largest)")
        found += [
            f"the round trip '{trip.kind}' earns {-trip.linear_bps:.3g} bps of the traded value before other costs"
            for trip in self.trips
            if trip.linear_bps < -1e-6
        ]
        return tuple(found)

    @property
    def sound(self) -> bool:
        """Whether no fault was found."""
        return not self.faults

    @property
    def exit_code(self) -> int:
        """Exit code of the command: 1 if a fault was found."""
        return 0 if self.sound else 1

    @property
    def verdict(self) -> str:
        """The result in one line."""
        if self.sound:
            return f"certificate of {self.name}: sound; none of {self.tried:,} round trips on {self.paths} regime paths earns"
        return f"certificate of {self.name}: NOT SOUND: {'; '.join(self.faults)}"

    def __str__(self) -> str:
        """Return the certificate as text."""
        rows = [
            ["", trip.kind, f"{trip.linear_bps:.4g}", f"{trip.cost_bps:.4g}", f"{100.0 * trip.size:g}"] for trip in self.trips
        ]
        header = ["", "cheapest round trip", "persistent cost [bps]", "with spread and temporary", "largest trade [% of ADV]"]
        lines = [text_table(header, rows), ""]
        lines += [
            f"{name}: asymmetry {self.asymmetry[name]:.1e}, lowest eigenvalue {self.eigenvalues[name]:.3g} of the largest"
            for name in self.eigenvalues
        ]
        lines.append(f"cost of round trips: lowest eigenvalue {self.form:.3g} of the largest on {self.paths} regime paths")
        return "\n".join([*lines, "", self.verdict])

    def to_dict(self) -> dict[str, Any]:
        """Return the certificate as plain values for JSON."""
        plain = {key: value for key, value in vars(self).items() if key != "trips"}
        return {**plain, "trips": [trip._asdict() for trip in self.trips], "sound": self.sound, "faults": list(self.faults)}


def impact_of_basket(market: BasketMarket) -> BasketImpact:
    """Return the impact of a basket, in the coordinates of prices and of its least liquid slice."""
    assets = market.scenario.assets
    flip = np.outer(market.sides, market.sides)
    adv = np.array([asset.adv for asset in assets])
    volume = np.array([each.mean_volume[: market.slices, : market.regimes].mean() for each in market.markets])
    power = np.array([1.0 + each.impact.beta for each in market.markets])
    scale = np.array([each.temporary_scale.min() for each in market.markets])
    return BasketImpact(
        name=market.scenario.name,
        permanent=flip * np.array(market.coupling.permanent),
        transient=flip * np.array(market.coupling.transient),
        decays=np.stack([each.transient_decay for each in market.markets], axis=1),
        temporary=scale * volume * (adv / volume) ** power,
        power=power,
        spread=np.array([each.half_spread[: market.regimes].min() for each in market.markets]),
        adv=adv,
        prices=np.array([asset.arrival_price for asset in assets]),
    )


def certify_basket(basket: BasketLike, *, trips: int = 2_000, seed: int = 0) -> BasketCertificate:
    """Test whether the market of a basket is sound.

    Args:
        basket: A name, a dict, a path or a basket.
        trips: Number of random round trips, beside all pairs and loops.
        seed: Seed of the search.

    Raises:
        ValueError: `trips` or `seed` is out of range.
    """
    found = get_basket(basket)
    return certify_basket_model(impact_of_basket(build_basket(found)), trips=trips, seed=seed, hash=found.hash)


def certify_basket_model(model: BasketImpact, *, trips: int = 2_000, seed: int = 0, hash: str = "") -> BasketCertificate:
    """Test whether an impact model of a basket is sound; arguments as in :func:`certify_basket`."""
    rng = np.random.default_rng(check_integer("seed", seed, low=0, high=2**32 - 1))
    count = check_integer("trips", trips, low=100, high=10_000_000)
    matrices = {"permanent": np.array(model.permanent, float), "transient": np.array(model.transient, float)}
    decays = np.array(model.decays, dtype=float)
    regimes = len(decays)
    paths = [np.full(_SLICES, m) for m in range(regimes)]
    paths += [rng.integers(0, regimes, _SLICES) for _ in range(8)] if regimes > 1 else []
    forms = [_form(matrices, decays[path], model) for path in paths]
    tried = list(_trips(len(model.adv), count, rng))
    number = sum(len(trades) for _, trades in tried)
    return BasketCertificate(
        name=model.name,
        hash=hash,
        asymmetry={name: _asymmetry(matrix) for name, matrix in matrices.items()},
        eigenvalues={name: _lowest(matrix) for name, matrix in matrices.items()},
        resilience=float(np.ptp(decays, axis=1).max()),
        form=min(_lowest_on_trips(form, len(model.adv)) for form in forms),
        trips=tuple(_cheapest(kind, trades, forms, model) for kind, trades in tried if len(trades)),
        tried=number * len(forms),
        paths=len(paths),
    )


def _asymmetry(matrix: Floats) -> float:
    scale = float(np.abs(matrix).max())
    return float(np.abs(matrix - matrix.T).max()) / scale if scale else 0.0


def _lowest(matrix: Floats) -> float:
    values = np.linalg.eigvalsh(0.5 * (matrix + matrix.T))
    return float(values[0] / np.abs(values).max()) if np.abs(values).max() else 0.0


def _form(matrices: dict[str, Floats], decays: Floats, model: BasketImpact) -> Floats:
    """Return the matrix of the persistent cost, currency, for trades in units of ADV, shape (slices x assets,) twice."""
    slices, assets = decays.shape
    form = np.zeros((slices, assets, slices, assets))
    scale = np.outer(model.adv, model.adv)
    for k in range(slices):
        form[k, :, k] = 0.5 * (matrices["permanent"] + matrices["transient"]) * scale
        kept = np.ones(assets)
        for j in range(k - 1, -1, -1):
            kept = kept * decays[j]
            form[k, :, j] = (matrices["permanent"] + kept[:, None] * matrices["transient"]) * scale
    return form.reshape(slices * assets, slices * assets)


def _lowest_on_trips(form: Floats, assets: int) -> float:
    """Return the lowest eigenvalue of a form on trades that sum to zero in each asset, as a fraction of the largest."""
    slices = len(form) // assets
    basis = np.linalg.svd(np.ones((1, slices)))[2][1:].T  # directions whose sum is zero
    whole = np.kron(basis, np.eye(assets))
    return _lowest(whole.T @ (0.5 * (form + form.T)) @ whole)


def _trips(assets: int, count: int, rng: np.random.Generator) -> Any:
    """Yield (kind, round trips) with trades in units of the size, shape (trips, slices, assets)."""
    pairs, loops = [], []
    for i, j in permutations(range(assets), 2):
        for gap in (1, 2, 5):
            for sign in (1.0, -1.0):
                trip = np.zeros((_SLICES, assets))
                trip[0, i], trip[0, j], trip[gap, i], trip[gap, j] = 1.0, sign, -1.0, -sign
                pairs.append(trip)
                loop = np.zeros((_SLICES, assets))
                loop[0, i], loop[gap, j], loop[2 * gap, i], loop[2 * gap + 1, j] = 1.0, sign, -1.0, -sign
                loops.append(loop)
    alone = np.zeros((assets, _SLICES, assets))
    alone[np.arange(assets), 0, np.arange(assets)], alone[np.arange(assets), 3, np.arange(assets)] = 1.0, -1.0
    yield "one asset", alone
    yield "pair, there and back", np.array(pairs)
    yield "loop, one after the other", np.array(loops)
    random = rng.standard_normal((count, _SLICES, assets)) * (rng.random((count, _SLICES, assets)) < 0.4)
    random -= random.mean(axis=1, keepdims=True)
    yield "random", random / np.maximum(np.abs(random).max(axis=(1, 2), keepdims=True), 1e-300)


def _cheapest(kind: str, trades: Floats, forms: list[Floats], model: BasketImpact) -> BasketTrip:
    """Return the round trip with the lowest persistent cost per traded value on any path, at its best size."""
    flat, size = trades.reshape(len(trades), -1), np.abs(trades)
    value = (size * (model.adv * model.prices)).sum(axis=(1, 2))
    linear = np.min([np.einsum("ta,ab,tb->t", flat, form, flat, optimize=True) for form in forms], axis=0)
    best = int((linear / value).argmin())
    spread = float((size[best] * model.adv * model.spread).sum())
    costs = [
        (
            1e4
            * (linear[best] * q * q + spread * q + (model.temporary * (size[best] * q) ** model.power).sum())
            / (value[best] * q),
            q,
        )
        for q in _SIZES
    ]
    cost, q = min(costs)
    return BasketTrip(kind, float(1e4 * linear[best] * q / value[best]), float(cost), q)
