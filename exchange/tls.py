"""A certificate authority for tests, and a server certificate of it that can be made to fail."""

import ssl
from pathlib import Path

import trustme

__all__ = ["Certificates"]

_NAMES = ("localhost", "127.0.0.1")


class Certificates:
    """The venue's certificate for localhost and 127.0.0.1; clients trust `ca_file`."""

    def __init__(self, folder: Path) -> None:
        """Make a CA of its own and write its certificate to `folder`/ca.pem."""
        authority = trustme.CA(organization_name="nextgen exchange")
        folder.mkdir(parents=True, exist_ok=True)
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self._good = authority.issue_cert(*_NAMES)
        self._unknown = trustme.CA(organization_name="nobody knows").issue_cert(*_NAMES)
        self._no_handshake = False
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # A client that resumes would not look at the certificate again.
        self.context.num_tickets = 0
        self.context.options |= ssl.OP_NO_TICKET
        self._good.configure_cert(self.context)
        self.context.sni_callback = self._on_hello

    def _on_hello(self, *_: object) -> int | None:
        return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR if self._no_handshake else None

    def fail(self, mode: str) -> None:
        """Let new handshakes fail: `unknown_ca` or `handshake` (an alert instead)."""
        if mode == "handshake":
            self._no_handshake = True
        else:
            self._unknown.configure_cert(self.context)

    def mend(self) -> None:
        """Let new handshakes be good again."""
        self._no_handshake = False
        self._good.configure_cert(self.context)
