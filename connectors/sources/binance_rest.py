"""Ask Binance's REST API for trades by id, within the weight that an IP may use."""

import asyncio
import ssl
from time import monotonic
from types import TracebackType
from typing import Any, Self

import httpx2
import structlog

from connectors.feeds import FeedHealth
from connectors.resilience import Backoff, Breaker, BreakerOpenError, RateWindow
from connectors.sources.binance_messages import Page, PageError, read_page
from connectors.sources.binance_plan import BinanceSettings
from connectors.sources.bodies import BodyError, decoded
from connectors.sources.retry_after import retry_after

log = structlog.get_logger(__name__)

PAGE = 1000  # rows of an answer at most
_MAX_BODY = 4 << 20  # 1,000 rows have 200 KB
_PATHS = {
    "trade": ("/api/v3/historicalTrades", 25),
    "aggTrade": ("/api/v3/aggTrades", 4),
}
# Where the venue does not say how long: the weight of a minute is forgotten in one, and the
# shortest ban that it announces is two.
_UNTOLD = {429: 60.0, 418: 120.0}
_LEAST_PAUSE = 1.0  # a Retry-After of 0 is no leave to hammer
_BREAKER_FAILURES = 5
_BREAKER_REST = 10.0
_TRIAL_SECONDS = 0.25  # until the next look while another request is the breaker's trial
_MINUTE = 60.0


class RestError(Exception):
    """No trades this time; `note` is a sentence for people."""

    def __init__(self, note: str) -> None:
        """Say why."""
        super().__init__(note)
        self.note = note


class BinanceRest:
    """Pages of trades. All who ask share one budget; a ban stops every request to every host.

    The venue's own count of the weight used (X-MBX-USED-WEIGHT-1M) is believed where it is
    above ours: others may use the same IP.
    """

    def __init__(
        self, settings: BinanceSettings, health: FeedHealth, tls: ssl.SSLContext | None = None
    ) -> None:
        """Prepare; nothing is sent yet."""
        self.settings = settings
        self.health = health
        self.note = ""  # why it does not answer; empty while it does
        self._path, self.weight = _PATHS[settings.trades]
        budget = max(int(settings.weight_per_minute * settings.weight_share), self.weight)
        self._weights = RateWindow(budget, _MINUTE, spare_seconds=1.0, health=health)
        self._breakers = [
            Breaker(host, _BREAKER_FAILURES, _BREAKER_REST, health=health)
            for host in settings.rest_hosts
        ]
        self._host = 0
        self._failures = 0  # in a row, of this host
        self._pause_until = 0.0  # after a failure
        self._ban_until = 0.0  # after a 429 or 418
        self._backoff = Backoff(settings.backoff_first_seconds, settings.backoff_most_seconds / 2)
        key = settings.api_key
        self._headers = {"accept-encoding": "gzip", "user-agent": "nextgen-trading-engine"}
        if key:
            self._headers["x-mbx-apikey"] = key.reveal()
        self._client = httpx2.AsyncClient(
            verify=True if tls is None else tls,
            timeout=settings.request_timeout_seconds,
            trust_env=False,  # the environment is read in one place, and not here
            follow_redirects=False,  # the key is for the venue alone
        )

    async def __aenter__(self) -> Self:
        """Stand ready."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._client.aclose()

    @property
    def banned_seconds(self) -> float:
        """For how long more the venue wants no request."""
        return max(self._ban_until - monotonic(), 0.0)

    async def page(self, symbol: str, first: int, limit: int) -> Page:
        """Return the trades that one request for `limit` ids from `first` on brings.

        It waits its turn: for the weight, for the end of a ban or pause.

        Raises:
            RestError: it failed, and may be tried again at once: the pause is kept here.
        """
        params = {"symbol": symbol, "fromId": str(first), "limit": str(limit)}
        while True:
            await self._turn()
            place = self._usable_host()
            try:
                async with self._breakers[place] as breaker:
                    body = await self._sent(breaker.name, params)
                    # A refusal is an answer, so nothing is raised for it within the breaker.
                    page = None if body is None else read_page(body, self.settings.trades)
            except BreakerOpenError as error:
                await asyncio.sleep(max(error.rest_seconds, _TRIAL_SECONDS))
            except (_HostError, PageError) as error:
                self._failed(place, str(error))
                raise RestError(self.note) from None
            else:
                if page is None:
                    raise RestError(self.note)
                self._failures = 0
                self._backoff.reset()
                self.note = ""
                return page

    async def _turn(self) -> None:
        """Wait until a request may be sent, and take its weight."""
        while True:
            rest = max(self._ban_until, self._pause_until) - monotonic()
            if rest > 0:
                await asyncio.sleep(rest)
                continue  # it may have been put off meanwhile
            await self._weights.wait(self.weight)
            if max(self._ban_until, self._pause_until) <= monotonic():
                return

    def _usable_host(self) -> int:
        """Return the host in use, or the next whose breaker is closed; else that in use."""
        count = len(self._breakers)
        for step in range(count):
            place = (self._host + step) % count
            if not self._breakers[place].open:
                return place
        return self._host

    async def _sent(self, host: str, params: dict[str, str]) -> bytes | None:
        """Return a page's body; None where the host works but refuses, which `note` tells."""
        counts = self.health.counts
        counts["requests"] += 1
        try:
            async with (
                asyncio.timeout(self.settings.request_timeout_seconds),
                self._client.stream(
                    "GET", host + self._path, params=params, headers=self._headers
                ) as response,
            ):
                self._weigh(response.headers)
                body = await decoded(response.headers, response.aiter_raw(), _MAX_BODY)
        except TimeoutError:
            raise _HostError("no answer in time") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            raise _HostError(_reason(error)) from None
        except BodyError as error:
            raise _HostError(str(error)) from None
        status = response.status_code
        if status in _UNTOLD:
            self._limited(status, response.headers)
            return None
        if status == 400:  # this request's own fault, so the others need not wait
            counts["requests_failed"] += 1
            self.note = f"REST refuses {params['symbol']} (HTTP 400)"
            return None
        if status != 200:
            raise _HostError(f"HTTP {status}")
        return body

    def _weigh(self, headers: Any) -> None:
        told = headers.get("x-mbx-used-weight-1m", "")
        if told.isascii() and told.isdigit() and len(told) < 10:
            more = min(int(told), self._weights.limit) - self._weights.used
            if more > 0:
                self._weights.allows(more)
        self.health.gauges["weight_used"] = float(self._weights.used)

    def _limited(self, status: int, headers: Any) -> None:
        told = retry_after(headers)
        seconds = max(_UNTOLD[status] if told is None else told, _LEAST_PAUSE)
        self._ban_until = max(self._ban_until, monotonic() + seconds)
        self.health.counts["rate_limited" if status == 429 else "banned"] += 1
        self.note = f"REST asks to wait {seconds:.0f} s (HTTP {status})"
        log.warning("binance_rest_limited", status=status, seconds=seconds)

    def _failed(self, place: int, reason: str) -> None:
        self.health.counts["requests_failed"] += 1
        self._pause_until = max(self._pause_until, monotonic() + self._backoff.next())
        host = self.settings.rest_hosts[place]
        self.note = f"REST at {host} fails: {reason}"
        log.warning("binance_rest_failed", host=host, reason=reason)
        if place != self._host:
            return
        self._failures += 1
        if self._failures >= self.settings.failures_before_next_host:
            self._failures = 0
            if len(self._breakers) > 1:
                self._host = (self._host + 1) % len(self._breakers)
                self.health.counts["host_failovers"] += 1


class _HostError(Exception):
    """The host failed us: the breaker counts it."""


def _reason(error: Exception) -> str:
    """Return what went wrong without the request, which a message of the library may hold."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"its certificate is not accepted ({cause.reason or type(cause).__name__})"
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
