"""Alerts, whom they were told, and what operators say about them."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path

from api import models, views
from api.context import (
    LAST,
    ORDER_PROBLEMS,
    READ_PROBLEMS,
    Ctx,
    Cursor,
    Limit,
    Operates,
    Reads,
    Since,
    Until,
)
from api.problems import Refusal, responses
from api.reader import cursor_of
from operators.errors import InputError

router = APIRouter(prefix="/alerts", tags=["alerts"])


@router.get("", response_model=models.Alerts, responses=READ_PROBLEMS)
def alerts(
    context: Ctx,
    _: Reads,
    since: Since = 0,
    until: Until = LAST,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """Return all that was told, the newest first: begins, repeats, ends and events."""
    found = context.alerts.alerts(since=since, until=until, limit=limit + 1, cursor=cursor)
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return {
        "alerts": [views.alert(row) for row in page],
        "next": None
        if last is None
        else cursor_of(last["ts_event"], last["fingerprint"], last["state"]),
    }


@router.get("/firing", response_model=models.Firing, responses=READ_PROBLEMS)
def firing(context: Ctx, _: Reads) -> Any:
    """Return what fires now, the longest first, and whether people are kept from it."""
    found = context.alerts.firing()
    return {"alerts": [views.firing_alert(row, found.silences) for row in found.alerts]}


@router.post(
    "/acknowledgements",
    status_code=201,
    response_model=models.Acknowledgement,
    responses=ORDER_PROBLEMS,
)
def acknowledge(context: Ctx, principal: Operates, seen: models.AcknowledgeRequest) -> Any:
    """Say that what fires was seen: it is not repeated, and its end is told."""
    try:
        made = context.alerts.acknowledge(seen.fingerprint, actor=principal.actor)
    except InputError as error:
        raise Refusal(409, str(error)) from error
    _log("alert_acknowledged", principal.actor, fingerprint=seen.fingerprint)
    return made


@router.get("/deliveries", response_model=models.Deliveries, responses=READ_PROBLEMS)
def deliveries(context: Ctx, _: Reads, limit: Limit = 100, cursor: Cursor = None) -> Any:
    """Return messages to people, the newest first, and what became of each."""
    found = context.alerts.deliveries(limit=limit + 1, cursor=cursor)
    page = found[:limit]
    last = page[-1] if len(found) > limit else None
    return {
        "deliveries": page,
        "next": None if last is None else cursor_of(last["made_at"], last["delivery_id"]),
    }


@router.get("/silences", response_model=models.Silences, responses=READ_PROBLEMS)
def silences(context: Ctx, _: Reads) -> Any:
    """Return the silences that last, the one that ends first in front."""
    return {"silences": [views.silence(each) for each in context.alerts.firing().silences]}


@router.post("/silences", status_code=201, response_model=models.Silence, responses=ORDER_PROBLEMS)
def silence(context: Ctx, principal: Operates, wanted: models.SilenceRequest) -> Any:
    """Tell nobody of some alerts for a while; they are stored and listed all the same."""
    made = context.alerts.silence(**wanted.model_dump(), actor=principal.actor)
    _log("alerts_silenced", principal.actor, **wanted.model_dump())
    return views.silence(made)


@router.delete("/silences/{silence_id}", status_code=204, responses=ORDER_PROBLEMS | responses(404))
def end_silence(
    context: Ctx,
    principal: Operates,
    silence_id: Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")],
) -> None:
    """End a silence now; what fires still is told."""
    try:
        context.alerts.end_silence(silence_id)
    except InputError as error:
        raise Refusal(404, "no silence of this id lasts") from error
    _log("silence_ended", principal.actor, silence_id=silence_id)


def _log(event: str, actor: str, **fields: Any) -> None:
    structlog.get_logger(__name__).warning(event, actor=actor, **fields)
