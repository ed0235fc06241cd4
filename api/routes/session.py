"""Who asks, and browsers' sessions."""

from typing import Any

from fastapi import APIRouter, Request, Response

from api import models
from api.access import Access, Principal, refuse_forged
from api.context import ORDER_PROBLEMS, READ_PROBLEMS, Reads
from api.problems import Refusal

router = APIRouter(prefix="/session", tags=["access"])


@router.get("", response_model=models.Session, responses=READ_PROBLEMS)
async def session(principal: Reads) -> Any:
    """Say who asks, and give a session its token for orders."""
    return _told(principal)


@router.post("", status_code=201, response_model=models.Session, responses=ORDER_PROBLEMS)
async def login(request: Request, response: Response, given: models.LoginRequest) -> Any:
    """Begin a session with an API key; the browser keeps it in a cookie that no script reads."""
    access: Access = request.app.state.access
    token, begun = access.login(request, given.key)
    response.set_cookie(
        access.cookie,
        token,
        max_age=access.settings.session_seconds,
        path="/",
        secure=access.settings.tls,
        httponly=True,
        samesite="strict",
    )
    return _told(Principal(begun.name, begun.scope, "session", begun, begun.key))


@router.delete("", status_code=204, responses=ORDER_PROBLEMS)
async def logout(request: Request, response: Response) -> None:
    """End the session."""
    access: Access = request.app.state.access
    principal = access.who(request)
    if principal is None:
        raise Refusal(401, "there is no session", headers={"WWW-Authenticate": "Bearer"})
    refuse_forged(request, principal)
    token = request.cookies.get(access.cookie)
    if token is not None:
        access.sessions.end(token)
    response.delete_cookie(
        access.cookie, path="/", secure=access.settings.tls, httponly=True, samesite="strict"
    )


def _told(principal: Principal) -> dict[str, Any]:
    session = principal.session
    return {
        "name": principal.name,
        "scope": principal.scope.value,
        "via": principal.via,
        "csrf": None if session is None else session.csrf,
        "expires": None if session is None else session.expires,
    }
