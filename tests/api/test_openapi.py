"""What the API says of itself, and whether it does as it says: schemathesis over all of it."""

import json

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.api.serving import served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    unsupported_method,
]


@pytest.fixture(scope="module")
def loose(store, tmp_path_factory):
    """Serve the store with limits that a flood of questions does not meet."""
    folder = tmp_path_factory.mktemp("loose")
    with served(store, folder, requests_per_address=10**6, logins_per_minute=10**6) as api:
        yield api


@pytest.fixture(scope="module")
def description(loose):
    with loose.client() as client:
        return client.get("/api/v1/openapi.json").json()


def test_description_that_lies_is_found_out(loose, description):
    lie = json.loads(json.dumps(description))
    lie["components"]["schemas"]["Portfolio"]["properties"]["equity"] = {"type": "string"}
    [operation] = [
        each for each in operations(lie, loose.url) if each.label == "GET /api/v1/portfolio"
    ]
    with pytest.raises(BaseExceptionGroup, match=r"[Ff]ailure"):
        operation.Case().call_and_validate(checks=CHECKS)


def operations(description, url):
    """Yield every operation with what schemathesis makes of it; the push does not end."""
    schema = schemathesis.openapi.from_dict(description)
    schema.config.update(base_url=url)
    for found in schema.exclude(path="/api/v1/events").get_all_operations():
        yield found.ok()


def test_every_answer_is_as_described(loose, description):
    asked = 0
    wrong = {}
    for operation in operations(description, loose.url):

        @settings(
            max_examples=10,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
        def positive(case):
            case.call_and_validate(checks=CHECKS, timeout=20)

        @settings(
            max_examples=10,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
        def negative(case):
            case.call_and_validate(checks=CHECKS, timeout=20)

        for ask in (positive, negative):
            try:
                ask()
            except Unsatisfiable:
                continue  # nothing about it can be wrong
            except BaseExceptionGroup as failures:
                wrong[operation.label] = "; ".join(map(str, failures.exceptions))
            asked += 1
    assert not wrong, "\n".join(f"{label}: {why[:900]}" for label, why in wrong.items())
    assert asked > 40


def test_every_operation_is_described_and_names_its_errors(description):
    for path, methods in description["paths"].items():
        for operation in methods.values():
            assert operation["summary"]
            assert operation["description"], path
            told = operation["responses"]
            assert {"200", "201", "202", "204"} & set(told)
            for status, answer in told.items():
                if status >= "400":
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)


def test_orders_and_answers_have_examples(description):
    schemas = description["components"]["schemas"]
    names = ("Stop", "Resume", "Mute", "Limit", "Login", "Silence", "Acknowledge")
    for name in (f"{name}Request" for name in names):
        assert schemas[name]["examples"]
    assert "HTTPValidationError" not in schemas
