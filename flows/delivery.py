"""Hand a run's rows to the stores beside SQLite, by an outbox that the flow never waits for."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from connectors.sinks.drain import Drain, stop_drains
from connectors.sinks.outbox import Outbox
from connectors.sinks.outbox_reader import OutboxReader
from connectors.sinks.outbox_sink import OutboxSink
from flows.services import Services, writers_of

LEAVE = 5.0  # seconds at the end for what waits; the rest is delivered by the next run


def outbox_folder(store: Path) -> Path:
    """Return where the run stored at `store` keeps what its stores have yet to take."""
    return Path(f"{store}.outbox")


@contextmanager
def delivering(
    services: Services, store: Path, profile: str, *, simulated: bool
) -> Iterator[OutboxSink]:
    """Give the sink that feeds the stores, and drain it into them while the block runs.

    Raises:
        StoreError, JournalError: the outbox cannot be used.
        SettingsError: a store's settings cannot work.
    """
    writers = writers_of(services, profile)
    outbox = Outbox(
        outbox_folder(store),
        [writer.name for writer in writers],
        max_bytes=services.outbox.max_bytes,
    )
    drains = [
        Drain(OutboxReader(outbox, writer.name), writer, outbox.refused) for writer in writers
    ]
    try:
        for drain in drains:
            drain.start()
        yield OutboxSink(outbox, simulated=simulated)
    finally:
        stop_drains(drains, LEAVE)
        outbox.close()
