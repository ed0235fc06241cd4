"""Read the two training sets and split them so that copies of a headline stay on one side."""

import ast
import csv
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from models.finbert.text import digest

LABELS = ("negative", "positive", "neutral")
SENTFIN = Path("sentiment/sentfin_train.csv")
TWITTER = Path("sentiment/twitter_fin_news_sent_train.csv")
SPLIT_RULE = (
    "first 8 hex digits of the text's digest modulo 100: <82 train, <90 validation, else test"
)

Side = Literal["train", "validation", "test"]
Row = tuple[str, int]

# Keys may hold bare quotes ({'Moody's': 'neutral'}); a label never does, so anchor on the labels.
_PAIR = re.compile(
    r"""['"](?P<entity>.+?)['"]\s*:\s*['"](?P<label>negative|positive|neutral)['"]\s*[,}]"""
)


@dataclass(frozen=True, slots=True)
class DataSet:
    """One labelled set, split, with what was left out and why."""

    name: str
    sha256: str
    rows: int
    train: list[Row] = field(default_factory=list)
    validation: list[Row] = field(default_factory=list)
    test: list[Row] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def parse_decisions(raw: str) -> dict[str, str] | None:
    """Read SEntFiN's entity -> label map, or None where nothing sensible can be read.

    JSON, Python and unescaped quotes are all in the file.

    >>> parse_decisions("{'Tata Steel UK': 'negative', 'Moody's': 'neutral'}")
    {'Tata Steel UK': 'negative', "Moody's": 'neutral'}
    """
    for read in (json.loads, ast.literal_eval):
        try:
            decisions = read(raw)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if not isinstance(decisions, dict) or not decisions:
            return None
        if not all(label in LABELS for label in decisions.values()):
            return None
        return {str(entity): label for entity, label in decisions.items()}
    pairs = {match["entity"]: match["label"] for match in _PAIR.finditer(raw)}
    return pairs or None


def side(text: str) -> Side:
    """Return the side of the split `text` falls on; copies of a headline fall on the same one."""
    bucket = int(digest(text)[:8], 16) % 100
    return "train" if bucket < 82 else "validation" if bucket < 90 else "test"


def read_sentfin(folder: Path) -> DataSet:
    """Read SEntFiN headlines on whose label all their entities agree."""
    path = folder / SENTFIN
    rows: list[Row] = []
    left_out = {"unparsable": 0, "entities disagree": 0}
    lines = _csv(path)
    for line in lines:
        decisions = parse_decisions(line["Decisions"])
        if decisions is None:
            left_out["unparsable"] += 1
        elif len(set(decisions.values())) > 1:
            left_out["entities disagree"] += 1
        else:
            rows.append((line["Title"], LABELS.index(next(iter(decisions.values())))))
    return _split("sentfin", path, len(lines), rows, left_out)


def read_twitter(folder: Path) -> DataSet:
    """Read the Twitter financial news set: 0 bearish, 1 bullish, 2 neutral."""
    path = folder / TWITTER
    lines = _csv(path)
    rows = [(line["text"], int(line["label"])) for line in lines]
    return _split("twitter_financial_news", path, len(lines), rows, {})


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _split(
    name: str, path: Path, total: int, rows: Iterable[Row], left_out: dict[str, int]
) -> DataSet:
    """Split `rows` by hash, keeping the first copy of each headline."""
    sides: dict[Side, list[Row]] = {"train": [], "validation": [], "test": []}
    seen: set[str] = set()
    copies = 0
    for text, label in rows:
        name_of_text = digest(text)
        if name_of_text in seen:
            copies += 1
            continue
        seen.add(name_of_text)
        sides[side(text)].append((text, label))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return DataSet(name, sha256, total, **sides, left_out={**left_out, "copies": copies})
