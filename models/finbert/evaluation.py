"""Measure a scorer on labelled texts that it has not seen, with 95 % intervals."""

import csv
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.finbert.lexicon import lexicon_label
from models.finbert.scorer import Scorer
from models.finbert.text import digest
from models.seen import SeenData

RESAMPLES = 1_000
BINS = 15

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Row(NamedTuple):
    """One labelled text: 0 negative, 1 positive, 2 neutral."""

    text: str
    label: int
    lang: str = "en"


def read_csv(path: Path) -> list[Row]:
    """Read columns text, label and, where present, lang; raise ValueError naming a bad line."""
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
            f"{path}: expected columns text, label and optionally lang, "
            f"found {lines.fieldnames}; missing {missing}"
        )
    for line in lines:
        label = (line["label"] or "").strip()
        if label not in {"0", "1", "2"}:
            raise ValueError(
                f"{path}, line {lines.line_num}: expected label 0, 1 or 2, found {label!r}"
            )
        lang = (line.get("lang") or "en").strip().lower()
        yield Row(line["text"] or "", int(label), lang)


def evaluate(
    rows: Iterable[tuple[str, int] | Row], scorer: Scorer, *, allow_seen: bool, seed: int = 0
) -> dict[str, Any]:
    """Return n, [estimate, low, high] of each metric, baselines, and metrics by language.

    Raises `SeenData` where a row's text was fitted or tuned on, unless `allow_seen`.
    """
    labelled = [Row(*row) for row in rows]
    if not labelled:
        raise ValueError("expected rows to evaluate, found none")
    seen = sum(digest(row.text) in scorer.seen for row in labelled)
    if seen and not allow_seen:
        raise SeenData(
            f"{seen} of {len(labelled)} rows were used to fit or tune {scorer.entry['name']}; "
            "leave them out or allow seen rows"
        )

    scores = [scorer.score(row.text) for row in labelled]
    probabilities = np.array([(s.negative, s.positive, s.neutral) for s in scores])  # (rows, 3)
    labels = np.array([row.label for row in labelled])
    report = measure(labels, probabilities, seed)
    by_lang: dict[str, Any] = {}
    for lang in sorted({row.lang for row in labelled}):
        of = np.array([row.lang == lang for row in labelled])
        predicted = probabilities[of].argmax(1)
        by_lang[lang] = {
            "n": int(of.sum()),
            "accuracy": accuracy(labels[of], predicted),
            "macro_f1": macro_f1(labels[of], predicted),
        }
    majority = np.full_like(labels, np.bincount(labels, minlength=3).argmax())
    lexicon = np.array([lexicon_label(row.text) for row in labelled])
    baselines = {
        name: {
            metric: interval(of, labels, predicted, seed) for metric, of in LABEL_METRICS.items()
        }
        for name, predicted in (("majority", majority), ("lexicon", lexicon))
    }
    return {"n": len(labelled), "seen": seen, **report, "baselines": baselines, "by_lang": by_lang}


def measure(labels: Integers, probabilities: Floats, seed: int = 0) -> dict[str, list[float]]:
    """Return accuracy, macro-F1 and calibration error, each [estimate, low, high]."""
    predicted = probabilities.argmax(1)
    report = {name: interval(of, labels, predicted, seed) for name, of in LABEL_METRICS.items()}
    report["ece"] = interval(calibration_error, labels, probabilities, seed)
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
    draws = rng.integers(0, len(labels), size=(RESAMPLES, len(labels)))
    low, high = np.quantile([of(labels[draw], answers[draw]) for draw in draws], [0.025, 0.975])
    return [round(float(number), 4) for number in (of(labels, answers), low, high)]
