"""The hot tier: the last hour's signals and the newest state of each symbol, in Redis or Valkey.

| key | holds |
|---|---|
| `nextgen:signal:SIGNAL_ID` | a signal as JSON; it expires |
| `nextgen:latest:SYMBOL` | a hash of the newest `signal`, `bar` and `outcome`, each as JSON |
| `nextgen:portfolio:latest` | the newest portfolio as JSON |
| `nextgen:signals` | a stream of signal_id, symbol and ts_close, in order of bar closes |
| `nextgen:live` | a channel on which each new signal is published as JSON, once |
| `nextgen:layout` | the version of all this |
"""

import ssl
from itertools import batched, chain
from typing import Any

import msgspec
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,  # noqa: A004 - Redis's own, which is no OSError
    RedisError,
    TimeoutError,  # noqa: A004
)
from redis.retry import Retry

from connectors.secrets import Secret, redact
from connectors.sinks.redis_rows import MILLISECOND, PAGE, encoded, place_of, signal_key, stream_key
from connectors.sinks.redis_scripts import NEWEST, SIGNALS
from connectors.sinks.writers import Rows, StoreDown, StoreRefused
from operators.errors import EngineError

LAYOUT = "1"
CHUNK = 256  # signals in one script, which nothing interrupts

_FIELDS = {"signals": "signal", "bars": "bar", "outcomes": "outcome", "portfolio": ""}
# Replies that pass: memory or disk is full, a failover, a start, a script of somebody else.
_PASSING = {"OOM", "MISCONF", "READONLY", "LOADING", "NOREPLICAS", "MASTERDOWN", "BUSY"}


class RedisSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the hot tier is; its password is given apart."""

    host: str = "127.0.0.1"
    port: int = 6379
    db: int = 0
    username: str | None = None
    tls: bool = False
    ca: str | None = None  # file of certificates to trust besides the system's
    # Before each key. Runs over different times do not mix: each has its own.
    prefix: str = "nextgen"
    keep_seconds: int = 3600  # of event time
    timeout_seconds: float = 5.0  # for connecting, and for each reply


def open_client(settings: RedisSettings, password: Secret | None = None) -> Redis:
    """Return a client which connects when it is first used, and tries everything once."""
    return Redis(
        host=settings.host,
        port=settings.port,
        db=settings.db,
        username=settings.username,
        password=password.reveal() if password else None,
        ssl=settings.tls,
        ssl_ca_certs=settings.ca,
        socket_timeout=settings.timeout_seconds,
        socket_connect_timeout=settings.timeout_seconds,
        retry=Retry(NoBackoff(), 0),  # who writes decides when to try again
        protocol=2,
        decode_responses=True,
    )


class RedisWriter:
    """Rows of signals, bars, outcomes and portfolios into Redis 7 or Valkey 8, or later.

    *At least once; a signal stands in the stream once, and is published once*: whether it is
    there is asked, and it is added, in one step. Its place in the stream is a function of the
    row (`place_of`), so that a reader who goes on from a place misses nothing where a server
    lost its data and is written again. A signal written behind a later one stands at the end.
    What closed `keep_seconds` before the newest is not written. Other tables are passed over,
    later forms of bars among them.

    As durable as the server: with `appendonly yes` its crash costs nothing, and a power cut
    what `appendfsync` says.
    """

    name = "redis"

    def __init__(self, settings: RedisSettings, password: Secret | None = None) -> None:
        """Prepare the writer; nothing is connected yet."""
        self.settings = settings
        self._password = password
        self._place = f"redis at {settings.host}:{settings.port}"
        self._stream = stream_key(settings.prefix)
        self._keep = settings.keep_seconds * 1000  # ms
        self._client: Redis | None = None
        self._told_old = False
        self._log = structlog.get_logger(__name__)

    def connect(self) -> None:
        """Connect unless connected, and check the layout's version; an empty store is given it.

        Raises StoreDown or StoreRefused.
        """
        if self._client is not None:
            return
        self._client = client = open_client(self.settings, self._password)
        key = f"{self.settings.prefix}:layout"
        try:
            if client.get(key) is None:  # asked first: a full or read-only store may have it
                client.set(key, LAYOUT, nx=True)
            found = str(client.get(key))
        except RedisError as error:
            raise self._failed(error) from error
        if found != LAYOUT:
            self.close()
            raise StoreRefused(
                f"{self._place} has layout {redact(found[:20])}, this engine expects {LAYOUT}: "
                f"give another prefix, or delete its keys {self.settings.prefix}:*"
            )
        self._newest = client.register_script(NEWEST)
        self._signals = client.register_script(SIGNALS)
        self._told_old = False

    def write(self, rows: Rows) -> None:
        """Write rows in order of time; the later of two rows of one key stands.

        Raises StoreDown, StoreRefused, or RowRefused before anything of `rows` is written.
        """
        newest: dict[tuple[str, str], tuple[int, bytes]] = {}
        signals = []
        for table, row in rows:
            if table not in _FIELDS:
                continue
            fields, text = encoded(table, row)
            ts_close, field = fields["ts_close"], _FIELDS[table]
            about = f"latest:{fields['symbol']}" if field else "portfolio:latest"
            slot = (f"{self.settings.prefix}:{about}", field)
            if slot not in newest or newest[slot][0] <= ts_close:
                newest[slot] = (ts_close, text)
            if table == "signals":
                place = place_of(fields["symbol"], ts_close)
                signals.append((place, fields["signal_id"], fields["symbol"], ts_close, text))
        signals.sort(key=lambda signal: signal[0])  # stable: of one key the later stays later
        client = self._connected()
        try:
            if newest:
                given = [(field, text) for (_, field), (_, text) in newest.items()]
                self._newest([key for key, _ in newest], chain(*given), client)
            for some in batched(signals, CHUNK):
                self._add(some, client)
        except RedisError as error:
            raise self._failed(error) from error

    def _add(self, signals: tuple[Any, ...], client: Redis) -> None:
        prefix = self.settings.prefix
        keys = [self._stream, *(signal_key(prefix, signal_id) for _, signal_id, *_ in signals)]
        given = [(*rest, *place, text) for place, *rest, text in signals]
        old = self._signals(keys, [f"{prefix}:live", self._keep, *chain(*given)], client)
        if old and not self._told_old:
            self._told_old = True  # once a connection: a run over another time has nothing else
            self._log.warning("signals_too_old", store=self.name, prefix=prefix, count=old)

    def tidy(self, now: int) -> None:
        """Drop signals that closed `keep_seconds` before `now`, in ns of event time.

        Raises StoreDown or StoreRefused.
        """
        before = now // MILLISECOND - self._keep
        if before <= 0:
            return
        horizon = f"{before}-0"
        client = self._connected()
        try:
            while True:
                page: Any = client.xrange(self._stream, max=f"({horizon}", count=PAGE)
                is_last = len(page) < PAGE
                with client.pipeline(transaction=True) as both:
                    for _, entry in page:
                        both.unlink(signal_key(self.settings.prefix, entry["signal_id"]))
                    # The last entry of a full page is left to the next page.
                    until = horizon if is_last else page[-1][0]
                    both.xtrim(self._stream, minid=until, approximate=False)
                    both.execute()
                if is_last:
                    return
        except RedisError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Let go of the connection. Never raises."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _connected(self) -> Redis:
        if self._client is None:
            raise StoreDown(f"{self._place} is not connected: connect before writing")
        return self._client

    def _failed(self, error: RedisError) -> EngineError:
        """Say what an error means; whatever comes next begins with a new connection."""
        self.close()
        return meaning(error, self._place)


def meaning(error: RedisError, place: str) -> EngineError:
    """Return what to raise for `error` of the server at `place`: what happened, and what to do."""
    said = redact(str(error))
    if isinstance(error, AuthenticationError | AuthorizationError):
        return StoreRefused(f"{place} refused the user's name or password: correct them")
    code = error.status_code or said.partition(" ")[0]
    if code in _PASSING:
        return StoreDown(f"{place} takes nothing now, it is tried again: {said}")
    if not isinstance(error, ConnectionError | TimeoutError):
        return StoreRefused(f"{place} refused what was asked of it, correct its setup: {said}")
    cause = error.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return StoreRefused(
            f"{place} shows a certificate that is not trusted ({cause.verify_message}): "
            "name the file of its authority as ca"
        )
    if isinstance(cause, FileNotFoundError):
        return StoreRefused(f"{place} cannot be checked, the file given as ca is not there")
    return StoreDown(f"{place} cannot be reached, it is tried again: {said}")
