"""What a model has already seen: its manifest lists it, and evaluation refuses an overlap.

A score on bars that took part in fit, scaling, calibration or tuning says nothing about new
ones. An artefact's manifest entry lists them under `seen`, one object a span: `dataset`,
`symbols` (empty: all of them), `from_ns` and `to_ns` (first and last bar close, inclusive)
and `use` (what the span served for).
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

Entry = Mapping[str, Any]
SECOND = 1_000_000_000


class SeenData(ValueError):
    """The data to evaluate on took part in making the model."""


def span(
    dataset: str, symbols: Collection[str], from_ns: int, to_ns: int, use: str
) -> dict[str, Any]:
    """Return one manifest line of what a model has seen."""
    return {
        "dataset": dataset,
        "symbols": sorted(symbols),
        "from_ns": int(from_ns),
        "to_ns": int(to_ns),
        "use": use,
    }


def overlap(
    entry: Entry, symbols: Collection[str], from_ns: int, to_ns: int
) -> list[dict[str, Any]]:
    """Return the spans of `entry` that share a symbol and a moment with [from_ns, to_ns].

    >>> entry = {"seen": [span("lean", ["SPY"], 10, 20, "fit")]}
    >>> overlap(entry, ["SPY", "IBM"], 20, 30)[0]["use"]
    'fit'
    >>> overlap(entry, ["SPY"], 21, 30), overlap(entry, ["IBM"], 10, 20)
    ([], [])
    """
    wanted = set(symbols)
    return [
        dict(each)
        for each in entry.get("seen", ())
        if each["from_ns"] <= to_ns
        and from_ns <= each["to_ns"]
        and (not each["symbols"] or wanted.intersection(each["symbols"]))
    ]


def trained_until(entry: Entry) -> int:
    """Return the last moment (ns) that a model was made from; 0 where its entry names none.

    >>> trained_until({"seen": [span("lean", [], 10, 20, "fit"), span("lean", [], 25, 30, "tune")]})
    30
    """
    return max((int(each["to_ns"]) for each in entry.get("seen", ())), default=0)


def refuse_seen(
    name: str,
    entry: Entry,
    symbols: Collection[str],
    from_ns: int,
    to_ns: int,
    *,
    allow_seen: bool = False,
) -> None:
    """Do nothing if the data is new to the model `name`, or if `allow_seen`.

    Raises:
        SeenData: with the span that the model has seen and what it served for.
    """
    if allow_seen:
        return
    found = overlap(entry, symbols, from_ns, to_ns)
    if not found:
        return
    first = found[0]
    shared = sorted(set(symbols).intersection(first["symbols"])) or sorted(symbols)
    named = ", ".join(shared[:3]) + (f" and {len(shared) - 3} more" if len(shared) > 3 else "")
    raise SeenData(
        f"model '{name}' has seen this data: {named} from {utc(first['from_ns'])} to "
        f"{utc(first['to_ns'])} served for {first['use']} ({first['dataset']}); evaluate on "
        "other dates or symbols, or pass --allow-seen to get a figure that proves nothing"
    )


def utc(nanoseconds: int) -> str:
    """Return a UNIX time in ns as a person reads it."""
    return datetime.fromtimestamp(nanoseconds // SECOND, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
