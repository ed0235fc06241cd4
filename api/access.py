"""Who asks, what they may, and how often."""

import hmac
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Request
from fastapi.security import APIKeyCookie, HTTPBearer
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.requests import HTTPConnection

from api.keys import Key, KeyStore, Scope
from api.problems import Refusal
from api.sessions import Session, Sessions
from api.settings import ApiSettings

WINDOW_SECONDS = 10  # of the limits on requests
CSRF_HEADER = "X-CSRF-Token"
bearer = HTTPBearer(
    auto_error=False, scheme_name="key", description="An API key: `Authorization: Bearer nx_…`"
)
cookie = APIKeyCookie(
    name="nextgen-session",
    auto_error=False,
    scheme_name="session",
    description="A browser's session; with TLS the cookie is `__Host-nextgen-session`",
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    name: str
    scope: Scope
    via: Literal["key", "session", "local"]
    session: Session | None = None
    key: str = ""

    @property
    def actor(self) -> str:
        """How an audit record calls them."""
        return self.name if self.via == "local" else f"key:{self.name}"


LOCAL = Principal("local", Scope.ADMIN, "local")


class Access:
    """Tell who asks, and refuse those who may not or who ask too often."""

    def __init__(self, settings: ApiSettings, keys: KeyStore) -> None:
        """Let in whoever has one of `keys`; while there are none, this machine."""
        self.settings = settings
        self.keys = keys
        self.sessions = Sessions(
            keys, seconds=settings.session_seconds, idle_seconds=settings.session_idle_seconds
        )
        self.cookie = "__Host-nextgen-session" if settings.tls else "nextgen-session"
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._per_address = RateLimitItemPerSecond(settings.requests_per_address, WINDOW_SECONDS)
        self._per_key = RateLimitItemPerSecond(settings.requests_per_key, WINDOW_SECONDS)
        self._logins = RateLimitItemPerMinute(settings.logins_per_minute)
        self._denied = RateLimitItemPerMinute(settings.denied_per_minute)

    @property
    def open(self) -> bool:
        """Whether this machine is let in without a key."""
        return self.settings.loopback and not self.keys.any()

    # ---------------------------------------------------------------------- how often

    def may_ask(self, address: str) -> bool:
        """Count a request of an address; say whether it may be answered."""
        return self._limiter.hit(self._per_address, "address", address)

    def _throttle(self, item: Any, *names: str) -> None:
        if not self._limiter.hit(item, *names):
            raise Refusal(
                429, "too many requests; wait a moment", headers={"Retry-After": str(_rest(item))}
            )

    # ---------------------------------------------------------------------- who

    def who(self, connection: HTTPConnection) -> Principal | None:
        """Return who asks, None where nothing says so.

        Raises:
            Refusal: a wrong key, or one too many from that address.
        """
        given = connection.headers.get("authorization")
        if given is not None:
            scheme, _, text = given.partition(" ")
            address = address_of(connection)
            if not self._limiter.test(self._denied, "denied", address):
                raise Refusal(429, "too many wrong keys", headers={"Retry-After": "60"})
            key = self.keys.find(text.strip()) if scheme.lower() == "bearer" else None
            if key is None:
                self._limiter.hit(self._denied, "denied", address)
                raise _unknown("the key is unknown, expired or revoked")
            self._throttle(self._per_key, "key", key.id)
            return Principal(key.name, key.scope, "key", key=key.id)
        token = connection.cookies.get(self.cookie)
        session = None if token is None else self.sessions.find(token)
        if session is not None:
            self._throttle(self._per_key, "key", session.key)
            return Principal(session.name, session.scope, "session", session, session.key)
        return LOCAL if self.open else None

    def still_good(self, principal: Principal) -> bool:
        """Say whether who asked a while ago could ask again now."""
        if principal.via == "local":
            return self.open
        if principal.session is not None and not self.sessions.lasts(principal.session):
            return False
        return any(key.id == principal.key for key in self.keys.list() if key.good(time.time_ns()))

    def login(self, connection: HTTPConnection, text: str) -> tuple[str, Session]:
        """Begin a session with the key whose text is given.

        Raises:
            Refusal: it is none, another page asks, or too many have been tried.
        """
        self._throttle(self._logins, "login", address_of(connection))
        if not is_own_origin(connection):
            raise Refusal(403, "another site may not log in here")
        key: Key | None = self.keys.find(text)
        if key is None:
            raise _unknown("the key is unknown, expired or revoked")
        return self.sessions.begin(key)


def needs(scope: Scope, *, orders: bool = False) -> Callable[[Request], Awaitable[Principal]]:
    """Return a dependency that lets in those with `scope`; with `orders` no forged requests."""

    async def check(request: Request) -> Principal:
        access: Access = request.app.state.access
        principal = access.who(request)
        if principal is None:
            raise _unknown("this needs an API key or a session")
        if not principal.scope.allows(scope):
            raise Refusal(403, f"this needs the scope '{scope}', found '{principal.scope}'")
        if orders:
            refuse_forged(request, principal)
        return principal

    return check


def refuse_forged(request: HTTPConnection, principal: Principal) -> None:
    """Refuse what another site may have made a browser send.

    A key is put into a header by who holds it, never by a browser of its own accord. For a
    session its token must be there; for it and for this machine's own the origin must be ours.

    Raises:
        Refusal: that is not so.
    """
    if principal.via == "key":
        return
    if not is_own_origin(request):
        raise Refusal(403, "another site may not give orders here")
    if principal.session is not None:
        given = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(given.encode(), principal.session.csrf.encode()):
            raise Refusal(403, f"an order of a session needs its token as {CSRF_HEADER}")


def is_own_origin(connection: HTTPConnection) -> bool:
    """Say whether no other site's page asks, as far as browsers tell."""
    headers = connection.headers
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    if origin is None:
        return True
    scheme = {"ws": "http", "wss": "https"}.get(connection.url.scheme, connection.url.scheme)
    return origin == f"{scheme}://{headers.get('host', '')}"


def address_of(connection: HTTPConnection) -> str:
    """Return the address that asks."""
    return connection.client.host if connection.client is not None else "unknown"


def _unknown(detail: str) -> Refusal:
    return Refusal(401, detail, headers={"WWW-Authenticate": 'Bearer realm="nextgen"'})


def _rest(item: Any) -> int:
    return int(item.get_expiry()) if item.get_expiry() < 60 else 60
