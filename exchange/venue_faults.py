"""Faults of the venue as a whole: its market, its listener, its certificate."""

from typing import TYPE_CHECKING

from exchange.clock import SECOND, ClockMode
from exchange.faults import Fault, Kind

if TYPE_CHECKING:
    from exchange.app import Venue

__all__ = ["begin", "end"]


def begin(fault: Fault, venue: "Venue") -> str:
    """Begin a fault of the venue; a note where it cannot do what it says.

    Those of REST need nothing here: `exchange.rest_faults` looks whether they are on.
    """
    if fault.kind is Kind.QUIET:
        clock = venue.clock
        speed = clock.speed if clock.mode is ClockMode.LIVE else 1.0
        for symbol, instrument in venue.market.instruments.items():
            if fault.target.takes_symbol(symbol):
                instrument.quiet(clock.position(), int(fault.seconds * speed * SECOND))
    elif fault.kind is Kind.TLS_FAILURE:
        if venue.certificates is None:
            return "the venue speaks no TLS"
        venue.certificates.fail(fault.mode or "unknown_ca")
    elif fault.kind is Kind.REFUSE and fault.mode == "listener":
        if venue.listener is None:
            return "the venue does not own its listener; new WebSockets are reset instead"
        venue.listener.close()
    return ""


def end(fault: Fault, venue: "Venue") -> None:
    """End a fault of the venue, the last of its kind that was on."""
    if fault.kind is Kind.TLS_FAILURE and venue.certificates is not None:
        venue.certificates.mend()
    elif fault.kind is Kind.REFUSE and venue.listener is not None:
        venue.listener.open()
