"""What an operator may order of the engine, and which orders make no sense.

One place for all that take orders in: the API, the inlet of an embedded run, Kafka's topic and
the log. What an order does, risk says.
"""

import math

from operators.messages import Control

KINDS = frozenset({"stop", "resume", "mute", "unmute", "limit"})
# The limits that an order may move, between nothing and what the run is configured with: no
# order can make a run risk more than its configuration, which is reviewed and hashed, allows.
LIMITS = ("position_limit", "cluster_limit", "gross_limit", "net_limit", "var_limit")
LONGEST = {"actor": 120, "reason": 500, "id": 64, "symbol": 64}  # characters


def fault(order: Control) -> str | None:
    """Say why `order` cannot be obeyed, or None if it can.

    >>> fault(Control(kind="stop", actor="ann", reason="storm", ts_event=0))
    >>> fault(Control(kind="mute", actor="ann", reason="odd", ts_event=0))
    'a mute names a symbol'
    """
    if order.kind not in KINDS:
        return f"expected one of {', '.join(sorted(KINDS))}, found '{order.kind}'"
    for name, most in LONGEST.items():
        if len(getattr(order, name) or "") > most:
            return f"{name} has more than {most} characters"
    if order.kind in {"mute", "unmute"} and not order.symbol:
        return f"a {order.kind} names a symbol"
    if order.kind == "limit":
        return _limit_fault(order)
    return None


def _limit_fault(order: Control) -> str | None:
    if order.limit not in LIMITS:
        return f"expected one of {', '.join(LIMITS)}, found '{order.limit}'"
    if order.value is not None and not (math.isfinite(order.value) and order.value > 0.0):
        return "a limit is above 0 and finite, or null for the configured one"
    return None
