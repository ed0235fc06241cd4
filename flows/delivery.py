"""Hand a run's rows to the stores beside SQLite, by an outbox that the flow never waits for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event

import structlog
from prometheus_client import CollectorRegistry

from connectors.sinks.drain import Drain, finish_drains, stop_drains
from connectors.sinks.outbox import Outbox
from connectors.sinks.outbox_reader import OutboxReader
from connectors.sinks.outbox_sink import OutboxSink
from connectors.sinks.store_metrics import StoreCollector
from flows.logs import log_to_standard_error
from flows.services import Services, writers_of

COLD = "postgresql"  # what it has, the warm store may drop
LEAVE = 5.0  # seconds for what waits when a run is stopped; the next run delivers the rest

_log = structlog.get_logger(__name__)


def outbox_folder(store: Path) -> Path:
    """Return where the run stored at `store` keeps what its stores have yet to take."""
    return Path(f"{store}.outbox")


@contextmanager
def delivering(
    services: Services,
    store: Path,
    profile: str,
    *,
    stop: Event,
    simulated: bool,
    registry: CollectorRegistry | None = None,
) -> Iterator[OutboxSink]:
    """Give the sink that feeds the stores, and drain it into them while the block runs.

    At its end the stores that are up get all that waits, for as long as it takes; once `stop`
    is set, or after an error, what they take within five seconds. `registry` shows how they do.

    Raises:
        StoreError, JournalError: the outbox cannot be used.
        SettingsError: a store's settings cannot work.
    """
    log_to_standard_error()
    writers = writers_of(services, profile)
    outbox = Outbox(
        outbox_folder(store),
        [writer.name for writer in writers],
        max_bytes=services.outbox.max_bytes,
    )
    drains = [
        Drain(OutboxReader(outbox, writer.name), writer, outbox.refused) for writer in writers
    ]
    if registry is not None:
        registry.register(StoreCollector(drains, outbox))
    try:
        for drain in drains:
            drain.start()
        yield OutboxSink(outbox, simulated=simulated)
        finish_drains(drains, stop)
    finally:
        stop_drains(drains, LEAVE)
        for drain in drains:
            behind = outbox.backlog(drain.writer.name)
            if behind.rows:
                _log.warning("store_left_behind", store=drain.writer.name, rows=behind.rows)
        outbox.close()


def proven_by(services: Services, sink: OutboxSink) -> Callable[[], int] | None:
    """Return what tells up to which bar close (ns) the cold store has all; None without one."""
    return None if services.postgresql is None else partial(sink.outbox.proven, COLD)
