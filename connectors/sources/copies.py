"""Tell whether a headline was seen before, word for word or nearly."""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

_LEAST_SHARE = 0.9  # of the words of the longer one
_LEAST_WORDS = 10  # fewer cannot differ by a word and still share so much
_PREFIX = 4  # of 40 words, the longest compared nearly, 4 may be missing
_MOST_WORDS = 39
_MOST_CANDIDATES = 200  # bounds the work where many headlines share a rare word
# One of these more or less turns the meaning round.
_TELLING_WORDS = (
    "no not never nor neither without cannot cant wont didnt doesnt isnt wasnt fails failed denies"
    " denied rejects rejected minus former ex could may might if false fake hoax rumor rumour"
    " allegedly un non anti despite unlikely % ▲ ▼ △ ▽ ↑ ↓"
)
_TELLING = frozenset(_TELLING_WORDS.split())


def identity(words: Sequence[str]) -> str:
    """Return the id of a headline with these words, wherever it is seen."""
    return blake2b(" ".join(words).encode("utf-8", "replace"), digest_size=16).hexdigest()


class _Seen(NamedTuple):
    at: int
    words: "array[int]"  # as hashes; empty where only equality counts
    rarest: tuple[int, ...]


class Copies:
    """The headlines of the last `age` ns, at most `most`.

    Near is: the words of one are those of the other, in the same order, but for up to a tenth
    more, none of which is a number or a negation. Similarity of word sets alone (Jaccard,
    SimHash) would take "beats" for "misses" in a long headline, and "A sues B" for "B sues A";
    here a substituted word always makes another headline. Japanese, which has no spaces, is
    compared whole: one character makes 増益 of 減益.
    """

    def __init__(self, age: int, most: int) -> None:
        """Begin with none."""
        self._age = age
        self._most = most
        self._seen: OrderedDict[str, _Seen] = OrderedDict()  # in order of their time of adding
        self._by_word: dict[int, dict[str, None]] = {}

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._seen)

    def find(self, words: Sequence[str], now: int) -> str | None:
        """Return the id of the headline that `words` are a copy of, if there is one."""
        self._age_out(now)
        name = identity(words)
        if name in self._seen:
            return name
        hashes, rarest = _hashed(words)
        for word in rarest:
            for tried, candidate in enumerate(reversed(self._by_word.get(word, {}))):
                if tried >= _MOST_CANDIDATES:
                    break
                if _near(hashes, self._seen[candidate].words):
                    return candidate
        return None

    def add(self, words: Sequence[str], now: int) -> str:
        """Remember a headline; return its id."""
        name = identity(words)
        self.forget(name)
        hashes, rarest = _hashed(words)
        self._seen[name] = _Seen(now, hashes, rarest)
        for word in rarest:
            self._by_word.setdefault(word, {})[name] = None
        self._age_out(now)
        return name

    def forget(self, name: str) -> None:
        """Have not seen this one, if it was."""
        gone = self._seen.pop(name, None)
        if gone is None:
            return
        for word in gone.rarest:
            holders = self._by_word[word]
            del holders[name]
            if not holders:
                del self._by_word[word]

    def _age_out(self, now: int) -> None:
        while self._seen:
            name, oldest = next(iter(self._seen.items()))
            if len(self._seen) <= self._most and now - oldest.at <= self._age:
                return
            self.forget(name)


def _hashed(words: Sequence[str]) -> tuple["array[int]", tuple[int, ...]]:
    """Return the words as hashes, and those by which near copies are found.

    Two such lists that share 9 of 10 words share one of the first few in any fixed order
    (prefix filtering); longest first, because long words are rare. The lowest bit of a hash
    says that the word is telling.
    """
    if not _LEAST_WORDS - 1 <= len(words) <= _MOST_WORDS or not all(map(_spaced, words)):
        return array("Q"), ()
    hashes = {word: _hash(word) for word in words}
    ordered = sorted(hashes, key=lambda word: (-len(word), word))
    return (
        array("Q", [hashes[word] for word in words]),
        tuple(hashes[word] for word in ordered[:_PREFIX]),
    )


def _spaced(word: str) -> bool:
    return all(character < "\u2e80" for character in word)  # from there on: CJK


def _hash(word: str) -> int:
    value = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest())
    telling = word in _TELLING or any(character.isdigit() for character in word)
    return value | 1 if telling else value & ~1


def _near(one: "array[int]", other: "array[int]") -> bool:
    short, long = sorted((one, other), key=len)
    if not short or len(short) < _LEAST_SHARE * len(long):
        return False
    at = 0
    for word in long:
        if at < len(short) and word == short[at]:
            at += 1
        elif word & 1:
            return False
    return at == len(short)
