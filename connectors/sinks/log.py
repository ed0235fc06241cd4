"""What a person on call wants to read: runs begun and ended, gaps, and why input was refused.

JSON lines beside the store; complete records are in the store, this is their digest.
"""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.errors import StoreError
from operators.messages import Gap, Rejection

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
    def __init__(self, path: Path) -> None:
        self.log = Log(path)
        self.counts: Counter[str] = Counter()

    def write_batch(self, values: list[Any]) -> None:
        for value in values:
            if isinstance(value, Rejection):
                self._rejected(value)
            elif isinstance(value, Gap):
                self.log.warning(
                    "gap",
                    symbol=value.symbol,
                    venue=value.venue,
                    first_id=value.first_id,
                    last_id=value.last_id,
                    filled=value.filled,
                )

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
        return None

    def close(self) -> None:
        if self.counts:
            self.log.warning("rejected_in_all", **dict(sorted(self.counts.items())))
        self.log.close()


class LogSink(FixedPartitionedSink[Any, None]):
    """Log gaps and the first rejections of each reason; other messages are passed over.

    Guarantee: *At least once; a line may be repeated after a crash.*
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def list_parts(self) -> list[str]:
        """One file, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:  # noqa: ARG002
        """Open the log; there is no position to resume."""
        return _Partition(self.path)
