"""Baskets: several assets that trade at once, each with an order, as frozen data, convertible to and from dicts and TOML."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hyperexec_env.checks import check_label, check_number, check_texts, shown
from hyperexec_env.market.catalog import Catalog
from hyperexec_env.market.cross import (
    check_correlation,
    check_factors,
    check_one_resilience,
    check_same,
    factor_correlation,
    is_empty,
)
from hyperexec_env.market.regime import Regimes
from hyperexec_env.market.scenario import Scenario, get_scenario, scenario_names
from hyperexec_env.market.scenario_file import is_path, parse_toml, toml_key, toml_value

__all__ = [
    "BASKETS",
    "MOST_ASSETS",
    "BasketLike",
    "BasketScenario",
    "basket_names",
    "get_basket",
    "register_basket",
]

Rows = tuple[tuple[float, ...], ...]

MOST_ASSETS: Final = 50
"""Largest number of assets of a basket."""
_PLAIN: Final[dict[str, Any]] = {
    "flow_persistence": 0.0,
    "predator": 0.0,
    "price_risk": 0.0,
    "transient_exponent": 1.0,
    "volume_level_sd": 0.0,
    "drift_sd": 0.0,
    "temp_impact_sd": 0.0,
    "kyle_sd": 0.0,
    "volume_persistence": 0.0,
    "price_model": "abm",
    "complete": True,
    "posterior": None,
}
"""Fields of an asset that a basket does not vary, each with the only value that it takes."""
_CLOCK: Final = ("slices", "horizon_minutes", "start_minute", "day_minutes")
_OWN: Final = ("correlation", "factors", "cross_impact")
"""Fields of the basket itself whose provenance the basket keeps."""
_TABLES: Final = ("regimes", "provenance")


@dataclass(frozen=True)
class BasketScenario:
    """An execution problem of 1 to 50 assets: the orders, their markets, their correlation and their cross-impact.

    Each asset is a :class:`~hyperexec_env.market.scenario.Scenario`, whose `name` is the symbol and whose `side` and `quantity`
    are the order. All assets have the same clock, risk aversion, regimes and resilience, and one ratio of permanent to Kyle's
    slope; the episode has one regime path. The regimes scale the volatility of every asset alike, and neither the correlation
    nor the impact matrices. Values are checked once, at construction. Make variants with ``replace(get_basket("basket-hedged"),
    cross_impact=0.0)`` or :meth:`with_assets`.

    The correlation is that of the unaffected returns: of the price risk, of the simulated prices and, through the multivariate
    Kyle matrix, of the impact (:mod:`~hyperexec_env.market.cross`). The weight of that matrix, `cross_impact`, is an
    assumption: bars of prices do not determine it.

    A basket of one asset is the market of that asset to the last bit.

    Raises:
        ValueError: A value is missing or out of range, two assets have one symbol or another clock, risk aversion, resilience,
            flow share or set of regimes, or the correlation is not symmetric and positive semidefinite. The message names the
            field, the values and the reason.
    """

    name: str = field(default="basket", metadata={"unit": "", "meaning": "name of the basket"})
    description: str = field(default="", metadata={"unit": "", "meaning": "purpose of the basket"})
    assets: tuple[Scenario, ...] = ()
    correlation: Rows = field(
        default=(),
        metadata={
            "unit": "",
            "meaning": "correlation of the returns, one row per asset (empty: that of the factors, else none)",
        },
    )
    factors: Rows = field(
        default=(),
        metadata={
            "unit": "",
            "meaning": "loadings of the returns on common factors, one row per asset (empty: see correlation)",
        },
    )
    cross_impact: float = field(
        default=0.5,
        metadata={"unit": "fraction", "meaning": "weight c of the multivariate Kyle matrix, 0: no cross-impact; an assumption"},
    )
    provenance: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Check every value once."""
        check_label("name", self.name)
        if not isinstance(self.description, str):
            raise ValueError(f"description must be text, got {shown(self.description)}")
        self._check_assets()
        count = len(self.assets)
        if not is_empty(self.correlation) and not is_empty(self.factors):
            raise ValueError("correlation must be empty where factors are given: the factors determine it; give one of them")
        if not is_empty(self.correlation):
            object.__setattr__(self, "correlation", check_correlation(self.correlation, count))
        if not is_empty(self.factors):
            object.__setattr__(self, "factors", check_factors(self.factors, count))
        object.__setattr__(self, "cross_impact", check_number("cross_impact", self.cross_impact, low=0.0, high=1.0))
        object.__setattr__(self, "provenance", check_texts("provenance", self.provenance))

    def _check_assets(self) -> None:
        """Check the assets, one by one and against each other."""
        assets = tuple(self.assets)
        if not 1 <= len(assets) <= MOST_ASSETS or not all(isinstance(asset, Scenario) for asset in assets):
            raise ValueError(f"assets must be 1 to {MOST_ASSETS} scenarios, got {len(assets)}: {shown(list(assets))}")
        object.__setattr__(self, "assets", assets)
        names = self.symbols
        for i, name in enumerate(names):
            if name in names[:i]:
                raise ValueError(f"assets must have different names, got two called {name!r}; net them into one order")
        for asset in assets:
            for key, value in _PLAIN.items():
                if getattr(asset, key) != value:
                    raise ValueError(
                        f"{key} must be {value} in a basket, got {shown(getattr(asset, key))} for {asset.name}: baskets do "
                        "not support it yet"
                    )
            if any(asset.regimes.drift):
                raise ValueError(f"regimes.drift must be 0 in a basket, got {list(asset.regimes.drift)} for {asset.name}")
        self._check_common()

    def _check_common(self) -> None:
        """Check what all assets have in common."""
        assets, names = self.assets, self.symbols
        for key in (*_CLOCK, "risk_aversion", "regimes"):
            check_same(
                key, (getattr(asset, key) for asset in assets), names, "the orders of a basket share one clock and one desk"
            )
        check_one_resilience((asset.resilience for asset in assets), names)
        reason = "flow of one share of the variance moves all prices, or their correlation would differ from the stated one"
        check_same("flow_share", (asset.flow_share for asset in assets), names, reason)
        ratios = {asset.name: asset.perm_impact_gamma / asset.kyle_lambda for asset in assets if asset.kyle_lambda > 0.0}
        reason = "the permanent or the transient matrix would not be positive semidefinite"
        check_same("perm_impact_gamma / kyle_lambda", ratios.values(), list(ratios), reason) if ratios else None

    @property
    def symbols(self) -> tuple[str, ...]:
        """Name of each asset."""
        return tuple(asset.name for asset in self.assets)

    @property
    def sides(self) -> tuple[int, ...]:
        """Side of each order, +1 buy, -1 sell."""
        return tuple(asset.side for asset in self.assets)

    @property
    def quantities(self) -> NDArray[np.float64]:
        """Shares of each order, shape (assets,)."""
        return np.array([asset.quantity for asset in self.assets])

    @property
    def notional(self) -> float:
        """Arrival notional of all orders, sum of X P0, currency."""
        return float(sum(asset.notional for asset in self.assets))

    @property
    def slices(self) -> int:
        """Number of slices N."""
        return self.assets[0].slices

    @property
    def tau(self) -> float:
        """Length of a slice, days."""
        return self.assets[0].tau

    @property
    def risk_aversion(self) -> float:
        """Price of quadratic variation, 1 / currency."""
        return self.assets[0].risk_aversion

    @property
    def regimes(self) -> Regimes:
        """Regimes of the market."""
        return self.assets[0].regimes

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """Correlation of the returns, shape (assets, assets); read-only."""
        if len(self.correlation):
            matrix = np.array(self.correlation)
        elif len(self.factors):
            matrix = factor_correlation(self.factors)
        else:
            matrix = np.eye(len(self.assets))
        matrix.flags.writeable = False
        return matrix

    @property
    def warnings(self) -> tuple[str, ...]:
        """Faults of the markets that make results meaningless, each with the symbol of its asset."""
        return tuple(f"{asset.name}: {text}" for asset in self.assets for text in asset.warnings)

    def with_assets(self, **values: Any) -> BasketScenario:
        """Return the basket with some fields of every asset replaced, for example ``with_assets(risk_aversion=1e-6)``."""
        return replace(self, assets=tuple(replace(asset, **values) for asset in self.assets))

    @cached_property
    def hash(self) -> str:
        """Return a hash of every value that can change a result: all but names, descriptions and provenance."""
        content = {
            "assets": [asset.hash for asset in self.assets],
            "correlation": self.matrix.tolist(),
            "cross_impact": self.cross_impact,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def text(self) -> str:
        """The result of :meth:`to_toml`, computed once."""
        return self.to_toml()

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers and texts; :meth:`from_dict` is the inverse.

        Fields of :class:`Scenario` that all assets share are given once; the list `asset` has the others.
        """
        tables = [asset.to_dict() for asset in self.assets]
        for table in tables:
            table.update({f"regimes.{key}": value for key, value in table.pop("regimes").items()})
        sources = [table.pop("provenance") for table in tables]
        common, common_sources = _common(tables, keep=("name", "description")), _common(sources)
        regimes = {key.partition(".")[2]: common.pop(key) for key in list(common) if key.startswith("regimes.")}
        assets = []
        for table, source in zip(tables, sources, strict=True):
            asset = {key: value for key, value in table.items() if key not in common and not key.startswith("regimes.")}
            own = {key: text for key, text in source.items() if key not in common_sources}
            assets.append({key: value for key, value in {**asset, "provenance": own}.items() if value not in ("", None, {})})
        plain: dict[str, Any] = {"name": self.name, "description": self.description, "cross_impact": self.cross_impact}
        plain |= {key: [list(row) for row in rows] for key in ("correlation", "factors") if len(rows := getattr(self, key))}
        plain |= {key: value for key, value in common.items() if value is not None}
        return {**plain, "regimes": regimes, "provenance": {**self.provenance, **common_sources}, "asset": assets}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BasketScenario:
        """Return a basket made from plain values.

        Beside the fields of the basket, any field of :class:`Scenario` may be given, which then applies to every asset; a
        value in the list `asset` wins. The key ``base`` names a basket that provides everything that is not given. In a list
        `asset`, an asset with the name of one of the base starts from that one.

        Raises:
            ValueError: A field is unknown (the message names the nearest one) or a value is invalid.
        """
        if not isinstance(values, Mapping):
            raise ValueError(f"basket must be a table of values, got {shown(values)}")
        given = dict(values)
        base = BASKETS.base_of(given)
        sources = check_texts("provenance", given.pop("provenance", {}))
        own: dict[str, Any] = {key: given.pop(key) for key in ("name", "description", *_OWN) if key in given}
        listed = given.pop("asset", None)
        _check_known(given)
        starts = {} if base is None else {asset.name: asset for asset in base.assets}
        if listed is None and base is None:
            raise ValueError("asset must list the assets of the basket, got none; give a table [[asset]] for each of them")
        tables = [{"name": name} for name in starts] if listed is None else listed
        if not isinstance(tables, (list, tuple)):
            raise ValueError(f"asset must be a list of tables, got {shown(tables)}")
        shared = {key: text for key, text in sources.items() if key not in _OWN}
        own["assets"] = tuple(_asset(table, i, given, shared, starts) for i, table in enumerate(tables))
        own_sources = {key: text for key, text in sources.items() if key in _OWN}
        if base is None:
            return cls(provenance=own_sources, **own)
        stated = {key: "given" for key in base.provenance if key in own}
        if {"correlation", "factors"} & set(own):
            own = {"correlation": (), "factors": (), **own}
        sourced = {**base.provenance, **stated, **own_sources}
        return replace(base, **{"name": f"{base.name}*", **own}, provenance=sourced)

    def to_toml(self) -> str:
        """Return the basket as TOML; a comment on each line gives the meaning and unit of the field."""
        plain = self.to_dict()
        notes = {item.name: item.metadata for cls in (Scenario, BasketScenario) for item in fields(cls)}
        lines = _toml_lines(plain, notes)
        for table in plain["asset"]:
            lines += ["", "[[asset]]", *_toml_lines(table, notes, "asset.")]
        return "\n".join(lines) + "\n"

    @classmethod
    def from_toml(cls, text: str) -> BasketScenario:
        """Return the basket that TOML text describes; raise ValueError as :meth:`from_dict` does, or if it is not TOML."""
        return cls.from_dict(parse_toml(text))


def _common(tables: list[dict[str, Any]], keep: Iterable[str] = ()) -> dict[str, Any]:
    """Return the items that all tables share, without the keys to `keep` in each table."""
    first, *others = tables
    missing = object()
    return {
        key: value
        for key, value in first.items()
        if key not in keep and all(other.get(key, missing) == value for other in others)
    }


def _toml_lines(table: Mapping[str, Any], notes: Mapping[str, Mapping[str, Any]], prefix: str = "") -> list[str]:
    """Return a table as lines of TOML, its tables last."""
    lines = []
    for key, value in table.items():
        if key not in (*_TABLES, "asset"):
            note = ", ".join(text for text in (notes[key]["meaning"], notes[key]["unit"]) if text)
            lines.append(f"{key} = {toml_value(value)}  # {note}")
    for key in _TABLES:
        if table.get(key):
            lines += [
                "",
                f"[{prefix}{key}]",
                *(f"{toml_key(name)} = {toml_value(value)}" for name, value in table[key].items()),
            ]
    return lines


def _check_known(given: Mapping[str, Any]) -> None:
    """Raise ValueError for a field that neither a basket nor a scenario has, and name the nearest one."""
    from hyperexec_env.market.scenarios import unknown_field  # knows all kinds of scenarios

    known = {item.name for cls in (Scenario, BasketScenario) for item in fields(cls)} - {"assets"} | {"asset", "base"}
    for key in given:
        if key not in known:
            raise unknown_field(key, known, BASKETS.word)


def _asset(
    table: Any, number: int, given: Mapping[str, Any], sources: Mapping[str, str], starts: Mapping[str, Scenario]
) -> Scenario:
    """Return one asset of a basket: the values of its table, then those given for all assets, then those of the base."""
    if isinstance(table, Scenario):
        return table
    if not isinstance(table, Mapping):
        raise ValueError(f"asset[{number}] must be a table of values, got {shown(table)}")
    name = table.get("name", f"asset-{number + 1}")
    values = {**given, **table, "name": name}
    if name in starts and "base" not in values:
        values["base"] = starts[name]
    if sources or "provenance" in table:
        own = check_texts(f"asset[{number}].provenance", table.get("provenance", {}))
        before = dict(starts[name].provenance) if name in starts else {}
        stated = {key: "given" for key in before if key in values}
        values["provenance"] = {**before, **stated, **sources, **own}
    try:
        return Scenario.from_dict(values)
    except ValueError as error:
        raise ValueError(f"asset[{number}] ({shown(name)}): {error}") from None


BasketLike = str | os.PathLike[str] | Mapping[str, Any] | BasketScenario | Scenario
"""What names a basket: a registered name, a path of a TOML file, a dict of values, or the record; a scenario is a basket of
one."""


def _of_one(given: Any) -> BasketScenario:
    """Return the basket of one asset that a scenario makes."""
    if isinstance(given, str) and not is_path(given) and given not in scenario_names():
        raise BASKETS.unknown(given, scenario_names())
    single = get_scenario(given)
    return BasketScenario(name=single.name, description=single.description, assets=(single,))


BASKETS: Final = Catalog(
    BasketScenario,
    "a basket",
    ("asset",),
    library="basket_library",
    environment="HyperExecBasket-v0",
    getter="get_basket",
    otherwise=_of_one,
)
"""The registered baskets, and what specifies one."""


def register_basket(basket: BasketScenario) -> BasketScenario:
    """Register a basket under its name and return it.

    Raises:
        ValueError: A different basket is registered under that name.
    """
    return BASKETS.register(basket)


def basket_names() -> tuple[str, ...]:
    """Return the names of the registered baskets in the order of registration."""
    return BASKETS.names()


def get_basket(basket: BasketLike) -> BasketScenario:
    """Return the basket that a registered name, a dict, a path to a TOML file or a record specifies.

    A scenario of one asset becomes a basket of one.

    Raises:
        ValueError: The name is unknown (the message names the nearest one), or a value is invalid.
    """
    return BASKETS.get(basket)
