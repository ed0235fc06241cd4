"""Which brokers, how they are reached, and how topics are named and cut."""

from typing import Annotated, Any, Literal

import msgspec

from operators.errors import SettingsError

REACH_SECONDS = 5.0  # within which a broker must answer when we start


class KafkaSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to reach a Kafka-compatible broker. The password is passed apart from these."""

    bootstrap: str  # "host:port,host:port"
    prefix: str = "nextgen"  # topics and groups are named "<prefix>.<name>"
    # Shards. A symbol's shard follows from their number, so it stays as it is for ever; more of
    # them than processes, since a process takes whole shards.
    partitions: Annotated[int, msgspec.Meta(ge=1)] = 8
    replication: Annotated[int, msgspec.Meta(ge=1)] = 1  # copies of each partition
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    ca: str | None = None  # file of the authority that signed the broker's certificate
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    # How long a message may wait for the broker's word before the process ends, and starts
    # again from its last snapshot.
    delivery_seconds: Annotated[float, msgspec.Meta(gt=0)] = 120.0

    def topic(self, name: str) -> str:
        """Return a topic's full name.

        >>> KafkaSettings(bootstrap="localhost:9092").topic("signals")
        'nextgen.signals'
        """
        return f"{self.prefix}.{name}"


def client(settings: KafkaSettings, password: str | None) -> dict[str, Any]:
    """Return what every client of librdkafka is configured with.

    Raises:
        SettingsError: the protocol asks for a user name and a password, and one is missing.
    """
    made: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap,
        "client.id": settings.prefix,
        "security.protocol": settings.protocol,
        # Back within a second of the broker, without a storm of attempts.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        # A broker whose sockets stay open but that says nothing counts as gone after this.
        "socket.timeout.ms": 10_000,
        "log_level": 0,  # what goes wrong comes by callback, and into our own log
    }
    if settings.ca is not None:
        made["ssl.ca.location"] = settings.ca
    if settings.protocol.startswith("SASL"):
        if not settings.username or not password:
            raise SettingsError(
                f"Kafka's protocol {settings.protocol} needs a user name and a password; "
                "give both, or choose PLAINTEXT or SSL"
            )
        made |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.username,
            "sasl.password": password,
        }
    return made
