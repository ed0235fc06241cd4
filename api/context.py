"""What every route works with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import Depends, Query, Request

from api.access import Principal, needs
from api.alert_desk import AlertDesk
from api.control import ControlStream
from api.guard import Guard
from api.hot import HotSignals
from api.keys import Scope
from api.models import Ns, Symbol
from api.problems import responses
from api.push import Hub
from api.reader import EVER, Reader
from api.rows import Row
from api.settings import ApiSettings


@dataclass
class Context:
    """The parts of one API."""

    settings: ApiSettings
    reader: Reader
    control: ControlStream
    alerts: AlertDesk
    hub: Hub
    models: Path  # the folder of the trained artefacts
    hot: HotSignals | None = None
    guard: Guard | None = None  # once the first request has come

    def interval(self) -> int:
        """Return the run's bar interval, ns."""
        found = self.reader.rows.read("SELECT interval FROM bars ORDER BY ts_close DESC LIMIT 1")
        return int(found[0]["interval"]) if found else 10**9

    def muted(self) -> set[str]:
        """Return the symbols that are muted as of the last decision."""
        return set(risk_of(self.reader.portfolio()).get("muted", {}))


def risk_of(portfolio: Row | None) -> dict[str, Any]:
    """Return what a row of portfolios says of risk."""
    found: dict[str, Any] = {} if portfolio is None else msgspec.json.decode(portfolio["risk"])
    return found


def fusion_settings(run: Row | None) -> dict[str, float] | None:
    """Return what fusion and entry weighed by, if the store keeps the run's settings."""
    if run is None:
        return None
    settings = msgspec.json.decode(run["settings"])
    fusion, risk = settings["fusion"], settings["risk"]
    return {name: fusion[name] for name in ("forecast", "policy", "sentiment")} | {
        name: risk[name] for name in ("entry_score", "exit_score", "minimum_confidence")
    }


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Ctx = Annotated[Context, Depends(_context)]
Reads = Annotated[Principal, Depends(needs(Scope.READ))]
Operates = Annotated[Principal, Depends(needs(Scope.OPERATE, orders=True))]
Administers = Annotated[Principal, Depends(needs(Scope.ADMIN, orders=True))]

Since = Annotated[Ns, Query(description="From this bar close on, ns.")]
Until = Annotated[Ns, Query(description="Up to this bar close, ns.")]
Cursor = Annotated[
    str | None,
    Query(
        max_length=400,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="`next` of the page before, with the same filters.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
OneSymbol = Annotated[Symbol | None, Query(description="Only of this symbol.")]
LAST = EVER

# What a route that reads may answer besides.
READ_PROBLEMS = responses(401, 403, 413, 421, 422, 429, 431, 500, 503)
ORDER_PROBLEMS = responses(400, 401, 403, 408, 409, 413, 421, 422, 429, 431, 500, 503)
