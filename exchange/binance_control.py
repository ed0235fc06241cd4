"""What Binance's clients may ask over a WebSocket, and how it answers."""

import json
from typing import Any, Protocol

from exchange.connections import Connection
from exchange.rules import Rules

__all__ = ["Control"]

_METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")
_ID_LENGTH = 36


class _Streams(Protocol):
    def subscribe(self, connection: Connection, stream: str) -> None: ...
    def unsubscribe(self, connection: Connection, stream: str) -> None: ...


class _RefusedError(Exception):
    """A request is refused with Binance's code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Control:
    """Answer one connection's requests."""

    def __init__(
        self, streams: _Streams, connection: Connection, most_streams: int, rules: Rules
    ) -> None:
        """Serve `connection`."""
        self._streams = streams
        self._connection = connection
        self._most = most_streams
        self._rules = rules

    def take(self, text: str | bytes) -> None:
        """Do what a message asks, and answer it."""
        identity: Any = None
        try:
            request = _request(text)
            identity = _identity(request)
            answer: dict[str, Any] = {"result": self._result(request), "id": identity}
        except _RefusedError as refused:
            self._rules.count("binance_requests_refused")
            answer = {"code": refused.code, "msg": str(refused)}
            if identity is not None:
                answer["id"] = identity
        self._connection.send(json.dumps(answer, separators=(",", ":")).encode())

    def _result(self, request: dict[str, Any]) -> Any:
        method = request.get("method")
        if "method" not in request:
            raise _RefusedError(2, "Invalid request: missing field `method`")
        if method not in _METHODS:
            raise _RefusedError(
                2, f"Invalid request: unknown variant {method}, expected one of {_METHODS}"
            )
        if method == "LIST_SUBSCRIPTIONS":
            return sorted(self._connection.streams)
        params = request.get("params")
        if not isinstance(params, list):
            raise _RefusedError(2, "Invalid request: missing field `params`")
        if method in {"SET_PROPERTY", "GET_PROPERTY"}:
            return self._property(method, params)
        if not params or not all(isinstance(name, str) for name in params):
            raise _RefusedError(2, "Invalid request: params must be names of streams")
        if method == "SUBSCRIBE":
            self.subscribe(params)
        else:
            for name in params:
                self._streams.unsubscribe(self._connection, name)
        return None

    def _property(self, method: str, params: list[Any]) -> Any:
        if not params or params[0] != "combined":
            raise _RefusedError(0, "Unknown property")
        if method == "GET_PROPERTY":
            return self._connection.combined
        if len(params) != 2 or not isinstance(params[1], bool):
            raise _RefusedError(1, "Invalid value type: expected Boolean")
        self._connection.combined = params[1]
        return None

    def subscribe(self, names: list[str]) -> None:
        """Subscribe to streams by name; more than a connection may have closes it with 1008."""
        if len(self._connection.streams | set(names)) > self._most:
            self._connection.break_off("streams_per_connection", "Too many streams")
            return
        for name in names:
            self._streams.subscribe(self._connection, name)


def _request(text: str | bytes) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(3, f"Invalid JSON: {error}") from error
    if not isinstance(request, dict):
        raise _RefusedError(2, "Invalid request: expected an object")
    return request


def _identity(request: dict[str, Any]) -> int | str | None:
    identity = request.get("id")
    fits = identity is None or (
        (isinstance(identity, int) and not isinstance(identity, bool))
        or (isinstance(identity, str) and len(identity) <= _ID_LENGTH)
    )
    if not fits:
        raise _RefusedError(2, "Invalid request: request ID must be an integer or a short string")
    return identity
