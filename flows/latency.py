"""How long a live run takes from receipt to features and to decisions.

Measured against the clock that stamps receipts; nothing that is decided reads it.
"""

from collections.abc import Callable
from typing import Any

from operators.messages import SECOND, CrossSection, Decision, Quote, Tick
from operators.metrics import timer

_WARM_NS = 10 * SECOND


class Latency:
    """Time what passes, without changing it.

    `received_to_checked`: a trade or quote, from its receipt until it has passed all checks.
    `clock_to_features`: a bar close, from when its Clock was due until all features are made.
    `clock_to_decision`: the same, until the risk-checked decision.
    The first ten seconds, in which the queue of the start is worked off, do not count.
    A bar's features need no more of a tick than both steps together.
    """

    def __init__(self, clock: Callable[[], int], lateness_ns: int) -> None:
        """Take the clock of the run (UNIX ns), and how long after a bar its Clock is due."""
        self.clock = clock
        self.lateness_ns = lateness_ns
        self._from: int | None = None

    def checked(self, items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Time checked trades and quotes."""
        now = self.clock()
        if self._from is None:
            self._from = now + _WARM_NS
        if now < self._from:
            return items
        add = timer("received_to_checked").add
        for _, message in items:
            kind = type(message)
            if kind is Quote or (kind is Tick and not message.backfilled):
                add(now - message.ts_init)
        return items

    def featured(self, items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Time cross-sections."""
        return self._closes(items, CrossSection, "clock_to_features")

    def decided(self, items: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
        """Time decisions."""
        return self._closes(items, Decision, "clock_to_decision")

    def _closes(self, items: list[tuple[str, Any]], kind: type, name: str) -> list[tuple[str, Any]]:
        for _, message in items:
            if isinstance(message, kind) and self._from and self.clock() >= self._from:
                cross = message.fused.cross if isinstance(message, Decision) else message
                assert isinstance(cross, CrossSection)
                timer(name).add(self.clock() - cross.ts_close - self.lateness_ns)
        return items
