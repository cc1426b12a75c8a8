r"""Venues: places where one order trades at once, each of which is one more :class:`~hyperexec_env.market.kernel.Slice`.

A slice k offers the order several venues. Venue v gets a request y_v >= 0, sum_v y_v <= x_k, and fills z_v = min(y_v, limit_v):

    home, lit   limit infinity, volume V_v = w_v V_k, temporary scale c_v; in the last slice home completes the order dark
    limit A_v, hidden and random (:mod:`~hyperexec_env.market.liquidity`), no temporary impact; void in the last slice rest
    the same for an order that rests in the book: A_v is the volume that reaches it

    toll_v  = [q_v + c_v (z_v / V_v)^beta] z_v          q_v = half_spread_v + fee_v + adverse_v    (rest: -half_spread_v + ...)
    fill_v  = S + s [ G + g z / 2 + D + kappa z / 2 + toll_v / z_v ]                                z = sum_v z_v
    x' = x - z,   G' = G + g z,   D' = (D + kappa z) exp(-rho_m tau)

There is one consolidated price: a fill anywhere carries the whole linear slope, g and kappa. If fills of a pool carried only
the share chi < 1 of it, a round trip would buy in the lit market and sell in the pool at the raised mid (Klock, Schied and Sun
2017).

The slope is that of a basket whose assets are one stock (:mod:`~hyperexec_env.market.basket`): every entry of its matrices is
g, or kappa, so each venue trades by :func:`~hyperexec_env.market.kernel.move` in a state that half of the others' trades have
moved. Nothing remains in a venue but in `home`, which carries the risk and the price moves.

**Adverse selection.** A pool that has liquidity for us moves the price against the fill: E[s dS | A > 0] = -a, E[s dS | A = 0]
= a p / (1 - p) with p = P(A > 0), so that the price stays a martingale (:func:`adverse_move`). Over an episode the moves cost a
z_v in expectation, whatever the policy. The account charges a z_v as `adverse`, and the timing cost is net of it: timing has
mean zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from operator import add, sub
from typing import Any, Final

from hyperexec_env.checks import check_choice, check_label, put_number, shown
from hyperexec_env.market.basket import moved_by_others
from hyperexec_env.market.kernel import Cost, Slice
from hyperexec_env.market.liquidity import Atoms, Liquidity, law_of
from hyperexec_env.market.numeric import between, everywhere, maximum, minimum, power, where
from hyperexec_env.market.several import each, fold, joined, others
from hyperexec_env.records import plus, replacer

__all__ = [
    "KINDS",
    "LIT",
    "Venue",
    "adverse_move",
    "check_venues",
    "odds_of",
    "offered",
    "proportional",
    "route",
    "toll",
    "total_cost",
    "venue_move",
]

KINDS: Final = ("home", "lit", "dark", "rest")
"""Kinds of venues."""
LIT: Final = ("home", "lit")
"""Kinds of the venues that show their liquidity; their shares of the volume sum to one."""
_ROUNDING: Final = 1e-9
"""Largest deviation of a sum of shares from one."""
_MOST_STEPS: Final = 60
"""Largest number of Newton steps of the water level; it converges in about ten."""


def _number(default: Any, unit: str, meaning: str) -> Any:
    """Declare a field with its unit and meaning, which the card and the TOML file print."""
    return field(default=default, metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True)
class Venue:
    """One venue of a :class:`~hyperexec_env.market.venue_scenario.VenueScenario`.

    Raises:
        ValueError: A value is out of range, or does not fit the kind; the message names the field, the value and the range.
    """

    name: str = _number("home", "", "name of the venue")
    kind: str = _number("home", "", "home, lit, dark or rest")
    share: float = _number(0.0, "fraction", "mean share of the market volume; 0 for dark and rest")
    share_noise: float = _number(0.0, "sd of the log", "how far the share of a slice strays from its mean")
    half_spread_bps: float | None = _number(
        None,
        "bps of the arrival price",
        "half-spread that a fill pays, or earns where it rests (default: the market's; dark: 0)",
    )
    fee: float = _number(0.0, "currency per share", "fee of a fill; negative: a rebate")
    temporary: float = _number(1.0, "multiple of the market's", "temporary impact at a participation of one in the venue")
    adverse_bps: float | None = _number(
        None,
        "bps of the arrival price",
        "adverse selection a of a fill, in a normal spread (default: 0; rest: half-spread - fee)",
    )
    chi: float = _number(1.0, "fraction", "share of Kyle's slope that a fill carries; only 1 is sound")
    liquidity: Liquidity | None = field(
        default=None, metadata={"unit": "", "meaning": "law of the hidden liquidity; dark and rest only"}
    )

    def __post_init__(self) -> None:
        """Check every value once."""
        check_label("venue.name", self.name)
        check_choice("venue.kind", self.kind, KINDS)
        bounds = {
            "share": (0.0, 1.0),
            "share_noise": (0.0, 3.0),
            "fee": (-1e6, 1e6),
            "temporary": (0.0, 1e3),
            "chi": (-1e3, 1e3),
        }
        for name, (low, high) in bounds.items():
            put_number(self, name, low=low, high=high)
        for name in ("half_spread_bps", "adverse_bps"):
            if getattr(self, name) is not None:
                put_number(self, name, low=0.0, high=5e3)
        if self.chi != 1.0:
            raise ValueError(
                f"chi must be 1, the share of Kyle's slope that a fill carries: with less, buying lit and selling here at the "
                f"raised mid earns; got {self.chi:g} for {self.name}"
            )
        if self.liquidity is not None:
            object.__setattr__(self, "liquidity", law_of(self.liquidity))
        self._check_visible() if self.lit else self._check_hidden()

    def _check_visible(self) -> None:
        """Check the values of a venue that shows its liquidity."""
        if not self.share > 0.0:
            raise ValueError(f"share must be above 0 for a {self.kind} venue, got {self.share:g} for {self.name}")
        if not self.temporary > 0.0:
            raise ValueError(f"temporary must be above 0 for a {self.kind} venue, got {self.temporary:g} for {self.name}")
        if self.liquidity is not None:
            raise ValueError(f"liquidity must be left out for a {self.kind} venue, got {shown(self.liquidity)} for {self.name}")
        if self.adverse_bps:
            raise ValueError(f"adverse_bps must be 0 for a {self.kind} venue, got {self.adverse_bps:g} for {self.name}")

    def _check_hidden(self) -> None:
        """Check the values of a venue whose liquidity is hidden."""
        for name, usual in (("share", 0.0), ("share_noise", 0.0)):
            if getattr(self, name) != usual:
                raise ValueError(
                    f"{name} must be {usual:g} for a {self.kind} venue, got {getattr(self, name):g} for {self.name}"
                )
        if self.temporary not in (0.0, 1.0):
            raise ValueError(f"temporary must be left out for a {self.kind} venue, got {self.temporary:g} for {self.name}")
        object.__setattr__(self, "temporary", 0.0)
        if self.liquidity is None:
            object.__setattr__(self, "liquidity", Atoms())
        if self.law.found >= 1.0 and self.adverse_bps != 0.0:
            raise ValueError(
                f"adverse_bps must be 0 where there is always liquidity, got {shown(self.adverse_bps)} for {self.name}: no "
                "slice without liquidity would balance the price move"
            )

    @property
    def lit(self) -> bool:
        """Whether the venue shows its liquidity."""
        return self.kind in LIT

    @property
    def law(self) -> Liquidity:
        """Law of the hidden liquidity of a dark or resting venue."""
        if self.liquidity is None:
            raise ValueError(f"{self.name} is a {self.kind} venue and has no hidden liquidity")
        return self.liquidity

    def to_dict(self) -> dict[str, Any]:
        """Return the values that differ from their defaults."""
        usual = {item.name: item.default for item in fields(self)} | ({} if self.lit else {"temporary": 0.0})
        plain = {item.name: getattr(self, item.name) for item in fields(self)}
        kept = {key: value for key, value in plain.items() if key in ("name", "kind") or value != usual[key]}
        return kept if self.liquidity is None else {**kept, "liquidity": self.liquidity.to_dict()}


def check_venues(venues: Sequence[Venue]) -> None:
    """Check a list of venues; raise ValueError if it does not begin with its one home, or the shares do not sum to one."""
    names = [venue.name for venue in venues]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise ValueError(f"venues must have different names, got two called {name!r}")
    kinds = [venue.kind for venue in venues]
    if kinds.count("home") != 1 or kinds[0] != "home":
        raise ValueError(f"venues must begin with the one venue of kind home, got {kinds}")
    lit = [venue.lit for venue in venues]
    if lit != sorted(lit, reverse=True):
        raise ValueError(f"venues must list home and lit before dark and rest, got {kinds}")
    shares = [venue.share for venue in venues if venue.lit]
    if abs(sum(shares) - 1.0) > _ROUNDING:
        raise ValueError(f"share must sum to 1 over home and lit venues, got {shares} with the sum {sum(shares):g}")


def toll(q: Any, scale: Any, volume: Any, beta: float, shares: Any) -> Any:
    """Return the toll of a venue, currency: [q + c (z / V)^beta] z."""
    return q * shares + scale * volume * power(shares / volume, 1.0 + beta)


def route(shares: Any, q: Sequence[Any], scales: Sequence[Any], volumes: Sequence[Any], beta: float) -> tuple[Any, ...]:
    r"""Split shares over lit venues at the least toll: water-filling.

    The venues that trade have one marginal toll :math:`\mu`, and the others a higher one:

    .. math:: z_v(\mu) = V_v \left( \frac{(\mu - q_v)^+}{(1 + \beta) c_v} \right)^{1 / \beta}, \quad \sum_v z_v(\mu) = n

    For an exponent of at most 1, :math:`(\sum_v z_v)^\beta` is a norm of the :math:`(\mu - q_v)^+`, so convex in :math:`\mu`:
    Newton's method falls to the root from above without overshooting. Where all venues have the same q and c it is a line, and
    the shares are in proportion to the volumes.

    Args:
        shares: n, shares to split: a float or an array.
        q: Concession of each venue, currency per share.
        scales: c, temporary scale of each venue, currency per share; positive.
        volumes: V, expected volume of each venue, shares; positive.
        beta: Exponent of the temporary impact, in (0, 1].

    Returns:
        Shares of each venue; they sum to n up to rounding.
    """
    slopes = each(_slope, scales, beta)
    depth, goal = 1.0 / beta, power(shares, beta)
    # at the cheapest marginal toll of trading everything in one venue, the venues offer at least n
    level = fold(minimum, each(_ceiling, shares, q, slopes, volumes, beta))
    for _ in range(_MOST_STEPS):
        bases = each(_base, level, q, slopes)
        total = fold(add, each(_volume, volumes, bases, depth))
        rise = fold(add, each(_rise, volumes, slopes, bases, depth))
        held = total > 0.0
        safe = where(held, total, 1.0)
        # d/dmu of total^beta = total^(beta - 1) rise, as beta depth = 1
        step = (power(safe, beta) - goal) * power(safe, 1.0 - beta) / where(held, rise, 1.0)
        moved = minimum(level - where(held, step, 0.0), level)
        if everywhere(moved == level):
            break
        level = moved
    return each(offered, level, q, scales, volumes, beta)


def _slope(scale: Any, beta: float) -> Any:
    """Return 1 / ((1 + beta) c)."""
    return 1.0 / ((1.0 + beta) * scale)


def _ceiling(shares: Any, q: Any, slope: Any, volume: Any, beta: float) -> Any:
    """Return the marginal toll of trading everything in a venue."""
    return q + power(shares / volume, beta) / slope


def _base(level: Any, q: Any, slope: Any) -> Any:
    """Return (mu - q)+ / ((1 + beta) c)."""
    return maximum((level - q) * slope, 0.0)


def _volume(volume: Any, base: Any, depth: float) -> Any:
    """Return the shares of a venue at the level."""
    return volume * power(base, depth)


def _rise(volume: Any, slope: Any, base: Any, depth: float) -> Any:
    """Return the derivative of :func:`_volume` in the level."""
    return volume * slope * (base > 0.0) * power(base, depth - 1.0)


def offered(level: Any, q: Any, scale: Any, volume: Any, beta: float) -> Any:
    """Return the shares that a lit venue trades up to a marginal toll, currency per share; see :func:`route`."""
    return _volume(volume, _base(level, q, _slope(scale, beta)), 1.0 / beta)


def proportional(shares: Any, volumes: Sequence[Any]) -> tuple[Any, ...]:
    """Split shares over lit venues in proportion to their volumes: the least toll where all have the same terms."""
    return each(_part, shares, volumes, fold(add, volumes))


def _part(shares: Any, volume: Any, total: Any) -> Any:
    """Return the part of shares that is proportional to a volume."""
    return shares * (volume / total)


def odds_of(law: Liquidity) -> float:
    """Return p / (1 - p) of the chance p that there is liquidity; 0 where there always is."""
    return law.found / (1.0 - law.found) if law.found < 1.0 else 0.0


def adverse_move(odds: float, adverse: Any, available: Any) -> Any:
    """Return the move of the unaffected price that comes with the liquidity of a slice, in the direction of the order.

    It is -a where there is liquidity and a p / (1 - p) where there is none, so its mean is zero.

    Args:
        odds: p / (1 - p), from :func:`odds_of`.
        adverse: a, currency per share.
        available: A, the liquidity of the slice.
    """
    return where(available > 0.0, -adverse, adverse * odds)


_TIMING: Final = Cost._fields.index("timing")
_LEAST, _LIMIT = map(Slice._fields.index, ("least", "limit"))
_with_timing = replacer(Cost, "timing")


def venue_move(
    impact: Any, state: Sequence[Any], slices: Sequence[Any], asked: Sequence[Any], adverse: Sequence[Any]
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Trade one slice in all venues.

    Args:
        impact: Impact of the market.
        state: (remaining, permanent, transient) before the slice.
        slices: The slice of each venue, home first: records or plain tuples. Home carries risk and price moves; the others have
            none, and their `limit` is what they offer.
        asked: Shares requested of each venue; those of home are what is left where its slice completes the order.
        adverse: a of each venue, currency per share.

    Returns:
        The state after the slice, the cost of each venue as a plain tuple, and the shares that each venue filled.
    """
    left, permanent, transient = state
    fills = each(_filled, asked[1:], slices[1:])
    lefts = joined((fold(sub, joined((left,), fills)),), fills)
    traded = each(_traded, joined((asked[0],), fills), slices, lefts)
    lasting, decaying = others(each(_half_move, impact[0], traded)), others(each(_half_move, impact[1], traded))
    moved = each(_venue_moved, impact, lefts, permanent, transient, slices, traded, lasting, decaying)
    home, filled = moved[0][0], joined((lefts[0] - moved[0][0][0],), fills)
    return home, each(_net_of, each(_cost_of, moved), adverse, filled), filled


def _filled(ask: Any, slice: Sequence[Any]) -> Any:
    """Return the shares that a venue beside home fills of a request."""
    return minimum(maximum(ask, 0.0), slice[_LIMIT])


def _traded(ask: Any, slice: Sequence[Any], left: Any) -> Any:
    """Return the shares that :func:`kernel.move` trades of the shares asked for."""
    return between(ask, slice[_LEAST], left, slice[_LIMIT])


def _half_move(slope: Any, shares: Any) -> Any:
    """Return half of the move of the price by a trade, currency per share."""
    return slope * (0.5 * shares)


def _venue_moved(
    impact: Any, left: Any, permanent: Any, transient: Any, slice: Sequence[Any], shares: Any, by_others: Any, decaying: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Trade in one venue, beside the others, which move the price by `by_others`, and by `decaying`, which decays."""
    return moved_by_others(impact, (left, permanent, transient), slice, shares, 0.0, by_others, decaying, 0.0)


def _cost_of(moved: tuple[Any, tuple[Any, ...]]) -> tuple[Any, ...]:
    """Return the cost of :func:`_venue_moved`."""
    return moved[1]


def _net_of(cost: tuple[Any, ...], adverse: Any, filled: Any) -> tuple[Any, ...]:
    """Return the cost of a venue with the adverse selection, which its concession charges, taken out of the timing cost."""
    return _with_timing(cost, cost[_TIMING] - adverse * filled)


def total_cost(costs: Sequence[Sequence[Any]]) -> Cost:
    """Return the sum of the costs of the venues, component by component, added from left to right."""
    total: Cost = fold(plus, each(_as_cost, costs))
    return total


def _as_cost(cost: Sequence[Any]) -> Cost:
    """Return a cost in a plain tuple as a record."""
    return Cost(*cost)
