"""A model's age is time of the log; over the limit its leg warns, says less, or is silent."""

import numpy as np
import pytest

from operators.messages import SECOND, Tally
from operators.model_age import DAY, ModelAge, ModelAgeSettings, Told
from tests.support import leg

LIMIT = 10.0
DAY_SECONDS = DAY // SECOND


def age(when_stale="warn", limit=LIMIT):
    return ModelAge(0, ModelAgeSettings(max_model_age_days=limit, when_stale=when_stale))


def of_day(day):
    return leg("forecast", int(day * DAY_SECONDS), (0.5, -0.8), certainty=np.array([0.5, 0.8]))


@pytest.mark.parametrize("when_stale", ["warn", "lower", "abstain"])
def test_a_young_models_leg_is_left_alone(when_stale):
    given = of_day(LIMIT)

    assert age(when_stale).aged(given) is given


def test_by_default_a_stale_model_goes_on():
    given = of_day(4_000)

    assert ModelAge(0, ModelAgeSettings()).aged(given) is given


def test_a_stale_models_certainty_is_lowered_by_its_age():
    given = of_day(4 * LIMIT)

    found = age("lower").aged(given)

    np.testing.assert_allclose(found.certainty, given.certainty / 4)
    np.testing.assert_allclose(found.value, given.value / 4)
    assert not found.abstains.any()


def test_a_stale_model_abstains_where_it_is_told_to():
    found = age("abstain").aged(of_day(LIMIT + 0.1))

    assert found.abstains.all()
    assert not found.certainty.any()
    assert not found.value.any()


def test_the_notice_comes_once_and_the_age_once_a_day():
    told = Told()
    watched = age()

    days = (9.0, 9.5, 10.5, 10.6, 11.0, 12.0)
    said = [
        (each.name, each.count)
        for day in days
        for each in watched.tell(told, "forecast", int(day * DAY))
    ]

    assert said == [
        ("model_age_days", 9),
        ("model_age_days", 10),
        ("stale_model", 1),
        ("model_age_days", 11),
        ("model_age_days", 12),
    ]


def test_data_older_than_the_model_has_no_age():
    watched = ModelAge(100 * DAY, ModelAgeSettings())

    assert watched.days(50 * DAY) == 0.0
    assert list(watched.tell(Told(), "policy", 50 * DAY)) == [
        Tally(key="policy", name="model_age_days", count=0)
    ]


def test_an_age_that_no_model_could_keep_is_refused():
    with pytest.raises(ValueError, match="max_model_age_days"):
        ModelAgeSettings(max_model_age_days=0.0)
