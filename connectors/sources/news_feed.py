"""What all news feeds do with the items they find: each once to the desk, then to the inbox."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Any

import msgspec

from connectors.feeds import Inbox
from connectors.sources.headlines import HeadlineDesk, Item
from connectors.sources.polled_feed import Cadence, PolledFeed, UnusableError
from connectors.sources.polling import Poller, PollError
from operators.messages import SECOND, Raw

_REMEMBERED = 20_000  # items of this feed that were handled, so that a page counts once
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TIME = 2**63 - 1
# Hours of the zones that mail's rules do not name, or that libraries read as UTC.
_ZONES = {
    "JST": "+0900", "KST": "+0900", "HKT": "+0800", "SGT": "+0800", "IST": "+0530",
    "CET": "+0100", "CEST": "+0200", "BST": "+0100", "WET": "+0000", "EET": "+0200",
    "EEST": "+0300", "AEST": "+1000", "AEDT": "+1100", "UTC": "+0000", "Z": "+0000",
}  # fmt: skip


class NewsFeed(PolledFeed):
    """A polled feed of news: a subclass says what to ask and makes items of the answers."""

    def __init__(self, name: str, settings: Cadence, desk: HeadlineDesk, **options: Any) -> None:
        """Prepare a feed of `desk`; `options` as of `PolledFeed`."""
        super().__init__(name, settings, **options)
        self._desk = desk
        self._handled: OrderedDict[bytes, None] = OrderedDict()

    def remember(self, raw: Raw) -> None:
        """Have the desk know a headline of the log, so that it is not told again."""
        self._desk.remember(raw)

    def places(self) -> Iterable[str]:
        """Return what is asked in a round, one after another: addresses, or names for them."""
        raise NotImplementedError

    async def items(self, poller: Poller, place: str) -> list[Item]:
        """Return the items of one place.

        Raises:
            PollError: no usable answer.
            UnusableError: an answer of another form.
        """
        raise NotImplementedError

    async def ask(self, poller: Poller, inbox: Inbox) -> float | None:
        """Ask each place; one that fails does not cost the others their turn."""
        failed: list[PollError | UnusableError] = []
        places = list(self.places())
        for place in places:
            try:
                found = await self.items(poller, place)
            except (PollError, UnusableError) as error:
                failed.append(error)
            else:
                if not await self.deliver(found, inbox):
                    poller.forget_all()
        if failed and len(failed) == len(places):
            raise failed[-1]  # the round counts it
        unusable = sum(isinstance(error, UnusableError) for error in failed)
        self.health.counts["rejected"] += unusable
        self.health.note = f"{len(failed)} of {len(places)}: {failed[-1]}" if failed else ""
        return None

    async def deliver(self, items: Iterable[Item], inbox: Inbox) -> bool:
        """Tell the inbox what is new of `items`, oldest first; False if it shed any."""
        health = self.health
        shed = health.counts["shed"]
        for item in sorted(items, key=lambda item: item.published_at or _MAX_TIME):
            mark = _mark(f"{item.key}\n{item.title}")
            if self._knows(mark):
                continue
            await asyncio.sleep(0)  # a page takes a while; other feeds' sockets are read between
            health.counts["messages"] += 1
            now = inbox.clock()
            headline = self._desk.take(item, now, health.counts)
            if headline is not None:
                payload = msgspec.json.encode(headline)
                if not inbox.put(self.name, "headline", payload, ts_init=now):
                    health.counts["shed"] += 1
                    self._desk.forget(headline)
                    continue  # it is tried again in the next round
                health.counts["headlines"] += 1
                health.gauges["lag_seconds"] = (now - headline.published_at) / SECOND
            self._know(mark)
        return health.counts["shed"] == shed

    def made(self, rows: Iterable[Any], make: Callable[[Any], Item | None]) -> list[Item]:
        """Return the items that `make` gives of `rows`; a row of another form costs itself."""
        items = []
        for row in rows:
            try:
                item = make(row)
            except (msgspec.ValidationError, ValueError, TypeError, KeyError, OverflowError):
                mark = _mark(repr(row))
                if not self._knows(mark):  # once, however often its page is read
                    self.health.counts["rejected"] += 1
                    self._know(mark)
                continue
            if item is not None:
                items.append(item)
        return items

    def _knows(self, mark: bytes) -> bool:
        if mark not in self._handled:
            return False
        self._handled.move_to_end(mark)
        return True

    def _know(self, mark: bytes) -> None:
        self._handled[mark] = None
        if len(self._handled) > _REMEMBERED:
            self._handled.popitem(last=False)


def _mark(text: str) -> bytes:
    return blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()


def decoded(body: bytes) -> dict[str, Any]:
    """Return the JSON object that `body` is.

    Raises:
        UnusableError: it is none.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UnusableError("no JSON") from None
    if not isinstance(found, dict):
        raise UnusableError("no JSON object")
    return found


def rows_of(document: Mapping[str, Any], name: str) -> list[Any]:
    """Return the list under `name`.

    Raises:
        UnusableError: there is none.
    """
    rows = document.get(name)
    if not isinstance(rows, list):
        raise UnusableError(f"no list '{name}'")
    return rows


def moment(date: str | float | None) -> int | None:
    """Return UNIX ns of a date as feeds write them, None where it is none.

    RFC 822 with names of zones, ISO 8601 (UTC where it has no zone), `YYYYMMDDTHHMMSS`, or
    UNIX seconds.

    >>> moment("Thu, 08 Aug 2024 23:54:14 JST") == moment("2024-08-08T14:54:14Z")
    True
    >>> moment("20240808T145414") == moment(1723128854)
    True
    """
    if date is None or isinstance(date, bool):
        return None
    if isinstance(date, int | float):
        nanoseconds = int(date * SECOND) if abs(date) < _MAX_TIME / SECOND else 0
        return nanoseconds if nanoseconds > 0 else None
    parts = date.strip().split()
    if parts and parts[-1].upper() in _ZONES:
        parts[-1] = _ZONES[parts[-1].upper()]
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = parse(" ".join(parts))
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        zoned = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        nanoseconds = (zoned - _EPOCH) // timedelta(microseconds=1) * 1000
        return nanoseconds if 0 < nanoseconds <= _MAX_TIME else None
    return None
