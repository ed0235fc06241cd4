"""Faults of every endpoint but Binance's, switched on for a while over HTTP.

    POST   /exchange/news_fault {"endpoint": "rss", "kind": "500", "seconds": 30}
    GET    /exchange/news_fault      what is on
    DELETE /exchange/news_fault      all off

`endpoint` is one of ENDPOINTS or "*" for all that know the kind; the newest fault wins.
`seconds` are real ones; `count` ends a fault after so many answers; `delay_seconds` is for
"slow" and "delay"; `retry_after_seconds` goes into the header of "429" and "503".

HTTP endpoints: "500", "503", "429", "slow", "hang" (no answer until the fault ends, then a
close), "cut" (half of what the header announced, then a close), "truncated" (a whole answer
with half of the text), "malformed" (XML or JSON that does not parse), "wrong_encoding" (the
header names another charset), "bad_charset" (one that does not exist), "huge" (32 MiB more),
"html" (a page instead), "empty". rss knows "missing_dates" too; alpha_vantage its own errors:
"burst", "burst_note", "daily", "daily_key", "premium", "bad_key", "bad_symbol", "demo".
Yahoo: "cut" (all connections, once each), "silent" (they stay but nothing comes), "garbage"
(text that is no base64), "wrong_json", "wrong_type", "delay" (frames that late), "refuse" (no
handshake).
"""

import time
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from exchange.app import Venue
from exchange.parts import part

__all__ = ["ENDPOINTS", "NewsFault", "NewsFaults", "faults_of", "routes"]

HTTP = frozenset([
    "500", "503", "429", "slow", "hang", "cut", "truncated", "malformed", "wrong_encoding",
    "bad_charset", "huge", "html", "empty",
])  # fmt: skip
ALPHA_VANTAGE = frozenset([
    "burst", "burst_note", "daily", "daily_key", "premium", "bad_key", "bad_symbol", "demo",
])  # fmt: skip
YAHOO = frozenset(["cut", "silent", "garbage", "wrong_json", "wrong_type", "delay", "refuse"])
ENDPOINTS: dict[str, frozenset[str]] = {
    "yahoo": YAHOO,
    "alpha_vantage": HTTP | ALPHA_VANTAGE,
    "rss": HTTP | {"missing_dates"},
    "reddit": HTTP,
    "stocktwits": HTTP,
    "coindesk": HTTP,
    "fear_greed": HTTP,
    "cnn": HTTP,
}


class NewsFault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault as it is asked for."""

    kind: str
    endpoint: str = "*"
    seconds: float = 30.0
    count: int | None = None
    delay_seconds: float = 5.0
    retry_after_seconds: int = 2


@dataclass(slots=True)
class _Active:
    fault: NewsFault
    until: float  # monotonic seconds
    left: int | None


class NewsFaults:
    """The faults that are on."""

    def __init__(self) -> None:
        """Begin without faults."""
        self._active: list[_Active] = []

    def add(self, fault: NewsFault) -> None:
        """Switch a fault on.

        Raises:
            ValueError: no such endpoint, or none that knows the kind, or a bad number.
        """
        if fault.endpoint != "*" and fault.endpoint not in ENDPOINTS:
            names = ", ".join(sorted(ENDPOINTS))
            raise ValueError(f"endpoint {fault.endpoint!r} is not served; use *, {names}")
        kinds = ENDPOINTS.get(fault.endpoint, frozenset().union(*ENDPOINTS.values()))
        if fault.kind not in kinds:
            raise ValueError(
                f"{fault.endpoint} has no fault {fault.kind!r}; use {', '.join(sorted(kinds))}"
            )
        if not fault.seconds > 0 or not fault.delay_seconds >= 0 or (fault.count or 1) < 1:
            raise ValueError("seconds and count must be positive, delay_seconds not negative")
        until = time.monotonic() + fault.seconds
        self._active.append(_Active(fault, until, fault.count))

    def clear(self) -> None:
        """Switch all faults off."""
        self._active.clear()

    def active(self) -> list[NewsFault]:
        """Return what is on, the newest first."""
        now = time.monotonic()
        self._active = [one for one in self._active if one.until > now and one.left != 0]
        return [one.fault for one in reversed(self._active)]

    def on(self, endpoint: str) -> NewsFault | None:
        """Return the fault that `endpoint` has now, without counting an answer."""
        for fault in self.active():
            if fault.endpoint in {endpoint, "*"} and fault.kind in ENDPOINTS[endpoint]:
                return fault
        return None

    def take(self, endpoint: str) -> NewsFault | None:
        """Return the fault that `endpoint` has now, as one answer of its count."""
        found = self.on(endpoint)
        for one in self._active:
            if one.fault is found and one.left is not None:
                one.left -= 1
        return found


def faults_of(venue: Venue) -> NewsFaults:
    """Return the faults of `venue`."""
    return part(venue, _make)


def _make(_: Venue) -> NewsFaults:
    return NewsFaults()


def routes(venue: Venue) -> list[web.RouteDef]:
    """Serve the switch."""
    faults = faults_of(venue)

    async def switch_on(request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=NewsFault)
            faults.add(fault)
        except (msgspec.DecodeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)
        venue.rules.count(f"fault_{fault.endpoint}_{fault.kind}")
        return _listed()

    async def tell(_: web.Request) -> web.Response:
        return _listed()

    async def switch_off(_: web.Request) -> web.Response:
        faults.clear()
        return _listed()

    def _listed() -> web.Response:
        listed: Any = msgspec.to_builtins(faults.active())
        return web.json_response({"active": listed})

    path = "/exchange/news_fault"
    return [web.post(path, switch_on), web.get(path, tell), web.delete(path, switch_off)]
