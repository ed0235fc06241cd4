"""`nextgen api`: put together what the API reads, and serve it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from api.control import KafkaControl
from api.hot import HotSignals
from api.keys import KeyStore
from api.rows import PostgresqlRows
from api.server import Sources, beside, serve
from api.settings import ApiSettings
from connectors.secrets import Secret
from connectors.sinks.redis_writer import open_client
from flows.error_reports import report_errors
from flows.logs import log_to_standard_error
from flows.secret_lookup import find_secret
from flows.services import Services, kafka_password, load_services
from flows.settings import models_folder
from operators.errors import SettingsError


def serve_command(
    settings: ApiSettings, store: Path, services: Path | None, keys: Path, *, with_parent: bool
) -> None:
    """Serve until stopped, or `with_parent` until standard input ends, and say where."""
    log_to_standard_error()
    report_errors()
    if with_parent:
        Thread(target=_end_with_input, name="parent", daemon=True).start()
    with KeyStore(keys) as held:
        settings.check(keys=any(key.revoked is None for key in held.list()))
        serve(settings, sources_of(load_services(services), store), held, _say)


def sources_of(services: Services, store: Path) -> Sources:
    """Return what to read: PostgreSQL where there is one, else the store; Redis for the newest.

    Orders go to Kafka where the run goes through it, else to the inlet beside the store. Alerts
    are those of the store in any case: whom they were told, no other store keeps.
    """
    sources = beside(store, models_folder())
    rows, control, hot = sources.rows, sources.control, None
    if services.postgresql is not None:
        password = find_secret("POSTGRESQL_PASSWORD") or Secret()
        rows = PostgresqlRows(services.postgresql, password)
    if services.kafka is not None:
        control = KafkaControl(services.kafka, kafka_password())
    if services.redis is not None:
        client = open_client(services.redis, find_secret("REDIS_PASSWORD"))
        hot = HotSignals(client, services.redis.prefix)
    return Sources(rows, control, sources.alerts, hot, sources.models)


@contextmanager
def api_beside(store: Path, port: int = 8600) -> Iterator[str]:
    """Serve `store` from a process of its own while the block runs; yield the address.

    On a free port where `port` is taken.

    Raises:
        SettingsError: it does not come up.
    """
    line = [sys.executable, "-m", "flows.cli", "api", "--store", str(store)]
    line += ["--port", str(port if _is_free(port) else 0), "--with-parent"]
    # Apart from the terminal's Ctrl-C, which is for the run: it ends behind it. Its input is a pipe
    # that nobody writes into: it ends with this process, however that comes.
    process = subprocess.Popen(  # noqa: S603 - our own command
        line,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        if not address:
            raise SettingsError("the API did not come up; 'nextgen api' says why")
        yield address
    finally:
        process.terminate()
        process.communicate()


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _is_free(port: int) -> bool:
    with socket.socket() as asked:
        asked.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            asked.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _say(address: str) -> None:
    sys.stdout.write(f"{address}\n")
    sys.stdout.flush()
