"""Asking the reader of a text's language, and the word lists in their place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.finbert.lexicon import counts, lexicon_label, lexicon_probabilities
from models.finbert.readers import Readers
from models.finbert.scorer import Sentiment


class Fixed:
    """A model that always says the same, and notes whom it is asked about."""

    def __init__(self, lang, name="sentiment_x"):
        self.lang, self.identity, self.entry = lang, f"{name}@1", {"name": name}
        self.seen = frozenset({"seen"})
        self.asked = []

    def score(self, text, about=""):
        self.asked.append((text, about))
        return Sentiment(negative=0.0, positive=1.0, neutral=0.0)


def test_each_language_has_its_reader():
    english = Fixed("en")
    readers = Readers([english])

    assert readers.read("Profit falls", "en", "Acme").model == "sentiment_x@1"
    assert english.asked == [("Profit falls", "Acme")]
    japanese = readers.read("減収減益", "ja")
    assert japanese.model == "lexicon_ja"
    assert japanese.sentiment.value < 0
    assert readers.read("Kurse fallen", "de") is None
    assert readers.identities == {"en": "sentiment_x@1", "ja": "lexicon_ja"}


def test_a_model_may_read_a_language_without_word_list():
    assert Readers([Fixed("de")]).read("Kurse fallen", "de").sentiment.positive == 1.0


def test_two_models_of_one_language_are_refused():
    with pytest.raises(ValueError, match="found two of 'en'"):
        Readers([Fixed("en"), Fixed("en", "other")])


def test_only_the_model_of_the_language_has_seen_a_text():
    readers = Readers([Fixed("en")])
    assert readers.has_seen("seen", "en")
    assert not readers.has_seen("seen", "ja")
    assert not readers.has_seen("other", "en")


@pytest.mark.parametrize(
    ("text", "lang", "label"),
    [
        ("今期純利益を上方修正、過去最高益", "ja", 1),
        ("通期を下方修正、赤字転落", "ja", 0),
        ("売上は伸び悩みが続く", "ja", 0),
        ("社長が交代", "ja", 2),
        ("Shares plunge on weak guidance", "en", 0),
        ("Board meets on Monday", "en", 2),
    ],
)
def test_word_lists_know_the_words_of_the_trade(text, lang, label):
    assert lexicon_label(text, lang) == label


@given(st.text(), st.sampled_from(["en", "ja"]))
def test_word_lists_answer_any_text(text, lang):
    found = lexicon_probabilities(text, lang)
    bad, good = counts(text, lang)
    assert sum(found) == pytest.approx(1.0)
    assert (found[0] > found[1]) == (bad > good)
