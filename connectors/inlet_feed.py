"""Orders from the inlet of a live run into its log, as a feed."""

import asyncio
from collections import deque
from pathlib import Path
from time import monotonic

import msgspec
import structlog

from connectors.feeds import FeedHealth, Inbox
from connectors.inlet import Inlet, Order
from operators.messages import Control, Raw
from operators.orders import fault

POLL_SECONDS = 0.05
# After this an order surely stands in the journal, where a restart finds it.
_SETTLED = 10.0  # seconds


class InletFeed:
    """Deliver each order of an inlet into the log; a feed as `connectors.feeds` has it.

    *At least once from the inlet, once in the log*: what comes again after a crash is known from
    the journal. An order given while the run was down counts once it is up.
    """

    symbols: tuple[str, ...] = ()

    def __init__(self, folder: Path) -> None:
        """Prepare the feed; the inlet is opened when it is run."""
        self.name = "control"
        self.folder = folder
        self.health = FeedHealth(self.name)
        self._delivered: set[bytes] = set()
        self._unsettled: deque[tuple[float, int]] = deque()  # (when, number)
        self._seen: set[int] = set()  # those that are delivered or senseless
        self._log = structlog.get_logger(__name__)

    def remember(self, raw: Raw) -> None:
        """Learn from the journal which orders it holds."""
        if raw.kind == "control" and raw.path == self.name:
            self._delivered.add(raw.payload)

    async def run(self, inbox: Inbox) -> None:
        """Deliver until cancelled."""
        with Inlet(self.folder) as inlet:
            self.health.state = "up"
            while True:
                for order in inlet.fresh():
                    if order.number not in self._seen:
                        self._take(inbox, order)
                await self._settle(inlet)
                await asyncio.sleep(POLL_SECONDS)

    def _take(self, inbox: Inbox, order: Order) -> None:
        if order.payload in self._delivered:
            self.health.counts["repeated"] += 1
        elif (control := readable(order)) is None:
            self.health.counts["unreadable"] += 1
            self._log.warning("control_unreadable", number=order.number)
        elif inbox.put(self.name, "control", order.payload):
            self.health.counts["messages"] += 1
            self._log.warning("control", kind=control.kind, actor=control.actor)
            self._delivered.add(order.payload)
        else:
            return  # a full inbox: again in a moment, an order is not to be lost
        self._seen.add(order.number)
        self._unsettled.append((monotonic(), order.number))

    async def _settle(self, inlet: Inlet) -> None:
        """Note as taken what the journal holds by now."""
        settled: list[int] = []
        while self._unsettled and monotonic() - self._unsettled[0][0] >= _SETTLED:
            settled.append(self._unsettled.popleft()[1])
        if settled:
            await asyncio.to_thread(inlet.take, settled)


def readable(order: Order) -> Control | None:
    """Return the order that an inlet's payload says, or None if it says none that makes sense."""
    try:
        control = msgspec.json.decode(order.payload, type=Control)
    except msgspec.DecodeError:
        return None
    return control if fault(control) is None else None
