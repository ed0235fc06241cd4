"""Print signals as they come: how a program of your own reads the engine's output.

    python -m connectors.kafka.consumer_example localhost:9092

It needs confluent-kafka and nothing of the engine. Started again under the same group it goes
on where it stopped; started several times at once, the group shares the partitions out. A
signal may come twice after a crash, of the engine or of this program: `signal_id` tells.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from confluent_kafka import Consumer, KafkaException


def signals(bootstrap: str, group: str, topic: str = "nextgen.signals") -> Iterator[dict[str, Any]]:
    """Yield signals, waiting for new ones; one counts as read once the next is asked for.

    Raises:
        KafkaException: the topic cannot be read.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",  # the first time; later, where the group stands
            "enable.auto.commit": False,
        }
    )
    with closing(consumer):
        consumer.subscribe([topic])
        while True:
            message = consumer.poll(1.0)
            if message is None:
                continue
            error = message.error()
            if error is not None:
                if error.retriable():
                    continue
                raise KafkaException(error)
            headers: dict[str, Any] = dict(message.headers() or ())
            # Of a form that this program does not know: see schemas/signals.json for this one.
            if headers.get("type") != b"signals" or headers.get("v") != b"1":
                continue
            yield json.loads(message.value() or b"{}")
            consumer.commit(message=message, asynchronous=False)


def main() -> None:
    """Print one line a signal."""
    for signal in signals(sys.argv[1], "signal-printer"):
        mark = "simulated " if signal["simulated"] else ""
        reasons = ", ".join(signal["reasons"]) or "-"
        print(  # noqa: T201 - it is what this program does
            f"{signal['ts_close']} {mark}{signal['symbol']} {signal['action']} "
            f"score {signal['score']:+.3f} target {signal['target_position']:+.2%} ({reasons})"
        )


if __name__ == "__main__":
    main()
