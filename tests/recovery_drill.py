"""End the processes of a run through Kafka at seeded moments, begin each again, and keep count."""

import json
import random
import signal
import sqlite3
import time
from dataclasses import dataclass

from confluent_kafka import Consumer, TopicPartition

from connectors.kafka.settings import client
from connectors.kafka.topics import FUSED, LOG, OUTCOMES, SIGNALS
from tests.integration.replays import rows
from tests.pipeline import ARCHIVE, INGEST, PORTFOLIO, numbers_of
from tests.support import MINUTE

LIMIT = 600.0
FIRST = 1_723_161_480_000_000_000  # ns: of the shipped recording, once it has warmed up
_TOPICS = {INGEST: LOG.name, PORTFOLIO: SIGNALS.name}


@dataclass
class Strike:
    """One process, ended once it has come `share` of the way through event time."""

    process: str
    share: float
    order: signal.Signals = signal.SIGKILL
    seconds_to_end: float = 0.0
    seconds_to_output: float | None = None  # from its new start to what it had not sent before
    repeated: int = 0  # output that was not acknowledged as done with, and is sent again


def seeded(seed, processes, count, *, first=0.1, last=0.9, order=signal.SIGKILL):
    """Return `count` strikes, `processes` in a shuffled turn, each in its own part of the time."""
    generator = random.Random(seed)
    turn = [processes[n % len(processes)] for n in range(count)]
    generator.shuffle(turn)
    part = (last - first) / count
    return [
        Strike(name, first + part * (n + generator.random()), order) for n, name in enumerate(turn)
    ]


def drill(pipeline, watch, strikes, span):
    """Run the pipeline's processes to their end, and each of `strikes` on the way.

    `span` is the first and last bar close. A process is struck again only once it has sent
    something new; meanwhile others may be.
    """
    begin, end = span
    waiting = {name: [s for s in strikes if s.process == name] for name in pipeline.processes}
    back = {}  # by process: its last strike, and what it had sent before that
    last = {}  # by process: its last strike, and what had been repeated before that
    limit = time.monotonic() + LIMIT
    while any(waiting.values()) or back:
        assert time.monotonic() < limit, (waiting, back)
        for name in pipeline.processes:
            running = pipeline.running(name)
            if not running and name == ARCHIVE and not over(pipeline):
                pipeline.start(name)  # it had nothing to do for a while
            if name in back:
                strike, before = back[name]
                if made(pipeline, watch, name) > before:
                    strike.seconds_to_output = time.monotonic() - pipeline.begun[name]
                    del back[name]
                elif not running and (name != ARCHIVE or over(pipeline)):
                    del back[name]  # it had sent everything before
            elif waiting[name]:
                strike = waiting[name][0]
                if reached(pipeline, watch, name) >= begin + strike.share * (end - begin):
                    waiting[name].pop(0)
                    _strike(pipeline, watch, strike, last)
                    back[name] = strike, made(pipeline, watch, name)
                    pipeline.start(name)
                else:
                    assert running or name == ARCHIVE, f"{name} ended before {strike.share:.2f}"
        time.sleep(0.01)
    pipeline.finish()
    for name, (strike, before) in last.items():
        watch.settle(*_place(name))
        strike.repeated = watch.repeated(*_place(name)) - before


def over(pipeline):
    """Say whether all that feed archive have come to their end."""
    return not any(pipeline.running(name) for name in pipeline.processes if name != ARCHIVE)


def _strike(pipeline, watch, strike, last):
    name = strike.process
    if strike.order is signal.SIGKILL:
        pipeline.kill(name)
    else:
        strike.seconds_to_end = pipeline.stop(name)
    if name == ARCHIVE:
        strike.repeated = unacknowledged(pipeline, watch)
        return
    watch.settle(*_place(name))
    repeated = watch.repeated(*_place(name))
    if name in last:
        earlier, before = last[name]
        earlier.repeated = repeated - before
    last[name] = strike, repeated


def rescale(pipeline, watch, counts):
    """Run the shards in so many processes, one count after the other, while ingest is paced.

    Each count has sent something new, from all its processes, when the next one takes over.
    """
    running = []
    for count in counts:
        for name in running:
            pipeline.stop(name)
            del pipeline.processes[name]
        running = split(pipeline.settings.partitions, count)
        watch.settle(FUSED.name)
        sent = {name: made(pipeline, watch, name) for name in running}
        pipeline.start(*running)
        watch.until(lambda of=sent: all(made(pipeline, watch, name) > of[name] for name in of))
        assert pipeline.running(INGEST), "the stream was too short"
    pipeline.stop(INGEST)
    pipeline.speed = None  # the rest at once
    pipeline.start(INGEST)
    pipeline.finish()


def split(partitions, count):
    """Return the shards of `count` processes.

    >>> split(8, 2)
    ['0-3', '4-7']
    """
    size = partitions // count
    return [f"{first}-{first + size - 1}" for first in range(0, partitions, size)]


def bar_closes(store):
    """Return the first and the last bar close of a run."""
    [found] = rows(store, "SELECT min(ts_close), max(ts_close) FROM bars")
    return found


def whole(watch, plain):
    """Check what was sent: each of the plain run's results, in order, repeats as they were."""
    watch.settle(SIGNALS.name)
    assert watch.different == []
    assert watch.disorder == []
    for table in (SIGNALS.name, PORTFOLIO, OUTCOMES.name):
        [(count,)] = rows(plain, f"SELECT count(*) FROM {table}")
        assert watch.entries(table) == count


def headlines(path):
    """Write two headlines for the middle of the shipped recording, and return the path."""
    texts = ("Bitcoin soars as regulators approve new funds", "Ethereum exchange is hacked")
    path.write_text(
        "".join(
            json.dumps({"text": text, "available_at": FIRST + n * MINUTE}) + "\n"
            for n, text in enumerate(texts)
        )
    )
    return path


def reached(pipeline, watch, name):
    """Return the bar close up to which a process has sent, or stored, its output."""
    if name == ARCHIVE:
        return _stored(pipeline, "SELECT coalesce(max(ts_close), 0) FROM signals")
    return watch.furthest(*_place(name))


def made(pipeline, watch, name):
    """Return how much a process has sent, or stored; repeats do not count."""
    if name == ARCHIVE:
        return _stored(pipeline, "SELECT count(*) FROM signals")
    return watch.entries(*_place(name))


def unacknowledged(pipeline, watch):
    """Return how many signals stand in SQLite that archive had not said to have stored."""
    settings = pipeline.settings
    consumer = Consumer(
        client(settings, None) | {"group.id": settings.topic("archive-sqlite")},
    )
    try:
        topic = settings.topic(SIGNALS.name)
        places = [TopicPartition(topic, number) for number in range(settings.partitions)]
        said = {place.partition: place.offset for place in consumer.committed(places, timeout=10)}
    finally:
        consumer.close()
    sent = {
        identity: (partition, offset)
        for (partition, identity), (_, offset) in list(watch.new[SIGNALS.name].items())
    }
    stored = {identity for (identity,) in rows(pipeline.store, "SELECT signal_id FROM signals")}
    return sum(
        offset >= max(said[partition], 0)
        for identity, (partition, offset) in sent.items()
        if identity in stored
    )


def _place(name):
    """Return the topic, and the partitions of it, that a process writes its output to."""
    if name in _TOPICS:
        return _TOPICS[name], None
    return FUSED.name, numbers_of(name)


def _stored(pipeline, query):
    try:
        return rows(pipeline.store, query)[0][0]
    except sqlite3.Error:  # it is just being made
        return 0
