"""Reddit's newest posts as headlines, with an app's token or from the public listing."""

import asyncio
import time
from typing import Any, Self

import msgspec
import structlog

from connectors.secrets import Secret
from connectors.sources.headlines import HeadlineDesk, Item
from connectors.sources.news_feed import NewsFeed, decoded, moment, rows_of
from connectors.sources.polled_feed import UnusableError, at_base
from connectors.sources.polling import Answer, Poller, PollError, PollSettings

log = structlog.get_logger(__name__)

_MOST_REST = 600.0  # s; Reddit's windows are of ten minutes
_EARLY = 60.0  # s before its end that a token is renewed
_GONE = frozenset({"[removed]", "[deleted]", ""})


class RedditSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which posts, and as whom they are asked for."""

    name: str = "reddit"
    subreddits: tuple[str, ...] = ("CryptoCurrency", "stocks")
    client_id: str = ""  # of a "script" app; without one the public listing is read
    client_secret: Secret = msgspec.field(default_factory=Secret)
    api_url: str = "https://oauth.reddit.com"
    public_url: str = "https://www.reddit.com"
    token_url: str = "https://www.reddit.com/api/v1/access_token"  # noqa: S105 - an address
    limit: int = 100  # posts a listing, the most it gives
    least_score: int = 0  # votes; below, the readers disagree
    market_wide: bool = False
    every_s: float = 180.0
    jitter: float = 0.2
    # Reddit allows 100 a minute to an app and about 10 to the public.
    poll: PollSettings = PollSettings(
        requests=10,
        per_seconds=60.0,
        max_body_bytes=4 << 20,
        # As its rules want it: platform, app, version. Name yourself in a profile.
        user_agent="linux:nextgen-trading-engine:v0.1",
    )

    def at(self, base: str) -> Self:
        """Return the same at the fake venue at `base`."""
        return msgspec.structs.replace(
            self,
            api_url=at_base(self.api_url, base),
            public_url=at_base(self.public_url, base),
            token_url=at_base(self.token_url, base),
        )


class _Post(msgspec.Struct):
    id: str
    title: str
    selftext: str | None = None
    created_utc: int | float | None = None
    score: int | None = None
    author: str | None = None
    stickied: bool = False
    removed_by_category: str | None = None


class _Child(msgspec.Struct):
    data: _Post
    kind: str = "t3"


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 3600.0


class RedditFeed(NewsFeed):
    """The newest posts of some subreddits."""

    def __init__(self, settings: RedditSettings, desk: HeadlineDesk, **options: Any) -> None:
        """Prepare the feed; `options` as of `PolledFeed`."""
        super().__init__(settings.name, settings, desk, **options)
        self.settings = settings
        self._token: Secret | None = None
        self._token_ends = 0.0  # monotonic seconds
        self._free_at = 0.0

    def places(self) -> tuple[str, ...]:
        """Return the subreddits."""
        return self.settings.subreddits

    async def items(self, poller: Poller, place: str) -> list[Item]:
        """Return the newest posts of one subreddit."""
        rest = self._free_at - time.monotonic()
        if rest > 0:
            self.health.counts["throttled"] += 1
            await asyncio.sleep(rest)
        try:
            answer = await self._listing(poller, place)
        except PollError as error:
            if error.answer is not None:
                self._heeded(error.answer)
            raise
        if answer.not_modified:
            return []
        found = decoded(answer.body).get("data")
        if not isinstance(found, dict):
            raise UnusableError("no listing")
        return self.made(rows_of(found, "children"), self._item)

    async def _listing(self, poller: Poller, place: str) -> Answer:
        settings = self.settings
        params: dict[str, str | int] = {"limit": settings.limit, "raw_json": 1}
        if not settings.client_id:
            return self._heeded(
                await poller.get(f"{settings.public_url}/r/{place}/new.json", params)
            )
        url = f"{settings.api_url}/r/{place}/new"
        for again in (False, True):
            token = await self._fresh_token(poller)
            try:
                return self._heeded(await poller.get(url, params, _bearer(token)))
            except PollError as error:
                if again or error.status != 401:
                    raise
                self._token = None  # revoked before its time
        raise AssertionError("the second attempt returns or raises")

    async def _fresh_token(self, poller: Poller) -> Secret:
        if self._token is not None and time.monotonic() < self._token_ends:
            return self._token
        settings = self.settings
        answer = await poller.post(
            settings.token_url,
            {"grant_type": "client_credentials"},
            auth=(settings.client_id, settings.client_secret),
        )
        try:
            found = msgspec.json.decode(answer.body, type=_Token)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Reddit answers a wrong secret with 200 and an error inside.
            raise UnusableError("no token granted: check client_id and client_secret") from None
        self._token = Secret(found.access_token)
        self._token_ends = time.monotonic() + max(found.expires_in - _EARLY, 0.0)
        self.health.counts["tokens"] += 1
        return self._token

    def _heeded(self, answer: Answer) -> Answer:
        """Rest until Reddit's window ends where the answer says that it is used up."""
        try:
            left = float(answer.headers.get("x-ratelimit-remaining", "nan"))
            reset = float(answer.headers.get("x-ratelimit-reset", "nan"))
        except ValueError:
            return answer
        if left == left:  # noqa: PLR0124 - not NaN
            self.health.gauges["requests_left"] = left
        if left < 1.0 and reset > 0.0:
            self._free_at = time.monotonic() + min(reset, _MOST_REST)
            log.info("reddit_rests", feed=self.name, seconds=round(min(reset, _MOST_REST)))
        return answer

    def _item(self, row: Any) -> Item | None:
        child = msgspec.convert(row, _Child)
        post = child.data
        if child.kind != "t3" or post.stickied or post.removed_by_category:
            return None
        if post.title.strip() in _GONE or (post.score or 0) < self.settings.least_score:
            return None
        author = post.author or ""
        return Item(
            source=self.name,
            title=post.title,
            summary="" if (post.selftext or "") in _GONE else post.selftext or "",
            key=f"t3_{post.id}",
            published_at=moment(post.created_utc),
            authors=() if author in _GONE else (author,),
            market_wide=self.settings.market_wide,
        )


def _bearer(token: Secret) -> dict[str, str | Secret]:
    return {"authorization": Secret(f"bearer {token.reveal()}")}
