"""Ask the model of a text's language; where there is none, its word list, and say so."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, Protocol

from models.finbert.lexicon import LANGUAGES, lexicon_probabilities
from models.finbert.scorer import Scorer, Sentiment


class Reading(NamedTuple):
    """What is made of a text, and by which model (name and hash) or word list."""

    sentiment: Sentiment
    model: str


class Reader(Protocol):
    """Whatever scores texts of one language."""

    lang: str
    identity: str

    def score(self, text: str, about: str = "") -> Sentiment:
        """Return the sentiment of a text, as a whole or for the one it is asked about."""
        ...


class WordList:
    """The reader of a language without a model: it counts words, whoever is asked about."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.identity = f"lexicon_{lang}"

    def score(self, text: str, about: str = "") -> Sentiment:  # noqa: ARG002 - as a model's
        """Return shares of the good and bad words found."""
        negative, positive, neutral = lexicon_probabilities(text, self.lang)
        return Sentiment(negative=negative, positive=positive, neutral=neutral)


class Readers:
    """One reader for each language: the given models, and word lists for what they leave."""

    def __init__(self, scorers: Iterable[Scorer]) -> None:
        """Take the models.

        Raises:
            ValueError: two of them read the same language.
        """
        self.by_lang: dict[str, Reader] = {lang: WordList(lang) for lang in LANGUAGES}
        self.scorers: dict[str, Scorer] = {}
        for scorer in scorers:
            if scorer.lang in self.scorers:
                raise ValueError(
                    f"expected one sentiment model a language, found two of '{scorer.lang}'; "
                    "name one of them"
                )
            self.scorers[scorer.lang] = self.by_lang[scorer.lang] = scorer

    @property
    def identities(self) -> Mapping[str, str]:
        """Who reads which language."""
        return {lang: reader.identity for lang, reader in sorted(self.by_lang.items())}

    @property
    def entries(self) -> list[Mapping[str, Any]]:
        """The models' manifest entries."""
        return [scorer.entry for scorer in self.scorers.values()]

    def read(self, text: str, lang: str, about: str = "") -> Reading | None:
        """Return what the language's reader says, or None where nobody reads it."""
        reader = self.by_lang.get(lang)
        return None if reader is None else Reading(reader.score(text, about), reader.identity)

    def has_seen(self, digest_of_text: str, lang: str) -> bool:
        """Say whether the language's model was fitted or tuned on a text of that digest."""
        scorer = self.scorers.get(lang)
        return scorer is not None and digest_of_text in scorer.seen
