"""Connect to Binance again and again: when, and to which host."""

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import structlog
from websockets.exceptions import InvalidStatus

from connectors.feeds import FeedHealth
from connectors.resilience import Backoff, RateWindow
from connectors.sources.binance_connection import Line, open_line
from connectors.sources.binance_plan import BinanceSettings
from connectors.sources.retry_after import retry_after

log = structlog.get_logger(__name__)

POLICY_VIOLATION = 1008
_UNTOLD = {429: 60.0, 418: 120.0}  # seconds, where the venue does not say how long
_MOST_BREACH = 300.0


@dataclass(slots=True)
class Dial:
    """How connecting went for one set of streams."""

    backoff: Backoff
    host: int = 0
    failures: int = 0  # in a row, at this host
    due: float = 0.0  # not before (monotonic)
    note: str = ""  # why there is no connection
    breach: float = 0.0  # the last pause after a broken rule


@dataclass(slots=True)
class Dialler:
    """Opens connections for all sets of streams, within the venue's limit on attempts."""

    settings: BinanceSettings
    tls: ssl.SSLContext | None
    health: FeedHealth
    clock: Callable[[], int]
    window: RateWindow = field(init=False)
    banned_until: float = 0.0  # the venue wants no attempt before (monotonic)

    def __post_init__(self) -> None:
        """Begin with no attempt."""
        most = max(self.settings.connects_per_window * 9 // 10, 1)
        self.window = RateWindow(
            most, self.settings.connect_window_seconds, spare_seconds=1.0, health=self.health
        )

    def dial(self) -> Dial:
        """Return the state of a set of streams that was never connected."""
        settings = self.settings
        return Dial(Backoff(settings.backoff_first_seconds, settings.backoff_most_seconds))

    async def open(self, dial: Dial, path: str, deliver: Callable[[Line, bytes], None]) -> Line:
        """Connect, however long it takes."""
        while True:
            rest = max(dial.due, self.banned_until) - monotonic()
            if rest > 0:
                await asyncio.sleep(rest)
                continue  # it may have been put off meanwhile
            await self.window.wait()
            host = self.settings.ws_hosts[dial.host]
            try:
                line = await open_line(
                    host, path, self.settings, self.tls, deliver, self.health, self.clock
                )
            except Exception as error:  # noqa: BLE001 - nothing that a venue does may end the feed
                self._failed(dial, host, error)
            else:
                self.health.counts["connections"] += 1
                dial.note = ""
                return line

    def lost(self, dial: Dial, line: Line) -> None:
        """Take note that a connection ended: the next attempt comes at once, if it had lived."""
        now = monotonic()
        settings = self.settings
        self.health.counts["reconnects"] += 1
        if line.close_code_heard == POLICY_VIOLATION:
            self.health.counts["rule_breaches"] += 1
            if now - line.opened > _MOST_BREACH:
                dial.breach = 0.0
            dial.breach = min(max(dial.breach * 2, settings.breach_seconds), _MOST_BREACH)
            dial.due = now + dial.breach
            dial.note = f"{line.host} closed the connection: a rule was broken (1008)"
            log.error("binance_rule_breached", host=line.host, pause_seconds=dial.breach)
            return
        log.warning("binance_connection_lost", host=line.host, code=line.close_code_heard)
        dial.note = f"the connection to {line.host} was lost"
        if line.first_data is not None and now - line.opened >= settings.stable_seconds:
            dial.backoff.reset()
            dial.failures = 0
            dial.due = now + random.uniform(0.0, settings.first_retry_seconds)  # noqa: S311 - jitter
        else:
            self._next(dial, now + dial.backoff.next())

    def _failed(self, dial: Dial, host: str, error: Exception) -> None:
        now = monotonic()
        wait = dial.backoff.next()
        if isinstance(error, ssl.SSLError):
            # Nothing that we do mends a certificate: ask seldom.
            most = self.settings.backoff_most_seconds
            wait = random.uniform(most / 2, most)  # noqa: S311 - jitter
            reason = getattr(error, "verify_message", None) or error.reason or type(error).__name__
            dial.note = f"the certificate or TLS of {host} is not accepted: {reason}"
        elif isinstance(error, InvalidStatus):
            status = error.response.status_code
            dial.note = f"{host} refuses the connection (HTTP {status})"
            if status in _UNTOLD:
                headers = {name.lower(): value for name, value in error.response.headers.items()}
                told = retry_after(headers)
                seconds = max(_UNTOLD[status] if told is None else told, 1.0)
                self.banned_until = max(self.banned_until, now + seconds)
                self.health.counts["rate_limited" if status == 429 else "banned"] += 1
        else:
            dial.note = f"no connection to {host} ({type(error).__name__})"
        log.warning("binance_connect_failed", host=host, error=type(error).__name__)
        self._next(dial, now + wait)

    def _next(self, dial: Dial, due: float) -> None:
        dial.due = due
        dial.failures += 1
        if dial.failures >= self.settings.failures_before_next_host:
            dial.failures = 0
            if len(self.settings.ws_hosts) > 1:
                dial.host = (dial.host + 1) % len(self.settings.ws_hosts)
                self.health.counts["host_failovers"] += 1
