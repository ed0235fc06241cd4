"""Send a few entries, and return once the brokers have them."""

from collections.abc import Sequence

from connectors.kafka.settings import KafkaSettings
from connectors.kafka.sink import KafkaSink
from connectors.kafka.wire import Outgoing


def send(settings: KafkaSettings, password: str | None, entries: Sequence[Outgoing]) -> None:
    """Send `entries` in order, and wait until all are acknowledged.

    Raises:
        KafkaError: the broker cannot be reached, or does not take them.
    """
    part = KafkaSink(settings, password).build_part("send", "0", None)
    try:
        part.write_batch(list(entries))
        part.snapshot()
    finally:
        part.close()
