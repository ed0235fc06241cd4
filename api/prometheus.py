"""How the API does, for Prometheus."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from api.context import Context


class _Figures:
    """What the guard and the push count, read when it is asked for."""

    def __init__(self, context: Context) -> None:
        self.context = context

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        guard, hub = self.context.guard, self.context.hub
        if guard is not None:
            answers = CounterMetricFamily(
                "nextgen_api_answers", "Answers by hundred of their status", labels=["status"]
            )
            for hundred, count in sorted(guard.answers.items()):
                answers.add_metric([hundred], count)
            yield answers
            seconds = GaugeMetricFamily(
                "nextgen_api_answer_seconds", "How long an answer takes", labels=["quantile"]
            )
            for quantile in (0.5, 0.99):
                seconds.add_metric([str(quantile)], guard.timer.quantile_ms(quantile) / 1000.0)
            yield seconds
            yield GaugeMetricFamily(
                "nextgen_api_requests_busy", "Requests being answered", guard.busy.total()
            )
        yield GaugeMetricFamily(
            "nextgen_api_listeners", "Listeners of the push", hub.listeners.total()
        )
        yield GaugeMetricFamily(
            "nextgen_api_last_close_seconds",
            "The last bar close that was pushed, UNIX time",
            hub.position / 1e9,
        )


def exposition(context: Context) -> bytes:
    """Return all figures in Prometheus's text form."""
    registry = CollectorRegistry()
    registry.register(_Figures(context))  # type: ignore[arg-type] # a collector by its shape
    return generate_latest(registry)
