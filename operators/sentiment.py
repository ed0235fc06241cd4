"""The sentiment leg: scored headlines and mood, decayed by half-life, joined by Clock.

A headline counts from the first bar that closes after it stands in the log, never from the
time it claims to be published. No news is not neutral: without news and mood the leg abstains.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np

from operators.messages import (
    SECOND,
    Checkpoint,
    CrossSection,
    Floats,
    Headline,
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


def text_key(text: str) -> str:
    """Return a key that the same headline from two sources shares.

    >>> text_key("Bitcoin ETF approved!") == text_key("BITCOIN  ETF - approved")
    True
    """
    words = _NOT_WORDS.sub(" ", text.casefold()).strip()
    return blake2b(words.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def score_headlines(
    messages: list[Any],
    score: Callable[[str], tuple[float, float, float]],
    model: str,
    lang: str = "en",
) -> list[Any]:
    """Score each headline where it enters the flow, one by one; let everything else through.

    So goes a headline in another language than the model's: it is kept, and says nothing.

    One text a call: the dynamically quantised model's last bits depend on what else is in
    a batch. `score` returns the probabilities (negative, positive, neutral).
    """
    return [
        msgspec.structs.replace(message, body=scored(message.body, score, model))
        if isinstance(message, Notice)
        and isinstance(message.body, Headline)
        and message.body.lang == lang
        else message
        for message in messages
    ]


def scored(
    headline: Headline, score: Callable[[str], tuple[float, float, float]], model: str
) -> ScoredHeadline:
    """Return the headline with the probabilities that `score` gives its text."""
    negative, positive, neutral = score(headline.text)
    return ScoredHeadline(
        headline=headline, negative=negative, positive=positive, neutral=neutral, model=model
    )


@dataclass(slots=True)
class NewsState:
    """Decayed sums of weight x value and of weight, by symbol in the universe's order."""

    weighted: Floats
    weight: Floats
    ts: int = 0
    mood: float | None = None  # in [-1, 1]
    texts: dict[str, int] = field(default_factory=dict)  # key -> when first seen


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
        self.state = NewsState(np.zeros(len(symbols)), np.zeros(len(symbols)))

    def on(self, message: Any) -> Iterable[Any]:
        """Join a `CrossSection` with the notices before it; drop what else flows by."""
        if not isinstance(message, CrossSection):
            return ()
        self._decay(message.ts_close)
        for notice in message.notices:
            self._take(notice, message.ts_close)
        leg = self._leg(message)
        if not checkpoint_due(message.ts_close, message.interval, self.checkpoint_every):
            return (leg,)
        return (leg, Checkpoint(ts_close=message.ts_close, stage="sentiment", state=freeze(self)))

    def on_end(self) -> Iterable[Any]:
        """Report nothing."""
        return ()

    def _decay(self, now: int) -> None:
        state = self.state
        if state.ts:
            factor = 0.5 ** ((now - state.ts) / (self.settings.half_life_s * SECOND))
            state.weighted *= factor
            state.weight *= factor
        state.ts = now

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
        weight = max(body.negative, body.positive, body.neutral) * 0.5**age
        value = body.positive - body.negative
        if body.headline.symbols:
            rows = [self.rows[name] for name in body.headline.symbols if name in self.rows]
        else:
            rows = list(self.rows.values())
            weight *= self.settings.market_weight
        state.weighted[rows] += weight * value
        state.weight[rows] += weight

    def _leg(self, cross: CrossSection) -> Leg:
        state = self.state
        mood_weight = 0.0 if state.mood is None else self.settings.mood_weight
        total = state.weight + mood_weight
        known = total >= self.settings.least_weight
        tilt = mood_weight * (state.mood or 0.0)
        value = np.divide(state.weighted + tilt, total, out=np.zeros_like(total), where=known)
        detail = {
            "news_weight": state.weight.copy(),
            "news_value": np.divide(
                state.weighted,
                state.weight,
                out=np.zeros_like(total),
                where=state.weight >= self.settings.least_weight,
            ),
        }
        if state.mood is not None:
            detail["mood"] = np.full(len(total), state.mood)
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
