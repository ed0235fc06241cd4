"""Run the API: check where it may listen, open what it reads, and serve."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import structlog
import uvicorn

from api.alert_desk import AlertDesk
from api.app import make_app, status
from api.connections import protocol_of
from api.context import Context
from api.control import ControlStream, InletControl
from api.frames import Frames
from api.hot import HotSignals
from api.keys import KeyStore
from api.push import Hub
from api.reader import Reader
from api.rows import Rows, SqliteRows
from api.settings import ApiSettings
from connectors.inlet import inlet_folder
from models.runtime import ONNX
from operators.errors import SettingsError

_MESSAGE_BYTES = 4096  # of a WebSocket client: a subscription has fewer


@dataclass(frozen=True)
class Sources:
    """What an API reads, and where its orders go."""

    rows: Rows
    control: ControlStream
    alerts: AlertDesk
    hot: HotSignals | None = None
    models: Path = field(default=ONNX)


def beside(store: Path, models: Path = ONNX) -> Sources:
    """Return the sources of a run in one process, stored at `store`."""
    control = InletControl(inlet_folder(store))
    return Sources(SqliteRows(store), control, AlertDesk(store), models=models)


def make_context(settings: ApiSettings, sources: Sources) -> Context:
    """Put the parts of an API together."""
    reader = Reader(sources.rows)
    frames = Frames(reader, patient=sources.rows.name != "sqlite")
    hub = Hub(
        frames,
        lambda: status(context),
        poll_seconds=settings.poll_seconds,
        kept=settings.frames_kept,
    )
    context = Context(
        settings, reader, sources.control, sources.alerts, hub, sources.models, sources.hot
    )
    return context


class ApiServer(uvicorn.Server):
    """Say once where it listens, and let those go who listen to the push before it ends."""

    def __init__(
        self, config: uvicorn.Config, hub: Hub, started: Callable[[int], None] | None
    ) -> None:
        """Take the push, and who is told the port."""
        super().__init__(config)
        self._hub = hub
        self._started = started

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started and self._started is not None:
            self._started(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """End: a push lasts for ever, and would be waited for and then cut."""
        self._hub.close()
        await super().shutdown(sockets)


def make_server(
    settings: ApiSettings,
    sources: Sources,
    keys: KeyStore,
    started: Callable[[int], None] | None = None,
) -> ApiServer:
    """Return a server that is ready to run; `started` gets the port once it answers.

    Raises:
        SettingsError: it must not listen there, or cannot with this certificate.
    """
    settings.check(keys=any(key.revoked is None for key in keys.list()))
    context = make_context(settings, sources)
    config = uvicorn.Config(
        make_app(context, keys),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
        http=protocol_of(settings.connections_per_address, settings.patience_seconds),
        ws="websockets-sansio",
        ws_max_size=_MESSAGE_BYTES,
        # Each listener's copy of a frame would be compressed anew: most of what a push then costs.
        ws_per_message_deflate=False,
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        h11_max_incomplete_event_size=settings.header_bytes,
        # Behind this the guard says no, one by one; here a flood ends.
        limit_concurrency=settings.requests_at_once + settings.listeners + 100,
        backlog=256,
        timeout_keep_alive=10,
        timeout_graceful_shutdown=3,
        proxy_headers=False,  # nobody's word for an address but the socket's
        server_header=False,
        date_header=True,
        access_log=False,
        log_config=None,
        lifespan="on",
    )
    if settings.tls:
        try:
            config.load()
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"the certificate or its key cannot be used: {error}") from error
        assert config.ssl is not None
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return ApiServer(config, context.hub, started)


def serve(
    settings: ApiSettings,
    sources: Sources,
    keys: KeyStore,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; `started` gets the address once it answers.

    Raises:
        SettingsError: it must not, or cannot, listen there.
    """
    scheme = "https" if settings.tls else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def announce(port: int) -> None:
        if started is not None:
            started(f"{scheme}://{host}:{port}/")

    server = make_server(settings, sources, keys, announce)
    try:
        server.run()
    except SystemExit as error:
        raise SettingsError(
            f"port {settings.port} of {settings.host} cannot be used; name another by --port"
        ) from error
    structlog.get_logger(__name__).info("api_ended")
