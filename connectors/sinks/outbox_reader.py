"""A store's way through the outbox, while the flow goes on writing it."""

from collections.abc import Iterator

import structlog

from connectors.journal import Damage, read_journal
from connectors.sinks.drain import Entry
from connectors.sinks.outbox import Outbox
from connectors.sinks.outbox_files import Stand, content_of
from operators.messages import Raw


class OutboxReader:
    """Read on from the cursor of `name`; used by one thread, the drain's."""

    def __init__(self, outbox: Outbox, name: str) -> None:
        """Take an outbox that was opened with `name` among its readers."""
        self.outbox = outbox
        self.name = name
        self._next = outbox.stand(name)
        self._items: Iterator[Raw | Damage] = iter(())
        self._searched = -1  # up to which end the files held no further entry
        self._log = structlog.get_logger(__name__).bind(store=name)

    def read(self, limit: int) -> list[Entry]:
        """Return the entries that follow, of about `limit` rows; none if none waits."""
        kept = self.outbox.stand(self.name)
        if kept.offset > self._next.offset:  # the outbox was full, and what we read next is gone
            self._next, self._items = kept, iter(())
        end = self.outbox.end.offset  # no record up to there is half written
        entries: list[Entry] = []
        rows = 0
        while rows < limit and self._next.offset < end and (raw := self._raw(end)) is not None:
            content = content_of(raw.payload)
            before, self._next = self._next, content.after(raw)
            self.outbox.damaged(self.name, before, content.before(raw))  # if rows are between
            entries.append(Entry(self._next, content.rows))
            rows += len(content.rows)
        return entries

    def ack(self, position: Stand) -> None:
        """Go on behind `position` after a restart. Raises StoreError."""
        self.outbox.ack(self.name, position)

    def _raw(self, end: int) -> Raw | None:
        if self._searched == end:
            return None
        for attempt in ("further", "again"):
            if attempt == "again":  # there is another segment by now
                self._items = read_journal(self.outbox.folder, start=self._next.offset)
            try:
                for item in self._items:
                    if isinstance(item, Raw):
                        return item
                    self._log.warning("outbox_damaged", file=item.segment.name, why=item.why)
            except FileNotFoundError:  # the outbox is full, and its oldest segment has just gone
                return None
        self._searched = end
        return None
