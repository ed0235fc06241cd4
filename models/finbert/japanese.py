"""Read the Japanese training sets: the Economy Watchers Survey, and annual reports (chABSA).

Economy Watchers Survey, Cabinet Office of Japan: comments of shopkeepers, drivers, recruiters on
the state of business now and in two to three months, each with a grade. chABSA (TIS Inc., 2018):
sentences of annual reports with the polarity of each opinion in them. Both CC BY 4.0.
"""

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.finbert.data import LABELS, DataSet, Row, Side, sha256_of_files, split

WATCHERS = {
    "sentiment/ja_economy_watchers_current_to_2025-09.jsonl.gz": (
        "景気の現状判断",
        "追加説明及び具体的状況の説明",
    ),
    "sentiment/ja_economy_watchers_future_to_2025-09.jsonl.gz": (
        "景気の先行き判断",
        "景気の先行きに対する判断理由",
    ),
}
CHABSA = Path("sentiment/ja_chabsa")
# Good and somewhat good, no change, somewhat bad and bad.
GRADES = {"◎": 1, "○": 1, "□": 2, "▲": 0, "×": 0}  # noqa: RUF001 - as the survey writes them

WATCHERS_RULE = "by month of the survey: to 2025-04 train, to 2025-06 validation, then test"
CHABSA_RULE = (
    "first 8 hex digits of the SHA-256 of the document's id modulo 100: "
    "<75 train, <85 validation, else test"
)


def read_watchers(folder: Path) -> DataSet:
    """Read the survey's comments in three classes, split by month."""
    paths = [folder / name for name in WATCHERS]
    lines = [
        (json.loads(line), *fields)
        for path, fields in zip(paths, WATCHERS.values(), strict=True)
        for line in gzip.decompress(path.read_bytes()).decode().splitlines()
    ]
    left_out = {"without grade or text": 0}

    def rows() -> Iterator[tuple[Side, Row]]:
        for line, grade, text in lines:
            label = GRADES.get(line[grade] or "")
            if label is None or not line[text]:
                left_out["without grade or text"] += 1
                continue
            yield _watchers_side(line["year-month"]), Row(line[text], label, "ja")

    sided = list(rows())
    sha256 = sha256_of_files(paths)
    return split("economy_watchers", sha256, len(lines), sided, left_out, WATCHERS_RULE)


def read_chabsa(folder: Path) -> DataSet:
    """Read the sentences on whose polarity all their opinions agree, split by company."""
    left_out = {"without opinion": 0, "opinions disagree": 0}
    sided: list[tuple[Side, Row]] = []
    sentences = list(_sentences(folder))
    for where, sentence in sentences:
        labels = {_polarity(opinion) for opinion in sentence["opinions"]}
        if not labels:
            left_out["without opinion"] += 1
        elif len(labels) > 1:
            left_out["opinions disagree"] += 1
        else:
            sided.append((where, Row(sentence["sentence"], labels.pop(), "ja")))
    sha256 = _chabsa_hash(folder)
    return split("chabsa", sha256, len(sentences), sided, left_out, CHABSA_RULE)


def read_chabsa_targets(folder: Path) -> DataSet:
    """Read a row for each opinion's target."""
    sentences = list(_sentences(folder))
    sided = [
        (where, Row(sentence["sentence"], _polarity(opinion), "ja", opinion["target"]))
        for where, sentence in sentences
        for opinion in sentence["opinions"]
    ]
    sha256 = _chabsa_hash(folder)
    return split("chabsa_targets", sha256, len(sentences), sided, {}, CHABSA_RULE)


def _watchers_side(month: str) -> Side:
    return "train" if month <= "202504" else "validation" if month <= "202506" else "test"


def _polarity(opinion: dict[str, Any]) -> int:
    return LABELS.index(opinion["polarity"])


def _sentences(folder: Path) -> Iterator[tuple[Side, dict[str, Any]]]:
    for path in _documents(folder):
        document = json.loads(path.read_text(encoding="utf-8"))
        of = hashlib.sha256(document["header"]["document_id"].encode()).hexdigest()
        bucket = int(of[:8], 16) % 100
        where: Side = "train" if bucket < 75 else "validation" if bucket < 85 else "test"
        for sentence in document["sentences"]:
            yield where, sentence


def _documents(folder: Path) -> list[Path]:
    found = sorted((folder / CHABSA).glob("*.json"))
    if not found:
        raise FileNotFoundError(f"{folder / CHABSA}: expected documents (*.json), found none")
    return found


def _chabsa_hash(folder: Path) -> str:
    return sha256_of_files(_documents(folder))
