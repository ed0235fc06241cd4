"""How each part of the engine does, as far as the store and the run's pulse tell."""

import sqlite3
import time
from typing import Any

from api import views
from api.control import ControlStream, last_pulse
from api.reader import Reader
from operators.errors import EngineError

_DUMB = 5.0  # seconds without a pulse after which a run is taken for dead
_STATES = frozenset({"up", "quiet", "starting", "stopped", "cut", "down"})


def components(reader: Reader, control: ControlStream) -> list[dict[str, Any]]:
    """Return each part as a `Component`: store, flow, feeds and the way for orders."""
    found = [_store(reader), _flow(control), _orders(control)]
    if found[0]["state"] == "up":
        try:
            found += [_feed(views.feed(row)) for row in reader.feeds()]
        except EngineError:
            found[0] = _part("store", "down", "it cannot be read now")
    return found


def _store(reader: Reader) -> dict[str, Any]:
    try:
        newest = reader.newest()
    except EngineError:
        return _part("store", "down", "it cannot be read now")
    return _part("store", "up", "" if newest else "it holds no bar yet")


def _flow(control: ControlStream) -> dict[str, Any]:
    try:
        pulse, old = last_pulse(control)
    except (EngineError, sqlite3.Error):
        return _part("flow", "down", "its pulse cannot be read")
    if pulse is None:
        note = "it has told nothing yet" if control.name == "inlet" else "it tells Prometheus"
        return _part("flow", "quiet", note)
    if not pulse.body["running"]:
        return _part("flow", "stopped", "the run has ended", old)
    if old > _DUMB:
        return _part("flow", "down", "no pulse: it was killed, or it hangs", old)
    return _part("flow", "up", "", old)


def _orders(control: ControlStream) -> dict[str, Any]:
    try:
        control.posted()
    except (EngineError, sqlite3.Error):
        return _part("control", "down", "orders cannot be handed in now")
    return _part("control", "up", f"by {control.name}")


def _feed(feed: dict[str, Any]) -> dict[str, Any]:
    old = max(time.time_ns() - feed["at"], 0) * 1e-9
    state = feed["state"] if feed["state"] in _STATES else "down"
    return _part(f"feed {feed['feed']}", state, feed["note"], old)


def _part(name: str, state: str, note: str, old: float | None = None) -> dict[str, Any]:
    seconds = None if old is None else round(old, 3)
    return {"name": name, "state": state, "note": note, "seconds_old": seconds}


def status_of(parts: list[dict[str, Any]]) -> str:
    """Say in a word how all do: "ready", "degraded", or "unready" without a store.

    >>> status_of([_part("store", "up", ""), _part("flow", "stopped", "")])
    'degraded'
    """
    states = {part["name"]: part["state"] for part in parts}
    if states["store"] == "down":
        return "unready"
    return "ready" if set(states.values()) <= {"up", "quiet"} else "degraded"
