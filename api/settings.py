"""How the API listens, and what it lets in, with the reason for each default."""

import ipaddress
from pathlib import Path

import msgspec

from operators.errors import SettingsError


class ApiSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the API listens, and how much of anything it takes."""

    host: str = "127.0.0.1"
    port: int = 8600
    certificate: Path | None = None  # PEM, with its chain
    key: Path | None = None  # of the certificate
    names: tuple[str, ...] = ()  # further host names that requests may be for

    body_bytes: int = 16 * 1024  # an order has less than one
    header_bytes: int = 16 * 1024
    # A browser opens six; listeners count here until they are upgraded. Who sends a head or a
    # body so slowly is not waited for.
    connections_per_address: int = 400
    patience_seconds: float = 10.0
    # Requests at a time, of one address half of them, and beside them listeners of the push.
    requests_at_once: int = 200
    listeners: int = 500
    listeners_per_address: int = 250
    # Within ten seconds. A dashboard asks some five a second; a load of 100/s passes.
    requests_per_address: int = 4000
    requests_per_key: int = 2000
    # Keys are too long to be guessed; the limit keeps those who try from costing anything.
    logins_per_minute: int = 10
    denied_per_minute: int = 60  # wrong keys of an address, until it is not listened to
    session_seconds: int = 12 * 3600
    session_idle_seconds: int = 1800

    poll_seconds: float = 0.05  # between two looks for new bar closes
    frames_kept: int = 60  # that a listener may go on from without the store

    @property
    def tls(self) -> bool:
        """Whether it speaks TLS."""
        return self.certificate is not None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def check(self, *, keys: bool) -> None:
        """Refuse what must not be listened on; `keys` says whether there are any.

        Raises:
            SettingsError: off loopback without TLS or without keys, or half a certificate.
        """
        if (self.certificate is None) != (self.key is None):
            raise SettingsError("a certificate needs its key: give both, --tls-cert and --tls-key")
        for file in (self.certificate, self.key):
            if file is not None and not file.is_file():
                raise SettingsError(f"expected a PEM file at {file}, found none")
        if self.loopback:
            return
        if not self.tls:
            raise SettingsError(
                f"to listen on {self.host}, which others can reach, TLS is needed: give --tls-cert "
                "and --tls-key, or listen on 127.0.0.1"
            )
        if not keys:
            raise SettingsError(
                f"to listen on {self.host}, which others can reach, API keys are needed: make one "
                "with 'nextgen api keys create', or listen on 127.0.0.1"
            )


def is_loopback(host: str) -> bool:
    """Say whether `host` is this machine for itself alone.

    >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1")]
    [True, True, True, False, False]
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
