"""Which faults are on: it starts them at their times, ends them, and says what they did."""

from typing import TYPE_CHECKING, Any

import structlog

from exchange.connection_faults import strike
from exchange.connections import Connection
from exchange.faults import Fault, Kind, Target
from exchange.message_faults import Message, MessageFault, message_fault
from exchange.venue_faults import begin, end

if TYPE_CHECKING:
    from exchange.app import Venue

__all__ = ["FaultBoard", "Running", "chosen"]

_log = structlog.get_logger(__name__)


class Running:
    """A fault that began."""

    def __init__(self, fault: Fault, now: float, now_ms: int) -> None:
        """Begin at `now` (seconds of venue time since the start)."""
        self.fault = fault
        self.began = now
        self.began_ms = now_ms
        self.ended_ms: int | None = None
        self.messages: MessageFault | None = None
        self.connections: list[int] = []  # those it struck
        self.note = ""

    def until(self) -> float:
        """Tell when it ends at the latest."""
        if self.messages is not None and not self.fault.seconds:
            return float("inf")  # it ends when it has struck what it may
        return self.began + self.fault.seconds

    def report(self) -> dict[str, Any]:
        """Say what it did, for /exchange/faults."""
        return {
            "kind": self.fault.kind,
            "at": self.began,
            "began_ms": self.began_ms,
            "ended_ms": self.ended_ms,
            "seconds": self.fault.seconds,
            "target": self.fault.target,
            "connections": self.connections,
            "messages": self.messages.struck if self.messages else None,
            "note": self.note,
        }


def chosen(target: Target, connections: list[Connection]) -> list[Connection]:
    """Choose those of `connections` (oldest first) that `target` names."""
    fit = [
        one
        for one in connections
        if not one.gone
        and target.venue in {"", one.venue}
        and (
            not (target.symbols or target.streams)
            or any(target.takes(stream) for stream in one.streams)
        )
    ]
    if target.connections == "oldest":
        fit = fit[:1]
    elif target.connections == "newest":
        fit = fit[-1:]
    elif isinstance(target.connections, int):
        fit = [one for one in fit if one.number == target.connections]
    if target.pick is not None and fit:
        fit = [fit[target.pick % len(fit)]]
    return fit


class FaultBoard:
    """Run faults against a venue. `tick` is called often; times are of the venue's clock."""

    def __init__(self, venue: "Venue", script: tuple[Fault, ...] = ()) -> None:
        """Wait with a script of faults."""
        self._venue = venue
        self._waiting = sorted(script, key=lambda fault: fault.at)
        self.running: list[Running] = []
        self.begun: list[Running] = []  # all that ever began, in order
        self._of_messages: list[Running] = []

    def add(self, script: tuple[Fault, ...]) -> None:
        """Wait with further faults."""
        self._waiting = sorted([*self._waiting, *script], key=lambda fault: fault.at)

    def tick(self) -> None:
        """Begin what is due and end what is over."""
        if not self._venue.clock.running:
            return
        now = self._venue.clock.elapsed_seconds()
        for running in [*self.running]:
            over = running.messages is not None and running.messages.over
            if over or running.until() <= now:
                self._end(running)
        while self._waiting and self._waiting[0].at <= now:
            self.inject(self._waiting.pop(0))

    def inject(self, fault: Fault) -> Running:
        """Begin a fault now, whatever its `at`."""
        clock = self._venue.clock
        running = Running(fault, clock.elapsed_seconds(), clock.now_ms())
        target = fault.target
        named = target.connections != "all" or target.pick is not None
        struck = chosen(target, self._venue.connections)
        # Faults of messages strike connections to come as well, unless some were named.
        only = frozenset(one.number for one in struck) if named else None
        running.messages = message_fault(fault, only)
        if running.messages is not None:
            self._of_messages.append(running)
            running.connections = [one.number for one in struck]
        elif strike(fault, struck, self._venue):
            running.connections = [one.number for one in struck]
        else:
            running.note = begin(fault, self._venue)
        self.begun.append(running)
        self.running.append(running)
        _log.info("fault_began", kind=fault.kind, connections=running.connections)
        if running.messages is None and not fault.seconds:
            self._end(running)
        return running

    def _end(self, running: Running) -> None:
        self.running.remove(running)
        running.ended_ms = self._venue.clock.now_ms()
        if running.messages is not None:
            self._of_messages.remove(running)
            for connection in self._venue.connections:
                connection.out[:0] = running.messages.release(connection.number)
        else:
            fault = running.fault
            struck = [one for one in self._venue.connections if one.number in running.connections]
            strike(fault, struck, self._venue, over=True)
            if not any(other.fault.kind is fault.kind for other in self.running):
                end(fault, self._venue)
        _log.info("fault_ended", kind=running.fault.kind)

    def apply(self, connection: Connection, messages: list[Message]) -> list[Message]:
        """Make what `connection` is sent of what it was to be sent."""
        for running in self._of_messages:
            if running.messages is not None and running.fault.target.venue in {
                "",
                connection.venue,
            }:
                messages = running.messages.apply(connection.number, messages)
        return messages

    def on(self, kind: Kind, path: str | None = None) -> Fault | None:
        """Tell which fault of `kind` is on, if any; with a path, for requests of that path."""
        for running in self.running:
            fault = running.fault
            if fault.kind is kind and (path is None or fault.target.takes_path(path)):
                return fault
        return None

    @property
    def of_messages(self) -> bool:
        """Whether any fault of messages is on."""
        return bool(self._of_messages)
