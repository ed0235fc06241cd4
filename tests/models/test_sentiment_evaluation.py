"""Measuring the sentiment model on labelled rows."""

from pathlib import Path

import numpy as np
import pytest

from models.finbert.evaluation import (
    SeenData,
    calibration_error,
    evaluate,
    macro_f1,
    measure,
    read_csv,
)
from models.finbert.lexicon import lexicon_label
from models.finbert.readers import Readers
from models.finbert.scorer import Scorer
from models.finbert.text import digest
from models.runtime import read_manifest

ONNX = Path(__file__).parents[2] / "onnx"
SCORER = Scorer.load(read_manifest()["sentiment_en"], ONNX)
READERS = Readers([SCORER])
ROWS = [
    ("Zyqo Widgets shares plunge after loss widens", 0),
    ("Zyqo Widgets surges on record profit", 1),
    ("Zyqo Widgets names a new company secretary", 2),
    ("Zyqo Gadgets downgraded on weak demand", 0),
]


class Remembering:
    """A scorer that was trained on the first row."""

    def __init__(self) -> None:
        self.entry, self.lang, self.identity = SCORER.entry, SCORER.lang, SCORER.identity
        self.score = SCORER.score
        self.seen = frozenset({digest(ROWS[0][0])})


def test_report_gives_each_figure_with_its_interval() -> None:
    report = evaluate(ROWS, READERS, allow_seen=False)

    assert report["n"] == 4
    for name in ("accuracy", "macro_f1", "ece"):
        estimate, low, high = report[name]
        assert 0.0 <= low <= high <= 1.0
        assert 0.0 <= estimate <= 1.0
    assert report["accuracy"][0] == 1.0
    assert report["baselines"]["majority"]["accuracy"][0] == 0.5
    assert report["baselines"]["lexicon"]["accuracy"][0] == 1.0


def test_report_is_the_same_for_the_same_seed() -> None:
    assert evaluate(ROWS, READERS, allow_seen=False, seed=3) == evaluate(
        ROWS, READERS, allow_seen=False, seed=3
    )


def test_rows_that_were_trained_on_are_refused() -> None:
    disguised = [(ROWS[0][0].upper() + "! https://t.co/abc", 0), *ROWS[1:]]

    with pytest.raises(SeenData, match="1 of 4 rows"):
        evaluate(disguised, Readers([Remembering()]), allow_seen=False)


def test_rows_that_were_trained_on_are_measured_and_counted_when_allowed() -> None:
    report = evaluate(ROWS, Readers([Remembering()]), allow_seen=True)

    assert report["n"] == 4
    assert report["seen"] == 1


def test_shipped_model_remembers_its_training_rows() -> None:
    counts = SCORER.entry["trained_on"].values()

    assert 0 < len(SCORER.seen) <= sum(each["train"] + each["validation"] for each in counts)


def test_languages_are_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "text,label,lang\nZyqo soars,1,en\nZyqo stürzt ab,0,de\nZyqo falls,0,\n", encoding="utf-8"
    )

    report = evaluate(read_csv(path), READERS, allow_seen=False)

    assert report["n"] == 3
    assert {lang: each["n"] for lang, each in report["by_lang"].items()} == {"de": 1, "en": 2}


def test_a_row_without_language_is_told_by_its_script(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,label,about\n株価が下落,0,\nZyqo falls,0,Zyqo\n", encoding="utf-8")

    japanese, english = read_csv(path)

    assert (japanese.lang, japanese.about, english.lang, english.about) == ("ja", "", "en", "Zyqo")


def test_signs_are_measured_on_rows_that_have_one() -> None:
    labels = np.array([0, 1, 1, 2])
    probabilities = np.array([[0.3, 0.1, 0.6], [0.1, 0.3, 0.6], [0.5, 0.2, 0.3], [0.2, 0.2, 0.6]])

    report = measure(labels, probabilities)

    assert report["sign_accuracy"][0] == pytest.approx(2 / 3, abs=1e-4)
    assert report["accuracy"][0] == 0.25


def test_nothing_to_evaluate_is_refused() -> None:
    with pytest.raises(ValueError, match="found none"):
        evaluate([], READERS, allow_seen=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("headline,label\nx,1\n", r"missing \['text'\]"),
        ("text\nx\n", r"missing \['label'\]"),
        ("", "expected columns"),
        ("text,label\nfine,1\nbad,3\n", "line 3: expected label 0, 1 or 2, found '3'"),
        ("text,label\nbad,positive\n", "line 2"),
        ("text,label\nbad\n", "line 2"),
        ("text,label\n" + "x" * 200_000 + ",1\n", "line 2: expected CSV, found field larger"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content)

    with pytest.raises(ValueError, match=message):
        read_csv(path)


def test_calibration_error_is_the_gap_between_confidence_and_being_right() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1]] * 10)

    assert calibration_error(np.array([0] * 8 + [1] * 2), probabilities) == pytest.approx(0.0)
    assert calibration_error(np.array([1] * 10), probabilities) == pytest.approx(0.8)


def test_macro_f1_weighs_classes_alike() -> None:
    labels = np.array([0, 0, 0, 1])

    assert macro_f1(labels, np.array([0, 0, 0, 0])) == pytest.approx((6 / 7 + 0) / 2)
    assert macro_f1(labels, labels) == 1.0


@pytest.mark.parametrize(
    ("text", "label"),
    [("Shares tumble", 0), ("Profit surges", 1), ("AGM on Monday", 2), ("Gains cut", 2)],
)
def test_lexicon_counts_words(text: str, label: int) -> None:
    assert lexicon_label(text) == label
