"""Orders of operators, from a topic into the log."""

import asyncio
from collections import deque
from time import monotonic

import confluent_kafka as kafka
import msgspec
import structlog

from connectors.feeds import FeedHealth, Inbox
from connectors.kafka.faults import Faults, why
from connectors.kafka.settings import KafkaSettings, client
from connectors.kafka.topics import CONTROL
from connectors.kafka.wire import Outgoing
from operators.messages import Control, Raw
from operators.orders import fault

# After this an order surely stands in the journal, where a restart finds it.
_SETTLED = 10.0  # seconds
_WAIT = 0.2


def order_entry(control: Control) -> Outgoing:
    """Return an order as it is sent."""
    return Outgoing(
        topic=CONTROL.name,
        type="control",
        value=msgspec.json.encode(control, order="sorted"),
        partition=0,
    )


class ControlFeed:
    """Deliver each order of the topic into the log once; a feed as `connectors.feeds` has it.

    *At least once from Kafka, once in the log*: what comes again after a crash is known from
    the journal. Orders given before the first start do not count. What is no order is counted
    and logged.
    """

    symbols: tuple[str, ...] = ()

    def __init__(self, settings: KafkaSettings, password: str | None = None) -> None:
        """Prepare the feed; it connects when it is run."""
        self.name = "control"
        self.settings = settings
        self.password = password
        self.health = FeedHealth(self.name)
        self.faults = Faults("control")
        self._delivered: set[bytes] = set()
        self._unsettled: deque[tuple[float, int]] = deque()  # (when, offset behind it)
        self._log = structlog.get_logger(__name__)

    def remember(self, raw: Raw) -> None:
        """Learn from the journal which orders it holds."""
        if raw.kind == "control" and raw.path == self.name:
            self._delivered.add(raw.payload)

    async def run(self, inbox: Inbox) -> None:
        """Deliver until cancelled; while no broker answers, wait."""
        place = kafka.TopicPartition(self.settings.topic(CONTROL.name), 0)
        consumer = kafka.Consumer(
            client(self.settings, self.password)
            | {
                "error_cb": self.faults.on_error,
                "group.id": self.settings.topic("control"),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "latest",
                "allow.auto.create.topics": False,
            }
        )
        try:
            place.offset = await asyncio.to_thread(self._first, consumer, place)
            consumer.assign([place])
            self.health.state = "up"
            while True:
                messages = await asyncio.to_thread(consumer.consume, 100, _WAIT)
                for message in messages:
                    self._take(inbox, message)
                await asyncio.to_thread(self._settle, consumer, place)
        finally:
            consumer.close()

    def _first(self, consumer: kafka.Consumer, place: kafka.TopicPartition) -> int:
        """Return where the group stands; for a new one, behind all there is, and keep it."""
        [stands] = consumer.committed([place], timeout=_SETTLED)
        if stands.offset >= 0:
            return int(stands.offset)
        return int(kafka.OFFSET_END)

    def _take(self, inbox: Inbox, message: kafka.Message) -> None:
        error = message.error()
        if error is not None:
            self.faults.on_error(error)
            self.health.note = why(error)
            return
        self.faults.answered()
        payload = message.value() or b""
        self._unsettled.append((monotonic(), (message.offset() or 0) + 1))
        if payload in self._delivered:
            self.health.counts["repeated"] += 1
            return
        try:
            control = msgspec.json.decode(payload, type=Control)
        except msgspec.DecodeError:
            control = None
        if control is None or fault(control) is not None:
            self.health.counts["unreadable"] += 1
            self._log.warning("control_unreadable", offset=message.offset())
            return
        self._delivered.add(payload)
        self.health.counts["messages"] += 1
        self._log.warning("control", kind=control.kind, actor=control.actor)
        inbox.put(self.name, "control", payload)

    def _settle(self, consumer: kafka.Consumer, place: kafka.TopicPartition) -> None:
        """Commit what the journal holds by now."""
        behind: int | None = None
        while self._unsettled and monotonic() - self._unsettled[0][0] >= _SETTLED:
            behind = self._unsettled.popleft()[1]
        if behind is None:
            return
        at = kafka.TopicPartition(place.topic, place.partition, behind)
        try:
            consumer.commit(offsets=[at], asynchronous=False)
        except kafka.KafkaException as error:
            self.faults.on_error(error.args[0])
            self._unsettled.appendleft((monotonic() - _SETTLED, behind))
