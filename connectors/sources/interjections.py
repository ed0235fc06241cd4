"""Orders that come into a replay while it runs: each has a place in the log from then on."""

from collections import deque
from collections.abc import Callable
from time import monotonic

import msgspec

from connectors.inlet import Inlet, Order
from connectors.inlet_feed import POLL_SECONDS, readable
from operators.messages import Raw

PATH = "control"


class Interjections:
    """Put an inlet's orders between the entries of a recorded log.

    An order takes the offset at which it was first seen, and the entries behind it one more each.
    Its place is on disk before anybody acts on it, so that after a crash the same offsets hold
    the same entries.
    """

    def __init__(
        self, inlet: Inlet, resume: int, *, clock: Callable[[], float] = monotonic
    ) -> None:
        """Go on at the offset `resume`; orders placed there or later come again."""
        self.inlet = inlet
        self.clock = clock
        placed = sorted((offset, order) for order in inlet.placed()
                        if (offset := order.log_offset) is not None)  # fmt: skip
        self.shift = sum(offset < resume for offset, _ in placed)  # orders in the log so far
        self._ahead = deque((offset, order) for offset, order in placed if offset >= resume)
        self._looked = -POLL_SECONDS

    def at(self, offset: int) -> list[Raw]:
        """Return the orders that stand at `offset` and directly behind it, new ones too."""
        self._look(offset)
        found: list[Raw] = []
        while self._ahead and self._ahead[0][0] == offset + len(found):
            place, order = self._ahead.popleft()
            found.append(_entry(place, order))
        self.shift += len(found)
        return found

    def room(self, offset: int, most: int) -> int:
        """Return how many entries, at most `most`, may follow from `offset` on."""
        return min(most, self._ahead[0][0] - offset) if self._ahead else most

    def behind(self, entries: list[Raw]) -> list[Raw]:
        """Return recorded entries with their offsets in a log that holds the orders, too."""
        if not self.shift:
            return entries
        replace = msgspec.structs.replace
        return [replace(raw, offset=raw.offset + self.shift) for raw in entries]

    def _look(self, offset: int) -> None:
        """Give what has come a place, unless others have theirs still ahead."""
        now = self.clock()
        if self._ahead or now - self._looked < POLL_SECONDS:
            return
        self._looked = now
        came = self.inlet.fresh()
        sound = [order for order in came if readable(order) is not None]
        if len(sound) < len(came):  # handed in past the API; they have no place
            self.inlet.take([order.number for order in came if readable(order) is None])
        if sound:
            self.inlet.take([order.number for order in sound], offset)
            self._ahead.extend((offset + index, order) for index, order in enumerate(sound))


def _entry(offset: int, order: Order) -> Raw:
    control = readable(order)
    return Raw(
        offset=offset,
        path=PATH,
        kind="control",
        ts_init=0 if control is None else control.ts_event,
        payload=order.payload,
    )
