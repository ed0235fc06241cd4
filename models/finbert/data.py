"""Labelled texts, split so that copies of one fall on one side."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from models.finbert.text import digest

LABELS = ("negative", "positive", "neutral")
SPLIT_RULE = (
    "first 8 hex digits of the text's digest modulo 100: <82 train, <90 validation, else test"
)

Side = Literal["train", "validation", "test"]
SIDES: tuple[Side, ...] = ("train", "validation", "test")


class Row(NamedTuple):
    """One labelled text: 0 negative, 1 positive, 2 neutral."""

    text: str
    label: int
    lang: str = "en"
    about: str = ""  # whom of the text the label is about; empty: the text as a whole


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
    split: str = SPLIT_RULE


def side(text: str) -> Side:
    """Return the side of the split `text` falls on; copies of a headline fall on the same one."""
    bucket = int(digest(text)[:8], 16) % 100
    return "train" if bucket < 82 else "validation" if bucket < 90 else "test"


def split(
    name: str,
    sha256: str,
    total: int,
    rows: Iterable[tuple[Side, Row]],
    left_out: dict[str, int],
    rule: str = SPLIT_RULE,
) -> DataSet:
    """Return `rows` by their sides, keeping the first copy of each text and whom it is about.

    A copy that would fall on another side than the first is left out like any other.
    """
    sides: dict[Side, list[Row]] = {each: [] for each in SIDES}
    seen: set[tuple[str, str]] = set()
    copies = 0
    for where, row in rows:
        name_of_row = digest(row.text), row.about
        if name_of_row in seen:
            copies += 1
            continue
        seen.add(name_of_row)
        sides[where].append(row)
    return DataSet(
        name, sha256, total, **sides, left_out={**left_out, "copies": copies}, split=rule
    )


def sha256_of_files(paths: Iterable[Path]) -> str:
    """Return one hash of the files' contents, in the order given."""
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()
