"""Faults of messages: what becomes of those that a connection is about to be sent.

A message is (place on the schedule, order, stream, payload). Each fault turns a connection's
messages into others; it touches only those of the streams that it targets.
"""

import re
from collections.abc import Iterable, Iterator

from exchange.faults import Fault, Kind

__all__ = ["Message", "MessageFault", "message_fault"]

Message = tuple[int, int, str, bytes]

_EVENT_TIME = re.compile(rb'"E":(\d+)')
_TRADE_TIME = re.compile(rb'"T":(\d+)')
_STRING = re.compile(rb'("[sbp]":)"[^"]*"')
_TRADES = (b'"e":"trade"', b'"e":"aggTrade"')


class MessageFault:
    """A fault that strikes the messages of its target, `count` of them or all."""

    def __init__(self, fault: Fault, connections: frozenset[int] | None) -> None:
        """Strike `connections` by number, or all where None."""
        self.fault = fault
        self.struck = 0
        self._connections = connections
        self._most = fault.count or (0 if fault.seconds else 1)
        self._takes: dict[str, bool] = {}

    @property
    def over(self) -> bool:
        """Whether it has struck all that it may."""
        return bool(self._most) and self.struck >= self._most

    def _strikes(self, stream: str) -> bool:
        takes = self._takes.get(stream)
        if takes is None:
            takes = self._takes[stream] = self.fault.target.takes(stream)
        if not takes or (self._most and self.struck >= self._most):
            return False
        self.struck += 1
        return True

    def apply(self, connection: int, messages: list[Message]) -> list[Message]:
        """Make what is sent to `connection` of what was to be sent."""
        if self._connections is not None and connection not in self._connections:
            return messages
        return list(self._turned(connection, messages))

    def _turned(self, connection: int, messages: Iterable[Message]) -> Iterator[Message]:  # noqa: ARG002
        for message in messages:
            if self._strikes(message[2]):
                yield from self._struck(message)
            else:
                yield message

    def _struck(self, message: Message) -> Iterable[Message]:
        """Make what is sent of one message that is struck."""
        raise NotImplementedError

    def release(self, connection: int) -> list[Message]:  # noqa: ARG002
        """Give back what was held of `connection`'s, when the fault ends."""
        return []


class Gap(MessageFault):
    """Messages are left out."""

    def _struck(self, _: Message) -> Iterable[Message]:
        return ()


class Duplicate(MessageFault):
    """Messages come twice."""

    def _struck(self, message: Message) -> Iterable[Message]:
        return message, message


class Reorder(MessageFault):
    """Of each two messages of a stream the later comes first."""

    def __init__(self, fault: Fault, connections: frozenset[int] | None) -> None:
        super().__init__(fault, connections)
        self._held: dict[tuple[int, str], Message] = {}

    def _turned(self, connection: int, messages: Iterable[Message]) -> Iterator[Message]:
        for message in messages:
            held = self._held.pop((connection, message[2]), None)
            if held is not None:
                yield message
                yield held
            elif self._strikes(message[2]):
                self._held[connection, message[2]] = message
            else:
                yield message

    @property
    def over(self) -> bool:
        """Whether it has struck all that it may, and holds nothing."""
        return super().over and not self._held

    def release(self, connection: int) -> list[Message]:
        """Give back what was held of `connection`'s, when the fault ends."""
        mine = [key for key in self._held if key[0] == connection]
        return [self._held.pop(key) for key in mine]


class ClockSkew(MessageFault):
    """The event's and the trade's time are off by the fault's shift."""

    def _struck(self, message: Message) -> Iterable[Message]:
        place, order, stream, payload = message
        sent = _EVENT_TIME.sub(self._shifted, payload, count=1)
        if any(kind in payload for kind in _TRADES):
            sent = _TRADE_TIME.sub(self._shifted, sent, count=1)
        return ((place, order, stream, sent),)

    def _shifted(self, found: re.Match[bytes]) -> bytes:
        return b"%b%d" % (found[0][:4], int(found[1]) + round(self.fault.shift_seconds * 1000))


class WrongJson(MessageFault):
    """Messages come as something that is no message."""

    def _struck(self, message: Message) -> Iterable[Message]:
        place, order, stream, payload = message
        forms = {
            "torn": payload[: len(payload) // 2],
            "html": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
            "list": b"[" + payload + b"]",
            "null": b'{"stream":"%b","data":null}' % stream.encode(),
            # A string where a number stands, and null where a string stands.
            "types": _STRING.sub(rb"\1null", _TRADE_TIME.sub(rb'"T":"\1"', payload)),
        }
        mode = self.fault.mode or tuple(forms)[(self.struck - 1) % len(forms)]
        return ((place, order, stream, forms[mode]),)


_FAULTS: dict[Kind, type[MessageFault]] = {
    Kind.GAP: Gap,
    Kind.DUPLICATE: Duplicate,
    Kind.REORDER: Reorder,
    Kind.CLOCK_SKEW: ClockSkew,
    Kind.WRONG_JSON: WrongJson,
}


def message_fault(fault: Fault, connections: frozenset[int] | None) -> MessageFault | None:
    """Make the fault of messages that `fault` names; None where it is of another sort."""
    made = _FAULTS.get(fault.kind)
    return made(fault, connections) if made else None
