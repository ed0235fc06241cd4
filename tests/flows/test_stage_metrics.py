"""What stages measure can be read by Prometheus."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from flows.stage_metrics import StageCollector
from operators import metrics
from operators.model_age import DAY, ModelAge, ModelAgeSettings, Told


@pytest.fixture(autouse=True)
def fresh():
    metrics.reset()
    yield
    metrics.reset()


def scraped():
    registry = CollectorRegistry()
    registry.register(StageCollector())
    return generate_latest(registry).decode()


def test_a_models_age_and_the_coverage_are_shown():
    list(ModelAge(0, ModelAgeSettings()).tell(Told(), "forecast", 12 * DAY))
    for place, count in (("below", 1.0), ("within", 8.0), ("above", 1.0)):
        metrics.set_gauge("forecast_intervals", place, count)

    text = scraped()

    assert 'nextgen_model_age_days{leg="forecast"} 12.0' in text
    assert 'nextgen_forecast_intervals{place="within"} 8.0' in text
    assert "nextgen_forecast_coverage_ratio 0.8" in text


def test_before_the_first_interval_is_due_there_is_no_share_of_them():
    assert "nextgen_forecast_coverage_ratio" not in scraped()
