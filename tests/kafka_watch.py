"""Watch what the processes of a run send to Kafka: what is new, what is a repeat, how far it is."""

import time
from collections import Counter, defaultdict
from threading import Event, Thread

import msgspec
from confluent_kafka import Consumer, TopicPartition

from connectors.kafka.settings import client
from connectors.kafka.source import entry_of
from connectors.kafka.topics import FUSED, LOG, OUTCOMES, PORTFOLIO, SIGNALS
from connectors.kafka.wire import END

TOPICS = (LOG.name, FUSED.name, SIGNALS.name, PORTFOLIO.name, OUTCOMES.name)
# In a log the bar close of a Clock, elsewhere that of the entry.
_TIMED = {LOG.name: "clock", FUSED.name: "fused", SIGNALS.name: "signals"}


class _Close(msgspec.Struct):
    ts_close: int = 0
    ts_event: int = 0


class _Row(_Close):
    signal_id: str = ""
    cross: _Close | None = None


_read = msgspec.json.Decoder(_Row).decode


class Watch:
    """A thread that reads all partitions of the topics, each entry once.

    An entry that has the identity of an earlier one is a repeat: `different` holds those that
    are not the same to the last byte, `disorder` those new ones that stand behind a later one.
    """

    def __init__(self, settings, topics=TOPICS):
        """Begin to watch the topics, which there must be."""
        self.settings = settings
        self.topics = topics
        self.prefix = f"{settings.prefix}."
        self.new = defaultdict(dict)  # by topic: (partition, identity) to (hash, offset)
        self.first = {}  # by (topic, partition): when its first entry came
        self.last = {}  # and its last new one
        self.count = Counter()  # new entries, by (topic, partition)
        self.repeats = Counter()  # by (topic, partition)
        self.reached = Counter()  # by (topic, partition): the newest bar close, ns
        self.different = []
        self.disorder = []
        self._stop = Event()
        self._thread = Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(30)

    def furthest(self, topic, partitions=None):
        """Return the newest bar close of a topic, or of some of its partitions."""
        return max(self._of(self.reached, topic, partitions), default=0)

    def entries(self, topic, partitions=None):
        """Return how many new entries have come."""
        return sum(self._of(self.count, topic, partitions))

    def repeated(self, topic, partitions=None):
        """Return how many entries were sent once more."""
        return sum(self._of(self.repeats, topic, partitions))

    def until(self, is_so, seconds=120.0):
        """Wait until something is so."""
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, dict(self.count)
            time.sleep(0.01)

    def settle(self, topic, partitions=None):
        """Wait until nothing more comes of a writer that has ended."""
        before, now = -1, 0
        while before != now:
            before = now
            time.sleep(0.2)
            now = self.entries(topic, partitions) + self.repeated(topic, partitions)

    def _of(self, counts, topic, partitions):
        return [
            value
            for (name, partition), value in list(counts.items())
            if name == topic and (partitions is None or partition in partitions)
        ]

    def _run(self):
        consumer = Consumer(
            client(self.settings, None)
            | {"group.id": "watch", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 20}
        )
        try:
            consumer.assign(
                [
                    TopicPartition(self.settings.topic(topic), partition, 0)
                    for topic in self.topics
                    for partition in range(self.settings.partitions)
                ]
            )
            while not self._stop.is_set():
                for message in consumer.consume(1000, timeout=0.05):
                    if message.error() is None:
                        self._take(message)
        finally:
            consumer.close()

    def _take(self, message):
        topic = message.topic().removeprefix(self.prefix)
        place = (topic, message.partition())
        entry = entry_of(message)
        if entry.type == END:
            return
        timed = entry.type == _TIMED.get(topic)
        row = _read(entry.value) if timed or topic != LOG.name else None
        close = 0 if row is None else (row.cross or row).ts_close or row.ts_event
        identity = entry.number or row.signal_id or close
        known = self.new[topic].get((message.partition(), identity))
        if known is None:
            self.new[topic][message.partition(), identity] = hash(entry.value), entry.offset
            self.count[place] += 1
            self.first.setdefault(place, time.monotonic())
            self.last[place] = time.monotonic()
            if timed:
                if close < self.reached[place]:
                    self.disorder.append((place, identity))
                self.reached[place] = max(close, self.reached[place])
        else:
            self.repeats[place] += 1
            if known[0] != hash(entry.value):
                self.different.append((place, identity, entry.value))
