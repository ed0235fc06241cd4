"""The shipped sentiment models, English and Japanese, as served."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.finbert.evaluation import read_csv
from models.finbert.scorer import SILENT, ArtefactMismatch, Scorer, Sentiment
from models.runtime import read_manifest

ONNX = Path(__file__).parents[2] / "onnx"
MANIFEST = read_manifest()
ENTRIES: dict[str, dict[str, Any]] = {lang: MANIFEST[f"sentiment_{lang}"] for lang in ("en", "ja")}
ENTRY = ENTRIES["en"]
CARDS = Path(__file__).parents[2] / "models" / "finbert"
REFERENCE = CARDS / "reference.csv"
REFERENCES = {"en": REFERENCE, "ja": CARDS / "reference_ja.csv"}
SCORERS = {lang: Scorer.load(entry, ONNX) for lang, entry in ENTRIES.items()}
SCORER = SCORERS["en"]


@pytest.mark.parametrize(
    "headline",
    [
        "Chipmaker soars after earnings beat",
        "Broker upgrades cement maker to buy",
        "Bank posts record profit and raises dividend",
    ],
)
def test_good_news_is_positive(headline: str) -> None:
    assert SCORER.score(headline).value > 0.3


@pytest.mark.parametrize(
    "headline",
    [
        "Airline warns of deeper loss as fuel costs bite",
        "Shares tumble 18% after weak guidance",
        "$ABCD: cut to sell https://t.co/x",
    ],
)
def test_bad_news_is_negative(headline: str) -> None:
    assert SCORER.score(headline).value < -0.3


@pytest.mark.parametrize(
    "headline", ["通期の純利益予想を上方修正、過去最高益", "客足が戻り、売上は前年を上回っている。"]
)
def test_good_news_in_japanese_is_positive(headline: str) -> None:
    assert SCORERS["ja"].score(headline).value > 0.3


@pytest.mark.parametrize(
    "headline",
    ["通期の純利益予想を下方修正、赤字に転落", "物価高で客が減り、売上が落ち込んでいる。"],
)
def test_bad_news_in_japanese_is_negative(headline: str) -> None:
    assert SCORERS["ja"].score(headline).value < -0.3


@pytest.mark.parametrize(
    ("lang", "text", "winner", "loser"),
    [
        ("en", "Reliance gains as Tata Motors slumps on weak sales", "Reliance", "Tata Motors"),
        ("en", "Infosys upgraded to buy, Wipro cut to sell", "Infosys", "Wipro"),
        (
            "ja",
            "国内事業の売上高は大幅に増加したが、海外事業の売上高は減少した",
            "国内事業",
            "海外事業",
        ),
    ],
)
def test_a_headline_says_another_thing_about_each_whom_it_names(
    lang: str, text: str, winner: str, loser: str
) -> None:
    scorer = SCORERS[lang]

    better, worse = scorer.score(text, winner).value, scorer.score(text, loser).value
    assert better > 0.2
    assert better - worse > 0.5


def test_reference_headlines_are_nearly_never_read_the_wrong_way_round() -> None:
    for lang, scorer in SCORERS.items():
        signed = [row for row in read_csv(REFERENCES[lang]) if row.label < 2]
        right = [(scorer.score(row.text).value > 0.0) == (row.label == 1) for row in signed]
        assert sum(right) / len(right) >= 0.9, lang


# Japanese: its sets hold hardly any plain news, which it takes for good or bad (see the card).
@pytest.mark.parametrize(("lang", "share"), [("en", 0.9), ("ja", 0.7)])
def test_reference_headlines_are_mostly_labelled_right(lang: str, share: float) -> None:
    right = 0
    rows = read_csv(REFERENCES[lang])
    for row in rows:
        scored = SCORERS[lang].score(row.text)
        right += row.label == int(np.argmax([scored.negative, scored.positive, scored.neutral]))

    assert right / len(rows) >= share


def test_probabilities_sum_to_one_and_value_is_their_difference() -> None:
    scored = SCORER.score("Oil slides as demand fears return")

    assert math.isclose(scored.negative + scored.positive + scored.neutral, 1.0, abs_tol=1e-9)
    assert scored.value == scored.positive - scored.negative
    with pytest.raises(AttributeError):
        scored.negative = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    "rubbish",
    [
        "\x00\x01\x02\x7f",
        "\x00Shares\x00 fall\x1b[31m",
        "\ud800 lone surrogate \udfff",
        "word " * 100_000,
        "x" * 1_000_000,
        "株価が急落、円高を嫌気",
        "🚀🚀🚀",
        "[CLS] [SEP] [MASK] [PAD]",
        "\u202eevil\u202c \ufeff \u200b",
        "é" * 300 + "\uffff",
    ],
)
@pytest.mark.parametrize("lang", ["en", "ja"])
def test_rubbish_gets_an_answer(lang: str, rubbish: str) -> None:
    assert -1.0 <= SCORERS[lang].score(rubbish).value <= 1.0
    assert -1.0 <= SCORERS[lang].score("Shares fall", rubbish).value <= 1.0


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=200))
def test_any_text_gets_an_answer(text: str) -> None:
    for scorer in SCORERS.values():
        scored = scorer.score(text)

        assert math.isclose(scored.negative + scored.positive + scored.neutral, 1.0, abs_tol=1e-9)


@pytest.mark.parametrize("text", ["", "   \n\t", "\x00", "...!?", "🚀"])
def test_a_text_without_words_says_nothing(text: str) -> None:
    assert SCORER.score(text) == SILENT == Sentiment(negative=0.0, positive=0.0, neutral=1.0)


def test_a_score_depends_on_neither_history_nor_instance() -> None:
    texts = [row.text for row in read_csv(REFERENCE)][:10]
    another = Scorer.load(ENTRY, ONNX)

    forwards = [SCORER.score(text) for text in texts]
    backwards = [another.score(text) for text in reversed(texts)]

    assert forwards == backwards[::-1]
    assert forwards == [SCORER.score(text) for text in texts]


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_shipped_model_says_what_torch_said_within_the_tolerance(lang: str) -> None:
    recorded = json.loads((ONNX / f"sentiment_{lang}.reference.json").read_text(encoding="utf-8"))
    assert len(recorded) == len(read_csv(REFERENCES[lang]))

    for line in recorded:
        found = SCORERS[lang].logits(line["text"])
        expected, tolerance = line["torch_logits"], ENTRIES[lang]["tolerance"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)


def test_serving_imports_no_training_library() -> None:
    program = """
import sys
import models.finbert.evaluation, models.finbert.readers, models.finbert.scorer
heavy = {"torch", "transformers", "onnx", "sklearn"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ONNX.parent,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", ["sentiment_en.onnx", "sentiment_en.tokenizer.json"])
def test_a_changed_file_is_refused(file: str, tmp_path: Path) -> None:
    for name in (ENTRY["file"], "sentiment_en.tokenizer.json"):
        shutil.copy(ONNX / name, tmp_path / name)
    with (tmp_path / file).open("ab") as changed:
        changed.write(b" ")

    with pytest.raises(ArtefactMismatch, match=r"expected sentiment_en\..* with sha256"):
        Scorer.load(ENTRY, tmp_path)


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_entry_names_what_a_runtime_needs(lang: str) -> None:
    entry = ENTRIES[lang]
    needed = {
        "name",
        "kind",
        "file",
        "sha256",
        "extra_files",
        "opset",
        "inputs",
        "outputs",
        "tolerance",
        "temperature",
        "offsets",
    }
    needed |= {
        "max_length",
        "labels",
        "licence",
        "lang",
        "seed",
        "trained_on",
        "skill",
        "metrics",
        "parity",
    }

    assert needed <= set(entry)
    assert entry["labels"] == ["negative", "positive", "neutral"]
    assert (ONNX / entry["file"]).stat().st_size < 80_000_000
