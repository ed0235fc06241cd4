"""Clean a headline for the model, and name it by a hash that near-identical copies share."""

import hashlib
import re
import unicodedata

MAX_CHARACTERS = 2_000  # Far beyond 64 tokens; bounds the work on hostile input.

_URL = re.compile(r"(?:https?://|www\.)\S+", re.IGNORECASE)
_NOT_WORD = re.compile(r"[\W_]+")


def clean(text: str) -> str:
    r"""Return `text` as the model reads it: no control characters, links as `http`, single spaces.

    >>> clean("Apple\x00 soars  8% https://t.co/abc")
    'Apple soars 8% http'
    """
    kept = "".join(
        " " if character.isspace() else character
        for character in text[:MAX_CHARACTERS]
        # Cc control, Cs lone surrogate (cannot be encoded), Co private use, Cn unassigned.
        if character.isspace() or unicodedata.category(character) not in {"Cc", "Cs", "Co", "Cn"}
    )
    return " ".join(_URL.sub(" http ", kept).split())


def key(text: str) -> str:
    """Return what near-identical copies of a headline share: its lower-case words, no links.

    >>> key("Apple soars, again! https://t.co/abc") == key("apple soars again")
    True
    """
    words = _NOT_WORD.split(clean(text).lower())
    return " ".join(word for word in words if word not in {"", "http"})


def digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of the headline's key."""
    return hashlib.sha256(key(text).encode()).hexdigest()[:16]
