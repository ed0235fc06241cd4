"""What the venue counted: connections, rules that clients broke, and what it did about them."""

from collections import Counter, deque
from dataclasses import dataclass, field

import msgspec
import structlog

__all__ = ["BinanceRules", "RollingWindow", "Rules"]

_log = structlog.get_logger(__name__)


class BinanceRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Binance's limits, as its documentation states them. Times are real, whatever the speed."""

    # PING, PONG and JSON all count; one more within the window closes with 1008.
    messages_per_window: int = 5
    message_window_seconds: float = 1.0
    streams_per_connection: int = 1024
    attempts_per_window: int = 300  # new connections of one IP
    attempt_window_seconds: float = 300.0
    ping_seconds: float = 20.0
    pong_seconds: float = 60.0  # without a pong that answers, the connection is ended
    max_age_seconds: float = 86_400.0
    # An end that is planned is announced this long before, or at half the age if that is less.
    shutdown_notice_seconds: float = 5.0
    # What may wait for a client that does not read.
    send_buffer_bytes: int = 32 << 20
    weight_per_minute: int = 6_000  # of one IP, in any 60 s: stricter than whole minutes
    bans_after: int = 5  # requests after a 429 and before its Retry-After is over
    ban_seconds: float = 120.0


@dataclass(slots=True)
class Rules:
    """Counters of what clients did, served at /exchange/rules. Any module may count here."""

    breaches: Counter[str] = field(default_factory=Counter)  # rules broken, by kind
    counts: Counter[str] = field(default_factory=Counter)  # all else: connections, closes, ...

    def breach(self, kind: str, detail: str = "") -> None:
        """Count a broken rule by its kind, as "messages_per_second", and log it."""
        self.breaches[kind] += 1
        _log.warning("rule_broken", kind=kind, detail=detail)

    def count(self, name: str, amount: int = 1) -> None:
        """Count something that breaks no rule, as "binance_connections"."""
        self.counts[name] += amount


class RollingWindow:
    """Allow at most `limit` (in cost) within any `seconds`: strict, no burst, no buckets.

    Times are seconds of the caller's monotonic clock and must not go back.
    """

    def __init__(self, limit: int, seconds: float) -> None:
        """Make an empty window."""
        self.limit = limit
        self.seconds = seconds
        self.used = 0
        self._taken: deque[tuple[float, int]] = deque()

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - self.seconds:
            self.used -= self._taken.popleft()[1]

    def take(self, now: float, cost: int = 1) -> bool:
        """Take `cost` now; False, and nothing is taken, where that breaks the limit."""
        self._forget(now)
        if self.used + cost > self.limit:
            return False
        self._taken.append((now, cost))
        self.used += cost
        return True

    def used_at(self, now: float) -> int:
        """Tell what is used within the window that ends `now`."""
        self._forget(now)
        return self.used

    def seconds_until(self, now: float, cost: int = 1) -> float:
        """Tell in how many seconds `cost` can be taken; `seconds` where it never can."""
        self._forget(now)
        over = self.used + cost - self.limit
        if over <= 0:
            return 0.0
        for moment, taken in self._taken:
            over -= taken
            if over <= 0:
                return max(0.0, moment + self.seconds - now)
        return self.seconds
