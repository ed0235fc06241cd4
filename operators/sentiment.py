"""The sentiment leg: scored headlines and mood, decayed by half-life, joined by Clock.

A headline counts from the first bar that closes after it stands in the log, never from the
time it claims to be published. No news is not neutral: without news and mood the leg abstains.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from operators.messages import (
    SECOND,
    Checkpoint,
    CrossSection,
    Flags,
    Floats,
    Leg,
    Mood,
    Notice,
    ScoredHeadline,
)
from operators.stage import checkpoint_due, freeze

_NOT_WORDS = re.compile(r"[\W_]+")


class SentimentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How news and mood become a leg."""

    half_life_s: float = 1800.0  # intraday: half of a headline's weight is gone in 30 minutes
    market_weight: float = 0.5  # of a headline that names no symbol, for every symbol
    mood_weight: float = 0.25  # the index moves once a day: a tilt, not news
    mood_source: str = ""  # where several indices come, the one that is of this market
    remember_s: float = 86_400.0  # the same text from another source within a day is one
    least_weight: float = 0.01  # below this, news has faded: abstain
    # What is usual of news and mood; surprise and trend are told against it.
    usual_half_life_s: float = 14_400.0


def text_key(text: str) -> str:
    """Return a key that the same headline from two sources shares.

    >>> text_key("Bitcoin ETF approved!") == text_key("BITCOIN  ETF - approved")
    True
    """
    words = _NOT_WORDS.sub(" ", text.casefold()).strip()
    return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


@dataclass(slots=True)
class NewsState:
    """Decayed sums of weight x value and of weight, by symbol in the universe's order."""

    weighted: Floats
    weight: Floats
    ts: int = 0
    mood: float | None = None  # in [-1, 1]
    texts: dict[str, int] = field(default_factory=dict)  # key -> when first seen
    usual_news: Floats = field(default_factory=lambda: np.empty(0))  # NaN before the first news
    usual_mood: float | None = None


class Sentiment:
    """Answer each cross-section with what news and mood say before its Clock."""

    def __init__(
        self,
        settings: SentimentSettings,
        symbols: tuple[str, ...],
        skill: float,
        model: str,
        checkpoint_every: int,
    ) -> None:
        self.settings = settings
        self.rows = {symbol: row for row, symbol in enumerate(symbols)}
        self.skill = skill
        self.model = model
        self.checkpoint_every = checkpoint_every
        size = len(symbols)
        self.state = NewsState(np.zeros(size), np.zeros(size), usual_news=np.full(size, np.nan))

    def on(self, message: Any) -> Iterable[Any]:
        """Join a `CrossSection` with the notices before it; drop what else flows by."""
        if not isinstance(message, CrossSection):
            return ()
        passed = self._decay(message.ts_close)
        for notice in message.notices:
            self._take(notice, message.ts_close)
        leg = self._leg(message, passed)
        if not checkpoint_due(message.ts_close, message.interval, self.checkpoint_every):
            return (leg,)
        return (leg, Checkpoint(ts_close=message.ts_close, stage="sentiment", state=freeze(self)))

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()

    def _decay(self, now: int) -> float:
        """Fade what there was; return the seconds since the last cross-section."""
        state = self.state
        passed = (now - state.ts) / SECOND if state.ts else 0.0
        factor = 0.5 ** (passed / self.settings.half_life_s)
        state.weighted *= factor
        state.weight *= factor
        state.ts = now
        return passed

    def _take(self, notice: Notice, now: int) -> None:
        body = notice.body
        state = self.state
        if isinstance(body, Mood) and self.settings.mood_source in {"", body.source}:
            state.mood = min(max((body.value - 50.0) / 50.0, -1.0), 1.0)
        if not isinstance(body, ScoredHeadline):
            return
        horizon = now - int(self.settings.remember_s * SECOND)
        state.texts = {key: ts for key, ts in state.texts.items() if ts >= horizon}
        key = text_key(body.headline.text)
        if key in state.texts:
            return
        state.texts[key] = now
        # A headline the model is unsure about weighs less than a clear one, and one that was
        # known long before the log began has faded already.
        age = max(now - body.headline.available_at, 0) / (self.settings.half_life_s * SECOND)
        fresh = 0.5**age
        whole = (body.negative, body.positive, body.neutral)
        if not body.headline.symbols:
            fresh *= self.settings.market_weight
        for symbol in dict.fromkeys(body.headline.symbols) or self.rows:
            row = self.rows.get(symbol)
            if row is not None:
                negative, positive, neutral = body.each.get(symbol, whole)
                weight = max(negative, positive, neutral) * fresh
                state.weighted[row] += weight * (positive - negative)
                state.weight[row] += weight

    def _leg(self, cross: CrossSection, passed: float) -> Leg:
        state = self.state
        mood_weight = 0.0 if state.mood is None else self.settings.mood_weight
        total = state.weight + mood_weight
        known = total >= self.settings.least_weight
        tilt = mood_weight * (state.mood or 0.0)
        value = np.divide(state.weighted + tilt, total, out=np.zeros_like(total), where=known)
        told = state.weight >= self.settings.least_weight
        news = np.divide(state.weighted, state.weight, out=np.zeros_like(total), where=told)
        detail = {
            "news_weight": state.weight.copy(),
            "news_value": news,
            "news_surprise": self._surprise(news, told, passed),
        }
        if state.mood is not None:
            detail["mood"] = np.full(len(total), state.mood)
            detail["mood_trend"] = np.full(len(total), self._trend(state.mood, passed))
        return Leg(
            name="sentiment",
            ts_close=cross.ts_close,
            value=value,
            certainty=np.where(known, 1.0 - np.exp(-total), 0.0),
            skill=self.skill,
            abstains=~known,
            detail=detail,
            model=self.model,
        )

    def _surprise(self, news: Floats, told: Flags, passed: float) -> Floats:
        """Return how far news is from what is usual of a symbol, and learn what is usual.

        The first news of a symbol is all surprise, and from then on the usual.
        """
        state = self.state
        known = np.isfinite(state.usual_news)
        before = np.where(known, state.usual_news, 0.0)
        share = 1.0 - 0.5 ** (passed / self.settings.usual_half_life_s)
        after = np.where(known, before + share * (news - before), news)
        state.usual_news = np.where(told, after, state.usual_news)
        return np.where(told, news - before, 0.0)

    def _trend(self, mood: float, passed: float) -> float:
        """Return how far the mood is above what is usual of it, and learn what is usual."""
        state = self.state
        usual = mood if state.usual_mood is None else state.usual_mood
        share = 1.0 - 0.5 ** (passed / self.settings.usual_half_life_s)
        state.usual_mood = usual + share * (mood - usual)
        return mood - usual
