"""The end of the stream where stores are written through the outbox."""

from typing import Any

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.sinks.outbox import Outbox
from connectors.sinks.sqlite import rows_of


class _Partition(StatefulSinkPartition[Any, None]):
    def __init__(self, outbox: Outbox, *, simulated: bool) -> None:
        self.outbox = outbox
        self.simulated = simulated

    def write_batch(self, values: list[Any]) -> None:
        self.outbox.put(
            [row for value in values for row in rows_of(value, simulated=self.simulated)]
        )

    def snapshot(self) -> None:
        """Recovery will not give again what was written so far."""
        self.outbox.sync()

    def close(self) -> None:
        self.outbox.sync()


class OutboxSink(FixedPartitionedSink[Any, None]):
    """Write what is stored of each message into the outbox, from where drains take it to stores.

    Takes `(key, message)` with any message of `operators.messages`; what has no table is
    passed over. Guarantee: *At least once; rows are upserted by their identity.* The outbox is
    the caller's, who closes it after the drains. `simulated` as in `SqliteSink`.
    """

    def __init__(self, outbox: Outbox, *, simulated: bool = False) -> None:
        self.outbox = outbox
        self.simulated = simulated

    def list_parts(self) -> list[str]:
        """One journal, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:  # noqa: ARG002
        """Begin to write; there is no position to resume, since rows have identities."""
        return _Partition(self.outbox, simulated=self.simulated)
