"""CoinDesk Data's news articles as headlines.

Source: https://developers.coindesk.com, `/news/v1/article/list`.
"""

from typing import Any, Self

import msgspec

from connectors.secrets import Secret
from connectors.sources.headlines import HeadlineDesk, Item
from connectors.sources.news_feed import NewsFeed, decoded, moment, rows_of
from connectors.sources.poll_requests import Value
from connectors.sources.polled_feed import UnusableError, at_base
from connectors.sources.polling import Poller, PollSettings


class CoinDeskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CoinDesk Data's news."""

    name: str = "coindesk"
    url: str = "https://data-api.coindesk.com/news/v1/article/list"
    api_key: Secret = msgspec.field(default_factory=Secret)  # not needed; raises the limit
    langs: tuple[str, ...] = ("EN",)  # one request each; it has JP too
    limit: int = 50  # articles an answer; its desks publish some 30 an hour
    categories: bool = True  # whether its own categories (BTC, ETH) name symbols
    market_wide: bool = False  # it writes of all of crypto: say so for a crypto universe
    every_s: float = 120.0
    jitter: float = 0.2
    poll: PollSettings = PollSettings(max_body_bytes=4 << 20)

    def at(self, base: str) -> Self:
        """Return the same at the fake venue at `base`."""
        return msgspec.structs.replace(self, url=at_base(self.url, base))


class _Source(msgspec.Struct):
    NAME: str | None = None


class _Category(msgspec.Struct):
    CATEGORY: str | None = None
    NAME: str | None = None


class _Article(msgspec.Struct):
    TITLE: str
    ID: int | str | None = None
    GUID: str | None = None
    PUBLISHED_ON: int | float | None = None
    BODY: str | None = None
    URL: str | None = None
    AUTHORS: str | None = None
    LANG: str | None = None
    STATUS: str | None = None
    SOURCE_DATA: _Source | None = None
    CATEGORY_DATA: tuple[_Category, ...] | None = None


_LANGS = {"jp": "ja"}  # its names where they are not the usual


class CoinDeskFeed(NewsFeed):
    """CoinDesk Data's latest articles."""

    def __init__(self, settings: CoinDeskSettings, desk: HeadlineDesk, **options: Any) -> None:
        """Prepare the feed; `options` as of `PolledFeed`."""
        headers = {"x-api-key": settings.api_key} if settings.api_key else None
        super().__init__(settings.name, settings, desk, headers=headers, **options)
        self.settings = settings

    def places(self) -> tuple[str, ...]:
        """Return the languages asked for."""
        return self.settings.langs

    async def items(self, poller: Poller, place: str) -> list[Item]:
        """Return the latest articles of one language."""
        params: dict[str, Value] = {"lang": place, "limit": self.settings.limit}
        answer = await poller.get(self.settings.url, params)
        if answer.not_modified:
            return []
        try:
            rows = rows_of(decoded(answer.body), "Data")
        except UnusableError:
            poller.forget(self.settings.url, params)
            raise
        return self.made(rows, lambda row: self._item(row, place))

    def _item(self, row: Any, lang: str) -> Item | None:
        article = msgspec.convert(row, _Article)
        if article.STATUS not in {None, "ACTIVE"}:
            return None
        told = (article.LANG or lang).lower()
        found = article.CATEGORY_DATA or ()
        codes = (code for category in found for code in (category.CATEGORY, category.NAME) if code)
        return Item(
            source=self.name,
            title=article.TITLE,
            summary=article.BODY or "",
            key=str(article.GUID or article.ID or article.URL or ""),
            published_at=moment(article.PUBLISHED_ON),
            lang=_LANGS.get(told, told),
            authors=tuple(
                name.strip() for name in (article.AUTHORS or "").split(",") if name.strip()
            ),
            publisher=(article.SOURCE_DATA.NAME or "") if article.SOURCE_DATA else "",
            tickers=tuple(f"CRYPTO:{code}" for code in codes) if self.settings.categories else (),
            market_wide=self.settings.market_wide,
        )
