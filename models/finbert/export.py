"""Export a sentiment classifier: ONNX int8 beside its tokenizer, reference logits and entry.

    python -m models.finbert.export --data DIR --out onnx                 # what train.py saved
    python -m models.finbert.export --finbert ProsusAI/finbert --out onnx  # needs access to the hub

Nothing is written under the entry's name before ONNX agrees with torch.
"""

import argparse
import gzip
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.exporting import write_entry
from models.finbert.data import LABELS, SPLIT_RULE, DataSet, Row, read_sentfin, read_twitter
from models.finbert.evaluation import evaluate, measure, read_csv
from models.finbert.network import encoder_folder, restored
from models.finbert.onnx_export import (
    FP32_TOLERANCE,
    OPSET,
    OneText,
    onnx_logits,
    parity,
    to_int8,
    to_onnx,
    torch_logits,
)
from models.finbert.scorer import Scorer, softmax
from models.finbert.text import clean, digest

MAX_LENGTH = 64
# How far an int8 logit may be from torch's: logits span about [-4, 4], 0.3 was measured.
INT8_TOLERANCE = 0.6
REFERENCE = Path(__file__).parent / "reference.csv"
CHECKPOINT = Path("build/sentiment_en.pt")

# On the scale of the other legs: a rank correlation with returns, over 0.10.
DECLARED_SKILL = {
    "value": 0.2,
    "ic": None,
    "how": "declared: a rank correlation of 0.02 with returns, until outcomes measure it",
}

Entry = dict[str, Any]


def publish(
    name: str,
    network: OneText,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    *,
    out: Path,
    work: Path,
) -> Entry:
    """Write model, tokenizer and reference logits of `name`; return its entry, uncalibrated.

    The parity checks run on `texts` and on the reference texts.
    """
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_LENGTH)
    reference = [row.text for row in read_csv(REFERENCE)]
    inputs = encode(tokenizer, [*reference, *texts])

    fp32, int8 = work / f"{name}.fp32.onnx", work / f"{name}.onnx"
    to_onnx(network, fp32, MAX_LENGTH)
    to_int8(fp32, int8)
    expected = torch_logits(network, inputs)
    agreement = {
        "fp32": parity(expected, onnx_logits(fp32, inputs), FP32_TOLERANCE, f"{name} fp32"),
        "int8": parity(expected, onnx_logits(int8, inputs), INT8_TOLERANCE, f"{name} int8"),
    }
    agreement["fp32"]["tolerance"] = FP32_TOLERANCE

    recorded = [
        {"text": text, "torch_logits": [round(float(number), 5) for number in logits]}
        for text, logits in zip(reference, expected, strict=False)
    ]
    extra = {
        f"{name}.tokenizer.json": tokenizer.to_str().encode(),
        f"{name}.reference.json": (json.dumps(recorded, indent=1) + "\n").encode(),
    }
    return {
        "name": name,
        "kind": "sentiment",
        "file": f"{name}.onnx",
        "sha256": _write(out / f"{name}.onnx", int8.read_bytes()),
        "extra_files": {file: _write(out / file, content) for file, content in extra.items()},
        "opset": OPSET,
        "precision": "int8 weights, activations scaled at run time; batch 1 only",
        "inputs": {"input_ids": [1, "tokens"]},
        "outputs": {"logits": [1, len(LABELS)]},
        "labels": list(LABELS),
        "max_length": MAX_LENGTH,
        "temperature": 1.0,
        "tolerance": INT8_TOLERANCE,
        "parity": agreement,
        "skill": DECLARED_SKILL,
    }


def export_checkpoint(checkpoint: Path, data: Path, out: Path) -> Entry:
    """Export what `train.py` saved; calibrate on validation rows, measure on test rows."""
    name, work = "sentiment_en", checkpoint.parent
    sets = [read_sentfin(data), read_twitter(data)]
    saved = torch.load(checkpoint, weights_only=True)
    tokenizer = Tokenizer.from_file(str(encoder_folder() / "tokenizer.json"))
    validation = [row for each in sets for row in each.validation]
    texts = [text for text, _ in validation]
    entry = publish(name, OneText(restored(checkpoint)), tokenizer, texts, out=out, work=work)
    entry |= {
        "stands_in_for": "ProsusAI/finbert",
        "licence": "weights from MiniLM-L6 (Apache-2.0); "
        "trained on SEntFiN 1.0 (MIT) and Twitter Financial News (MIT)",
        "seed": [each["seed"] for each in saved["recipe"]["passes"]],
        "recipe": saved["recipe"],
        "trained_on": {each.name: _provenance(each) for each in sets},
    }
    _add_seen(entry, out, [text for each in sets for text, _ in [*each.train, *each.validation]])

    fp32 = work / f"{name}.fp32.onnx"
    entry["temperature"] = _temperature(out / f"{name}.onnx", tokenizer, validation)
    entry["metrics"] = _metrics(sets, Scorer.load(entry, out))
    for each in sets:
        logits = onnx_logits(fp32, encode(tokenizer, [text for text, _ in each.test]))
        scaled = logits.astype(np.float64) / _temperature(fp32, tokenizer, validation)
        entry["metrics"][each.name]["fp32"] = measure(_labels(each.test), softmax(scaled))
    return write_entry(out, name, {**entry, "extra_files": sorted(entry["extra_files"])})


def export_finbert(
    source: str,
    out: Path,
    *,
    name: str = "finbert",
    data: Path | None = None,
    work: Path = CHECKPOINT.parent,
) -> Entry:
    """Export a BERT classifier from a folder or the hub, its labels matched by name.

    ProsusAI/finbert orders its logits positive, negative, neutral; ours are negative, positive,
    neutral. With `data` the temperature is fitted on our validation rows and the test rows are
    measured; without, it stays 1.
    """
    network = AutoModelForSequenceClassification.from_pretrained(
        source, attn_implementation="eager"
    )
    order = label_order(network.config.id2label)
    tokenizer = Tokenizer.from_str(
        AutoTokenizer.from_pretrained(source, use_fast=True).backend_tokenizer.to_str()
    )
    sets = [read_sentfin(data), read_twitter(data)] if data else []
    validation = [row for each in sets for row in each.validation]
    texts = [text for text, _ in validation]
    entry = publish(name, OneText(network, order), tokenizer, texts, out=out, work=work)
    entry |= {
        "source": source,
        "licence": f"see the model card of {source}",
        "trained_on": {},
        "seed": None,
    }
    _add_seen(entry, out, texts)  # What FinBERT itself was trained on is not known to us.
    if validation:
        entry["temperature"] = _temperature(out / f"{name}.onnx", tokenizer, validation)
    entry["metrics"] = _metrics(sets, Scorer.load(entry, out))
    return write_entry(out, name, {**entry, "extra_files": sorted(entry["extra_files"])})


def label_order(id2label: dict[int, str]) -> list[int]:
    """Return where a model keeps negative, positive and neutral.

    >>> label_order({0: "positive", 1: "negative", 2: "neutral"})
    [1, 0, 2]
    """
    place = {str(label).lower(): int(number) for number, label in id2label.items()}
    if set(place) != set(LABELS):
        raise ValueError(
            f"expected labels {sorted(LABELS)} in the model's id2label, found {sorted(place)}"
        )
    return [place[label] for label in LABELS]


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature in [0.25, 4] that makes `labels` likeliest."""
    grid = np.geomspace(0.25, 4.0, 401)
    rows = np.arange(len(labels))
    losses = [-np.log(softmax(logits.astype(np.float64) / t)[rows, labels]).mean() for t in grid]
    return round(float(grid[int(np.argmin(losses))]), 4)


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Return the token ids of each text, as the scorer makes them."""
    return [tokenizer.encode(clean(text)).ids for text in texts]


def _add_seen(entry: Entry, out: Path, texts: Iterable[str]) -> None:
    file = f"{entry['name']}.seen.txt.gz"
    packed = gzip.compress("\n".join(sorted({digest(text) for text in texts})).encode(), mtime=0)
    entry["extra_files"][file] = _write(out / file, packed)


def _temperature(file: Path, tokenizer: Tokenizer, rows: Sequence[Row]) -> float:
    logits = onnx_logits(file, encode(tokenizer, [text for text, _ in rows]))
    return fit_temperature(logits, _labels(rows))


def _metrics(sets: Iterable[DataSet], scorer: Scorer) -> Entry:
    return {
        each.name: {"n": len(each.test), "int8": evaluate(each.test, scorer, allow_seen=False)}
        for each in sets
    }


def _provenance(each: DataSet) -> Entry:
    counts = {side: len(getattr(each, side)) for side in ("train", "validation", "test")}
    return {
        "sha256": each.sha256,
        "rows": each.rows,
        "left_out": each.left_out,
        "split": SPLIT_RULE,
        **counts,
    }


def _labels(rows: Sequence[Row]) -> np.ndarray:
    return np.array([label for _, label in rows])


def _write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    """Export our checkpoint, or FinBERT where it can be had."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("onnx"))
    parser.add_argument(
        "--data", type=Path, help="folder that holds sentiment/sentfin_train.csv ..."
    )
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, help="what train.py saved")
    parser.add_argument("--finbert", metavar="FOLDER_OR_HUB_ID", help="export this model instead")
    parser.add_argument("--name", default="finbert", help="with --finbert: name of the artefact")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.finbert:
        entry = export_finbert(chosen.finbert, chosen.out, name=chosen.name, data=chosen.data)
    elif chosen.data:
        entry = export_checkpoint(chosen.checkpoint, chosen.data, chosen.out)
    else:
        parser.error("--data is needed to calibrate and measure our own checkpoint")
    print(
        json.dumps(
            {key: entry[key] for key in ("name", "file", "parity", "temperature", "metrics")},
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
