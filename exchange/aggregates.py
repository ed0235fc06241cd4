"""Aggregate trades, derived from trades: those of one order that filled at one price."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

__all__ = ["Aggregate", "aggregate"]


class _Trade(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def time_ms(self) -> int: ...
    @property
    def price(self) -> bytes: ...
    @property
    def maker(self) -> bool: ...


class Aggregate(NamedTuple):
    """Trades `first` to `last` (indices, both included) of a track, as one."""

    first: int
    last: int


def aggregate(trades: Sequence[_Trade]) -> list[Aggregate]:
    """Merge trades of dense ids that share price, side and millisecond.

    The recording does not tell whose order filled, so two orders that took the same price in the
    same millisecond are one aggregate here, where the venue would make two of them.
    """
    return list(_aggregates(trades))


def _aggregates(trades: Sequence[_Trade]) -> Iterator[Aggregate]:
    first = 0
    for index in range(1, len(trades)):
        one, before = trades[index], trades[index - 1]
        if (one.id, one.time_ms, one.price, one.maker) != (
            before.id + 1,
            before.time_ms,
            before.price,
            before.maker,
        ):
            yield Aggregate(first, index - 1)
            first = index
    if trades:
        yield Aggregate(first, len(trades) - 1)
