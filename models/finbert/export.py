"""Export a sentiment classifier: ONNX int8 beside its tokenizer, reference logits and entry.

    python -m models.finbert.export --lang en --data DIR --out onnx        # what train.py saved
    python -m models.finbert.export --finbert ProsusAI/finbert --out onnx  # a folder, or the hub
    python -m models.finbert.export --finbert FOLDER --lang ja --name finbert_ja --out onnx

Nothing is written under the entry's name before ONNX agrees with torch.
"""

import argparse
import gzip
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from models.exporting import write_entry
from models.finbert.calibration import Calibration, fit_calibration
from models.finbert.data import LABELS, DataSet, Row
from models.finbert.english import disagreeing
from models.finbert.evaluation import evaluate, measure, read_csv
from models.finbert.network import restored
from models.finbert.onnx_export import (
    FP32_TOLERANCE,
    OPSET,
    OneText,
    onnx_logits,
    open_session,
    parity,
    to_int8,
    to_onnx,
    torch_logits,
)
from models.finbert.readers import Readers
from models.finbert.recipes import RECIPES, corpus
from models.finbert.scorer import Scorer, token_ids
from models.finbert.text import digest

# How far an int8 logit may be from torch's: logits span about [-4, 4], 0.3 was measured.
INT8_TOLERANCE = 0.6
PARITY_TEXTS = 1_500  # of the validation rows; the reference texts come on top
REFERENCES = {
    "en": Path(__file__).parent / "reference.csv",
    "ja": Path(__file__).parent / "reference_ja.csv",
}
WORK = Path("build")
LICENCES = {
    "en": "weights from all-mpnet-base-v2 (Apache-2.0); "
    "trained on SEntFiN 1.0 (MIT) and Twitter Financial News (MIT)",
    "ja": "weights from multilingual-e5-small (MIT); trained on the Economy Watchers Survey "
    "(Cabinet Office of Japan, CC BY 4.0) and chABSA-dataset (TIS Inc., CC BY 4.0)",
}

# On the scale of the other legs: a rank correlation with returns, over 0.10.
DECLARED_SKILL = {
    "value": 0.2,
    "ic": None,
    "how": "declared: a rank correlation of 0.02 with returns, until outcomes measure it",
}

Entry = dict[str, Any]


def publish(
    name: str,
    lang: str,
    network: OneText,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    *,
    max_length: int,
    out: Path,
    work: Path,
) -> Entry:
    """Write model, tokenizer and reference logits of `name`; return its entry, uncalibrated.

    The parity checks run on `rows` and on the reference texts.
    """
    out.mkdir(parents=True, exist_ok=True)
    work.mkdir(parents=True, exist_ok=True)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    reference = read_csv(REFERENCES[lang])
    inputs = encode(tokenizer, [*reference, *rows])

    fp32, int8 = work / f"{name}.fp32.onnx", work / f"{name}.onnx"
    to_onnx(network, fp32, max_length)
    to_int8(fp32, int8)
    expected = torch_logits(network, inputs)
    agreement = {
        "fp32": parity(expected, onnx_logits(fp32, inputs), FP32_TOLERANCE, f"{name} fp32"),
        "int8": parity(expected, onnx_logits(int8, inputs), INT8_TOLERANCE, f"{name} int8"),
    }
    agreement["fp32"]["tolerance"] = FP32_TOLERANCE

    recorded = [
        {"text": row.text, "torch_logits": [round(float(number), 5) for number in logits]}
        for row, logits in zip(reference, expected, strict=False)
    ]
    written = json.dumps(recorded, indent=1, ensure_ascii=False) + "\n"
    extra = {
        f"{name}.tokenizer.json": tokenizer.to_str().encode(),
        f"{name}.reference.json": written.encode(),
    }
    return {
        "name": name,
        "kind": "sentiment",
        "lang": lang,
        "file": f"{name}.onnx",
        "sha256": _write(out / f"{name}.onnx", int8.read_bytes()),
        "extra_files": {file: _write(out / file, content) for file, content in extra.items()},
        "opset": OPSET,
        "precision": "int8 weights, activations scaled at run time; batch 1 only",
        "inputs": {"input_ids": [1, "tokens"]},
        "outputs": {"logits": [1, len(LABELS)]},
        "labels": list(LABELS),
        "max_length": max_length,
        **Calibration(1.0, [0.0] * len(LABELS))._asdict(),
        "tolerance": INT8_TOLERANCE,
        "parity": agreement,
        "bytes": {"int8": int8.stat().st_size, "fp32": fp32.stat().st_size},
        "skill": DECLARED_SKILL,
    }


def export_checkpoint(checkpoint: Path, data: Path, out: Path) -> Entry:
    """Export what `train.py` saved; calibrate on validation rows, measure on test rows."""
    saved = torch.load(checkpoint, weights_only=True)
    recipe, made = saved["recipe"], restored(saved)
    lang = recipe["lang"]
    name, work, tokenizer = f"sentiment_{lang}", checkpoint.parent, made.tokenizer
    sets = corpus(lang, data)
    validation = [row for each in sets.measured for row in each.validation]
    entry = publish(
        name, lang, OneText(made.network), tokenizer, _some(validation),
        max_length=recipe["max_length"], out=out, work=work,
    )  # fmt: skip
    if lang == "en":
        entry["stands_in_for"] = "ProsusAI/finbert"
    entry |= {
        "licence": LICENCES[lang],
        "seed": recipe["seed"],
        "recipe": recipe,
        "trained_on": {each.name: _provenance(each) for each in sets.sets},
    }
    seen = [row.text for each in sets.sets for row in (*each.train, *each.validation)]
    _add_seen(entry, out, seen)

    fp32 = work / f"{name}.fp32.onnx"
    entry |= _calibration(out / f"{name}.onnx", tokenizer, sets.measured)._asdict()
    entry["metrics"] = _metrics(sets.sets, Scorer.load(entry, out))
    for each in sets.measured:
        # The same calibration: what differs is the precision alone.
        logits = onnx_logits(fp32, encode(tokenizer, each.test))
        chances = Calibration(entry["temperature"], entry["offsets"]).probabilities(logits)
        entry["metrics"][each.name]["fp32"] = measure(_labels(each.test), chances)
    return write_entry(out, name, {**entry, "extra_files": sorted(entry["extra_files"])})


def export_finbert(
    source: str,
    out: Path,
    *,
    name: str = "finbert",
    lang: str = "en",
    data: Path | None = None,
    work: Path = WORK,
) -> Entry:
    """Export a BERT classifier from a folder or the hub, its labels matched by name.

    ProsusAI/finbert orders its logits positive, negative, neutral; ours are negative, positive,
    neutral. With `data` the calibration is fitted on our validation rows and the test rows are
    measured; without, there is none. The entry also holds sizes, and how long a reference text
    takes as int8 and as fp32.
    """
    network = AutoModelForSequenceClassification.from_pretrained(
        source, attn_implementation="eager"
    )
    order = label_order(network.config.id2label)
    tokenizer = Tokenizer.from_str(
        AutoTokenizer.from_pretrained(source, use_fast=True).backend_tokenizer.to_str()
    )
    sets = corpus(lang, data).measured if data else ()
    validation = [row for each in sets for row in each.validation]
    entry = publish(
        name, lang, OneText(network, order), tokenizer, _some(validation),
        max_length=RECIPES[lang].max_length, out=out, work=work,
    )  # fmt: skip
    entry |= {
        "source": source,
        "licence": f"see the model card of {source}",
        "trained_on": {},
        "seed": None,
        "latency_ms": {
            "int8": latency(out / f"{name}.onnx", tokenizer, lang),
            "fp32": latency(work / f"{name}.fp32.onnx", tokenizer, lang),
        },
    }
    _add_seen(entry, out, [row.text for row in validation])  # its own training rows are unknown
    if validation:
        entry |= _calibration(out / f"{name}.onnx", tokenizer, sets)._asdict()
    entry["metrics"] = _metrics(sets, Scorer.load(entry, out))
    return write_entry(out, name, {**entry, "extra_files": sorted(entry["extra_files"])})


def latency(file: Path, tokenizer: Tokenizer, lang: str) -> dict[str, float]:
    """Return the median and the 99th percentile of one text's time on one thread, in ms."""
    inputs = encode(tokenizer, read_csv(REFERENCES[lang]))
    onnx_logits(file, inputs[:5])  # warm
    took = []
    session = open_session(file)
    for ids in inputs * 4:
        began = time.perf_counter()
        session.run(None, {"input_ids": np.array([ids], dtype=np.int64)})
        took.append((time.perf_counter() - began) * 1e3)
    p50, p99 = np.quantile(took, [0.5, 0.99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}


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


def encode(tokenizer: Tokenizer, rows: Sequence[Row]) -> list[list[int]]:
    """Return the token ids of each row, as the scorer makes them."""
    return [token_ids(tokenizer, row.text, row.about) for row in rows]


def _some(rows: Sequence[Row]) -> list[Row]:
    """Return rows spread evenly over all, as many as parity is checked on."""
    return list(rows[:: max(1, -(-len(rows) // PARITY_TEXTS))])


def _add_seen(entry: Entry, out: Path, texts: Iterable[str]) -> None:
    file = f"{entry['name']}.seen.txt.gz"
    packed = gzip.compress("\n".join(sorted({digest(text) for text in texts})).encode(), mtime=0)
    entry["extra_files"][file] = _write(out / file, packed)


def _calibration(file: Path, tokenizer: Tokenizer, sets: Iterable[DataSet]) -> Calibration:
    return fit_calibration(
        [
            (onnx_logits(file, encode(tokenizer, rows)), _labels(rows))
            for rows in (each.validation for each in sets)
        ]
    )


def _metrics(sets: Iterable[DataSet], scorer: Scorer) -> Entry:
    readers = Readers([scorer])
    found: Entry = {}
    for each in sets:
        of_set = evaluate(each.test, readers, allow_seen=False)
        found[each.name] = {"n": len(each.test), "int8": of_set}
        differing = list(disagreeing(each.test))
        if differing:
            apart = evaluate(differing, readers, allow_seen=False)
            found[f"{each.name}_disagreeing"] = {"n": len(differing), "int8": apart}
    return found


def _provenance(each: DataSet) -> Entry:
    counts = {side: len(getattr(each, side)) for side in ("train", "validation", "test")}
    return {
        "sha256": each.sha256,
        "rows": each.rows,
        "left_out": each.left_out,
        "split": each.split,
        **counts,
    }


def _labels(rows: Sequence[Row]) -> np.ndarray:
    return np.array([row.label for row in rows])


def _write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def main() -> None:
    """Export our checkpoint, or FinBERT where it can be had."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("onnx"))
    parser.add_argument("--lang", choices=sorted(RECIPES), default="en")
    parser.add_argument("--data", type=Path, help="folder that holds sentiment/")
    parser.add_argument("--checkpoints", type=Path, default=WORK, help="where train.py saved")
    parser.add_argument("--finbert", metavar="FOLDER_OR_HUB_ID", help="export this model instead")
    parser.add_argument("--name", default="finbert", help="with --finbert: name of the artefact")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.finbert:
        entry = export_finbert(
            chosen.finbert, chosen.out, name=chosen.name, lang=chosen.lang, data=chosen.data
        )
    elif chosen.data:
        checkpoint = chosen.checkpoints / f"sentiment_{chosen.lang}.pt"
        entry = export_checkpoint(checkpoint, chosen.data, chosen.out)
    else:
        parser.error("--data is needed to calibrate and measure our own checkpoint")
    shown = ("name", "file", "bytes", "latency_ms", "parity", "temperature", "offsets", "metrics")
    print(json.dumps({key: entry[key] for key in shown if key in entry}, indent=2))


if __name__ == "__main__":
    main()
