"""JSON Schemas (2020-12) of everything that stands in a topic, one file a type in schemas/.

They are made of the tables' columns and the messages' fields, for those who read the topics
with other programs. `python -m connectors.kafka.schemas` writes the files anew.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from connectors.kafka import records, wire
from connectors.sinks.tables import TABLES
from operators.messages import Control
from operators.orders import KINDS, LIMITS

FOLDER = Path(__file__).parent / "schemas"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SQL: dict[str, dict[str, str]] = {
    "INTEGER": {"type": "integer"},
    "REAL": {"type": "number"},
    "TEXT": {"type": "string"},
    "BLOB": {"type": "string", "contentEncoding": "base64"},
}
_LISTS = {("signals", "reasons"), ("portfolio", "holdings")}  # of the JSON columns; else objects
_CONFIG: dict[str, Any] = {
    "type": "object",
    "properties": {
        "settings": {"type": "object"},
        "models": {"type": "array", "items": {"type": "string"}},
        "partitions": {"type": "integer"},
        "log": {"type": "string"},
    },
    "required": ["settings", "models", "partitions", "log"],
}
# What the engine keeps to itself: never sent, so that readers need not know it.
_OWN = frozenset({"marks", "forgotten"}) | {
    "process_alerts",
    "deliveries",
    "routed_alerts",
    "silences",
    "acknowledgements",
}
RECORDS = tuple(table for table in TABLES if table not in _OWN)


@cache
def names() -> tuple[str, ...]:
    """Return every type that has a schema: what the header `type` may say."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.json")))


@cache
def load(name: str) -> dict[str, Any]:
    """Return the schema of a type. Raises FileNotFoundError for an unknown one.

    >>> load("tallies")["$id"]
    'urn:nextgen:kafka:tallies:1'
    """
    schema: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return schema


def made() -> dict[str, dict[str, Any]]:
    """Return all schemas as the code means them, by type."""
    found = {table: _record(table) for table in RECORDS}
    found |= {name: _message(name) for name in wire.TYPES}
    found[wire.END] = _named(wire.END, wire.VERSION, {"type": "object"})
    found["control"] = _named("control", wire.VERSION, _order())
    found["config"] = _named("config", wire.VERSION, _CONFIG)
    return found


def _order() -> dict[str, Any]:
    """Return the form of an operator's order: what other programs may write."""
    _, definitions = msgspec.json.schema_components((Control,))
    order: dict[str, Any] = definitions["Control"]
    order["properties"]["kind"] = {"enum": sorted(KINDS)}
    order["properties"]["limit"] = {"enum": [None, *LIMITS]}
    return {name: order[name] for name in ("type", "properties", "required")}


def write() -> None:
    """Write the files anew."""
    for path in FOLDER.glob("*.json"):
        path.unlink()
    for name, schema in made().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(schema, indent=2) + "\n")


def _named(name: str, version: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {
        "$schema": _DIALECT,
        "$id": f"urn:nextgen:kafka:{name}:{version}",
        "title": name,
        **schema,
    }


def _record(table: str) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required = []
    for name, (kind, nullable) in records.columns(TABLES[table]).items():
        if name in records.JSON_COLUMNS.get(table, ()):
            properties[name] = {"type": "array" if (table, name) in _LISTS else "object"}
        elif not kind:  # text or bytes, by which name it comes
            properties[name] = _SQL["TEXT"]
            properties[f"{name}_base64"] = _SQL["BLOB"]
            continue
        else:
            form = _SQL[kind]
            properties[name] = form | {"type": [form["type"], "null"]} if nullable else form
        required.append(name)
    schema = {"type": "object", "properties": properties, "required": required}
    return _named(table, records.VERSION, schema)


def _message(name: str) -> dict[str, Any]:
    kind = wire.form_of(name)
    bodies = tuple(wire.BODIES.values()) if name in {"notice", "fused"} else ()
    _, definitions = msgspec.json.schema_components((kind, *bodies), schema_hook=_array)
    for notice in (each for title, each in definitions.items() if title == "_Notice"):
        notice["properties"]["kind"] = {"enum": sorted(wire.BODIES)}
        notice["properties"]["body"] = {
            "anyOf": [{"$ref": f"#/$defs/{body.__name__}"} for body in bodies]
        }
    # Without the underscores of our own forms, and what classes say for programmers.
    plain = json.loads(json.dumps(definitions).replace("/_", "/").replace('"_', '"'))
    for definition in plain.values():
        definition.pop("description", None)
        definition.pop("title", None)
    own = plain.pop(kind.__name__.removeprefix("_"))
    return _named(name, wire.VERSION, own | ({"$defs": plain} if plain else {}))


def _array(kind: Any) -> dict[str, Any]:
    if kind is not np.ndarray:
        raise NotImplementedError
    return {
        "type": "object",
        "properties": {
            "dtype": {"enum": ["<f4", "<f8", "|b1"]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "data": _SQL["BLOB"],
        },
        "required": ["dtype", "shape", "data"],
    }


if __name__ == "__main__":
    write()
