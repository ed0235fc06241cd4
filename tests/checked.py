"""What the quality stage makes of messages, for its tests."""

from operators.messages import Gap
from operators.quality import Quality
from operators.quality_memory import QualityLimits
from tests.support import quote, tick


def run(messages, stage=None, **limits):
    stage = stage or Quality(QualityLimits(**limits))
    return [out for message in messages for out in stage.on(message)]


def reasons(messages, **limits):
    """Return what became of each message: its reason, or None."""
    return [
        getattr(out, "reason", None) for out in run(messages, **limits) if not isinstance(out, Gap)
    ]


def ids(*numbers):
    return [tick(trade_id=n) for n in numbers]


def updates(*numbers, **fields):
    return [quote(update_id=n, **fields) for n in numbers]
