"""Draw the dataflow as Mermaid from the flow itself, between two marks in flows/README.md."""

import json
from pathlib import Path

from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource
from bytewax.visualize import to_json

from flows.models import load_models
from flows.settings import load_profile
from flows.signals import build

README = Path(__file__).resolve().parent / "README.md"
BEGIN, END = "<!-- dataflow: begin -->", "<!-- dataflow: end -->"


def mermaid(flow: Dataflow) -> str:
    """Return the flow's steps and streams as a Mermaid flowchart.

    Only the top level is drawn: a reader wants `quality`, not the operators within it.
    """
    steps = json.loads(to_json(flow))["substeps"]
    made_by = {port["port_id"]: step["step_name"] for step in steps for port in step["out_ports"]}
    lines = ["flowchart TD"]
    for step in steps:
        name = step["step_name"]
        shape = ("([", "])") if step["op_type"] in {"input", "output"} else ("[", "]")
        lines.append(f"  {name}{shape[0]}{name}{shape[1]}")
        lines.extend(
            f"  {made_by[source]} --> {name}"
            for port in step["inp_ports"]
            for source in port["from_port_ids"]
        )
    return "\n".join(lines)


def drawn() -> str:
    """Return the drawing of the engine's own flow, with its marks."""
    settings = load_profile("demo")
    flow = build(settings, load_models(settings), TestingSource([]), [("store", TestingSink([]))])
    return f"{BEGIN}\n```mermaid\n{mermaid(flow)}\n```\n{END}"


def main() -> None:
    """Rewrite the drawing in flows/README.md."""
    text = README.read_text("utf-8")
    before, rest = text.split(BEGIN)
    README.write_text(f"{before}{drawn()}{rest.split(END)[1]}", "utf-8")


if __name__ == "__main__":
    main()
