"""The text of weighted sums over the members of lanes (:class:`~hyperexec_env.backends.plan.Sum`)."""

from __future__ import annotations

__all__ = ["SUM_ARGUMENTS", "sum_text"]

_AT_ONCE = 4
"""Members that one loop adds: few loads and stores of the sum, and few arrays whose overlap a compiled loop has to rule out."""
SUM_ARGUMENTS = ("weights", "source", "read", "target", "write")
"""Arguments of a sum: the weights; the numbers of the members, a row for each, and the first index of the column to read; the
sums, a row for each member if there are rows of weights, and the first index of the column to write. Columns are arguments, so
that one function serves all sums."""


def sum_text(*, rows: bool, picked: bool) -> list[str]:
    """Return the statements of a sum over the members, added from the first member to the last non-zero weight.

    Args:
        rows: Whether each member has a sum of its own.
        picked: Whether the sums are those of picked lanes only.
    """
    loop = ["for p in range(count):", "    j = np.uint64(lanes[p])"] if picked else ["for j in range(np.uint64(n)):"]
    members = range(_AT_ONCE)
    sum_of = "total[to + j]"
    for i in members:
        sum_of = f"({sum_of} + w{i} * s{i}[at + j])"
    text = [
        "row, total = weights[i], target[i]" if rows else "row, total = weights, target",
        "last = len(row)",
        "while last > 0 and row[last - 1] == 0.0:",
        "    last -= 1",
        *loop,
        "    total[to + j] = 0.0",
        f"for k in range(0, last, {_AT_ONCE}):",  # beyond the last member, the weight 0 of member 0
        *(f"    w{i}, s{i} = (row[k + {i}], source[k + {i}]) if k + {i} < last else (0.0, source[0])" for i in members),
        *(f"    {line}" for line in [*loop, f"    total[to + j] = {sum_of}"]),
    ]
    heads = ["at, to = np.uint64(read), np.uint64(write)"]
    return [*heads, "for i in range(len(weights)):", *(f"    {line}" for line in text)] if rows else [*heads, *text]
