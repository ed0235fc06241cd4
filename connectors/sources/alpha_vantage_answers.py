"""Tell Alpha Vantage's answers apart: nearly all come with status 200 and JSON.

What is no data is told in a sentence under "Note", "Information" or "Error Message"; the
sentences change over the years, so that a few words of each are looked for. They may hold the
API key: they are looked at here and go nowhere else.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from operators.checks import UNDECODABLE


class AlphaVantageAnswer(StrEnum):
    """What an answer means for the one who asked."""

    OK = "ok"  # data
    EMPTY = "empty"  # nothing under this symbol or in this time
    BURST = "burst"  # too fast: good again in a moment
    DAILY_QUOTA = "daily_quota"  # good again tomorrow
    PREMIUM = "premium"  # not for this key, ever
    BAD_KEY = "bad_key"
    DEMO = "demo"  # the key of the documentation, which answers its examples only
    BAD_SYMBOL = "bad_symbol"  # this call cannot be answered; the symbol is all that varies
    BAD_CALL = "bad_call"  # no such function
    BAD_JSON = "bad_json"
    OTHER = "other"  # nothing known


_SENTENCES = frozenset({"note", "information", "error message", "message", "detail", "error"})
# The first that fits holds. Order matters: the sentence about bursts also speaks of "25
# requests per day" and of "all premium endpoints", and that about the day of premium plans.
_WORDS: tuple[tuple[AlphaVantageAnswer, tuple[str, ...]], ...] = (
    (
        AlphaVantageAnswer.PREMIUM,
        ("this is a premium", "a premium endpoint", "a premium feature", "a premium membership"),
    ),
    (
        AlphaVantageAnswer.BURST,
        (
            "per second",
            "per-second",
            "more sparingly",
            "burst pattern",
            "spreading out",
            "per minute",
            "minute-level",
        ),
    ),
    (
        AlphaVantageAnswer.DAILY_QUOTA,
        ("per day", "a day", "daily rate limit", "daily limit", "daily quota", "rate limit"),
    ),
    (AlphaVantageAnswer.DEMO, ("for demo purposes",)),
    (
        AlphaVantageAnswer.BAD_KEY,
        ("apikey is invalid", "invalid apikey", "invalid api key", "api key is invalid"),
    ),
    (AlphaVantageAnswer.EMPTY, ("no articles found", "no data found")),
    (AlphaVantageAnswer.BAD_CALL, ("does not exist",)),
    (
        AlphaVantageAnswer.BAD_SYMBOL,
        ("invalid api call", "invalid input", "invalid symbol", "symbol not found"),
    ),
    (AlphaVantageAnswer.PREMIUM, ("premium",)),
)


def classify(body: bytes) -> AlphaVantageAnswer:
    """Say what the body of an answer means.

    >>> classify(b'{"Global Quote": {}}').value
    'empty'
    >>> classify(b'{"Note": "... (1 request per second) ... (25 requests per day) ..."}').value
    'burst'
    >>> classify(b'{"Note": "... our standard API rate limit is 25 requests per day ..."}').value
    'daily_quota'
    """
    try:
        whole = msgspec.json.decode(body)
    except UNDECODABLE:
        return AlphaVantageAnswer.BAD_JSON
    if not isinstance(whole, dict):
        return AlphaVantageAnswer.OTHER
    sentences = list(_sentences(whole))
    for sentence in sentences:
        for answer, words in _WORDS:
            if any(word in sentence for word in words):
                return answer
    return AlphaVantageAnswer.OTHER if sentences else _of_data(whole)


def quote_of(whole: dict[str, Any]) -> Any:
    """Return what stands under "Global Quote"; paid keys get a longer name for it.

    >>> quote_of({"Global Quote - DATA DELAYED BY 15 MINUTES": 1})
    1
    """
    return next((value for key, value in whole.items() if key.startswith("Global Quote")), None)


def _sentences(whole: dict[str, Any]) -> Iterator[str]:
    for key, value in whole.items():
        if isinstance(value, str) and key.strip().lower() in _SENTENCES:
            yield " ".join(value.lower().split())


def _of_data(whole: dict[str, Any]) -> AlphaVantageAnswer:
    quote, news = quote_of(whole), whole.get("feed")
    if isinstance(quote, dict):
        filled = any(quote.values())
    elif isinstance(news, list):
        filled = bool(news)
    else:
        return AlphaVantageAnswer.OTHER if whole else AlphaVantageAnswer.EMPTY
    return AlphaVantageAnswer.OK if filled else AlphaVantageAnswer.EMPTY
