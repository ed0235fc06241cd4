"""The requests that polling sends: where to, and what of them another host may see."""

from collections.abc import Mapping
from typing import NamedTuple

import httpx2

from connectors.secrets import Secret

Value = str | int | float | Secret


class AddressError(Exception):
    """An address that is not to be asked; the text does not hold it."""


class Request(NamedTuple):
    """What is asked; secrets are still hidden in it."""

    method: str
    url: str
    params: Mapping[str, Value] | None
    headers: Mapping[str, Value]
    form: Mapping[str, Value] | None
    auth: tuple[str, Secret] | None = None

    @property
    def host(self) -> str:
        """The host and port.

        Raises:
            AddressError: there is none.
        """
        try:
            found = httpx2.URL(self.url)
        except (httpx2.InvalidURL, TypeError, ValueError):
            found = httpx2.URL("")
        if found.scheme not in {"http", "https"} or not found.host:
            raise AddressError("not an address of http or https")
        return found.netloc.decode("ascii", "replace")

    def built(self, client: httpx2.AsyncClient) -> httpx2.Request:
        """Return what is sent: here alone secrets are shown."""
        request = client.build_request(
            self.method,
            httpx2.URL(self.url).copy_merge_params(_shown(self.params) or {}),
            headers=_shown(self.headers),
            data=_shown(self.form),
        )
        if self.auth is not None:
            user, password = self.auth
            request = next(httpx2.BasicAuth(user, password.reveal()).auth_flow(request))
        return request

    def redirected(self, location: str) -> "Request":
        """Return the request for `location`, if it is as safe to ask as the first.

        Raises:
            AddressError: it leads to another host without TLS, or nowhere.
        """
        if self.method != "GET":
            raise AddressError("redirect of what is not a GET")
        try:
            here = httpx2.URL(self.url)
            there = here.join(location)
        except (httpx2.InvalidURL, ValueError):
            there = here = httpx2.URL("")
        same = (here.scheme, here.netloc) == (there.scheme, there.netloc)
        # Another port is another server, but for the usual step from http to https.
        usual = here.port is None and there.port is None
        upgraded = there.scheme == "https" and there.host == here.host and usual
        if not location or not there.host or not (same or there.scheme == "https"):
            raise AddressError("redirect to another host without TLS")
        # What was meant for one host, keys above all, is not shown to another.
        headers = self.headers if same or upgraded else {}
        return self._replace(url=str(there), params=None, headers=headers)


def _shown(values: Mapping[str, Value] | None) -> dict[str, str] | None:
    if values is None:
        return None
    return {
        name: value.reveal() if isinstance(value, Secret) else str(value)
        for name, value in values.items()
    }
