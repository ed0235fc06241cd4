"""StockTwits' messages on our symbols as headlines, paged back to the last one seen."""

from collections.abc import Iterable
from typing import Any, Self

import msgspec

from connectors.sources.headlines import HeadlineDesk, Item
from connectors.sources.news_feed import NewsFeed, decoded, moment, rows_of
from connectors.sources.polled_feed import UnusableError, at_base
from connectors.sources.polling import Poller, PollError, PollSettings


class StockTwitsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose streams are read, and how far back."""

    name: str = "stocktwits"
    url: str = "https://api.stocktwits.com/api/2/streams/symbol"
    # Its code for each of our names, as {"BTCUSDT" = "BTC.X", "AAPL" = "AAPL"}.
    symbols: dict[str, str] = {}
    most_pages: int = 4  # of 30 messages, for each symbol in a round
    every_s: float = 300.0
    jitter: float = 0.2
    # About 200 an hour without a key: keep a tenth back.
    poll: PollSettings = PollSettings(requests=180, per_seconds=3600.0, max_body_bytes=1 << 20)

    def at(self, base: str) -> Self:
        """Return the same at the fake venue at `base`."""
        return msgspec.structs.replace(self, url=at_base(self.url, base))


class _User(msgspec.Struct):
    username: str | None = None
    name: str | None = None


class _Message(msgspec.Struct):
    id: int
    body: str
    created_at: str | None = None
    user: _User | None = None


class StockTwitsFeed(NewsFeed):
    """What people say of our symbols on StockTwits."""

    def __init__(self, settings: StockTwitsSettings, desk: HeadlineDesk, **options: Any) -> None:
        """Prepare the feed; `options` as of `PolledFeed`."""
        super().__init__(settings.name, settings, desk, **options)
        self.settings = settings
        self._last: dict[str, int] = {}  # the highest id seen, by its code

    def places(self) -> Iterable[str]:
        """Return its codes of our symbols."""
        return tuple(dict.fromkeys(self.settings.symbols.values()))

    async def items(self, poller: Poller, place: str) -> list[Item]:
        """Return the messages on `place` since the last round; the newest page on the first."""
        last = self._last.get(place)
        newest = last or 0
        found: list[Item] = []
        oldest: int | None = None
        for page in range(self.settings.most_pages):
            try:
                ids, items = await self._page(poller, place, oldest)
            except (PollError, UnusableError):
                if page == 0:
                    raise
                self.health.counts["pages_missed"] += 1  # what was found is told all the same
                break
            fresh = [i for i in ids if last is None or i > last]
            found += [item for i, item in items if last is None or i > last]
            newest = max([newest, *fresh])
            if last is None or len(fresh) < len(ids) or not ids:
                break
            if oldest is not None and min(ids) >= oldest:
                break  # it does not page: stop rather than ask for the same
            oldest = min(ids)
        else:
            self.health.counts["pages_missed"] += 1  # more was said than we read
        self._last[place] = newest
        return found

    async def _page(
        self, poller: Poller, place: str, oldest: int | None
    ) -> tuple[list[int], list[tuple[int, Item]]]:
        """Return the ids of a page and those of its messages that can be used."""
        params = None if oldest is None else {"max": oldest}
        url = f"{self.settings.url}/{place}.json"
        answer = await poller.get(url, params)
        if answer.not_modified:
            return [], []
        try:
            rows = rows_of(decoded(answer.body), "messages")
        except UnusableError:
            poller.forget(url, params)
            raise
        ids = [
            row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), int)
        ]
        items = self.made(rows, lambda row: self._item(row, place))
        return ids, [(int(item.key), item) for item in items]

    def _item(self, row: Any, place: str) -> Item:
        message = msgspec.convert(row, _Message)
        user = message.user or _User()
        return Item(
            source=self.name,
            title=message.body,
            key=str(message.id),
            published_at=moment(message.created_at),
            authors=tuple(name for name in (user.username, user.name) if name),
            tickers=(place,),
        )
