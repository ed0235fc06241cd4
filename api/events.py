"""What listeners get of the push, and what they want of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from api.frames import TOPICS


@dataclass(frozen=True)
class Event:
    """What listeners get: its name, its data as JSON, and its id where it can be resumed from."""

    name: str
    data: bytes
    id: str | None = None

    # Each is made once for all who get it.

    @cached_property
    def text(self) -> str:
        """Return it as a WebSocket tells it."""
        identity = "null" if self.id is None else f'"{self.id}"'
        return f'{{"event":"{self.name}","id":{identity},"data":{self.data.decode()}}}'

    @cached_property
    def block(self) -> bytes:
        """Return it as Server-Sent Events tell it."""
        head = f"event: {self.name}\n" + (f"id: {self.id}\n" if self.id else "")
        return head.encode() + b"data: " + self.data + b"\n\n"


@dataclass(frozen=True, slots=True)
class Selection:
    """What a listener wants of each frame; no symbols are all."""

    topics: frozenset[str] = frozenset(TOPICS)
    symbols: frozenset[str] = frozenset()

    def of(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Return a frame as it is wanted."""
        told: dict[str, Any] = {}
        for name, value in frame.items():
            if name not in TOPICS:
                told[name] = value
            elif name in self.topics:
                told[name] = self._chosen(name, value)
        return told

    def _chosen(self, name: str, value: Any) -> Any:
        if not self.symbols or name in {"portfolio", "orders"} or value is None:
            return value
        if name == "headlines":  # those about nobody are about the whole market
            return [
                each for each in value
                if not each["symbols"] or not self.symbols.isdisjoint(each["symbols"])
            ]  # fmt: skip
        return [each for each in value if each["symbol"] in self.symbols]
