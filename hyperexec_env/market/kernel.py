r"""The step of the market, written once: what a trade costs and what it leaves behind.

There is no random number, no clock and no Gymnasium here. Everything that a trader cannot influence arrives ready drawn in
a :class:`Slice`; everything a trade changes goes through :func:`step`. The same function serves Python floats (the single
environment), numpy arrays (the vector environment and the evaluation), torch tensors (gradients) and the solvers.

Costs are *cash*, signed so that positive hurts, and smooth at zero, so that gradients exist. Prices are derived from them
by :func:`fill_price` and :func:`mid_price`.

Sources: permanent impact and its half for the own child, Almgren and Chriss (2000); the split of Kyle's slope into a
permanent and a transient part that recovers exponentially, Obizhaeva and Wang (2013); power-law temporary impact, Almgren,
Thum, Hauptmann and Li (2005).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, NamedTuple, get_type_hints

from hyperexec_env.market.numeric import between, power
from hyperexec_env.records import sum_of

__all__ = [
    "ROLES",
    "Components",
    "Cost",
    "Impact",
    "Role",
    "Slice",
    "State",
    "close",
    "expected_cost",
    "fill_price",
    "mid_price",
    "move",
    "paid_cost",
    "realised_cost",
    "shortfall_cost",
    "step",
]


class Impact(NamedTuple):
    """How our own trades move the price. Only linear impact persists (Gatheral 2010)."""

    permanent_slope: Any
    """g, currency per share for each share traded; stays for ever."""
    transient_slope: Any
    """kappa = lambda_K - g, currency per share for each share traded; decays with the resilience."""
    beta: float
    """Exponent of the temporary impact in the participation n/V (1 is linear)."""
    transient_exponent: float = 1.0
    """Exponent of the transient impact. Any other than 1 is that of a bad model, kept to show what is wrong with it: the child
    moves the price by kappa (n/V)^exponent, kappa in currency per share at a participation of one."""


class Slice(NamedTuple):
    """One slice of the day as nature drew it: floats, or arrays over episodes."""

    volume: Any
    """Market volume of the slice, shares, positive."""
    least: Any
    """Shares that must trade (0; infinity in a slice that has to finish the order)."""
    limit: Any
    """Shares that may trade (participation cap times volume, or infinity)."""
    temporary_scale: Any
    """alpha_m sigma_m P0, currency per share at a participation of one."""
    half_spread: Any
    """Currency per share."""
    transient_kept: Any
    """exp(-rho_m tau), the share of the transient displacement that is left at the end of the slice."""
    drift: Any
    """Predictable move of the unaffected price over the slice, times the side, currency per share."""
    innovation: Any
    """Zero-mean move of the unaffected price over the slice, times the side, currency per share."""
    risk: Any
    """risk_aversion (sigma_m P0)^2 tau, currency per squared share left."""
    holding: Any = 0.0
    """price_risk S_k tau, currency per share left (Gatheral and Schied 2011)."""


class State(NamedTuple):
    """What our trades have done so far."""

    remaining: Any
    """Shares still to trade."""
    permanent: Any
    """G, permanent displacement, currency per share, adverse is positive."""
    transient: Any
    """D, transient displacement, currency per share, adverse is positive."""


class Role(NamedTuple):
    """What one part of the cost counts towards."""

    objective: bool = True
    """Whether the part counts towards the objective J."""
    shortfall: bool = True
    """Whether the part counts towards the implementation shortfall."""
    child: bool = False
    """Whether the shares of the slice pay the part beyond the unaffected price."""


class Cost(NamedTuple):
    """Cash cost of one slice by component, currency; positive hurts.

    A new component is one field here with its :class:`Role`, one value in :func:`move` and one field of :class:`Components`.
    """

    permanent: Annotated[Any, Role(objective=False, child=True)]
    transient: Annotated[Any, Role(child=True)]
    temporary: Annotated[Any, Role(child=True)]
    spread: Annotated[Any, Role(child=True)]
    drift: Annotated[Any, Role()]
    timing: Annotated[Any, Role(objective=False)]
    risk: Annotated[Any, Role(shortfall=False)]

    @property
    def expected(self) -> Any:
        """The part of the objective J that this slice costs: no price noise, no permanent cost."""
        return expected_cost(self)

    @property
    def shortfall(self) -> Any:
        """The part of the implementation shortfall that this slice costs: no risk term."""
        return shortfall_cost(self)


class Components(NamedTuple):
    """The shortfall by source (Perold 1988 for the opportunity cost); the sum is the shortfall."""

    spread: Any
    temporary: Any
    transient: Any
    permanent: Any
    timing: Any
    drift: Any
    opportunity: Any


def _role(name: str, hint: Any) -> Role:
    """Return the role that the annotation of a cost states."""
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Role):
            return mark
    raise TypeError(f"kernel.Cost must state the Role of {name!r}: Annotated[Any, Role(...)]")


ROLES: Final[dict[str, Role]] = {name: _role(name, hint) for name, hint in get_type_hints(Cost, include_extras=True).items()}
"""Role of each component of the cost."""


def _sum(name: str, chosen: Callable[[Role], bool], meaning: str) -> Callable[[Any], Any]:
    """Return a function that adds the components of some roles, of a :class:`Cost` or of a plain tuple in its order."""
    function = sum_of(Cost, [part for part, role in ROLES.items() if chosen(role)])
    function.__name__ = function.__qualname__ = name
    function.__doc__ = meaning
    return function


expected_cost = _sum("expected_cost", lambda role: role.objective, "Return what a slice adds to the objective J.")
shortfall_cost = _sum("shortfall_cost", lambda role: role.shortfall, "Return what a slice adds to the shortfall.")
realised_cost = _sum("realised_cost", lambda role: True, "Return what a slice adds to the shortfall and to the risk term.")
paid_cost = _sum("paid_cost", lambda role: role.child, "Return what the shares of a slice cost beyond the unaffected price.")


def step(impact: Impact, state: State, slice: Slice, shares: Any) -> tuple[State, Cost]:
    """Trade `shares` in one slice; return the next state and what it cost, in currency.

    The shares are held between what the slice demands (`least`) and what is left or allowed (`limit`). A child pays the
    mean of the displacement before and after it, half of its own linear move, so the permanent cost of an order is g X^2 / 2
    whatever the schedule. The unaffected price moves after the trade and is paid on what remains: summed over an episode,
    that is s (sum n_k S_k - X P0).
    """
    after, cost = move(impact, state, slice, shares)
    return State(*after), Cost(*cost)


def move(
    impact: tuple[Any, ...], state: tuple[Any, ...], slice: Sequence[Any], shares: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Do what :func:`step` does on plain tuples: on floats, making the records would take as long as the arithmetic."""
    left, permanent, transient = state
    volume, least, limit, temporary_scale, half_spread, transient_kept, drift, innovation, risk, holding = slice
    permanent_slope, transient_slope, beta, exponent = impact

    shares = between(shares, least, left, limit)
    size, half = abs(shares), 0.5 * shares
    remaining = left - shares
    permanent_after = permanent + permanent_slope * shares
    transient_after = transient + transient_slope * (shares if exponent == 1.0 else power(size / volume, exponent))
    cost = (
        half * (permanent + permanent_after),
        half * (transient + transient_after),
        temporary_scale * volume * power(size / volume, 1.0 + beta),
        half_spread * size,
        remaining * drift,
        remaining * innovation,
        (risk * remaining + holding) * remaining,
    )
    return (remaining, permanent_after, transient_after * transient_kept), cost


def close(impact: Impact, state: State, quantity: Any) -> tuple[Any, Any]:
    """Mark what is left at the final mid; return what that adds to the shortfall and to the objective, in currency.

    The price moves of the unfilled rest are already in the drift and timing costs; what is added here is our own
    displacement of the mid. Both values are zero when the order was completed. The objective leaves out g X^2 / 2.
    """
    marked = state.remaining * (state.permanent + state.transient)
    traded = quantity - state.remaining
    permanent_saved = 0.5 * impact.permanent_slope * (quantity * quantity - traded * traded)
    return marked, marked - permanent_saved


def fill_price(impact: Impact, state: State, slice: Slice, shares: Any, price: Any, side: Any) -> Any:
    """Return the average price of shares bought (side +1) or sold (side -1) in a slice that starts at unaffected price `price`.

    `shares` are those that trade: positive, at most what is left and what the slice allows.
    """
    _, cost = step(impact, state, slice, shares)
    return price + side * paid_cost(cost) / shares


def mid_price(state: State, price: Any, side: Any) -> Any:
    """What the market quotes: the unaffected price and our displacement of it."""
    return price + side * (state.permanent + state.transient)


def _check() -> None:
    """Compare the fields of the records with what :func:`move` returns.

    Raises:
        TypeError: A component was added in one place and not in another; the message names the place.
    """
    _, cost = move((0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 0.0), (1.0, 0.0, 1.0, *(0.0,) * (len(Slice._fields) - 3)), 0.0)
    if len(cost) != len(Cost._fields):
        raise TypeError(f"kernel.move returns {len(cost)} costs, kernel.Cost has {len(Cost._fields)} fields: {Cost._fields}")
    stated = {*Components._fields} - {"opportunity"}
    charged = {name for name, role in ROLES.items() if role.shortfall}
    if stated != charged:
        raise TypeError(f"kernel.Components must state each cost of the shortfall: differs in {sorted(stated ^ charged)}")


_check()
