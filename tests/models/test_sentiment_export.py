"""Exporting a classifier: a tiny one, from torch to a scorer."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from models.finbert.scorer import Scorer
from models.runtime import read_manifest

WORDS = """
bank shares fall rise profit loss the a of on after record weak strong http 1 2 5
% , . $ - : ' ##s ##ed
"""
pytestmark = pytest.mark.filterwarnings(
    "ignore"
)  # torch.export and onnxscript warn about their own insides.


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT classifier in a folder, its labels in the order of ProsusAI/finbert."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
        initializer_range=0.3,
        id2label={0: "positive", 1: "negative", 2: "neutral"},
        label2id={"positive": 0, "negative": 1, "neutral": 2},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    vocabulary = {
        word: i
        for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS.split()])
    }
    BertTokenizerFast(vocab=vocabulary).save_pretrained(folder)
    return folder


def test_finbert_export_serves_torchs_answers_with_labels_matched_by_name(
    tiny_bert: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    from models.finbert.export import export_finbert

    entry = export_finbert(str(tiny_bert), tmp_path / "onnx", work=tmp_path / "build")

    assert read_manifest(tmp_path / "onnx")["finbert"] == entry
    assert entry["parity"]["fp32"]["max_abs"] <= entry["parity"]["fp32"]["tolerance"]
    scorer = Scorer.load(entry, tmp_path / "onnx")
    network = AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()
    tokenizer = Tokenizer.from_file(str(tiny_bert / "tokenizer.json"))
    for text in ("bank shares fall", "record profit, strong rise", "the"):
        with torch.inference_mode():
            positive, negative, neutral = (
                network(torch.tensor([tokenizer.encode(text).ids])).logits[0].tolist()
            )
        np.testing.assert_allclose(
            scorer.logits(text), [negative, positive, neutral], rtol=0, atol=entry["tolerance"]
        )
        assert scorer.score(text).value <= 1.0


def test_fp32_export_equals_torch_at_every_length(tmp_path: Path) -> None:
    import torch
    from transformers import BertConfig, BertModel

    from models.finbert.network import SentimentNetwork
    from models.finbert.onnx_export import (
        FP32_TOLERANCE,
        OneText,
        onnx_logits,
        parity,
        to_onnx,
        torch_logits,
    )

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    network = OneText(SentimentNetwork(BertModel(config, add_pooling_layer=False)))
    inputs = [list(range(5, 5 + length)) for length in range(1, 17)]

    to_onnx(network, tmp_path / "tiny.onnx", 16)

    found = onnx_logits(tmp_path / "tiny.onnx", inputs)
    report = parity(torch_logits(network, inputs), found, FP32_TOLERANCE, "tiny")
    assert report["same_label"] == 1.0


def test_a_model_that_disagrees_with_torch_is_not_exported() -> None:
    from models.finbert.onnx_export import ParityError, parity

    with pytest.raises(ParityError, match=r"within 0.001 of torch, found 0.5 away"):
        parity(np.zeros((2, 3), np.float32), np.full((2, 3), 0.5, np.float32), 1e-3, "fp32")


def test_nan_logits_are_not_exported() -> None:
    from models.finbert.onnx_export import ParityError, parity

    with pytest.raises(ParityError):
        parity(np.zeros((1, 3), np.float32), np.full((1, 3), np.nan, np.float32), 1e-3, "fp32")


def test_a_model_with_other_labels_is_refused() -> None:
    from models.finbert.export import label_order

    assert label_order({0: "Positive", 1: "Negative", 2: "Neutral"}) == [1, 0, 2]
    with pytest.raises(ValueError, match="expected labels"):
        label_order({0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"})


def test_calibration_undoes_overconfidence_and_a_leaning_to_one_class() -> None:
    from models.finbert.calibration import Calibration, fit_calibration

    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4_000, 3))
    labels = np.array([rng.choice(3, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    leaning = logits + np.array([0.6, 0.0, -0.6])

    found = fit_calibration([((2.0 * leaning).astype(np.float32), labels)])

    assert found.temperature == pytest.approx(2.0, rel=0.1)
    assert found.offsets == pytest.approx([-0.6, 0.0, 0.6], abs=0.1)
    assert sum(found.offsets) == pytest.approx(0.0, abs=1e-3)
    right = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found.probabilities(2.0 * leaning), right, atol=0.05)
    assert found.probabilities(2.0 * leaning).sum(1) == pytest.approx(1.0)
    assert Calibration(1.0, [0.0] * 3).probabilities(logits) == pytest.approx(right)


def test_each_set_weighs_the_same_in_a_calibration() -> None:
    from models.finbert.calibration import fit_calibration

    blind = np.zeros((1, 3), dtype=np.float32)
    often, once = (blind.repeat(900, 0), np.full(900, 0)), (blind, np.array([1]))

    offsets = fit_calibration([often, once]).offsets

    assert offsets[0] == pytest.approx(offsets[1], abs=1e-3)
    assert offsets[2] < offsets[0]
