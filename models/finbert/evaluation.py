"""Measure sentiment models on labelled texts that they have not seen, with 95 % intervals."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.finbert.data import Row
from models.finbert.lexicon import LANGUAGES, lexicon_label
from models.finbert.readers import Readers
from models.finbert.text import digest
from models.seen import SeenData

_KANA = re.compile(r"[ぁ-ゟァ-ヺ]")
RESAMPLES = 1_000
BINS = 15

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


def read_csv(path: Path) -> list[Row]:
    """Read columns text, label and, where present, lang and about.

    Raises:
        ValueError: a line is unlike that; the message names it.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.DictReader(file)
        try:
            return list(_rows(path, lines))
        except csv.Error as error:
            raise ValueError(
                f"{path}, line {lines.line_num + 1}: expected CSV, found {error}"
            ) from error


def _rows(path: Path, lines: csv.DictReader[str]) -> Iterator[Row]:
    missing = [name for name in ("text", "label") if name not in (lines.fieldnames or ())]
    if missing:
        raise ValueError(
            f"{path}: expected columns text, label and optionally lang and about, "
            f"found {lines.fieldnames}; missing {missing}"
        )
    for line in lines:
        label = (line["label"] or "").strip()
        if label not in {"0", "1", "2"}:
            raise ValueError(
                f"{path}, line {lines.line_num}: expected label 0, 1 or 2, found {label!r}"
            )
        text = line["text"] or ""
        # No other language here is written in kana.
        lang = (line.get("lang") or ("ja" if _KANA.search(text) else "en")).strip().lower()
        yield Row(text, int(label), lang, line.get("about") or "")


def evaluate(
    rows: Iterable[tuple[str, int] | Row], readers: Readers, *, allow_seen: bool, seed: int = 0
) -> dict[str, Any]:
    """Return n, [estimate, low, high] of each metric, baselines, and metrics by language.

    A row of a language that nobody reads counts as neutral with certainty.

    Raises:
        ValueError: there are no rows.
        SeenData: a row's text was fitted or tuned on, unless `allow_seen`.
    """
    labelled = [Row(*row) for row in rows]
    if not labelled:
        raise ValueError("expected rows to evaluate, found none")
    seen = sum(readers.has_seen(digest(row.text), row.lang) for row in labelled)
    if seen and not allow_seen:
        names = " and ".join(str(entry["name"]) for entry in readers.entries)
        raise SeenData(
            f"{seen} of {len(labelled)} rows were used to fit or tune {names}; "
            "leave them out or allow seen rows"
        )

    probabilities = np.array([_probabilities(row, readers) for row in labelled])  # (rows, 3)
    labels = np.array([row.label for row in labelled])
    langs = np.array([row.lang for row in labelled])
    by_lang: dict[str, Any] = {
        str(lang): {
            "n": int((langs == lang).sum()),
            "model": readers.identities.get(str(lang)),
            **measure(labels[langs == lang], probabilities[langs == lang], seed),
        }
        for lang in np.unique(langs)
    }
    majority = np.full_like(labels, np.bincount(labels, minlength=3).argmax())
    lexicon = np.array(
        [lexicon_label(row.text, row.lang) if row.lang in LANGUAGES else 2 for row in labelled]
    )
    baselines = {
        name: {
            metric: interval(of, labels, predicted, seed) for metric, of in LABEL_METRICS.items()
        }
        for name, predicted in (("majority", majority), ("lexicon", lexicon))
    }
    report = measure(labels, probabilities, seed)
    return {"n": len(labelled), "seen": seen, **report, "baselines": baselines, "by_lang": by_lang}


def _probabilities(row: Row, readers: Readers) -> tuple[float, float, float]:
    reading = readers.read(row.text, row.lang, row.about)
    if reading is None:
        return 0.0, 0.0, 1.0
    found = reading.sentiment
    return found.negative, found.positive, found.neutral


def measure(labels: Integers, probabilities: Floats, seed: int = 0) -> dict[str, list[float]]:
    """Return accuracy, macro-F1 and calibration error, each [estimate, low, high].

    `sign_accuracy` is of the positive and negative rows alone: is the right one of the
    two the likelier?
    """
    predicted = probabilities.argmax(1)
    report = {name: interval(of, labels, predicted, seed) for name, of in LABEL_METRICS.items()}
    report["ece"] = interval(calibration_error, labels, probabilities, seed)
    signed = labels < 2
    if signed.any():
        sign = probabilities[signed, :2].argmax(1)
        report["sign_accuracy"] = interval(accuracy, labels[signed], sign, seed)
    return report


def accuracy(labels: Integers, predicted: Integers) -> float:
    """Return the share of right labels."""
    return float((labels == predicted).mean())


def macro_f1(labels: Integers, predicted: Integers) -> float:
    """Return the mean F1 over the classes that occur among the labels or the predictions."""
    hits = np.bincount(labels[labels == predicted], minlength=3)
    both = np.bincount(labels, minlength=3) + np.bincount(predicted, minlength=3)
    occurs = both > 0
    return float((2 * hits[occurs] / both[occurs]).mean())


def calibration_error(labels: Integers, probabilities: Floats) -> float:
    """Return the mean gap between the winning probability and how often it is right."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    of_bin = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = np.bincount(of_bin, weights=right - sure, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


LABEL_METRICS: dict[str, Callable[[Integers, Integers], float]] = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
}


def interval(
    of: Callable[[Integers, Any], float], labels: Integers, answers: NDArray[Any], seed: int
) -> list[float]:
    """Return [estimate, low, high]: the 95 % percentile bootstrap over rows."""
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(RESAMPLES):
        draw = rng.integers(0, len(labels), size=len(labels))
        drawn.append(of(labels[draw], answers[draw]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return [round(float(number), 4) for number in (of(labels, answers), low, high)]
