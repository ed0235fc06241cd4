"""Alpha Vantage's NEWS_SENTIMENT as headlines; its own scores are not used, ours are calibrated.

A key has few requests a day, which the quotes need too: news takes a fixed part of them, and
asks each time for all since the last time.
"""

from datetime import UTC, datetime
from typing import Any, Self

import msgspec

from connectors.feeds import Inbox
from connectors.secrets import Secret
from connectors.sources.alpha_vantage_answers import AlphaVantageAnswer, classify
from connectors.sources.alpha_vantage_budget import DailyBudget
from connectors.sources.headlines import HeadlineDesk, Item
from connectors.sources.news_feed import NewsFeed, decoded, moment, rows_of
from connectors.sources.poll_requests import Value
from connectors.sources.polled_feed import StoppedError, UnusableError, at_base
from connectors.sources.polling import Poller, PollError, PollSettings
from operators.messages import SECOND

_OVERLAP = 3600 * SECOND  # articles appear some time after the time they bear
_DAY = 86_400 * SECOND
_MOST_BURST = 60.0
_FOREVER = {
    AlphaVantageAnswer.PREMIUM: "Alpha Vantage gives news to paid keys only, not to this one.",
    AlphaVantageAnswer.BAD_KEY: "Alpha Vantage does not accept the API key; set a valid one.",
    AlphaVantageAnswer.DEMO: (
        "The API key is Alpha Vantage's demo key, which answers examples only; claim a free one."
    ),
    AlphaVantageAnswer.BAD_CALL: "Alpha Vantage does not know NEWS_SENTIMENT any more.",
}


class AlphaVantageNewsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What news is asked for, and how often."""

    name: str = "alpha_vantage_news"
    url: str = "https://www.alphavantage.co/query"
    api_key: Secret = msgspec.field(default_factory=Secret)
    # One request each: several in one request would mean articles about all of them at once.
    topics: tuple[str, ...] = ("financial_markets",)
    tickers: tuple[str, ...] = ()  # its codes, as "CRYPTO:BTC" or "AAPL"
    limit: int = 200
    # Of the day's requests; with a free key's 25, the rest is for quotes.
    requests_per_day: int = 8
    least_relevance: float = 0.25  # of an article to a ticker, 0 to 1; below, it is only named
    market_wide: bool = False
    burst_wait_s: float = 1.0  # after "1 request per second", doubled each time
    every_s: float = 10_800.0  # 8 times a day with one topic
    jitter: float = 0.05
    # Every attempt counts against the day: one, and the next round tries again.
    poll: PollSettings = PollSettings(requests=1, per_seconds=1.0, attempts=1)

    def at(self, base: str) -> Self:
        """Return the same at the fake venue at `base`."""
        return msgspec.structs.replace(self, url=at_base(self.url, base))


class _Ticker(msgspec.Struct):
    ticker: str
    relevance_score: str | float = 0.0


class _Article(msgspec.Struct):
    title: str
    url: str | None = None
    time_published: str | None = None
    authors: tuple[str, ...] | None = None
    summary: str | None = None
    source: str | None = None
    ticker_sentiment: tuple[_Ticker, ...] | None = None


class AlphaVantageNewsFeed(NewsFeed):
    """Alpha Vantage's news, within its part of the day's requests."""

    def __init__(
        self,
        settings: AlphaVantageNewsSettings,
        desk: HeadlineDesk,
        *,
        budget: DailyBudget | None = None,
        **options: Any,
    ) -> None:
        """Prepare the feed; `budget` is that of all feeds of the key, `options` as elsewhere."""
        super().__init__(settings.name, settings, desk, **options)
        self.settings = settings
        self._part = DailyBudget(settings.requests_per_day)
        self._budget = budget or DailyBudget(settings.requests_per_day)
        self._since: dict[str, int] = {}  # ns, by what was asked
        self._now = 0
        self._bursts = 0  # in a row

    def places(self) -> tuple[str, ...]:
        """Return what is asked for, as `name=value`."""
        return (
            *(f"topics={topic}" for topic in self.settings.topics),
            *(f"tickers={ticker}" for ticker in self.settings.tickers),
        )

    async def ask(self, poller: Poller, inbox: Inbox) -> float | None:
        """Ask for each topic and ticker; sooner again after a burst was refused."""
        if not self.settings.api_key:
            raise StoppedError("Alpha Vantage needs an API key, and none is set.")
        self._now = inbox.clock()
        bursts = self.health.counts["burst"]
        try:
            await super().ask(poller, inbox)
        except PollError:
            if self.health.counts["burst"] == bursts:
                raise
        if self.health.counts["burst"] > bursts:
            self._bursts += 1
            return min(self.settings.burst_wait_s * 2.0**self._bursts, _MOST_BURST)
        self._bursts = 0
        return None

    async def items(self, poller: Poller, place: str) -> list[Item]:
        """Return the articles on `place` since it was last asked for."""
        now = self._now
        if max(budget.free_at(now) for budget in (self._part, self._budget)) > now:
            self.health.counts["throttled"] += 1
            raise PollError("the day's requests are used up")
        name, _, value = place.partition("=")
        params: dict[str, Value] = {
            "function": "NEWS_SENTIMENT",
            name: value,
            "time_from": _minute(self._since.get(place, now - _DAY) - _OVERLAP),
            "sort": "LATEST",
            "limit": self.settings.limit,
            "apikey": self.settings.api_key,
        }
        asked = self.health.counts["requests"]
        try:
            answer = await poller.get(self.settings.url, params)
        finally:
            for _ in range(self.health.counts["requests"] - asked):
                self._part.take(now)
                self._budget.take(now)
        if answer.not_modified or not self._accepted(classify(answer.body), now):
            return []
        articles = self.made(rows_of(decoded(answer.body), "feed"), self._item)
        self._since[place] = now
        return articles

    def _accepted(self, answer: AlphaVantageAnswer, now: int) -> bool:
        """Say whether there is news in it; raise what refuses it."""
        if answer is AlphaVantageAnswer.OK:
            return True
        self.health.counts[answer.value] += 1
        if answer is AlphaVantageAnswer.EMPTY:
            return False
        if answer in _FOREVER:
            raise StoppedError(_FOREVER[answer])
        if answer is AlphaVantageAnswer.BURST:
            self.health.counts["rate_limited"] += 1
            raise PollError("asked too fast")
        if answer is AlphaVantageAnswer.DAILY_QUOTA:
            self._budget.rest(now)
            raise PollError("the day's quota is used up")
        raise UnusableError(f"answer of the kind {answer.value}")

    def _item(self, row: Any) -> Item:
        article = msgspec.convert(row, _Article)
        least = self.settings.least_relevance
        return Item(
            source=self.name,
            title=article.title,
            summary=article.summary or "",
            key=article.url or "",
            published_at=moment(article.time_published),
            lang="en",
            authors=tuple(name for name in article.authors or () if name.strip()),
            publisher=article.source or "",
            tickers=tuple(
                found.ticker
                for found in article.ticker_sentiment or ()
                if float(found.relevance_score) >= least
            ),
            market_wide=self.settings.market_wide,
        )


def _minute(at: int) -> str:
    return datetime.fromtimestamp(at // SECOND, UTC).strftime("%Y%m%dT%H%M")
