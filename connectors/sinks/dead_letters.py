"""Rejected input as lines of JSON, for people and for sending it in again.

*At least once; lines are written once by run, log offset and reason*: what a resumed run gives
again is recognised in the files and passed over.
"""

import base64
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from operators.errors import StoreError
from operators.messages import Rejection

MAX_BYTES = 64 * 1024 * 1024  # of one file; a day of a healthy feed is far below
KEEP = 4  # older files beside the current one: FILE.1 is the latest of them


class _Identity(msgspec.Struct):
    """The fields of a line that say which rejection it is."""

    run: str
    offset: int
    reason: str

    def key(self) -> tuple[int, str]:
        return (self.offset, self.reason)


def line_of(rejection: Rejection, run: str) -> bytes:
    r"""Return the rejection as one line of JSON.

    `payload` is text where the bytes are UTF-8, else `payload_base64` holds them.

    >>> from operators.messages import Reason
    >>> line_of(Rejection(reason=Reason.BAD_JSON, payload=b"{", ts_init=5, offset=7), "r")
    b'{"run":"r","offset":7,"reason":"bad_json","symbol":null,"ts_init":5,"payload":"{"}\n'
    """
    line: dict[str, Any] = {
        "run": run,
        "offset": rejection.offset,
        "reason": str(rejection.reason),
        "symbol": rejection.symbol,
        "ts_init": rejection.ts_init,
    }
    try:
        line["payload"] = rejection.payload.decode()
    except UnicodeDecodeError:
        line["payload_base64"] = base64.b64encode(rejection.payload).decode()
    return msgspec.json.encode(line) + b"\n"


class _Partition(StatefulSinkPartition[Any, None]):
    def __init__(self, path: Path, run: str, max_bytes: int) -> None:
        self.path = path
        self.run = run
        self.max_bytes = max_bytes
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _mend(path)
            self.written = self._known()
            self.file = path.open("ab")
        except msgspec.MsgspecError as error:
            raise StoreError(f"{path} holds other lines than dead letters: {error}") from error
        except OSError as error:
            raise StoreError(f"dead letters cannot be written to {path}: {error}") from error

    def _known(self) -> set[tuple[int, str]]:
        """Return what this run has written already; empty unless it resumes."""
        decode = msgspec.json.Decoder(_Identity).decode
        known = set()
        for path in (self.path, *_older(self.path)):
            if path.is_file():
                with path.open("rb") as file:
                    lines = (decode(line) for line in file)
                    known |= {line.key() for line in lines if line.run == self.run}
        return known

    def write_batch(self, values: list[Any]) -> None:
        lines = [
            line_of(value, self.run)
            for value in values
            if isinstance(value, Rejection)
            and (value.offset, str(value.reason)) not in self.written
        ]
        if not lines:
            return
        try:
            self.file.write(b"".join(lines))
            self.file.flush()
            if self.file.tell() >= self.max_bytes:
                self._rotate()
        except OSError as error:
            raise StoreError(f"dead letters cannot be written to {self.path}: {error}") from error

    def _rotate(self) -> None:
        self.file.close()
        newer = (self.path, *_older(self.path))
        for source, target in reversed(list(pairwise(newer))):
            if source.exists():
                source.replace(target)
        self.file = self.path.open("ab")

    def snapshot(self) -> None:
        """Nothing to keep: the files themselves say what was written."""

    def close(self) -> None:
        self.file.close()


def _older(path: Path) -> tuple[Path, ...]:
    return tuple(path.with_name(f"{path.name}.{number}") for number in range(1, KEEP + 1))


def _mend(path: Path) -> None:
    """Cut a last line that a killed process left without its end."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


class DeadLetters(FixedPartitionedSink[Any, None]):
    """Append rejections to `path`, one JSON object a line; other messages are passed over.

    At `max_bytes` the file becomes FILE.1, up to four older files are kept. Guarantee: *At
    least once; lines are written once by run, log offset and reason.*
    """

    def __init__(self, path: Path | str, run: str, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = Path(path)
        self.run = run
        self.max_bytes = max_bytes

    def list_parts(self) -> list[str]:
        """One file, one partition."""
        return ["0"]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Partition:  # noqa: ARG002
        """Open the file and look up what this run wrote before."""
        return _Partition(self.path, self.run, self.max_bytes)
