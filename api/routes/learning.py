"""What came of signals, how right they were, and the models that made them."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from api import models, views
from api.accuracy import accuracy_of
from api.context import (
    LAST,
    READ_PROBLEMS,
    Context,
    Ctx,
    Cursor,
    Limit,
    OneSymbol,
    Reads,
    Since,
    Until,
)
from api.drift import drift_of
from api.problems import Refusal, responses
from api.reader import HOUR, cursor_of
from models.runtime import ModelError, read_manifest

router = APIRouter(tags=["models"])
SinceHour = Annotated[
    models.Ns | None, Query(description="From this bar close on; the last hour by default.")
]
Stretches = Annotated[int, Query(ge=1, le=100, description="Of time, in `over_time`.")]
_MOST = 50_000  # outcomes that are looked at; the newest


@router.get("/outcomes", response_model=models.Outcomes, responses=READ_PROBLEMS)
def outcomes(
    context: Ctx,
    _: Reads,
    symbol: OneSymbol = None,
    since: Since = 0,
    until: Until = LAST,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """Return what came of signals whose horizon has come, the newest signals' first."""
    found = context.reader.outcomes(
        limit=limit + 1, symbol=symbol, since=since, until=until, cursor=cursor
    )
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return {
        "outcomes": [views.outcome(row) for row in page],
        "next": None if last is None else cursor_of(last["ts_close"], last["symbol"]),
    }


@router.get("/accuracy", response_model=models.Accuracy, responses=READ_PROBLEMS)
def accuracy(
    context: Ctx,
    _: Reads,
    symbol: OneSymbol = None,
    since: SinceHour = None,
    until: Until = LAST,
    stretches: Stretches = 20,
) -> Any:
    """Return how right the legs were, how well calibrated, and how that changed over time."""
    begin, until = _span(context, since, until)
    rows = context.reader.outcomes(limit=_MOST, symbol=symbol, since=begin, until=until)
    found = accuracy_of(rows, begin, until, stretches)
    return found | {"since": begin, "until": until, "symbol": symbol}


@router.get("/drift", response_model=models.Drift, responses=READ_PROBLEMS)
def drift(
    context: Ctx,
    _: Reads,
    symbol: OneSymbol = None,
    since: SinceHour = None,
    until: Until = LAST,
    stretches: Stretches = 20,
) -> Any:
    """Return how far the market is from what the forecast learned, and how its intervals hold."""
    begin, until = _span(context, since, until)
    found = drift_of(
        context.reader,
        _manifest(context),
        symbol=symbol,
        since=begin,
        until=until,
        stretches=stretches,
    )
    return found | {"since": begin, "until": until, "symbol": symbol}


def _span(context: Context, since: int | None, until: int) -> tuple[int, int]:
    """Return what is asked about, up to the newest signal."""
    newest = context.reader.newest("signals") or 0
    until = min(until, newest)
    return (max(newest - HOUR, 0) if since is None else min(since, until)), until


@router.get("/models", response_model=models.Models, responses=READ_PROBLEMS)
def all_models(context: Ctx, _: Reads) -> Any:
    """Return every trained artefact, and which the run uses."""
    used = _used(context)
    return {
        "models": [_model(name, entry, used) for name, entry in sorted(_manifest(context).items())],
        "run": used,
    }


@router.get(
    "/models/{name}", response_model=models.ModelDetail, responses=READ_PROBLEMS | responses(404)
)
def model(
    context: Ctx,
    _: Reads,
    name: Annotated[str, Path(pattern=r"^[a-z0-9_]{1,64}$", examples=["forecast_1s"])],
) -> Any:
    """Return a model with its whole manifest entry: data, splits, metrics, licence."""
    entry = _manifest(context).get(name)
    if entry is None:
        raise Refusal(404, "there is no such model")
    return _model(name, entry, _used(context)) | {"manifest": entry}


def _manifest(context: Context) -> dict[str, dict[str, Any]]:
    try:
        return read_manifest(context.models)
    except ModelError as error:
        raise Refusal(503, "the models' manifest cannot be read") from error


def _used(context: Context) -> list[str]:
    newest = context.reader.signals(limit=1)
    named = views.signal(newest[0])["models"] if newest else []
    return [each for name in named for each in name.split("+")]  # a leg may be of several


def _model(name: str, entry: dict[str, Any], used: list[str]) -> dict[str, Any]:
    version = str(entry.get("sha256", ""))[:12]
    return {
        "name": name,
        "version": version,
        "kind": entry.get("kind"),
        "file": str(entry.get("file", "")),
        "interval_ns": entry.get("interval_ns"),
        "schema_hash": entry.get("schema_hash"),
        "skill": entry.get("skill") if isinstance(entry.get("skill"), dict) else {},
        "in_use": f"{name}@{version}" in used,
    }
