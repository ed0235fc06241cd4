"""How many requests a client may make in a while; over it the endpoint answers as its venue does.

Limits run on real time, whatever the speed of the venue's clock: clients keep them so.
"""

from exchange.app import Venue
from exchange.rules import RollingWindow

__all__ = ["ClientLimit"]

SECOND = 1_000_000_000


class ClientLimit:
    """One rolling window for each client, by whatever names it."""

    def __init__(self, venue: Venue, name: str, limit: int, seconds: float) -> None:
        """Allow `limit` requests in any `seconds` to each client."""
        self.limit = limit
        self._venue = venue
        self._name = name
        self._seconds = seconds
        self._windows: dict[str, RollingWindow] = {}

    def take(self, client: str) -> bool:
        """Take one request of `client`; False, and a counted breach, where none is left."""
        window = self._windows.setdefault(client, RollingWindow(self.limit, self._seconds))
        if window.take(self._now()):
            return True
        self._venue.rules.breach(f"{self._name}_limit")
        return False

    def used(self, client: str) -> int:
        """Tell how many requests of `client` count now."""
        window = self._windows.get(client)
        return 0 if window is None else window.used_at(self._now())

    def seconds_until(self, client: str) -> float:
        """Tell in how many seconds `client` may ask again."""
        window = self._windows.get(client)
        return 0.0 if window is None else window.seconds_until(self._now())

    def _now(self) -> float:
        return self._venue.clock.real_elapsed() / SECOND
