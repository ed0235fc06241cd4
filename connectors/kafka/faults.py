"""What goes wrong between us and the brokers: counted, logged once, and raised where it must be."""

from collections import Counter
from typing import Any

import structlog

from operators.errors import EngineError


class KafkaError(EngineError):
    """A broker, topic or offset with which the engine cannot go on."""


# By the client's names of errors.
_WHY: dict[str, str] = {
    "_ALL_BROKERS_DOWN": "no broker can be reached",
    "_TRANSPORT": "the connection ended or could not be made",
    "_AUTHENTICATION": "the broker refused the user name or the password; check both",
    "SASL_AUTHENTICATION_FAILED": "the broker refused the user name or the password; check both",
    "_SSL": "no TLS connection could be made; check that the broker speaks TLS and that "
    "'ca' is the authority that signed its certificate",
    "_RESOLVE": "the broker's host name is not known; check 'bootstrap'",
    "TOPIC_AUTHORIZATION_FAILED": "the user may not use this topic; ask the broker's owner",
    "CLUSTER_AUTHORIZATION_FAILED": "the user may not use this cluster; ask its owner",
    "GROUP_AUTHORIZATION_FAILED": "the user may not use this group; ask the broker's owner",
    "MSG_SIZE_TOO_LARGE": "a message is larger than the topic takes; raise its max.message.bytes",
    "_MSG_TIMED_OUT": "the broker did not acknowledge it in time; check that it runs",
    "_UNKNOWN_TOPIC": "there is no such topic; create it first",
    "UNKNOWN_TOPIC_OR_PART": "there is no such topic or partition; create it first",
    "_UNKNOWN_PARTITION": "the topic has no such partition; check 'partitions'",
}
# These mend without us: the client goes on trying.
_PASSING = frozenset(
    {
        "_ALL_BROKERS_DOWN",
        "_TRANSPORT",
        "_TIMED_OUT",
        "_TIMED_OUT_QUEUE",
        "_WAIT_COORD",
    }
)
# The broker no longer has the offset that was asked for.
EXPIRED = frozenset({"_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"})
# These do not mend without a person.
LASTING = frozenset(
    {
        "UNKNOWN_TOPIC_OR_PART",
        "_UNKNOWN_TOPIC",
        "_UNKNOWN_PARTITION",
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
    }
)


def why(error: Any) -> str:
    """Put a client's error into words that say what to do; they never hold a secret."""
    return _WHY.get(error.name(), f"the client says {error.name()}")


def unusable(error: Exception) -> KafkaError:
    """Say which setting a client could not be made with."""
    return KafkaError(f"Kafka cannot be used as configured: {error.args[0].str()}")


class Faults:
    """Count a client's errors by name; log when the brokers are lost and when they are back.

    Its method `on_error` is the client's `error_cb`. The client goes on trying by itself.
    """

    def __init__(self, name: str) -> None:
        """Take the name that the client has in logs and metrics."""
        self.name = name
        self.counts: Counter[str] = Counter()
        self.lost = False
        self.last: Any = None  # the latest error that says more than "no connection"
        self._log = structlog.get_logger(__name__)

    def on_error(self, error: Any) -> None:
        """Take note of an error."""
        self.counts[error.name().lstrip("_").lower()] += 1
        if error.name() not in _PASSING:
            self.last = error
        if not self.lost:
            self.lost = True
            self._log.warning("kafka_lost", client=self.name, why=why(error))

    def answered(self) -> None:
        """Take note that the brokers answer."""
        if self.lost:
            self.lost = False
            self._log.info("kafka_back", client=self.name)
