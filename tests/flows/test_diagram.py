"""The picture in the README is the flow."""

from flows.diagram import README, drawn


def test_diagram_in_the_readme_equals_the_flow():
    assert drawn() in README.read_text("utf-8")
