"""Ask a venue over HTTP, politely: within its limits, only for what is new, never for long.

One `Poller` a feed. What several feeds ask of one host is limited together where they share
a `Hosts`. No error or log of this module holds a query, a header or a body.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import NamedTuple, Self

import httpx2
import structlog

from connectors.feeds import FeedHealth
from connectors.resilience import BreakerOpenError, retried
from connectors.secrets import Secret
from connectors.sources.bodies import BodyError, decoded
from connectors.sources.poll_hosts import Host, Hosts, PollSettings
from connectors.sources.poll_requests import AddressError, Request, Value
from connectors.sources.retry_after import retry_after

__all__ = ["Answer", "Hosts", "PollError", "PollSettings", "Poller"]

log = structlog.get_logger(__name__)

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PASSING = frozenset({408, 425, 500, 502, 503, 504})  # worth another attempt
_MAX_REDIRECTS = 3
_REMEMBERED = 1_000  # addresses with a validator; a feed has a few


class Answer(NamedTuple):
    """What a venue answered; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    not_modified: bool


class PollError(Exception):
    """No usable answer, after all attempts.

    `reason` is a short sentence without address, query or body; `retry_after` the seconds the
    venue, or an open breaker, asks to wait (None: nothing was said); `status` the HTTP status,
    and `answer` what came with it, where there was one.
    """

    def __init__(
        self, reason: str, retry_after: float | None = None, answer: Answer | None = None
    ) -> None:
        """Say why."""
        super().__init__(reason)
        self.reason = reason
        self.retry_after = retry_after
        self.answer = answer

    @property
    def status(self) -> int | None:
        """The HTTP status, if the venue answered at all."""
        return None if self.answer is None else self.answer.status


class _TransientError(PollError):
    """Worth another attempt, and a failure to the breaker."""


class _WaitError(PollError):
    """The venue says when to come again."""


class Poller:
    """An HTTP client for one feed, to be closed: `async with Poller(...)` or `aclose()`."""

    def __init__(
        self,
        settings: PollSettings,
        health: FeedHealth,
        *,
        tls: ssl.SSLContext | None = None,
        headers: Mapping[str, Value] | None = None,
        hosts: Hosts | None = None,
        now: Callable[[], int] | None = None,
    ) -> None:
        """Make a client that sends `headers` with each request.

        Args:
            settings: Limits and patience.
            health: Counts what happens.
            tls: Verifies certificates; by default against the system's authorities.
            headers: Beside User-Agent and Accept-Encoding; kept from foreign hosts.
            hosts: Shared with the feeds that may ask the same hosts.
            now: UNIX ns, for a Retry-After that is a date in an answer without a Date.
        """
        self.settings = settings
        self.health = health
        self._headers = dict(headers or {})
        self._hosts = Hosts() if hosts is None else hosts
        self._now = now
        self._validators: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._client = httpx2.AsyncClient(
            verify=ssl.create_default_context() if tls is None else tls,
            # A venue's cookies would tie polls together; none is kept.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": settings.user_agent, "accept-encoding": "gzip"},
            timeout=httpx2.Timeout(settings.read_timeout_s, connect=settings.connect_timeout_s),
            follow_redirects=False,
            trust_env=False,  # settings.py is the only reader of the environment
        )

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(
        self,
        url: str,
        params: Mapping[str, Value] | None = None,
        headers: Mapping[str, Value] | None = None,
    ) -> Answer:
        """Ask for `url`; unchanged since the last answer, it is `not_modified` and empty.

        Raises:
            PollError: no usable answer, after all attempts.
        """
        key = f"{url} {sorted((params or {}).items())}"
        asked = dict(self._validators.get(key, {})) | dict(headers or {})
        answer = await self._asked("GET", url, params, asked, None)
        if not answer.not_modified:
            self._remember(key, answer.headers)
        return answer

    async def post(
        self,
        url: str,
        form: Mapping[str, Value],
        *,
        auth: tuple[str, Secret] | None = None,
        headers: Mapping[str, Value] | None = None,
    ) -> Answer:
        """Send a form, with basic authorization if `auth` is given.

        Raises:
            PollError: no usable answer, after all attempts.
        """
        return await self._asked("POST", url, None, dict(headers or {}), form, auth)

    def forget(self, url: str, params: Mapping[str, Value] | None = None) -> None:
        """Ask for all of it next time: the last answer could not be used."""
        self._validators.pop(f"{url} {sorted((params or {}).items())}", None)

    def forget_all(self) -> None:
        """Ask for all of everything next time: what was answered could not be delivered."""
        self._validators.clear()

    def _remember(self, key: str, headers: Mapping[str, str]) -> None:
        held = {
            asked: headers[told]
            for asked, told in (("if-none-match", "etag"), ("if-modified-since", "last-modified"))
            if told in headers
        }
        self._validators.pop(key, None)
        if held:
            self._validators[key] = held
            while len(self._validators) > _REMEMBERED:
                self._validators.popitem(last=False)

    async def _asked(
        self,
        method: str,
        url: str,
        params: Mapping[str, Value] | None,
        headers: Mapping[str, Value],
        form: Mapping[str, Value] | None,
        auth: tuple[str, Secret] | None = None,
    ) -> Answer:
        request = Request(method, url, params, {**self._headers, **headers}, form, auth)
        settings = self.settings
        failed: PollError | None = None
        try:
            return await retried(
                lambda: self._attempt(request),
                attempts=settings.attempts,
                on=self._patience,
                first_seconds=settings.first_wait_s,
                most_seconds=settings.most_wait_s,
                health=self.health,
            )
        except PollError as error:
            failed = error
        self.health.counts["requests_failed"] += 1
        log.info("poll_failed", feed=self.health.feed, reason=failed.reason)
        raise PollError(failed.reason, failed.retry_after, failed.answer)

    def _patience(self, error: Exception) -> bool | float:
        if isinstance(error, _WaitError) and error.retry_after is not None:
            return error.retry_after <= self.settings.most_wait_s and error.retry_after
        return isinstance(error, _TransientError)

    async def _attempt(self, request: Request) -> Answer:
        reason = "too many redirects"
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                answer = await self._one(request)
                if answer.status not in _REDIRECTS:
                    return answer
                request = request.redirected(answer.headers.get("location", ""))
            except AddressError as error:
                reason = str(error)
                break
        raise PollError(reason)

    async def _one(self, request: Request) -> Answer:
        host = self._hosts.of(request.host, self.settings, self.health)
        left = host.silent_until - self._hosts.clock()
        if left > 0:
            raise _WaitError("the venue wants no request yet", left)
        await host.window.wait()
        error: PollError | None = None
        try:
            async with host.breaker:
                answer = await self._sent(request)
        except BreakerOpenError as refused:
            error = PollError("breaker open", refused.rest_seconds)
        if error is not None:
            raise error
        return self._judged(host, answer)

    def _judged(self, host: Host, answer: Answer) -> Answer:
        status = answer.status
        if 200 <= status < 300 or answer.not_modified or status in _REDIRECTS:
            return answer
        wait = retry_after(answer.headers, self._now)
        if status in {418, 429}:
            self.health.counts["banned" if status == 418 else "rate_limited"] += 1
        if wait is not None:
            host.silent_until = self._hosts.clock() + wait
            raise _WaitError(f"status {status}", wait, answer)
        raise PollError(f"status {status}", None, answer)

    async def _sent(self, request: Request) -> Answer:
        """Send one request and read its answer; raise what is a failure of the venue."""
        self.health.counts["requests"] += 1
        reason = ""
        try:
            async with asyncio.timeout(self.settings.total_timeout_s):
                built = request.built(self._client)
                response = await self._client.send(built, stream=True)
                try:
                    limit = self.settings.max_body_bytes
                    body = await decoded(response.headers, response.aiter_raw(), limit)
                finally:
                    await response.aclose()
        except TimeoutError:
            reason = "no whole answer in time"
        except (httpx2.HTTPError, httpx2.StreamError, OSError, ssl.SSLError) as error:
            reason = f"no answer ({type(error).__name__})"
        except BodyError as error:
            reason = str(error)
            if not error.passing:
                raise PollError(reason) from None
        # Raised here, so that no chain of causes leads to the request and its secrets.
        if reason:
            raise _TransientError(reason)
        self.health.counts["bytes"] += len(body)
        headers = {name.lower(): value for name, value in response.headers.items()}
        status = response.status_code
        answer = Answer(status, headers, body, not_modified=status == 304)
        if status in _PASSING and retry_after(headers, self._now) is None:
            raise _TransientError(f"status {status}", None, answer)
        return answer
