"""The processes of a run through Kafka: ingest, shards, portfolio, archive.

What they must agree on, the configuration, stands in Kafka beside the log: ingest writes it,
the others read it. Each ends in order on SIGTERM or SIGINT, and when what it reads has ended.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import msgspec
import structlog
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main

from connectors.kafka.admin import ensure_topics, preflight
from connectors.kafka.barriers import BarrierSource, BarrierWatch, watching
from connectors.kafka.control import ControlFeed
from connectors.kafka.past import read_past
from connectors.kafka.reader import KafkaRowReader
from connectors.kafka.send import send
from connectors.kafka.settings import KafkaSettings
from connectors.kafka.sink import KafkaSink
from connectors.kafka.source import KafkaSource
from connectors.kafka.topics import (
    BARRIERS,
    CONFIG,
    DECISION_STATE,
    FUSED,
    LOG,
    STATE,
    TOPICS,
)
from connectors.kafka.wire import Entry, Outgoing, decode, end, outgoing
from connectors.sinks.drain import Drain, stop_drains
from connectors.sinks.refused_rows import FILE_NAME, RefusedRows
from connectors.sinks.sqlite_writer import SqliteWriter
from connectors.sinks.writers import Writer
from connectors.sources.replay import ReplaySource
from connectors.sources.stopping import install_stop_signals
from flows import ingest, portfolio, shards
from flows.engine import inputs_for
from flows.live import Prepared, Request
from flows.logs import log_to_standard_error
from flows.models import Models, load_models
from flows.services import Services, kafka_password, writers_of
from flows.settings import Settings, load_profile
from operators.commits import latest, restored
from operators.errors import SettingsError
from operators.keyed import Cuts
from operators.messages import Barrier, Commit, Part, Raw

EPOCH = timedelta(seconds=1)
CONFIG_SECONDS = 60.0  # that a process waits for ingest to have begun
ARCHIVE_LEAVE = 8.0  # seconds for what waits, when archive is told to stop
_LOOK = 0.2


class Agreed(msgspec.Struct, frozen=True):
    """What all processes of a run must agree on."""

    settings: Settings
    models: tuple[str, ...]
    partitions: int


@dataclass(frozen=True)
class Broker:
    """Kafka as a process sees it."""

    settings: KafkaSettings
    password: str | None

    def send(self, entries: Sequence[Outgoing]) -> None:
        """Send entries, and wait until they are safe."""
        send(self.settings, self.password, entries)

    def past(self, topic: str, partition: int = 0) -> list[Any]:
        """Return the messages that a partition holds now."""
        return [
            decode(entry) for entry in read_past(self.settings, self.password, topic, partition)
        ]

    def sink(self) -> KafkaSink:
        """Return a sink of any topic."""
        return KafkaSink(self.settings, self.password)

    def source(
        self,
        topic: str,
        numbers: Sequence[int],
        start: dict[int, int],
        stop: Event,
        read: Callable[[Entry], Any] = decode,
    ) -> KafkaSource:
        """Return a source that goes on from `start` and ends where the topic ends."""
        return KafkaSource(
            self.settings,
            self.password,
            topic=topic,
            shards=numbers,
            decode=read,
            start=start,
            stop=stop,
            until_end=True,
        )


def broker_of(services: Services) -> Broker:
    """Return Kafka, once it answers and has the topics.

    Raises:
        SettingsError: no Kafka is named.
        KafkaError: it cannot be reached, or has other topics than we expect.
    """
    settings, password = services.need_kafka(), kafka_password()
    ensure_topics(settings, password)
    preflight(settings, password, [topic.name for topic in TOPICS])
    return Broker(settings, password)


# ------------------------------------------------------------------------------- ingest


def ingest_recording(
    services: Services,
    profile: str,
    symbols: tuple[str, ...] | None,
    paths: Sequence[Path],
    headlines: Sequence[Path],
    folder: Path,
) -> bool:
    """Write recordings into the log; return whether all of it is there.

    `folder` keeps where it stands: the same call goes on from there.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    inputs, settings = inputs_for(load_profile(profile, symbols=symbols), paths, headlines)
    stop = Event()
    return _ingest(services, settings, folder, stop, ReplaySource(inputs, stop=stop))


def ingest_live(services: Services, request: Request, folder: Path) -> None:
    """Write what the feeds of a live run bring into the log, until told to stop.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    stop = Event()
    with Prepared(request) as prepared:
        prepared.feeds.append(ControlFeed(services.need_kafka(), kafka_password()))
        source = prepared.source(folder / "journal", stop, None)
        _ingest(services, request.settings, folder, stop, source, live=True)


def _ingest(
    services: Services,
    settings: Settings,
    folder: Path,
    stop: Event,
    source: Source[Raw],
    *,
    live: bool = False,
) -> bool:
    log_to_standard_error()
    broker = broker_of(services)
    models = load_models(settings)
    count = broker.settings.partitions
    recovery = folder / "recovery"
    agreed = Agreed(settings, models.identities, count)
    known = _agreed(broker)
    if known is None:
        shutil.rmtree(recovery, ignore_errors=True)  # of another log
        broker.send([_config(agreed)])
    elif known != agreed:
        raise SettingsError(
            f"the log under the prefix '{broker.settings.prefix}' was begun with another "
            "configuration, universe or models; choose another 'prefix' for this one"
        )
    elif not recovery.is_dir():
        raise SettingsError(
            f"{folder} does not hold where the log under the prefix "
            f"'{broker.settings.prefix}' stands; go on with the folder it was begun with, or "
            "choose another 'prefix'"
        )
    install_stop_signals(stop)
    flow = ingest.build(settings, models, source, broker.sink(), count)
    _run(flow, recovery)
    finished = not stop.is_set() and not live
    if finished:
        broker.send([end(LOG.name, partition) for partition in range(count)])
    return finished


def _config(agreed: Agreed) -> Outgoing:
    return Outgoing(
        topic=CONFIG.name,
        type="config",
        value=msgspec.json.encode(agreed, order="sorted"),
        key=b"settings",
        partition=0,
    )


def _agreed(broker: Broker) -> Agreed | None:
    """Return what ingest has written down last, if anything."""
    found: Agreed | None = None
    for entry in read_past(broker.settings, broker.password, CONFIG.name):
        try:
            found = msgspec.json.decode(entry.value or b"", type=Agreed)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise SettingsError(
                f"{broker.settings.topic(CONFIG.name)} was written by another version of the "
                f"engine ({error}); choose another 'prefix'"
            ) from error
    return found


def _await_agreed(broker: Broker) -> tuple[Agreed, Models]:
    """Return what ingest has written down, and the models it names."""
    limit = time.monotonic() + CONFIG_SECONDS
    while (agreed := _agreed(broker)) is None:
        if time.monotonic() > limit:
            raise SettingsError(
                f"nothing has begun a log under the prefix '{broker.settings.prefix}'; start "
                "'nextgen ingest' first"
            )
        time.sleep(_LOOK)
    models = load_models(agreed.settings)
    if models.identities != agreed.models:
        raise SettingsError(
            "the models here are not those that the log was begun with; install the same onnx/"
        )
    return agreed, models


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
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
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
    broker = broker_of(services)
    agreed, models = _await_agreed(broker)
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
    stop = Event()
    install_stop_signals(stop)
    source = broker.source(LOG.name, [int(shard) for shard in own], start, stop)
    _run(shards.build(settings, models, source, broker.sink(), own, _cuts(settings, states)))
    finished = not stop.is_set()
    if finished:
        broker.send([end(FUSED.name, int(shard)) for shard in own])
    return finished


def _cut_entries(broker: Broker, topic: str, partition: int) -> Iterable[Part | Commit]:
    return [
        message for message in broker.past(topic, partition) if isinstance(message, Part | Commit)
    ]


def _cuts(settings: Settings, states: dict[tuple[str, str], bytes]) -> Cuts:
    return Cuts(settings.group.interval_ns, settings.checkpoint_every, states)


# ---------------------------------------------------------------------------- portfolio


def run_portfolio(services: Services, patience: float | None) -> bool:
    """Decide over all shards; return whether they have ended.

    Live, a bar close waits `patience` seconds for a shard; None waits for ever, as a replay
    should.

    Raises:
        EngineError, models.runtime.ModelError: what cannot be done, in one sentence.
    """
    log_to_standard_error()
    broker = broker_of(services)
    agreed, models = _await_agreed(broker)
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
    watch = None if patience is None else BarrierWatch(numbers, patience)
    stop = Event()
    install_stop_signals(stop)
    source = broker.source(
        FUSED.name,
        numbers,
        start,
        stop,
        decode if watch is None else lambda entry: watching(watch, decode(entry)),
    )
    barriers = BarrierSource(
        watch,
        lambda barrier: broker.send([outgoing(barrier, BARRIERS.name, partition=0)]),
        lambda: source.ended,
        stop,
    )
    barred = [each for each in broker.past(BARRIERS.name) if isinstance(each, Barrier)]
    _run(
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
    broker = broker_of(services)
    agreed, _ = _await_agreed(broker)
    writers: list[Writer] = writers_of(services, agreed.settings.profile)
    if store is not None:
        writers.append(SqliteWriter(store))
    if not writers:
        raise SettingsError("archive needs a store: name one in the services file, or by --store")
    folder.mkdir(parents=True, exist_ok=True)
    stop = Event()
    install_stop_signals(stop)
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


def _run(flow: Dataflow, recovery: Path | None = None) -> None:
    """Run a flow in this process until its input ends."""
    config = None
    if recovery is not None:
        if not recovery.is_dir():
            fresh = recovery.with_suffix(".fresh")
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(parents=True)
            init_db_dir(fresh, 1)
            fresh.rename(recovery)
        config = RecoveryConfig(str(recovery))
    cli_main(flow, workers_per_process=1, epoch_interval=EPOCH, recovery_config=config)
