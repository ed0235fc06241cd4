"""What modules keep for a venue: their settings, and state that several of them share.

`Venue` knows nothing of the modules that serve it; whoever makes a venue may give it settings
of any of them before its application is made:

    venue = Venue()
    configure(venue, YahooSettings(lapse_seconds=5.0))
"""

from collections.abc import Callable
from threading import RLock
from typing import Any
from weakref import WeakKeyDictionary

from exchange.app import Venue

__all__ = ["configure", "part", "settings_of"]

_settings: WeakKeyDictionary[Venue, dict[type, Any]] = WeakKeyDictionary()
_making = RLock()  # a part may be made in a thread, and of other parts
_parts: WeakKeyDictionary[Venue, dict[Any, Any]] = WeakKeyDictionary()


def configure(venue: Venue, settings: object) -> None:
    """Give `venue` the settings of a module, replacing those of the same type.

    Raises:
        RuntimeError: a part has already been made, maybe of other settings.
    """
    if venue in _parts:
        raise RuntimeError("configure a venue before its application is made")
    _settings.setdefault(venue, {})[type(settings)] = settings


def settings_of[S](venue: Venue, kind: Callable[[], S]) -> S:
    """Return the settings of type `kind` that `venue` was given, else the defaults."""
    known: dict[Any, S] = _settings.get(venue, {})
    return known[kind] if kind in known else kind()


def part[P](venue: Venue, make: Callable[[Venue], P]) -> P:
    """Return what `make` made for `venue`, made the first time it is asked for."""
    with _making:
        parts: dict[Any, P] = _parts.setdefault(venue, {})
        if make not in parts:
            parts[make] = make(venue)
        return parts[make]
