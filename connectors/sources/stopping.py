"""End a run in order: SIGTERM and SIGINT act as the end of every input."""

import atexit
import signal
from threading import Event
from types import FrameType


def install_stop_signals(stop: Event) -> None:
    """Set `stop` on SIGTERM and SIGINT; a second signal acts as it did before.

    Call it in the main thread, after anything else that installs handlers. Sources that hold
    `stop` then end as at the end of file: state is saved and sinks are flushed.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def handle(number: int, _: FrameType | None) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    # Python would take the handlers away before it ends: one that has done its work would be
    # ended by a signal that comes then.
    atexit.register(_ignore, tuple(before))


def _ignore(numbers: tuple[int, ...]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
