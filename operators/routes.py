"""One log becomes one for each shard, numbered, so that nothing counts twice."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from operators.messages import Clock, Gap, Notice, Rejection, Tally


class Routed(msgspec.Struct, frozen=True, gc=False):
    """A message on its way into shard `shard`, as the `number`-th there; -1: into none."""

    shard: int
    number: int
    symbol: str
    message: Any


@dataclass(slots=True)
class RoutesState:
    """How many messages each shard has been given."""

    given: dict[int, int] = field(default_factory=dict)


class Routes:
    """Answer each (symbol, message) with where it goes.

    Clocks and notices go to every shard, each once: `Clocks` gives one copy for each symbol.
    Rejections, gaps and tallies go to none; they are records already. After a crash the same
    messages get the same numbers, so that whoever reads the log can leave out repeats.

    >>> routes = Routes({"BTCUSDT": 3, "ETHUSDT": 1}, shards=4)
    >>> [(each.shard, each.number) for each in routes.on(("BTCUSDT", "a tick"))]
    [(3, 1)]
    """

    def __init__(self, homes: Mapping[str, int], shards: int) -> None:
        """Take each symbol's shard, in the universe's order, and how many there are."""
        self.homes = homes
        self.first = next(iter(homes))
        self.shards = range(shards)
        self.state = RoutesState()

    def on(self, item: tuple[str, Any]) -> Iterable[Routed]:
        """Route one message."""
        symbol, message = item
        kind = type(message)
        if kind is Clock:
            if symbol != self.first:
                return ()
            once = msgspec.structs.replace(message, symbol="")
            return [self._into(shard, "", once) for shard in self.shards]
        if kind is Notice:
            return [self._into(shard, "", message) for shard in self.shards]
        if kind is Rejection or kind is Gap or kind is Tally or not symbol:
            return (Routed(-1, 0, symbol, message),)
        return (self._into(self.homes[symbol], symbol, message),)

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()

    def _into(self, shard: int, symbol: str, message: Any) -> Routed:
        given = self.state.given
        number = given[shard] = given.get(shard, 0) + 1
        return Routed(shard, number, symbol, message)
