"""A run's pulse: each second it tells, beside its store, that it lives and how it does.

The API shows it; nothing that is decided reads it.
"""

import os
import resource
import time
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self

import structlog

from connectors.inlet import Inlet
from operators import metrics
from operators.errors import StoreError

PULSE = "run"
_EVERY = 1.0  # seconds


class Heart:
    """Beat from a thread of its own while the block runs; the last beat says that it ended."""

    def __init__(self, folder: Path, *, live: bool) -> None:
        """Prepare to tell the inlet in `folder`."""
        self.folder = folder
        self.live = live
        self.started = time.time_ns()
        self._ended = Event()
        self._last = (time.monotonic(), time.process_time())
        self._thread = Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> Self:
        """Begin to beat."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Beat a last time."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            with Inlet(self.folder, durable=False) as inlet:
                inlet.beat(PULSE, self._told(running=True))
                while not self._ended.wait(_EVERY):
                    inlet.beat(PULSE, self._told(running=True))
                inlet.beat(PULSE, self._told(running=False))
        except StoreError as error:
            # The run itself is well; the API will say that it hears nothing of it.
            structlog.get_logger(__name__).warning("no_pulse", error=str(error))

    def _told(self, *, running: bool) -> dict[str, Any]:
        now = (time.monotonic(), time.process_time())
        wall, busy = now[0] - self._last[0], now[1] - self._last[1]
        self._last = now
        return {
            "running": running,
            "live": self.live,
            "process": os.getpid(),
            "started": self.started,
            # Of all cores together: 1.0 is one core that is never idle.
            "cores_used": round(busy / wall, 3) if wall > 0.0 else 0.0,
            "memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "stages": {
                name: {
                    "count": timer.count,
                    "p50_ms": round(timer.quantile_ms(0.5), 4),
                    "p99_ms": round(timer.quantile_ms(0.99), 4),
                }
                for name, timer in metrics.timers().items()
            },
        }
