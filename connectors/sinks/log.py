"""What a person on call wants to read: runs, outages, gaps, and why input was refused.

JSON lines beside the store; complete records are in the store, this is their digest.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.sinks.outages import Outages
from operators.errors import StoreError
from operators.messages import Gap, Hole, Rejection, Switch

REMEMBERED = 20_000  # gaps that are not filled yet
GATHERED = 100  # lines on outages that may wait for the next snapshot
SHOWN = 20  # rejections of a reason that are logged one by one; then the total at the end
_PAYLOAD = 200  # bytes of a payload worth reading


class Log:
    """Append JSON lines with level and UTC time to a file; `close` it when done.

    Raises:
        StoreError: the file cannot be written.
    """

    def __init__(self, path: Path, **always: Any) -> None:
        """Open the log; `always` stands in every line."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise StoreError(f"the log {path} cannot be written: {error.strerror}") from error
        self.path = path
        self._logger = structlog.wrap_logger(
            structlog.WriteLogger(self.file),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        ).bind(**always)

    def info(self, event: str, **fields: Any) -> None:
        """Write what is as it should be."""
        self._write(self._logger.info, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Write what a person may want to look at."""
        self._write(self._logger.warning, event, fields)

    def _write(self, write: Callable[..., Any], event: str, fields: dict[str, Any]) -> None:
        try:
            write(event, **fields)
        except OSError as error:
            raise StoreError(f"the log {self.path} cannot be written: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self.file.close()


class _Partition(StatefulSinkPartition[Any, None]):
    def __init__(self, path: Path, *, simulated: bool) -> None:
        self.log = Log(path, simulated=True) if simulated else Log(path)
        self.counts: Counter[str] = Counter()
        self.outages = Outages()
        self.gaps: set[tuple[str, str, int]] = set()  # told, and not filled yet

    def write_batch(self, values: list[Any]) -> None:
        for value in values:
            if isinstance(value, Rejection):
                self._rejected(value)
            elif isinstance(value, Gap):
                self._gap(value)
            elif isinstance(value, Hole | Switch):
                self.outages.add(value)
        if len(self.outages) >= GATHERED:
            self._write_outages()

    def _gap(self, gap: Gap) -> None:
        """Tell of a gap when it is found and when it is full: it is reported at every trade."""
        identity = (gap.symbol, gap.venue, gap.first_id)
        full = gap.filled > gap.last_id - gap.first_id
        if identity in self.gaps and not full:
            return
        if full:
            self.gaps.discard(identity)
        else:
            if len(self.gaps) >= REMEMBERED:
                self.gaps.clear()  # some may be told twice
            self.gaps.add(identity)
        (self.log.info if full else self.log.warning)(
            "gap_filled" if full else "gap",
            symbol=gap.symbol,
            venue=gap.venue,
            first_id=gap.first_id,
            last_id=gap.last_id,
            filled=gap.filled,
        )

    def _write_outages(self) -> None:
        for line in self.outages.take():
            (self.log.warning if line.warns else self.log.info)(line.event, **line.fields())

    def _rejected(self, rejection: Rejection) -> None:
        reason = str(rejection.reason)
        self.counts[reason] += 1
        if self.counts[reason] <= SHOWN:
            self.log.warning(
                "rejected",
                reason=reason,
                symbol=rejection.symbol,
                offset=rejection.offset,
                payload=rejection.payload[:_PAYLOAD].decode(errors="replace"),
            )

    def snapshot(self) -> None:
        """Write what was gathered: recovery will not give it again."""
        self._write_outages()

    def close(self) -> None:
        self._write_outages()
        if self.counts:
            self.log.warning("rejected_in_all", **dict(sorted(self.counts.items())))
        self.log.close()


class LogSink(FixedPartitionedSink[Any, None]):
    """Log outages, switches, gaps and the first rejections of each reason; pass over the rest.

    Guarantee: *At least once; a line may be repeated after a crash.* Lines on outages wait
    for the next snapshot, so that one tells of all symbols. With `simulated` every line says
    so.
    """

    def __init__(self, path: Path, *, simulated: bool = False) -> None:
        self.path = path
        self.simulated = simulated

    def list_parts(self) -> list[str]:
        """One file, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:  # noqa: ARG002
        """Open the log; there is no position to resume."""
        return _Partition(self.path, simulated=self.simulated)
