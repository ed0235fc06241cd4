"""What every reader of a recorded input yields."""

from dataclasses import dataclass

from operators.messages import Reason

# (merge key, path, kind, ts_init, payload, reason): a `Raw` that has no offset yet. The merge
# key is the time it is merged by; within one input it falls only where a recorder's clock does.
type Entry = tuple[int, str, str, int, bytes, Reason | None]

PAYLOAD_KEPT = 4096  # bytes of a rejected line


@dataclass(slots=True)
class Progress:
    """How many bytes of the inputs have been read, out of how many."""

    done: int = 0
    total: int = 0


def rejected(key: int, path: str, payload: bytes, reason: Reason) -> Entry:
    """Return the entry of an input that the reader itself rejects."""
    return (key, path, "bad", key, payload[:PAYLOAD_KEPT], reason)
