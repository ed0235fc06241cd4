"""What polling holds of each host: its rate limit, its breaker, and when it may be asked again."""

import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from connectors.feeds import FeedHealth
from connectors.resilience import Breaker, RateWindow

_MAX_HOSTS = 256


class PollSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How politely and how patiently a host is asked."""

    requests: int = 30  # for each host in any `per_seconds`
    per_seconds: float = 60.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 10.0  # between two parts of an answer
    total_timeout_s: float = 30.0  # a whole answer, against one that drips
    max_body_bytes: int = 8 << 20  # after decompression
    attempts: int = 3
    first_wait_s: float = 0.25
    most_wait_s: float = 5.0  # a longer Retry-After goes to the caller instead
    breaker_failures: int = 5
    breaker_rest_s: float = 30.0
    user_agent: str = "nextgen-trading-engine/0.1"


class Host:
    """What is held of one host: its rate limit, its breaker, until when it wants no request."""

    def __init__(
        self, name: str, settings: PollSettings, health: FeedHealth, clock: Callable[[], float]
    ) -> None:
        """Begin with nothing asked."""
        self.window = RateWindow(
            settings.requests, settings.per_seconds, health=health, clock=clock
        )
        self.breaker = Breaker(
            name,
            settings.breaker_failures,
            settings.breaker_rest_s,
            health=health,
            clock=clock,
        )
        self.silent_until = 0.0


class Hosts:
    """The hosts asked so far; share one among feeds that may ask the same.

    A host's limits are those of the first feed that asks it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self.clock = clock
        self._hosts: OrderedDict[str, Host] = OrderedDict()

    def of(self, name: str, settings: PollSettings, health: FeedHealth) -> Host:
        """Return what is held of a host."""
        host = self._hosts.get(name)
        if host is None:
            host = self._hosts[name] = Host(name, settings, health, self.clock)
            # Redirects may name ever new hosts.
            while len(self._hosts) > _MAX_HOSTS:
                self._hosts.popitem(last=False)
        self._hosts.move_to_end(name)
        return host
