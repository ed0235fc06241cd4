"""Make the topics, and say at the start what is wrong with them."""

import time
from collections.abc import Sequence

import confluent_kafka as kafka
import structlog
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from connectors.kafka.faults import Faults, KafkaError, unusable, why
from connectors.kafka.settings import REACH_SECONDS, KafkaSettings, client
from connectors.kafka.topics import TOPICS, Topic

_CREATE_SECONDS = 30.0
_ATTEMPT_SECONDS = 1.0
# What brokers say that do not know a topic's settings.
_NO_CONFIG = frozenset({"INVALID_CONFIG", "UNSUPPORTED_VERSION", "INVALID_REQUEST"})


def ensure_topics(
    settings: KafkaSettings, password: str | None = None, topics: Sequence[Topic] = TOPICS
) -> list[str]:
    """Create those of `topics` that are missing, and return their full names.

    Topics that exist stay as they are. On a broker that refuses a topic's settings it is
    created without them, and a warning logged.

    Raises:
        KafkaError: the broker cannot be reached, or refuses to create a topic.
    """
    admin, faults = _connect(settings, password)
    found = partitions_of(admin, faults, settings)
    missing = [topic for topic in topics if settings.topic(topic.name) not in found]
    for topic in missing:
        try:
            _create(admin, settings, topic, topic.config)
        except kafka.KafkaException as error:
            if error.args[0].name() not in _NO_CONFIG:
                raise _refused(settings, topic, error) from error
            structlog.get_logger(__name__).warning(
                "kafka_topic_without_settings", topic=settings.topic(topic.name)
            )
            try:
                _create(admin, settings, topic, {})
            except kafka.KafkaException as again:
                raise _refused(settings, topic, again) from again
    return [settings.topic(topic.name) for topic in missing]


def preflight(
    settings: KafkaSettings, password: str | None = None, topics: Sequence[str] = ()
) -> None:
    """Check that the broker answers within five seconds and has `topics` as we expect them.

    Topics are named without the prefix.

    Raises:
        KafkaError: the broker cannot be reached or refuses us, a topic is missing, or has
            another number of partitions.
    """
    found = partitions_of(*_connect(settings, password), settings)
    for name in topics:
        topic = settings.topic(name)
        if topic not in found:
            raise KafkaError(
                f"expected the topic {topic} at {settings.bootstrap}, found none of that name; "
                "create the topics first, or check 'prefix'"
            )
        if found[topic] != settings.partitions:
            raise KafkaError(
                f"expected {settings.partitions} partitions of the topic {topic}, found "
                f"{found[topic]}: symbols would change their shard; set 'partitions' to "
                f"{found[topic]}, or begin anew under another 'prefix'"
            )


def _connect(settings: KafkaSettings, password: str | None) -> tuple[AdminClient, Faults]:
    faults = Faults("admin")
    made = client(settings, password) | {"error_cb": faults.on_error}
    try:
        return AdminClient(made), faults
    except kafka.KafkaException as error:
        raise unusable(error) from error


def partitions_of(
    handle: AdminClient | kafka.Producer, faults: Faults, settings: KafkaSettings
) -> dict[str, int]:
    """Return how many partitions each of the broker's topics has, by full name.

    Raises:
        KafkaError: no broker answers within five seconds, or it refuses us.
    """
    end = time.monotonic() + REACH_SECONDS
    while True:
        try:
            # All of them: to ask for one by its name makes it, on some brokers.
            found = handle.list_topics(timeout=_ATTEMPT_SECONDS).topics
        except kafka.KafkaException as error:
            handle.poll(0)  # gives what `faults` has not been told yet
            if faults.last is None and time.monotonic() < end:
                continue
            reason = (
                "no broker answered within five seconds; check 'bootstrap', 'protocol' and that "
                "it runs"
            )
            if faults.last is not None:
                reason = why(faults.last)
            raise KafkaError(f"Kafka at {settings.bootstrap} cannot be used: {reason}") from error
        return {name: len(topic.partitions) for name, topic in found.items()}


def _create(
    admin: AdminClient, settings: KafkaSettings, topic: Topic, config: dict[str, str]
) -> None:
    new = NewTopic(
        settings.topic(topic.name),
        num_partitions=settings.partitions,
        replication_factor=settings.replication,
        config=config,
    )
    [made] = admin.create_topics([new], operation_timeout=_CREATE_SECONDS).values()
    try:
        made.result(_CREATE_SECONDS)
    except kafka.KafkaException as error:
        if error.args[0].name() != "TOPIC_ALREADY_EXISTS":  # another process was faster
            raise


def _refused(settings: KafkaSettings, topic: Topic, error: kafka.KafkaException) -> KafkaError:
    return KafkaError(
        f"the broker at {settings.bootstrap} does not create the topic "
        f"{settings.topic(topic.name)}: {error.args[0].str()}"
    )
