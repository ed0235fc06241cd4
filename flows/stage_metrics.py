"""What stages measure, for Prometheus: read from `operators.metrics`, counted nowhere else."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from operators.metrics import gauges

# By name: the label, and what it says.
KNOWN = {
    "model_age_days": ("leg", "Event time since the last data that a leg's model was made from."),
    "forecast_intervals": (
        "place",
        "Returns below, within and above the forecast's 80 % interval, since the run began.",
    ),
}


class StageCollector(Collector):
    """Expose the gauges of this process's stages, and the share of intervals that held."""

    def collect(self) -> Iterable[Any]:
        """Yield the metric families."""
        found = gauges()
        for name, (label, says) in KNOWN.items():
            family = GaugeMetricFamily(f"nextgen_{name}", says, labels=(label,))
            for (of_name, of), value in sorted(found.items()):
                if of_name == name:
                    family.add_metric((of,), value)
            yield family
        counts = {of: value for (name, of), value in found.items() if name == "forecast_intervals"}
        if total := sum(counts.values()):
            yield GaugeMetricFamily(
                "nextgen_forecast_coverage_ratio",
                "Share of returns within the forecast's 80 % interval.",
                value=counts["within"] / total,
            )
