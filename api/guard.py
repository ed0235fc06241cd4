"""What every request meets before anything looks at it, and every answer on its way out."""

import asyncio
import time
from collections import Counter

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.access import WINDOW_SECONDS, Access
from api.problems import Refusal, broken, problem
from api.settings import ApiSettings
from operators.metrics import Timer

_SHARE = 0.5  # of the requests at a time, that one address may have
_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})  # of this machine for itself
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Guard:
    """Check host, rate and size; count and time; put the security headers on every answer.

    No other site may read an answer: no CORS header is ever sent.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings, access: Access) -> None:
        """Stand before `app`."""
        self.app = app
        self.settings = settings
        self.access = access
        own = {each.lower() for each in (settings.host, f"[{settings.host}]", *settings.names)}
        self.names = own | (_NAMES if settings.loopback else frozenset())
        self.busy: Counter[str] = Counter()  # requests that are being answered, by address
        self.timer = Timer()
        self.answers: Counter[str] = Counter()  # by hundred

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket" and self._refused(Headers(scope=scope), scope):
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        began = time.perf_counter_ns()
        told = [0]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                told[0] = message["status"]
                self._dress(scope, MutableHeaders(scope=message))
            await send(message)

        refused = self._refused(headers, scope)
        if refused is not None:
            status, detail = refused
            rest = {"Retry-After": str(WINDOW_SECONDS)} if status in {429, 503} else {}
            response = problem(status, detail, scope["path"], headers=rest)
            await response(scope, receive, sending)
            self.answers[f"{status // 100}xx"] += 1
            return
        address = _address(scope)
        listens = scope["path"].endswith("/events")  # for long; bounded by its own number
        self.busy[address] += not listens
        try:
            await self.app(scope, self._bounded(receive), sending)
        except Exception as error:
            if told[0]:
                raise
            await broken(scope["path"], error)(scope, receive, sending)
        finally:
            self.busy[address] -= not listens
            if not self.busy[address]:
                del self.busy[address]
            self.answers[f"{told[0] // 100}xx" if told[0] else "left"] += 1
            if not listens:
                self.timer.add(time.perf_counter_ns() - began)

    def _refused(self, headers: Headers, scope: Scope) -> tuple[int, str] | None:
        """Return why not, as status and sentence, or None."""
        name = headers.get("host", "").lower()
        host = name if name.endswith("]") else name.rpartition(":")[0] or name
        if host not in self.names:
            # Otherwise a page elsewhere could name itself anew and be us (DNS rebinding).
            return 421, "this host is not served here; name it by --name if it should be"
        address = _address(scope)
        if not self.access.may_ask(address):
            return 429, "too many requests; wait a moment"
        most = self.settings.requests_at_once
        if self.busy.total() >= most or self.busy[address] >= most * _SHARE:
            return 503, "too many requests at a time; wait a moment"
        if sum(len(name) + len(value) for name, value in headers.raw) > self.settings.header_bytes:
            return 431, f"headers may have {self.settings.header_bytes} bytes"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.settings.body_bytes:
            return 413, self._too_large
        return None

    @property
    def _too_large(self) -> str:
        return f"a body may have {self.settings.body_bytes} bytes"

    def _bounded(self, receive: Receive) -> Receive:
        taken = [0]
        whole = [False]
        end = asyncio.get_running_loop().time() + self.settings.patience_seconds

        async def bounded() -> Message:
            if whole[0]:  # what is waited for now is the end of the connection
                return await receive()
            try:
                async with asyncio.timeout_at(end):  # of all of it, in however many pieces
                    message = await receive()
            except TimeoutError:
                raise Refusal(408, "the body did not come") from None
            taken[0] += len(message.get("body", b""))
            whole[0] = not message.get("more_body", False)
            if taken[0] > self.settings.body_bytes:
                raise Refusal(413, self._too_large)
            return message

        return bounded

    def _dress(self, scope: Scope, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers[name] = value
        if self.settings.tls:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        if scope["path"].startswith("/api/"):
            headers["Cache-Control"] = "no-store"
        else:  # the dashboard's files: kept, and asked for anew, so that all are of one version
            headers["Cache-Control"] = "no-cache"


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else "unknown"
