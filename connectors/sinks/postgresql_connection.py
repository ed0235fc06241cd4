"""Connect to PostgreSQL, and put its errors into ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
from psycopg.abc import RV, PQGen

from connectors.secrets import Secret, redact
from connectors.sinks.writers import RowRefused, StoreDown, StoreRefused
from operators.errors import EngineError

CONNECT_SECONDS = 5

# What only a person can put right, by class of SQLSTATE: authorisation, no such database or
# schema, no such table or no permission, not supported by this server, damaged data.
_PERSON = {"28", "3D", "3F", "42", "0A", "XX"}
# A value in the batch: data, constraint, cardinality, a limit (a key too long for its index).
_VALUE = {"22", "23", "21", "54"}
# The server tells no SQLSTATE while a connection is made, so its words must do. Those of a
# server that speaks another language are taken for a store that is down, and logged as such.
_PERSON_WORDS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "does not exist",
    "permission denied",
    "not permitted to log in",
    "certificate",
    "does not support SSL",
    "does not match host name",
)


class PostgresqlSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the cold store is; the password is passed apart.

    With `tls` the server must show a certificate for `host` that `ca` has signed (the system's
    authorities where `ca` is None); without it nothing is encrypted.
    """

    host: str = "127.0.0.1"
    port: int = 5432
    database: str = "nextgen"
    user: str = "nextgen"
    tls: bool = False
    ca: str | None = None  # path of a PEM file
    keep_days: int = 365  # of event time; a year is what evaluations look back at
    patience_seconds: float = 30.0  # for any one answer; a halted server gives none


class Connection(psycopg.Connection[Any]):
    """A connection that waits for any one answer only so long."""

    patience: float | None = None  # seconds

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Wait for the server as psycopg does, at most `patience` unless told otherwise."""
        return super().wait(gen, interval, self.patience if timeout is None else timeout)


def connect(
    settings: PostgresqlSettings, password: Secret, *, autocommit: bool = True
) -> Connection:
    """Return a new connection; what it commits is on disk.

    Raises:
        StoreDown: the server cannot be reached or is not ready.
        StoreRefused: a wrong password, database, permission or certificate.
    """
    limit = round(settings.patience_seconds * 1000)
    with translating(settings):
        connection = Connection.connect(
            host=settings.host,
            port=settings.port,
            dbname=settings.database,
            user=settings.user,
            password=password.reveal(),
            sslmode="verify-full" if settings.tls else "disable",
            sslrootcert=(settings.ca or "system") if settings.tls else None,
            gssencmode="disable",
            connect_timeout=CONNECT_SECONDS,
            # A host that is gone is told after about 11 s, also while nothing is sent.
            keepalives_idle=5,
            keepalives_interval=2,
            keepalives_count=3,
            tcp_user_timeout=11_000,
            application_name="nextgen",
            # The server gives up what we no longer wait for, so that no lock stays behind.
            options=f"-c statement_timeout={limit} -c idle_in_transaction_session_timeout={limit}",
            client_encoding="utf8",
            autocommit=True,
        )
    connection.patience = settings.patience_seconds
    try:
        with translating(settings):
            connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') = 'off'"
            )
            connection.set_autocommit(autocommit)
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def translating(settings: PostgresqlSettings) -> Iterator[None]:
    """Raise psycopg's errors as StoreDown, StoreRefused or RowRefused."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, settings) from error


def translated(error: BaseException, settings: PostgresqlSettings) -> EngineError:
    """Return the error to raise for `error`: what happened, and what to do."""
    place = f"PostgreSQL at {settings.host}:{settings.port}, database {settings.database}"
    said = redact(_words(error))
    state = getattr(error, "sqlstate", None) or ""
    if isinstance(error, psycopg.DataError) or state[:2] in _VALUE:
        return RowRefused(f"{place}, takes no such row: {said}")
    refused = not state and any(words in str(error) for words in _PERSON_WORDS)
    if refused or state[:2] in _PERSON:
        return StoreRefused(
            f"{place}, refuses user {settings.user}: {said}; check the password, the permissions, "
            "the name of the database, the certificates, or what the server's log says"
        )
    return StoreDown(f"{place}, cannot be used now: {said}; it will be tried again")


def _words(error: BaseException) -> str:
    """The first line: DETAIL and CONTEXT, which may show whole rows, come after it."""
    return str(error).strip().partition("\n")[0]
