"""The Fear & Greed indices as moods: alternative.me's of crypto, CNN's of US shares."""

import math
from collections.abc import Mapping
from typing import Any, Self

import msgspec

from connectors.feeds import Inbox
from connectors.secrets import Secret
from connectors.sources.news_feed import decoded, moment
from connectors.sources.news_files import FEAR_GREED
from connectors.sources.poll_requests import Value
from connectors.sources.polled_feed import PolledFeed, UnusableError, at_base
from connectors.sources.polling import Poller, PollSettings
from operators.messages import SECOND, Mood, Raw

CNN_FEAR_GREED = "cnn_fear_greed"
_AHEAD = 86_400 * SECOND  # further in the future, an index's time is no time


class FearGreedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """alternative.me's Crypto Fear & Greed Index, one value a day.

    Source: https://alternative.me/crypto/fear-and-greed-index/#api
    """

    name: str = "fear_greed"
    url: str = "https://api.alternative.me/fng/"
    max_age_s: float = 3 * 86_400.0  # an index that stands still is no mood of today
    every_s: float = 900.0
    jitter: float = 0.2
    poll: PollSettings = PollSettings(max_body_bytes=1 << 20)

    def at(self, base: str) -> Self:
        """Return the same at the fake venue at `base`."""
        return msgspec.structs.replace(self, url=at_base(self.url, base))


class CnnFearGreedSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """CNN's Fear & Greed Index of US shares; its page's own data, which CNN does not document."""

    name: str = "cnn_fear_greed"
    url: str = "https://production.dataviz.cnn.io/index/fearandgreed/graphdata"
    page: str = "https://edition.cnn.com"  # who asks, or it answers 418
    max_age_s: float = 5 * 86_400.0  # it stands still over a long weekend
    every_s: float = 900.0
    jitter: float = 0.2
    poll: PollSettings = PollSettings(requests=10, max_body_bytes=4 << 20)

    def at(self, base: str) -> Self:
        """Return the same at the fake venue at `base`."""
        return msgspec.structs.replace(self, url=at_base(self.url, base))


class _MoodFeed(PolledFeed):
    """Tells each value of an index once."""

    source: str

    def __init__(
        self,
        settings: FearGreedSettings | CnnFearGreedSettings,
        headers: Mapping[str, str | Secret] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(settings.name, settings, headers=headers, **options)
        self._url = settings.url
        self.max_age = int(settings.max_age_s * SECOND)
        self._told: float | None = None  # the last value in the log
        self._told_of: int | None = None  # the time it bears, ns; unknown after a restart

    def remember(self, raw: Raw) -> None:
        """Know the last value in the log before a restart."""
        if raw.kind != "mood" or raw.reason is not None:
            return
        try:
            mood = msgspec.json.decode(raw.payload, type=Mood)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return  # normalise rejects and counts it
        if mood.source == self.source:
            self._told, self._told_of = mood.value, None

    def tell(self, inbox: Inbox, value: float, of: int) -> bool:
        """Deliver `value`, which bears the time `of` (ns), unless it was told; False if shed.

        Raises:
            UnusableError: no value of the index, or no time of it.
        """
        now = inbox.clock()
        if not (math.isfinite(value) and 0.0 <= value <= 100.0):
            raise UnusableError("a value outside 0 to 100")
        if of > now + _AHEAD:
            raise UnusableError("a time in the future")
        self.health.gauges["age_seconds"] = (now - of) / SECOND
        if now - of > self.max_age:
            self.health.counts["stale"] += 1
            self.health.note = "the index stands still: too old to be told"
            return True
        self.health.note = ""
        if self._told_of is None and value == self._told:
            self._told_of = of  # told before the restart
        if self._told_of is not None and (of < self._told_of or (of, value) == self._last()):
            return True
        mood = Mood(source=self.source, value=value, available_at=now)
        if not inbox.put(self.name, "mood", msgspec.json.encode(mood), ts_init=now):
            self.health.counts["shed"] += 1
            return False
        self.health.counts["messages"] += 1
        self._told, self._told_of = value, of
        return True

    def params(self) -> dict[str, Value]:
        """Return what is asked for."""
        return {}

    def found_in(self, document: dict[str, Any]) -> tuple[float, int | None]:
        """Return the value in an answer and its time (ns), None where it bears none."""
        raise NotImplementedError

    async def ask(self, poller: Poller, inbox: Inbox) -> float | None:
        """Ask for the present value, and tell it if it is new."""
        params = self.params()
        answer = await poller.get(self._url, params)
        if answer.not_modified:
            return None
        try:
            value, of = self.found_in(decoded(answer.body))
        except (msgspec.ValidationError, ValueError, IndexError, OverflowError, UnusableError):
            of = None
        if of is None:
            poller.forget(self._url, params)
            raise UnusableError("no index, or none with a time")
        if not self.tell(inbox, value, of):
            poller.forget_all()
        return None

    def _last(self) -> tuple[int | None, float | None]:
        return self._told_of, self._told


class _Day(msgspec.Struct):
    value: str | float
    timestamp: str | float


class FearGreedFeed(_MoodFeed):
    """alternative.me's index."""

    source = FEAR_GREED  # as its history's file has it

    def __init__(self, settings: FearGreedSettings, **options: Any) -> None:
        """Prepare the feed; `options` as of `PolledFeed`."""
        super().__init__(settings, **options)

    # Never date_format: with it the timestamps become text.
    def params(self) -> dict[str, Value]:
        """Return what is asked for: the newest value."""
        return {"limit": 1, "format": "json"}

    def found_in(self, document: dict[str, Any]) -> tuple[float, int | None]:
        """Return the newest day's value."""
        day = msgspec.convert(document.get("data"), tuple[_Day, ...])[0]
        return float(day.value), moment(float(day.timestamp))


class _Index(msgspec.Struct):
    score: float | str
    timestamp: str | float


class CnnFearGreedFeed(_MoodFeed):
    """CNN's index."""

    source = CNN_FEAR_GREED

    def __init__(self, settings: CnnFearGreedSettings, **options: Any) -> None:
        """Prepare the feed; `options` as of `PolledFeed`."""
        page = settings.page
        super().__init__(settings, headers={"referer": f"{page}/", "origin": page}, **options)

    def found_in(self, document: dict[str, Any]) -> tuple[float, int | None]:
        """Return the present value."""
        index = msgspec.convert(document.get("fear_and_greed"), _Index)
        return float(index.score), _time_of(index.timestamp)


def _time_of(timestamp: str | float) -> int | None:
    """Return UNIX ns of CNN's time, which was milliseconds before it was ISO 8601."""
    if isinstance(timestamp, str):
        return moment(timestamp)
    return moment(timestamp / 1000.0)
