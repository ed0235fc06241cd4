"""What a fault is, whom it strikes, and scripts of them.

A script is TOML (`[[fault]]` tables) or JSON lines (one fault a line):

    [[fault]]
    at = 60                 # seconds of venue time since the start
    kind = "gap"
    seconds = 5             # of venue time
    target = { symbols = ["BTCUSDT"], streams = ["*@trade"] }
"""

import tomllib
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import msgspec

__all__ = ["Fault", "FaultError", "Kind", "Target", "fault_from_json", "read_script"]


class FaultError(Exception):
    """A fault or a script cannot be read; the sentence says why."""


class Kind(StrEnum):
    """What goes wrong."""

    # Connections.
    CUT = "cut"  # the TCP connection is aborted
    HALF_OPEN = "half_open"  # it stays, but nothing is sent and nothing is answered
    SLOW = "slow"  # messages trickle
    TRUNCATED_FRAME = "truncated_frame"  # a frame that ends before its length, then the end
    POLICY_CLOSE = "policy_close"  # closed with 1008 though no rule was broken
    SERVER_SHUTDOWN = "server_shutdown"  # announced, then ended
    # Messages.
    GAP = "gap"  # not sent, though they happened: REST has them
    DUPLICATE = "duplicate"  # sent twice
    REORDER = "reorder"  # neighbours of a stream change places
    CLOCK_SKEW = "clock_skew"  # E and T of what is sent are wrong
    WRONG_JSON = "wrong_json"  # a message comes as something else
    # The venue.
    REFUSE = "refuse"  # no new connections
    QUIET = "quiet"  # nothing trades: there is nothing to be had anywhere
    TLS_FAILURE = "tls_failure"  # handshakes fail
    REST_DOWN = "rest_down"
    REST_429 = "rest_429"
    REST_418 = "rest_418"
    REST_WRONG_JSON = "rest_wrong_json"
    REST_SLOW = "rest_slow"


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a fault strikes; all that is named must fit, and nothing named is everyone."""

    symbols: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()  # names, with * and ? standing for anything
    venue: str = ""  # whose connections: "binance" or "yahoo"
    # Which of the connections that fit: "all", "oldest", "newest", or one's number.
    connections: Literal["all", "oldest", "newest"] | int = "all"
    # One of the connections that fit, chosen by this number; as good as at random, but the same
    # again with the same script.
    pick: int | None = None
    # Which requests a fault of REST strikes: those whose paths begin so.
    paths: tuple[str, ...] = ("/api/",)

    def takes(self, stream: str) -> bool:
        """Whether a stream fits: `btcusdt@trade` of Binance, or elsewhere a symbol itself."""
        if self.symbols and stream.partition("@")[0].upper() not in self.symbols:
            return False
        return not self.streams or any(fnmatchcase(stream, name) for name in self.streams)

    def takes_symbol(self, symbol: str) -> bool:
        """Whether a symbol fits."""
        return not self.symbols or symbol in self.symbols

    def takes_path(self, path: str) -> bool:
        """Whether a request's path fits."""
        return any(path.startswith(start) for start in self.paths)


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault. A fault of messages without `seconds` and `count` strikes one message."""

    kind: Kind
    at: Annotated[float, msgspec.Meta(ge=0)] = 0.0  # seconds of venue time since the start
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 0.0  # of venue time
    target: Target = Target()
    count: Annotated[int, msgspec.Meta(ge=0)] = 0  # faults of messages: how many; 0: no limit
    shift_seconds: float = 30.0  # clock_skew: how far E and T are ahead (or behind, if negative)
    bytes_per_second: Annotated[float, msgspec.Meta(gt=0)] = 2_000.0  # slow; of real time
    # server_shutdown: from its announcement to the end, in real time; 0 is at once.
    notice_seconds: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    retry_after: Annotated[int, msgspec.Meta(ge=0)] = 1  # rest_429, rest_418: seconds told
    delay_seconds: Annotated[float, msgspec.Meta(ge=0)] = 5.0  # rest_slow: before each answer
    # How: rest_down "503" (default) or "abort"; refuse "reset" (default: WebSocket handshakes are
    # reset) or "listener" (nothing listens at the port); tls_failure "unknown_ca" (default) or
    # "handshake" (an alert instead of a certificate); wrong_json one of its forms, else each in
    # turn.
    mode: str = ""


_MODES = {
    Kind.REST_DOWN: ("503", "abort"),
    Kind.REFUSE: ("reset", "listener"),
    Kind.TLS_FAILURE: ("unknown_ca", "handshake"),
    Kind.WRONG_JSON: ("torn", "html", "list", "null", "types"),
}


_LASTING = (
    Kind.HALF_OPEN, Kind.SLOW, Kind.REFUSE, Kind.QUIET, Kind.TLS_FAILURE, Kind.REST_DOWN,
    Kind.REST_429, Kind.REST_418, Kind.REST_WRONG_JSON, Kind.REST_SLOW,
)  # fmt: skip


def _checked(fault: Fault) -> Fault:
    if fault.kind in _LASTING and not fault.seconds:
        raise FaultError(f"{fault.kind} needs `seconds`: how long it lasts")
    if fault.mode and fault.mode not in _MODES.get(fault.kind, ()):
        known = ", ".join(_MODES.get(fault.kind, ())) or "none"
        raise FaultError(f"{fault.kind} has no mode {fault.mode!r}; known: {known}")
    return fault


def fault_from_json(text: bytes | str) -> Fault:
    """Read one fault.

    Raises:
        FaultError: it is no fault.
    """
    try:
        return _checked(msgspec.json.decode(text, type=Fault))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FaultError(f"not a fault: {error}") from error


def read_script(path: Path) -> tuple[Fault, ...]:
    """Read a script of faults, in order of time.

    Raises:
        FaultError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FaultError(f"fault script {path} cannot be read: {error}") from error
    try:
        if path.suffix == ".toml":
            faults = _from_toml(text)
        else:
            faults = [fault_from_json(line) for line in text.splitlines() if line.strip()]
    except (FaultError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise FaultError(f"fault script {path}: {error}") from error
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _from_toml(text: str) -> list[Fault]:
    tables = tomllib.loads(text)
    if set(tables) - {"fault"}:
        raise FaultError(f"only [[fault]] is known, not {sorted(set(tables) - {'fault'})}")
    return [_checked(fault) for fault in msgspec.convert(tables.get("fault", []), list[Fault])]
