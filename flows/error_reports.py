"""Broken code, told to Sentry: what failed and where, and nothing of what it worked on.

Only where there is a secret SENTRY_DSN, and the extra `sentry` is installed. An event holds the
chain of exceptions by type, with the sentences of our own errors, and the lines of code; no local
variables, no arguments, no other exception's words (they may quote a headline or its author), no
log lines, no host, no request.
"""

from typing import Any

from connectors.secrets import Secret, redact
from flows.secret_lookup import find_secret
from operators.errors import EngineError, SettingsError

DSN = "SENTRY_DSN"
_FRAME = ("filename", "module", "function", "lineno", "in_app")


def report_errors() -> bool:
    """Tell Sentry of exceptions that nobody catches, from now on; return whether it is told.

    Raises:
        SettingsError: there is a DSN and no package to use it, or it is none.
    """
    dsn = find_secret(DSN)
    if not dsn:
        return False
    try:
        import sentry_sdk  # noqa: PLC0415 - optional
        from sentry_sdk.integrations.atexit import AtexitIntegration  # noqa: PLC0415
        from sentry_sdk.integrations.excepthook import ExcepthookIntegration  # noqa: PLC0415
        from sentry_sdk.integrations.threading import ThreadingIntegration  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            f"{DSN} is set and the package sentry-sdk is not installed: pip install sentry-sdk, or "
            "unset it"
        ) from None
    _hide(dsn)
    keep: Any = scrubbed  # the package has an Event of its own, of the same fields
    try:
        sentry_sdk.init(
            dsn=dsn.reveal(),
            before_send=keep,
            before_breadcrumb=lambda *_: None,
            max_breadcrumbs=0,
            include_local_variables=False,
            include_source_context=False,
            send_client_reports=False,
            auto_session_tracking=False,
            default_integrations=False,
            auto_enabling_integrations=False,
            # On the way out it waits two seconds for the server, without a word.
            integrations=[
                ExcepthookIntegration(),
                ThreadingIntegration(propagate_scope=False),
                AtexitIntegration(callback=lambda *_: None),
            ],
        )
    except ValueError:  # its words quote the DSN
        raise SettingsError(f"{DSN} is no DSN as Sentry gives them") from None
    return True


def scrubbed(event: dict[str, Any], _hint: Any) -> dict[str, Any]:
    """Return a new event with what may be told of `event`: an allow-list, not a black one."""
    values = (event.get("exception") or {}).get("values") or []
    told = {name: event[name] for name in ("event_id", "timestamp", "level") if name in event}
    return told | {
        "platform": "python",
        "exception": {"values": [_exception(each) for each in values]},
    }


def _exception(value: dict[str, Any]) -> dict[str, Any]:
    ours = {(kind.__module__, kind.__name__) for kind in EngineError.__subclasses__()}
    sentence = (value.get("module"), value.get("type")) in ours
    frames = (value.get("stacktrace") or {}).get("frames") or []
    return {
        "type": value.get("type"),
        "module": value.get("module"),
        "value": redact(str(value.get("value"))) if sentence else "",
        "stacktrace": {
            "frames": [{part: frame[part] for part in _FRAME if part in frame} for frame in frames]
        },
    }


def _hide(dsn: Secret) -> None:
    """Make the key within the DSN a secret of its own."""
    public = dsn.reveal().partition("://")[2].partition("@")[0]
    for part in public.split(":"):
        Secret(part)
