"""The shipped English sentiment model, as served."""

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
ENTRY: dict[str, Any] = read_manifest()["sentiment_en"]
REFERENCE = Path(__file__).parents[2] / "models" / "finbert" / "reference.csv"
SCORER = Scorer.load(ENTRY, ONNX)


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


def test_reference_headlines_are_labelled_right_nine_times_in_ten() -> None:
    right = 0
    rows = read_csv(REFERENCE)
    for row in rows:
        scored = SCORER.score(row.text)
        right += row.label == int(np.argmax([scored.negative, scored.positive, scored.neutral]))

    assert right / len(rows) >= 0.9


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
def test_rubbish_gets_an_answer(rubbish: str) -> None:
    assert -1.0 <= SCORER.score(rubbish).value <= 1.0


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=200))
def test_any_text_gets_an_answer(text: str) -> None:
    scored = SCORER.score(text)

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


def test_shipped_model_says_what_torch_said_within_the_tolerance() -> None:
    recorded = json.loads((ONNX / "sentiment_en.reference.json").read_text())
    assert len(recorded) >= 50

    for line in recorded:
        found = SCORER.logits(line["text"])
        np.testing.assert_allclose(found, line["torch_logits"], rtol=0, atol=ENTRY["tolerance"])


def test_tokens_are_those_of_transformers() -> None:
    from transformers import BertTokenizerFast  # Serving has no transformers: only the tests do.

    vocabulary = json.loads((ONNX / "sentiment_en.tokenizer.json").read_text())["model"]["vocab"]
    theirs = BertTokenizerFast(vocab=vocabulary, do_lower_case=True)
    texts = [row.text for row in read_csv(REFERENCE)] + [
        "Nestlé's café: naïve £5m—déjà vu",
        "日経平均 falls",
        "a-b_c $X 4.5%",
    ]

    for text in texts:
        ours = SCORER._tokenizer.encode(text).ids
        assert ours == theirs(text, truncation=True, max_length=ENTRY["max_length"])["input_ids"]


def test_serving_imports_no_training_library() -> None:
    program = """
import sys
import models.finbert.evaluation, models.finbert.scorer
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


def test_entry_names_what_a_runtime_needs() -> None:
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
    }
    needed |= {
        "max_length",
        "labels",
        "licence",
        "stands_in_for",
        "seed",
        "trained_on",
        "skill",
        "metrics",
        "parity",
    }

    assert needed <= set(ENTRY)
    assert ENTRY["labels"] == ["negative", "positive", "neutral"]
    assert (ONNX / ENTRY["file"]).stat().st_size < 30_000_000
