"""Read the English training sets: SEntFiN, as a whole and by entity, and Twitter."""

import ast
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path

from models.finbert.data import LABELS, DataSet, Row, sha256_of_files, side, split

SENTFIN = Path("sentiment/sentfin_train.csv")
TWITTER = Path("sentiment/twitter_fin_news_sent_train.csv")

# Keys may hold bare quotes ({'Moody's': 'neutral'}); a label never does, so anchor on the labels.
_PAIR = re.compile(
    r"""['"](?P<entity>.+?)['"]\s*:\s*['"](?P<label>negative|positive|neutral)['"]\s*[,}]"""
)


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


def read_sentfin(folder: Path) -> DataSet:
    """Read SEntFiN headlines on whose label all their entities agree."""
    rows: list[Row] = []
    left_out = {"unparsable": 0, "entities disagree": 0}
    lines = _csv(folder / SENTFIN)
    for line in lines:
        decisions = parse_decisions(line["Decisions"])
        if decisions is None:
            left_out["unparsable"] += 1
        elif len(set(decisions.values())) > 1:
            left_out["entities disagree"] += 1
        else:
            rows.append(Row(line["Title"], LABELS.index(next(iter(decisions.values())))))
    return _split("sentfin", folder / SENTFIN, len(lines), rows, left_out)


def read_sentfin_entities(folder: Path) -> DataSet:
    """Read a row for each entity that a SEntFiN headline names, disagreeing ones included."""
    rows: list[Row] = []
    left_out = {"unparsable": 0}
    lines = _csv(folder / SENTFIN)
    for line in lines:
        decisions = parse_decisions(line["Decisions"])
        if decisions is None:
            left_out["unparsable"] += 1
            continue
        for entity, label in decisions.items():
            rows.append(Row(line["Title"], LABELS.index(label), about=entity))
    return _split("sentfin_entities", folder / SENTFIN, len(lines), rows, left_out)


def read_twitter(folder: Path) -> DataSet:
    """Read the Twitter financial news set: 0 bearish, 1 bullish, 2 neutral."""
    lines = _csv(folder / TWITTER)
    rows = [Row(line["text"], int(line["label"])) for line in lines]
    return _split("twitter_financial_news", folder / TWITTER, len(lines), rows, {})


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _split(name: str, path: Path, total: int, rows: list[Row], left_out: dict[str, int]) -> DataSet:
    sided = ((side(row.text), row) for row in rows)
    return split(name, sha256_of_files([path]), total, sided, left_out)


def disagreeing(rows: list[Row]) -> Iterator[Row]:
    """Yield the rows of texts that say different things about different entities."""
    labels: dict[str, set[int]] = {}
    for row in rows:
        labels.setdefault(row.text, set()).add(row.label)
    yield from (row for row in rows if len(labels[row.text]) > 1)
