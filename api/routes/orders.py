"""Operators' orders, and the record of them."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Path, Response

from api import models, views
from api.access import Principal
from api.context import (
    LAST,
    ORDER_PROBLEMS,
    READ_PROBLEMS,
    Administers,
    Context,
    Ctx,
    Limit,
    Operates,
    Reads,
)
from api.control import made
from api.problems import Refusal, responses
from api.routes.book import limits

router = APIRouter(prefix="/control", tags=["control"])
_POSTED: dict[str, Any] = {
    "status_code": 202,
    "response_model": models.Order,
    "responses": ORDER_PROBLEMS,
}


@router.post("/stop", **_POSTED)
def stop(context: Ctx, principal: Operates, order: models.StopRequest, response: Response) -> Any:
    """Close everything and approve nothing more, until a resume."""
    return _post(context, principal, response, "stop", order.reason)


@router.post("/resume", **_POSTED)
def resume(
    context: Ctx, principal: Operates, order: models.ResumeRequest, response: Response
) -> Any:
    """Trade again after a stop, or after a drawdown that went flat; `confirm` must say so."""
    return _post(context, principal, response, "resume", order.reason)


@router.post("/mute", **_POSTED)
def mute(context: Ctx, principal: Operates, order: models.MuteRequest, response: Response) -> Any:
    """Let a symbol open or grow no position; what is held may shrink and close."""
    return _post(context, principal, response, "mute", order.reason, symbol=_known(context, order))


@router.post("/unmute", **_POSTED)
def unmute(context: Ctx, principal: Operates, order: models.MuteRequest, response: Response) -> Any:
    """Let a muted symbol trade again."""
    symbol = _known(context, order)
    return _post(context, principal, response, "unmute", order.reason, symbol=symbol)


@router.post("/limits", **_POSTED)
def limit(
    context: Ctx, principal: Administers, order: models.LimitRequest, response: Response
) -> Any:
    """Move a limit between nothing and what is configured; null is what is configured."""
    row = context.reader.portfolio()
    if row is None:
        raise Refusal(409, "there is no decision yet, so that the limits' bounds are not known")
    most = {each["name"]: each["most"] for each in limits(row)}.get(order.limit)
    if most is None:
        raise Refusal(409, "the run was made by an engine without limits that can be moved")
    if order.value is not None and order.value > most:
        why = f"at most {most:g}, as configured"
        raise Refusal(
            422, f"{order.limit} may be {why}", errors=[{"where": ["body", "value"], "why": why}]
        )
    fields = {"limit": order.limit, "value": order.value}
    return _post(context, principal, response, "limit", order.reason, **fields)


@router.get("/orders", response_model=models.Orders, responses=READ_PROBLEMS)
def orders(context: Ctx, _: Reads, limit: Limit = 100) -> Any:
    """Return the record of orders, the newest first: on their way, and in the log."""
    return {"orders": _record(context)[:limit]}


@router.get(
    "/orders/{order_id}", response_model=models.Order, responses=READ_PROBLEMS | responses(404)
)
def order(
    context: Ctx, _: Reads, order_id: Annotated[str, Path(pattern=r"^[a-z0-9-]{1,64}$")]
) -> Any:
    """Return one order: who gave it, why, and whether it is in force."""
    for each in _record(context):
        if each["id"] == order_id:
            return each
    raise Refusal(404, "there is no such order")


def _post(
    context: Context,
    principal: Principal,
    response: Response,
    kind: str,
    reason: str,
    **fields: Any,
) -> dict[str, Any]:
    order = made(kind, principal.actor, reason, **fields)
    context.control.post(order)
    structlog.get_logger(__name__).warning(
        "order", id=order.id, kind=kind, actor=order.actor, reason=reason, **fields
    )
    response.headers["Location"] = f"/api/v1/control/orders/{order.id}"
    return views.order(order)


def _known(context: Context, order: models.MuteRequest) -> str:
    if order.symbol not in context.reader.symbols():
        why = "the run has no such symbol"
        raise Refusal(422, why, errors=[{"where": ["body", "symbol"], "why": why}])
    return order.symbol


def _record(context: Context) -> list[dict[str, Any]]:
    notices = context.reader.notices(limit=1000, kinds=("Control",), before=LAST)
    logged = [views.noticed_order(row) for row in notices]
    known = {each["id"] for each in logged}
    waiting = [
        views.order(each) for each in reversed(context.control.posted()) if each.id not in known
    ]
    return [*waiting, *logged]
