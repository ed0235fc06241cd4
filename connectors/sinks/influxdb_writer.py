"""InfluxDB as the store for analytics, over its v2 write API.

*At least once; points are written over by measurement, tags and time.*
"""

import re
import ssl
from collections.abc import Iterator
from itertools import batched
from urllib.parse import urlsplit

import msgspec
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS, WriteApi
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from connectors.secrets import Secret, redact
from connectors.sinks.influxdb_points import line_of, tag_value
from connectors.sinks.writers import RowRefused, Rows, StoreDown, StoreRefused
from operators.errors import EngineError, SettingsError

LINES = 5_000  # in one request: InfluxDB's own advice
_SAID = 200  # characters of the server's own words that are passed on
_LATER = frozenset({408, 425, 429})  # and all from 500 on
_BAD_POINTS = frozenset({400, 413, 422})  # 413: halved, the batch fits
_CHECK_URL = "check that influxdb.url leads to InfluxDB"
_NOTHING = "\n"  # no points: InfluxDB checks token, organisation and bucket, and writes nothing

_URL = re.compile(r"https?://([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?(/[\w./~-]*)?")


class InfluxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which bucket of which server."""

    url: str = "http://127.0.0.1:8086"
    org: str = "nextgen"
    bucket: str = "nextgen"  # its own retention period says how long points are kept
    ca: str | None = None  # PEM file of who signs the server's certificate; None: the system's
    timeout_seconds: float = 10.0  # of each request


class InfluxWriter:
    """Write signals, bars, portfolio and outcomes as points; other rows are of no measurement.

    `profile` becomes a tag of each point. A Writer, as in `writers.py`.
    """

    name = "influxdb"

    def __init__(self, settings: InfluxSettings, token: Secret, profile: str) -> None:
        """Prepare; nothing is opened yet.

        Raises:
            SettingsError: the URL cannot be used, or the profile's name be no tag.
        """
        self.settings = settings
        self.token = token
        self.profile = profile
        try:
            tag_value(profile)
        except ValueError as error:
            raise SettingsError(f"{error}; give the profile another name") from error
        self.where = _where(settings.url)  # for people: without a path or anything secret
        self._client: InfluxDBClient | None = None
        self._points: WriteApi | None = None

    def connect(self) -> None:
        """Connect unless connected; token, organisation and bucket are tried.

        Raises:
            StoreDown: InfluxDB does not answer, or answers "later".
            StoreRefused: token, organisation, bucket or certificate is wrong.
        """
        self._connected()

    def _connected(self) -> WriteApi:
        if self._points is not None:
            return self._points
        settings = self.settings
        self._client = InfluxDBClient(
            settings.url,
            token=self.token.reveal(),
            org=settings.org,
            timeout=int(settings.timeout_seconds * 1000),
            enable_gzip=True,
            ssl_context=self._trust(),
            connection_pool_maxsize=1,  # one thread writes
        )
        points = self._client.write_api(write_options=SYNCHRONOUS)
        try:
            self._post(points, _NOTHING)
        except RowRefused as error:  # although nothing was sent: this is no InfluxDB
            self.close()
            raise StoreRefused(f"{error}; {_CHECK_URL}") from error
        self._points = points
        return points

    def write(self, rows: Rows) -> None:
        """Write the rows that are of a measurement, at most 5,000 in a request.

        Nothing is sent if one of them fits no point.

        Raises:
            StoreDown: InfluxDB does not answer, or answers "later"; some may be written.
            StoreRefused: as in `connect`.
            RowRefused: one of the rows is no point, or InfluxDB refused one.
        """
        made = (line_of(table, row, self.profile) for table, row in rows)
        lines = [line for line in made if line is not None]
        points = self._connected()
        for some in batched(lines, LINES):
            self._post(points, "\n".join(some))

    def tidy(self, now: int) -> None:
        """Do nothing: the bucket drops what is older than its retention period."""

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()  # type: ignore[no-untyped-call]
        self._client = self._points = None

    def _trust(self) -> ssl.SSLContext | None:
        if not self.settings.url.startswith("https"):
            return None
        try:
            return ssl.create_default_context(cafile=self.settings.ca)
        except OSError as error:  # an SSLError is one
            raise StoreRefused(
                f"expected certificates in PEM at influxdb.ca, {self.settings.ca}, found none that "
                f"can be read ({error.strerror or error}); name the file of your authority"
            ) from error

    def _post(self, points: WriteApi, lines: str) -> None:
        try:  # times are nanoseconds, which is the client's default
            points.write(self.settings.bucket, self.settings.org, lines)
        except (ApiException, HTTPError, OSError, UnicodeDecodeError) as error:
            told = self._told(error)
            if not isinstance(told, RowRefused):
                self.close()
            raise told from error

    def _told(self, error: Exception) -> EngineError:
        """Say what `error` means for the batch."""
        status = error.status if isinstance(error, ApiException) else None
        if not status:  # it never answered
            return _unanswered(self.where, error)
        answer = f"InfluxDB at {self.where} answered {status}{_words(error)}"
        if status in _LATER or status >= 500:
            return StoreDown(f"{answer}; it is tried again")
        if status in _BAD_POINTS:
            return RowRefused(answer)
        if status in {401, 403}:
            return StoreRefused(
                f"{answer}; give a token that may write to the bucket '{self.settings.bucket}'"
            )
        if status == 404:
            return StoreRefused(
                f"{answer}; make the bucket '{self.settings.bucket}' in the organisation "
                f"'{self.settings.org}', or name those there are"
            )
        return StoreRefused(f"{answer}; {_CHECK_URL}")


def _where(url: str) -> str:
    """Return scheme, host and port of `url`.

    >>> _where("https://metrics.example:8086/influx")
    'https://metrics.example:8086'
    """
    if not _URL.fullmatch(url):
        raise SettingsError(
            "expected influxdb.url like 'https://host:8086', without a user's name or a query, "
            "found another form; correct it, and give the token apart"
        )
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _unanswered(where: str, error: Exception) -> EngineError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StoreRefused(
                f"the certificate of InfluxDB at {where} is not trusted "
                f"({cause.verify_message}); name its authority's file in influxdb.ca"
            )
    return StoreDown(
        f"InfluxDB at {where} does not answer ({type(error).__name__}); it is tried again"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield `error` and all that led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _words(error: Exception) -> str:
    said = re.sub(r"\s+", " ", redact(str(getattr(error, "message", "") or ""))).strip()
    return f" ({said[:_SAID]})" if said else ""
