"""Who is told of what, and how patiently."""

import math
from typing import Literal

import msgspec

type SeverityName = Literal["critical", "warning", "info"]


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place to tell people: the secret of this name holds its Apprise URL."""

    secret: str


class Routes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names of targets by severity."""

    critical: tuple[str, ...] = ()
    warning: tuple[str, ...] = ()
    info: tuple[str, ...] = ()

    def severities(self, target: str) -> frozenset[str]:
        """Return what a target is told of.

        >>> sorted(Routes(critical=("phone", "mail"), warning=("mail",)).severities("mail"))
        ['critical', 'warning']
        """
        names = self.__struct_fields__
        return frozenset(name for name in names if target in getattr(self, name))


class DeliverySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Targets, routes, and how messages are made of alerts; none by default."""

    targets: dict[str, Target] = {}
    routes: Routes = Routes()
    # Warnings and infos wait so long for others and go in one message: at most two a minute
    # for each target, whatever happens.
    group_seconds: float = 30.0
    critical_seconds: float = 1.0  # between two messages of critical alerts
    lines: int = 25  # alerts listed in a message; of critical ones the next lists the rest
    # A target that fails is tried again after at most so long, and said to be down after so many
    # attempts; a message that it has refused for so long is given up.
    most_rest_seconds: float = 60.0
    report_after: int = 3
    give_up_seconds: float = 86_400.0
    # Warnings and infos that the stream has left so far behind are news no more.
    old_seconds: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse routes to nowhere, and numbers that cannot work."""
        known = set(self.targets)
        for severity in self.routes.__struct_fields__:
            unknown = sorted(set(getattr(self.routes, severity)) - known)
            if unknown:
                raise ValueError(
                    f"alerts.delivery.routes.{severity} names {', '.join(unknown)}, not in "
                    "alerts.delivery.targets"
                )
        for name in ("group_seconds", "critical_seconds", "give_up_seconds", "old_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"alerts.delivery.{name} must be finite and at least 0")
        if not self.most_rest_seconds >= 1.0 or self.lines < 1 or self.report_after < 1:
            raise ValueError(
                "alerts.delivery: most_rest_seconds, lines and report_after must be at least 1"
            )
