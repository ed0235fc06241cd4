"""Headlines on their way: scored where they enter, renamed to our symbols, joined over shards."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from operators.messages import Headline, Notice, ScoredHeadline

Probabilities = tuple[float, float, float]  # negative, positive, neutral
# What is made of a text, its language, and the one it is asked about ("": the whole), and by which
# model; None where nobody reads the language.
Read = Callable[[str, str, str], tuple[Probabilities, str] | None]


def score_headlines(messages: list[Any], read: Read) -> list[Any]:
    """Score each headline where it enters the flow, one by one; let everything else through.

    So goes a headline of a language that nobody reads: it is kept, and says nothing.
    """
    return [
        replace(message, body=scored(message.body, read))
        if isinstance(message, Notice) and isinstance(message.body, Headline)
        else message
        for message in messages
    ]


def scored(headline: Headline, read: Read) -> ScoredHeadline | Headline:
    """Return the headline with what `read` makes of it, as a whole and for each name in it.

    One text a call: the dynamically quantised model's last bits depend on what else is in
    a batch.
    """
    whole = read(headline.text, headline.lang, "")
    if whole is None:
        return headline
    (negative, positive, neutral), model = whole
    asked = {
        symbol: read(headline.text, headline.lang, name) for symbol, name in headline.names.items()
    }
    return ScoredHeadline(
        headline=headline,
        negative=negative,
        positive=positive,
        neutral=neutral,
        model=model,
        each={symbol: reading[0] for symbol, reading in asked.items() if reading is not None},
    )


def headline_of(body: Any) -> Headline | None:
    """Return the headline within a notice's body, if it is one."""
    if isinstance(body, ScoredHeadline):
        return body.headline
    return body if isinstance(body, Headline) else None


def renamed(body: Any, symbols: Mapping[str, str]) -> Any:
    """Return a headline about `symbols`, each with what was known under its given name.

    >>> news = Headline(id="1", source="x", lang="en", symbols=("BTC",), text="Bitcoin up",
    ...                 published_at=0, available_at=0, names={"BTC": "Bitcoin"})
    >>> renamed(news, {"BTCUSDT": "BTC"}).names
    {'BTCUSDT': 'Bitcoin'}
    """
    if isinstance(body, ScoredHeadline):
        each = {ours: body.each[name] for ours, name in symbols.items() if name in body.each}
        return replace(body, headline=renamed(body.headline, symbols), each=each)
    names = {ours: body.names[name] for ours, name in symbols.items() if name in body.names}
    return replace(body, symbols=tuple(symbols), names=names)


def joined(copies: Sequence[Any], row: Mapping[str, int]) -> Any:
    """Return one headline about the symbols of all its copies, in the order of their rows."""
    first = copies[0]
    if isinstance(first, ScoredHeadline):
        headline = joined([copy.headline for copy in copies], row)
        each = {symbol: tone for copy in copies for symbol, tone in copy.each.items()}
        return replace(first, headline=headline, each=_ordered(each, row))
    symbols = {symbol for copy in copies for symbol in copy.symbols}
    names = {symbol: name for copy in copies for symbol, name in copy.names.items()}
    ordered = tuple(sorted(symbols, key=row.__getitem__))
    return replace(first, symbols=ordered, names=_ordered(names, row))


def _ordered(values: Mapping[str, Any], row: Mapping[str, int]) -> dict[str, Any]:
    return {symbol: values[symbol] for symbol in sorted(values, key=row.__getitem__)}
