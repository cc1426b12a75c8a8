r"""The step of the market: the cost and the price impact of one child order.

This module has no random number, no clock and no Gymnasium. A :class:`Slice` holds the market of one slice, already drawn,
which trades do not influence; :func:`step` computes everything that a trade changes. The same function runs on Python floats
(single environment), numpy arrays (vector environment, evaluation) and torch tensors (gradients), in compiled loops and in
the solvers.

Slice k has market volume V_k and starts from x_k remaining shares, a permanent displacement G_k and a transient displacement
D_k. The child trades n_k shares:

    x_{k+1} = x_k - n_k
    G_{k+1} = G_k + g n_k
    D_{k+1} = (D_k + kappa n_k) exp(-rho_m tau)

and costs, in currency,

    permanent   n_k (G_k + g n_k / 2)
    transient   n_k (D_k + kappa n_k / 2)
    temporary   alpha_m sigma_m P0 V_k (n_k / V_k)^(1 + beta)
    spread      half_spread_m n_k
    drift       x_{k+1} drift_k
    timing      x_{k+1} innovation_k
    risk        (risk_aversion (sigma_m P0)^2 tau x_{k+1} + price_risk S_k tau) x_{k+1}

Costs are *cash*: positive is a cost, and each is smooth at zero, so gradients exist. :func:`fill_price` and :func:`mid_price`
derive prices from them.

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
    """Price impact of our own trades. Only linear impact may persist (Gatheral 2010)."""

    permanent_slope: Any
    """g, permanent impact, currency per share for each share traded."""
    transient_slope: Any
    """kappa = lambda_K - g, transient impact, currency per share for each share traded; it decays with the resilience."""
    beta: float
    """Exponent of the temporary impact in the participation n/V; 1 is linear."""
    transient_exponent: float = 1.0
    """Exponent of the transient impact. Any value but 1 is a faulty model, which exists to demonstrate the fault: the child
    then moves the price by kappa (n/V)^exponent, with kappa in currency per share at a participation of one."""


class Slice(NamedTuple):
    """The market of one slice, already drawn: each field is a float, or an array over episodes."""

    volume: Any
    """Market volume of the slice, shares, positive."""
    least: Any
    """Shares that must trade: 0, or infinity in a slice that must complete the order."""
    limit: Any
    """Shares that may trade: participation cap times volume, or infinity."""
    temporary_scale: Any
    """alpha_m sigma_m P0, currency per share at a participation of one."""
    half_spread: Any
    """Currency per share."""
    transient_decay: Any
    """exp(-rho_m tau), decay of the transient displacement over the slice, fraction."""
    drift: Any
    """Predictable move of the unaffected price over the slice, times the side; currency per share."""
    innovation: Any
    """Zero-mean move of the unaffected price over the slice, times the side; currency per share."""
    risk: Any
    """risk_aversion (sigma_m P0)^2 tau, currency per squared remaining share."""
    holding: Any = 0.0
    """price_risk S_k tau, currency per remaining share (Gatheral and Schied 2011)."""


class State(NamedTuple):
    """Remaining shares and our displacement of the price: each field is a float, or an array over episodes."""

    remaining: Any
    """x, shares still to trade."""
    permanent: Any
    """G, permanent displacement, currency per share; adverse is positive."""
    transient: Any
    """D, transient displacement, currency per share; adverse is positive."""


class Role(NamedTuple):
    """The sums that a cost component belongs to."""

    objective: bool = True
    """Whether the component is part of the objective J."""
    shortfall: bool = True
    """Whether the component is part of the implementation shortfall."""
    child: bool = False
    """Whether the child pays the component in its fill price, on top of the unaffected price."""


class Cost(NamedTuple):
    """Cash cost of one slice by component, currency; positive is a cost.

    To add a component, add a field with its :class:`Role` here, a value in :func:`move` and, if it is part of the shortfall, a
    field of :class:`Components`.
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
        """Contribution of the slice to the objective J, currency: without price noise and permanent cost."""
        return expected_cost(self)

    @property
    def shortfall(self) -> Any:
        """Contribution of the slice to the implementation shortfall, currency: without the risk term."""
        return shortfall_cost(self)


class Components(NamedTuple):
    """Implementation shortfall by source; the fields add up to it. Opportunity cost: Perold (1988)."""

    spread: Any
    temporary: Any
    transient: Any
    permanent: Any
    timing: Any
    drift: Any
    opportunity: Any


def _role(name: str, hint: Any) -> Role:
    """Return the role in the annotation of a cost component.

    Raises:
        TypeError: The annotation has no role; the message names the component.
    """
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Role):
            return mark
    raise TypeError(f"kernel.Cost must state the Role of {name!r}: Annotated[Any, Role(...)]")


ROLES: Final[dict[str, Role]] = {name: _role(name, hint) for name, hint in get_type_hints(Cost, include_extras=True).items()}
"""Role of each cost component, by the field name of :class:`Cost`."""


def _sum(name: str, selects: Callable[[Role], bool], meaning: str) -> Callable[[Any], Any]:
    """Return a function that adds the selected components of a :class:`Cost`, or of a plain tuple in its field order."""
    function = sum_of(Cost, [part for part, role in ROLES.items() if selects(role)])
    function.__name__ = function.__qualname__ = name
    function.__doc__ = meaning
    return function


expected_cost = _sum(
    "expected_cost", lambda role: role.objective, "Return the contribution of a slice to the objective J, currency."
)
shortfall_cost = _sum(
    "shortfall_cost", lambda role: role.shortfall, "Return the contribution of a slice to the shortfall, currency."
)
realised_cost = _sum("realised_cost", lambda role: True, "Return the contribution of a slice to shortfall plus risk, currency.")
paid_cost = _sum("paid_cost", lambda role: role.child, "Return what a child pays on top of the unaffected price, currency.")


def step(impact: Impact, state: State, slice: Slice, shares: Any) -> tuple[State, Cost]:
    """Trade `shares` in one slice; return the state after the slice and the cost of the slice, currency.

    The shares are raised to `slice.least` and then lowered to the remaining shares and to `slice.limit`. A child pays the mean
    of the displacements before and after it, that is half of its own linear move, so the permanent cost of a complete order
    is g X^2 / 2 for every schedule. The unaffected price moves after the trade, and its move is charged on the remaining
    shares: over an episode the drift and timing costs add up to s (sum n_k S_k - X P0).
    """
    after, cost = move(impact, state, slice, shares)
    return State(*after), Cost(*cost)


def move(
    impact: tuple[Any, ...], state: tuple[Any, ...], slice: Sequence[Any], shares: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Compute :func:`step` on plain tuples: for floats, building the records would take as long as the arithmetic."""
    left, permanent, transient = state
    volume, least, limit, temporary_scale, half_spread, transient_decay, drift, innovation, risk, holding = slice
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
    return (remaining, permanent_after, transient_after * transient_decay), cost


def close(impact: Impact, state: State, quantity: Any) -> tuple[Any, Any]:
    """Mark the unfilled shares at the final mid; return the amounts added to the shortfall and to the objective, currency.

    The drift and timing costs already charge the moves of the unaffected price on the unfilled shares; the mark adds our own
    displacement of the mid, x (G + D). The objective excludes the permanent cost g X^2 / 2 of the whole order, of which the
    traded shares n = X - x paid only g n^2 / 2, so its amount is x (G + D) - g (X^2 - n^2) / 2. Both amounts are zero for a
    completed order.
    """
    marked = state.remaining * (state.permanent + state.transient)
    traded = quantity - state.remaining
    permanent_saved = 0.5 * impact.permanent_slope * (quantity * quantity - traded * traded)
    return marked, marked - permanent_saved


def fill_price(impact: Impact, state: State, slice: Slice, shares: Any, price: Any, side: Any) -> Any:
    """Return the average fill price of a child, currency per share.

    Args:
        impact: The impact of the market.
        state: The state at the start of the slice.
        slice: The market of the slice.
        shares: Shares of the child: positive, at most the remaining shares and `slice.limit`.
        price: Unaffected price at the start of the slice, currency per share.
        side: +1 buy, -1 sell.
    """
    _, cost = step(impact, state, slice, shares)
    return price + side * paid_cost(cost) / shares


def mid_price(state: State, price: Any, side: Any) -> Any:
    """Return the quoted mid, currency per share: the unaffected price plus the side times our displacement."""
    return price + side * (state.permanent + state.transient)


def _check() -> None:
    """Check at import that :class:`Cost`, :class:`Components` and :func:`move` list the same components.

    Raises:
        TypeError: A component is missing in one of the places; the message names the place.
    """
    _, cost = move((0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 0.0), (1.0, 0.0, 1.0, *(0.0,) * (len(Slice._fields) - 3)), 0.0)
    if len(cost) != len(Cost._fields):
        raise TypeError(f"kernel.move returns {len(cost)} costs, kernel.Cost has {len(Cost._fields)} fields: {Cost._fields}")
    listed = {*Components._fields} - {"opportunity"}
    in_shortfall = {name for name, role in ROLES.items() if role.shortfall}
    if listed != in_shortfall:
        raise TypeError(
            f"kernel.Components must have a field for each shortfall cost: differs in {sorted(listed ^ in_shortfall)}"
        )


_check()
