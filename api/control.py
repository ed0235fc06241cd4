"""The one thing that the API writes: operators' orders, into the control stream."""

import secrets
import time
from collections import deque
from pathlib import Path
from typing import Any, Protocol

from connectors.inlet import Inlet, Pulse
from connectors.inlet_feed import readable
from connectors.kafka.control import order_entry
from connectors.kafka.send import send
from connectors.kafka.settings import KafkaSettings
from operators.errors import EngineError, StoreError
from operators.messages import Control
from operators.orders import fault

_REMEMBERED = 100  # orders


class ControlStream(Protocol):
    """Where orders go."""

    name: str

    def post(self, order: Control) -> None:
        """Hand an order in; on return it is safe.

        Raises:
            StoreError: it is not.
        """
        ...

    def posted(self) -> list[Control]:
        """Return the orders that this side knows of, oldest first."""
        ...

    def pulse(self) -> Pulse | None:
        """Return what the run last told of itself; None where it does not tell here."""
        ...


class InletControl:
    """Orders to a run in one process, by the inlet beside its store."""

    name = "inlet"

    def __init__(self, folder: Path) -> None:
        """Write to the inlet in `folder`, opened each time: a run may make it anew."""
        self.folder = folder

    def post(self, order: Control) -> None:
        """Write the order to disk, where the run finds it within a twentieth of a second."""
        with Inlet(self.folder) as inlet:
            inlet.post(order)

    def posted(self) -> list[Control]:
        """Return all orders since the run began."""
        if not self.folder.is_dir():
            return []
        with Inlet(self.folder) as inlet:
            found = [readable(order) for order in inlet.all()]
        return [order for order in found if order is not None]

    def pulse(self) -> Pulse | None:
        """Return the run's pulse."""
        if not self.folder.is_dir():
            return None
        with Inlet(self.folder) as inlet:
            return inlet.pulse("run")


class KafkaControl:
    """Orders to a run through Kafka, by the topic `control`."""

    name = "kafka"

    def __init__(self, settings: KafkaSettings, password: str | None) -> None:
        """Send to the broker of `settings`."""
        self.settings = settings
        self.password = password
        self._sent: deque[Control] = deque(maxlen=_REMEMBERED)

    def post(self, order: Control) -> None:
        """Send the order, and wait until the brokers have it."""
        try:
            send(self.settings, self.password, [order_entry(order)])
        except StoreError:
            raise
        except EngineError as error:
            raise StoreError(str(error)) from error
        self._sent.append(order)

    def posted(self) -> list[Control]:
        """Return what this process has sent of late: what the log has is in the store."""
        return list(self._sent)

    def pulse(self) -> Pulse | None:
        """Return None: shards tell Prometheus how they do."""
        return None


def made(kind: str, actor: str, reason: str, **fields: Any) -> Control:
    """Return a new order with a name of its own, given now.

    Raises:
        ValueError: it makes no sense.
    """
    order = Control(
        kind=kind,
        actor=actor,
        reason=reason,
        ts_event=time.time_ns(),
        id=secrets.token_hex(8),
        **fields,
    )
    wrong = fault(order)
    if wrong is not None:
        raise ValueError(wrong)
    return order


def last_pulse(control: ControlStream) -> tuple[Pulse | None, float]:
    """Return the run's pulse and how many seconds old it is."""
    pulse = control.pulse()
    return pulse, 0.0 if pulse is None else max(time.time_ns() - pulse.at, 0) * 1e-9
