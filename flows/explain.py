"""Why a signal was given: decided again from stored inputs, and compared with what stands."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from connectors.sinks.store import read_bars, read_notices, read_signal
from flows.models import Models, load_models
from flows.rebuild import rebuild
from flows.runs import last_run
from flows.settings import Settings
from models.schema import FEATURES
from operators.errors import ExplanationError
from operators.messages import Bar, Decision, Notice, Signal


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """A signal with everything it was made of; `difference` is None when it came out equal."""

    signal: Signal
    bars: tuple[Bar, ...]  # the last ones, up to the signal's, as they were known then
    notices: tuple[Notice, ...]  # known at the signal's Clock, the latest last
    features: dict[str, float]  # the last row, by name
    settings: Settings
    models: tuple[str, ...]
    checkpoint: int  # rebuilt from the state after this bar
    simulated: bool  # the market was a simulator's
    difference: str | None


def explain(store: sqlite3.Connection, signal_id: str, folder: Path | None = None) -> Explanation:
    """Recompute `signal_id` from the store and the artefacts, and say where it differs.

    Raises:
        ExplanationError: no such signal, other models or configuration than it was made by,
            or inputs that the store no longer holds.
    """
    signal = read_signal(store, signal_id)
    if signal is None:
        raise ExplanationError(
            f"the store has no signal '{signal_id}'; its table 'signals' lists those it has"
        )
    settings = _settings(store)
    models = load_models(settings, folder)
    _check_models(signal, models)
    decision, checkpoint = rebuild(store, settings, models, signal.ts_close)
    cross = decision.fused.cross
    row = cross.symbols.index(signal.symbol)
    return Explanation(
        signal=signal,
        bars=tuple(
            read_bars(
                store, signal.symbol, until=signal.ts_close, count=5, known_at=signal.ts_close
            )
        ),
        notices=tuple(read_notices(store, before=signal.ts_close)[-10:]),
        features={
            name: float(value)
            for name, value in zip(FEATURES, cross.features[row, -1], strict=True)
        },
        settings=settings,
        models=models.identities,
        checkpoint=checkpoint,
        simulated=_is_simulated(store),
        difference=_difference(signal, decision),
    )


def _settings(store: sqlite3.Connection) -> Settings:
    row = store.execute("SELECT settings FROM runs ORDER BY started DESC LIMIT 1").fetchone()
    if row is None:
        raise ExplanationError("the store names no run; it was not written by this engine")
    return msgspec.json.decode(row["settings"], type=Settings)


def _is_simulated(store: sqlite3.Connection) -> bool:
    """Say whether the stored run's market was a simulator's."""
    row = last_run(store)
    return row is not None and bool(row["simulated"])


def _check_models(signal: Signal, models: Models) -> None:
    made_by = [str(leg["model"]) for leg in signal.detail["legs"].values()]
    here = list(models.identities)
    if sorted(made_by) != sorted(here):
        raise ExplanationError(
            f"the signal was made by {', '.join(made_by)}; here are {', '.join(here)}: put the "
            "artefacts of that run into onnx/ to explain it"
        )


def _difference(signal: Signal, decision: Decision) -> str | None:
    """Name the first field in which the recomputed signal differs, or return None."""
    again = next((each for each in decision.signals if each.symbol == signal.symbol), None)
    if again is None:
        return "recomputed, no signal is given at all"
    stored, recomputed = _row(signal), _row(again)
    for name in msgspec.structs.fields(Signal):
        left, right = stored[name.name], recomputed[name.name]
        path, left, right = _first(name.name, left, right)
        if left != right:
            return f"{path}: stored {left!r}, recomputed {right!r}"
    return None


def _row(signal: Signal) -> dict[str, Any]:
    """Return the signal as the store's JSON would give it back."""
    encoded: dict[str, Any] = json.loads(msgspec.json.encode(signal))
    return encoded


def _first(path: str, left: Any, right: Any) -> tuple[str, Any, Any]:
    """Descend to the first differing leaf of two JSON values."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            if left.get(key) != right.get(key):
                return _first(f"{path}.{key}", left.get(key), right.get(key))
    if isinstance(left, list) and isinstance(right, list) and len(left) == len(right):
        for index, (one, other) in enumerate(zip(left, right, strict=True)):
            if one != other:
                return _first(f"{path}[{index}]", one, other)
    return path, left, right
