"""The words of a headline: cleaned for the model, and in the form that copies of it share."""

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence

_LONGEST = 4_000  # characters looked at; bounds the work on hostile input
_TAG = re.compile(r"<(?:/?[A-Za-z][^<>]*|!--.*?--|!\[CDATA\[|\?[^<>]*)>|\]\]>", re.DOTALL)
_HIDDEN = re.compile(r"<(script|style)\b[^>]*>.*?(?:</\1\s*>|$)", re.DOTALL | re.IGNORECASE)
_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_MENTION = re.compile(
    r"(?<![\w.@/])(?:@|/?u/)[\w-]{2,40}(?:@[\w.-]{1,60})?|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,60}\.[\w.]{1,60}"
)
_BYLINE = re.compile(
    r"\s?[|(\u2013\u2014-]\s?[Bb]y\s+[^\W\d_][\w.'-]*(?:\s+[^\W\d_][\w.'-]*){0,3}\)?\s*$"
)
_TAIL = re.compile(r"^(.+\S)\s+(?:[-\u2013\u2014|:]|::|»)\s+(\S.*?)\s*$", re.DOTALL)
_TAIL_BRACKET = re.compile(r"^(.+\S)\s*[\[(（【]([^\[\](（）)【】]{1,40})[\])）】]\s*$", re.DOTALL)  # noqa: RUF001
_HEAD = re.compile(r"^([^:：]{2,30})[:：]\s+(\S.*)$", re.DOTALL)  # noqa: RUF001
# What desks put before a headline, which says nothing about it.
_FLAG = re.compile(
    r"^[\[(【]?\s*(?:breaking(?: news)?|just in|exclusive|update(?: ?\d+)?|corrected|refile|watch"
    r"|live|urgent|速報|更新|独自|訂正)\s*(?:[\])】:]|\s[-\u2013\u2014]|-(?=\S))\s*",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]+|[%▲▼△▽↑↓]")
_MINUS = re.compile(r"(?<![\w)])[-\u2212\u2013](?=[$€£¥]?\d)")
_APOSTROPHE = re.compile(r"(?<=\w)['\u2019\u02bc`](?=\w)")
# Desks leave them out, write "&", or put the suffix of a code, each as its style has it.
_STYLE = frozenset({"a", "an", "the", "and"})
_CODE_SUFFIX = re.compile(r"\b(\d{3}[0-9a-z])\.(?:t|jp)\b")
_PERCENT = re.compile(r"(?<=\d)\s*(?:percent|per cent|pct|パーセント)\b")


def plain_text(markup: str) -> str:
    """Return the words of HTML or text: no tags, entities or control characters, single spaces.

    >>> plain_text("AT&amp;T <b>soars</b>&nbsp;8&#37;")
    'AT&T soars 8%'
    """
    text = markup[:_LONGEST]
    for _ in range(3):  # entities may be escaped twice, and hold tags
        text = _TAG.sub(" ", _HIDDEN.sub(" ", text))
        unescaped = html.unescape(text)
        if unescaped == text:
            break
        text = unescaped
    kept = "".join(
        " " if character.isspace() else character
        for character in unicodedata.normalize("NFC", text)
        # Control, format (zero width, direction), lone surrogate, private use, unassigned.
        if character.isspace()
        or character == "\u200d"  # joins emoji
        or unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn"}
    )
    return " ".join(kept.split())


def without_publisher(text: str, publishers: Iterable[str]) -> str:
    """Strike out who published it, at the end or the beginning.

    >>> without_publisher("Bitcoin rises - Reuters", ["Reuters"])
    'Bitcoin rises'
    """
    known = {name.casefold().strip() for name in publishers if name.strip()}
    for _ in range(3):
        for pattern, kept, named in ((_TAIL, 1, 2), (_TAIL_BRACKET, 1, 2), (_HEAD, 2, 1)):
            match = pattern.match(text)
            if match is not None and match[named].strip().casefold() in known:
                text = match[kept]
                break
        else:
            break
    return text


def without_people(text: str, authors: Sequence[str]) -> str:
    """Strike out bylines, the authors' names and mentions of other users.

    >>> without_people("Bitcoin rises | By Jane Doe", ["Jane Doe"])
    'Bitcoin rises'
    """
    for author in authors:
        name = plain_text(author)
        if len(name) < 2:
            continue
        form = re.escape(name).replace(r"\ ", r"\s+")
        edges = (r"(?<!\w)" if name[0].isalnum() else "", r"(?!\w)" if name[-1].isalnum() else "")
        whole = rf"{edges[0]}{form}{edges[1]}"
        text = re.sub(
            rf"[\s|(\u2013\u2014-]{{0,4}}\bby:?\s+@?{whole}\)?", " ", text, flags=re.IGNORECASE
        )
        # A short single word may be any word; a longer one names them.
        if len(name) >= 4 or " " in name:
            text = re.sub(rf"(?:@|/?u/)?{whole}", " ", text, flags=re.IGNORECASE)
    text = _BYLINE.sub("", text)
    return " ".join(_MENTION.sub(" ", text).split())


def tokens(text: str) -> tuple[str, ...]:
    """Return what copies of a headline share, whatever their typography.

    Links, punctuation, emoji, case, width, articles, "and" and a desk's flags are gone; numbers
    keep their sign and percent, for there lies the news.

    >>> tokens("BREAKING: Apple\u2019s sales \u2013 up 5 percent!") == tokens("Apple's sales up 5%")
    True
    >>> tokens("Bitcoin -5%") == tokens("Bitcoin +5%")
    False
    """
    text = unicodedata.normalize("NFKC", text[:_LONGEST]).casefold()
    text = _FLAG.sub("", _URL.sub(" ", text).strip())
    text = _PERCENT.sub("%", _MINUS.sub(" minus ", text))
    text = _CODE_SUFFIX.sub(r"\1", _APOSTROPHE.sub("", text))
    found = (token.replace(",", "") for token in _TOKEN.findall(text))
    return tuple(token for token in found if token not in _STYLE)
