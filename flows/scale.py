"""The processes of a run through Kafka behind ingest: shards, portfolio, archive.

Each ends in order on SIGTERM or SIGINT, and when what it reads has ended.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import structlog

from connectors.kafka.barriers import BarrierLog, BarrierSource, BarrierWatch, watching
from connectors.kafka.reader import KafkaRowReader
from connectors.kafka.topics import (
    BARRIERS,
    DECISION_STATE,
    FUSED,
    LOG,
    STATE,
)
from connectors.kafka.wire import Entry, decode, end, rejected
from connectors.sinks.drain import Drain, stop_drains
from connectors.sinks.refused_rows import FILE_NAME, RefusedRows
from connectors.sinks.sqlite_writer import SqliteWriter
from connectors.sinks.writers import Writer
from flows import ingest, portfolio, shards
from flows.broker import Broker, await_agreed, begin, broker_of, run_to_end
from flows.error_reports import report_errors
from flows.logs import log_to_standard_error
from flows.services import Services, writers_of
from flows.settings import Settings
from operators.commits import latest, restored
from operators.errors import SettingsError
from operators.keyed import Cuts
from operators.messages import (
    Barrier,
    Clock,
    Commit,
    DeliveredBar,
    Fused,
    Hole,
    Notice,
    Part,
    Quote,
    Reason,
    Rejection,
    Switch,
    Tick,
)

ARCHIVE_LEAVE = 8.0  # seconds for what waits, when archive is told to stop
_LOOK = 0.2


# ------------------------------------------------------------------------------- shards


def parse_shards(text: str, count: int) -> tuple[int, ...]:
    """Return the shards that `text` names, as "0-3,6".

    >>> parse_shards("0-2,5", 8)
    (0, 1, 2, 5)

    Raises:
        SettingsError: it is no such list, or names a shard that there is not.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise SettingsError(f"expected shards as '0-3' or '0,2,5', found '{text}'")
        found.update(range(int(first), int(last or first) + 1))
    if not found or max(found) >= count:
        raise SettingsError(f"expected shards from 0 to {count - 1}, found '{text}'")
    return tuple(sorted(found))


def run_shards(services: Services, text: str) -> bool:
    """Run some shards up to fused scores; return whether their logs have ended.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    log_to_standard_error()
    report_errors()
    stop = begin()
    broker = broker_of(services)
    begun = await_agreed(broker, stop)
    if begun is None:
        return False
    agreed, models = begun
    settings = agreed.settings
    numbers = parse_shards(text, agreed.partitions)
    own = {
        shard: symbols
        for shard, symbols in ingest.shards_of(settings.symbols, agreed.partitions).items()
        if int(shard) in numbers
    }
    if not own:
        structlog.get_logger(__name__).warning("shards_without_symbols", shards=text)
        return True
    start: dict[int, int] = {}
    states: dict[tuple[str, str], bytes] = {}
    for shard in own:
        found = latest(_cut_entries(broker, STATE.name, int(shard)), shard)
        if found is not None:
            commit, parts = found
            start[int(shard)] = commit.offsets[shard]
            states |= restored(parts)
            structlog.get_logger(__name__).info(
                "shard_goes_on", shard=shard, ts_close=commit.ts_close
            )
    source = broker.source(
        LOG.name, [int(shard) for shard in own], start, stop, _reader_of(_is_input)
    )
    run_to_end(shards.build(settings, models, source, broker.sink(), own, _cuts(settings, states)))
    finished = not stop.is_set()
    if finished:
        broker.send([end(FUSED.name, int(shard)) for shard in own])
    return finished


def _cut_entries(broker: Broker, topic: str, partition: int) -> Iterable[Part | Commit]:
    return (
        message for message in broker.past(topic, partition) if isinstance(message, Part | Commit)
    )


def _is_input(message: Any) -> bool:
    return isinstance(
        message, Tick | Quote | DeliveredBar | Clock | Notice | Hole | Switch | Rejection
    )


def _reader_of(
    fits: Callable[[Any], bool], seen: Callable[[Any], Any] = lambda message: message
) -> Callable[[Entry], Any]:
    """Return what decodes entries; a message that does not fit the topic becomes a Rejection."""

    def read(entry: Entry) -> Any:
        message = decode(entry)
        if isinstance(message, Rejection) or fits(message):
            return seen(message)
        return rejected(entry, Reason.BAD_TYPE)

    return read


def _cuts(settings: Settings, states: dict[tuple[str, str], bytes]) -> Cuts:
    return Cuts(
        settings.group.interval_ns, settings.checkpoint_every, states, settings.group.calendar
    )


# ---------------------------------------------------------------------------- portfolio


def run_portfolio(services: Services, patience: float | None) -> bool:
    """Decide over all shards; return whether they have ended.

    Live, a bar close waits `patience` seconds for a shard; None waits for ever, as a replay
    should.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    log_to_standard_error()
    report_errors()
    stop = begin()
    broker = broker_of(services)
    begun = await_agreed(broker, stop)
    if begun is None:
        return False
    agreed, models = begun
    settings = agreed.settings
    homes = ingest.shards_of(settings.symbols, agreed.partitions)
    found = latest(_cut_entries(broker, DECISION_STATE.name, 0), portfolio.KEY)
    start: dict[int, int] = {}
    states: dict[tuple[str, str], bytes] = {}
    done = 0
    if found is not None:
        commit, parts = found
        start = {int(shard): offset for shard, offset in commit.offsets.items()}
        states |= restored(parts)
        done = commit.ts_close
        structlog.get_logger(__name__).info("portfolio_goes_on", ts_close=done)
    numbers = [int(shard) for shard in homes]
    source = broker.source(
        FUSED.name,
        numbers,
        start,
        stop,
        _reader_of(
            lambda message: (
                isinstance(message, Fused)
                and homes.get(str(message.cross.shard)) == message.cross.symbols
            ),
            lambda message: message if watch is None else watching(watch, message),
        ),
        patient=patience is None,
    )
    watch = (
        None
        if patience is None
        else BarrierWatch(
            numbers, patience, ready=lambda: source.caught_up.issuperset(numbers), done=done
        )
    )
    barriers = BarrierSource(
        watch, BarrierLog(broker.settings, broker.password), lambda: source.ended, stop
    )
    barred = [each for each in broker.past(BARRIERS.name) if isinstance(each, Barrier)]
    run_to_end(
        portfolio.build(
            settings,
            models,
            source,
            barriers,
            broker.sink(),
            homes,
            _cuts(settings, states),
            done=done,
            barred=barred,
        )
    )
    return not stop.is_set()


# ------------------------------------------------------------------------------ archive


def run_archive(
    services: Services, folder: Path, store: Path | None, *, idle_seconds: float | None = None
) -> None:
    """Bring what the others send into the stores, until told to stop.

    `store` is a SQLite file, made if need be; `folder` keeps rows that a store refused. With
    `idle_seconds` it ends once all stores are up and nothing has come for so long.

    Raises:
        EngineError: what cannot be done, in one sentence.
    """
    log_to_standard_error()
    report_errors()
    stop = begin()
    broker = broker_of(services)
    begun = await_agreed(broker, stop)
    if begun is None:
        return
    agreed, _ = begun
    writers: list[Writer] = writers_of(services, agreed.settings.profile)
    if store is not None:
        writers.append(SqliteWriter(store))
    if not writers:
        raise SettingsError("archive needs a store: name one in the services file, or by --store")
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        drains = []
        for writer in writers:
            reader = KafkaRowReader(
                broker.settings, broker.password, group=f"archive-{writer.name}"
            )
            stack.callback(reader.close)
            drains.append(Drain(reader, writer, RefusedRows(folder / FILE_NAME)))
        for drain in drains:
            drain.start()
        written, since = -1, time.monotonic()
        while not stop.wait(_LOOK):
            now = sum(drain.health.counts["written"] for drain in drains)
            if now != written or any(drain.health.state != "up" for drain in drains):
                written, since = now, time.monotonic()
            elif idle_seconds is not None and time.monotonic() - since >= idle_seconds:
                break
        stop_drains(drains, ARCHIVE_LEAVE)
