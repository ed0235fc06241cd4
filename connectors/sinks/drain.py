"""From the outbox, or Kafka, into one store: a thread that waits for the store, never the flow.

*At least once; rows are upserted by their identity.* A batch is acknowledged once the store
holds it, so a crash between the two writes it again.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import uniform
from threading import Event, Thread
from time import monotonic
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from connectors.sinks.refused_rows import RefusedRows
from connectors.sinks.sqlite import MINUTE
from connectors.sinks.writers import RowRefused, Rows, StoreRefused, Writer, newest_close
from operators.errors import EngineError

_LOOK = 0.05  # seconds between looks at drains that end
_FIRST_REST = 0.1  # seconds after the first failure; doubled by each further one


class Entry(NamedTuple):
    """Rows that were stored together in the reader's log; `position` is the reader's own word."""

    position: Any
    rows: Rows


class RowReader(Protocol):
    """Rows in the order they were made, from where this reader stood when it last ended."""

    def read(self, limit: int) -> list[Entry]:
        """Return the entries that follow, of about `limit` rows; none, at once, if none waits."""

    def ack(self, position: Any) -> None:
        """Go on behind the entry at `position` after a restart: all up to it is stored."""


class DrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a store is written to."""

    batch_rows: int = 1000
    batch_bytes: int = 4 << 20
    idle_seconds: float = 0.02  # between looks at a reader that had nothing
    most_rest: float = 5.0  # seconds between attempts at a store that is down
    refused_rest: float = 30.0  # seconds between attempts at one that a person must put right


@dataclass(slots=True)
class StoreHealth:
    """How a store does, written by its drain alone: the source of metrics."""

    store: str
    state: str = "starting"  # then "up", "down", "refused" or "failed"; "stopped" at the end
    note: str = ""  # a sentence for people: why it is not up
    # Rows "written" and "refused", and attempts that were "retried".
    counts: Counter[str] = field(default_factory=Counter)
    writes: int = 0  # calls of the writer, and the seconds they took together
    write_seconds: float = 0.0


class Drain:
    """One store's thread; rows the store cannot take are put aside, all else is tried for ever."""

    def __init__(
        self,
        reader: RowReader,
        writer: Writer,
        refused: RefusedRows,
        settings: DrainSettings = DrainSettings(),  # noqa: B008 - frozen
    ) -> None:
        """Prepare the thread; reader and writer are its own from `start` on."""
        self.reader = reader
        self.writer = writer
        self.refused = refused
        self.settings = settings
        self.health = StoreHealth(writer.name)
        self._log = structlog.get_logger(__name__).bind(store=writer.name)
        self._thread = Thread(target=self._run, name=f"drain-{writer.name}", daemon=True)
        self._stopping = Event()
        self._deadline = float("inf")  # once stopping: of the monotonic clock
        self._ended = False
        self._waiting: deque[Entry] = deque()  # read and not in a batch yet
        self._parts: deque[Rows] = deque()  # of the batch, not written yet
        self._position: Any = None  # of the batch's last entry
        self._failures = 0  # in a row
        self._newest = self._tidied = 0  # bar closes, ns

    def start(self) -> None:
        """Start writing."""
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Write what waits, for at most about `seconds`, and close the store.

        A store that is down is not waited for: the reader gives its rows again.
        """
        stop_drains([self], seconds)

    def _ask_to_stop(self, deadline: float) -> None:
        self._deadline = deadline
        self._stopping.set()

    def _join(self, deadline: float) -> None:
        if not self._thread.is_alive():
            return
        # A write that has begun is let end, within reason.
        self._thread.join(max(deadline - monotonic(), 0.0) + 1.0)
        if self._thread.is_alive():
            self._log.warning("store_still_writing")

    def _late(self) -> bool:
        return self._stopping.is_set() and monotonic() >= self._deadline

    def _run(self) -> None:
        try:
            while not self._ended and not self._late():
                rest = self._attempt()
                if rest:
                    self._stopping.wait(rest)
        finally:
            self.writer.close()
            self.health.state = "stopped"

    def _attempt(self) -> float:
        """Write one batch; return for how many seconds to rest."""
        try:
            self.writer.connect()
            if self._position is None and not self._gather():
                self._well()
                self._ended = self._stopping.is_set()
                return 0.0 if self._ended else self.settings.idle_seconds
            self._write()
            self._well()
            if not self._parts:
                position, self._position = self._position, None
                self.reader.ack(position)
                self._tidy()
        except StoreRefused as error:
            return self._failed("refused", str(error), self.settings.refused_rest)
        except EngineError as error:  # StoreDown, or our own disk
            return self._failed("down", str(error), self._rest())
        except Exception as error:  # noqa: BLE001 - one store's fault must not cost the others
            # Without the exception's text, which may hold what a store sent.
            self.writer.close()
            return self._failed("failed", f"its code failed: {type(error).__name__}", self._rest())
        return 0.0

    def _gather(self) -> bool:
        """Make a batch of whole entries, so that it can be acknowledged; False if none waits."""
        if not self._waiting:
            self._waiting.extend(self.reader.read(self.settings.batch_rows))
        if not self._waiting:
            return False
        rows: list[Any] = []
        size = 0
        while self._waiting and len(rows) < self.settings.batch_rows:
            if rows and size + _size(self._waiting[0].rows) > self.settings.batch_bytes:
                break
            entry = self._waiting.popleft()
            rows += entry.rows
            size += _size(entry.rows)
            self._position = entry.position
        if rows:
            self._parts.append(rows)
        return True

    def _write(self) -> None:
        """Write the batch's parts in order, halving one that holds a row the store refuses."""
        health = self.health
        while self._parts and not self._late():
            part = self._parts[0]
            began = monotonic()
            try:
                self.writer.write(part)
            except RowRefused as error:
                half = len(part) // 2
                if not half:
                    [(table, row)] = part
                    self.refused.add(self.writer.name, table, row, str(error))
                    health.counts["refused"] += 1
                self._parts.popleft()
                if half:
                    self._parts.extendleft((part[half:], part[:half]))
            else:
                self._parts.popleft()
                health.counts["written"] += len(part)
                # Of rows that a store has taken: a broken one must not age the others.
                self._newest = max(self._newest, newest_close(part))
            finally:
                health.writes += 1
                health.write_seconds += monotonic() - began

    def _tidy(self) -> None:
        if self._newest - self._tidied >= MINUTE:
            self._tidied = self._newest
            self.writer.tidy(self._newest)

    def _well(self) -> None:
        self._failures = 0
        if self.health.state != "up":
            self.health.state, self.health.note = "up", ""
            self._log.info("store_up")

    def _failed(self, state: str, note: str, rest: float) -> float:
        self._failures += 1
        self.health.counts["retried"] += 1
        changed, self.health.state = self.health.state != state, state
        self.health.note = note
        if changed:
            (self._log.warning if state == "down" else self._log.error)(f"store_{state}", why=note)
        # A connection that was cut while nothing was written is made once more.
        self._ended = self._stopping.is_set() and self._failures > 1
        return 0.0 if self._ended else rest

    def _rest(self) -> float:
        longest = min(_FIRST_REST * 2.0 ** min(self._failures, 30), self.settings.most_rest)
        return longest * uniform(0.5, 1.0)  # noqa: S311 - so that stores are not tried in step


def finish_drains(drains: Sequence[Drain], hurry: Event) -> None:
    """Let drains write all that waits, side by side, and return once they have or `hurry` is set.

    A drain whose store is down ends at once: its reader gives the rest again.
    """
    for drain in drains:
        drain._ask_to_stop(float("inf"))  # noqa: SLF001
    while any(drain._thread.is_alive() for drain in drains):  # noqa: SLF001
        if hurry.wait(_LOOK):
            return


def stop_drains(drains: Sequence[Drain], seconds: float) -> None:
    """Stop drains side by side, each writing what waits for at most about `seconds`."""
    deadline = monotonic() + seconds
    for drain in drains:
        drain._ask_to_stop(deadline)  # noqa: SLF001
    for drain in drains:
        drain._join(deadline)  # noqa: SLF001


def _size(rows: Rows) -> int:
    """Return about how many bytes rows take."""
    return sum(
        len(value) if isinstance(value, str | bytes) else 8 for _, row in rows for value in row
    )
