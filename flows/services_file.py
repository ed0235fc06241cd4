"""Read where services are, and import what speaks to them only then."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flows.services import Services


def services_at(path: Path | None) -> "Services | None":
    """Return the services of a file; None where no file is named. Raises SettingsError."""
    if path is None:
        return None
    from flows.services import load_services  # noqa: PLC0415 - half a second of imports

    return load_services(path)
