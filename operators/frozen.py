"""State as bytes that say whose they are, and of what shape.

A pickled dataclass is its values in a row: read by a class that has gained or lost a field it
comes back shifted, without a word. So the bytes begin with a line that names the stage, a
fingerprint of its state's shape and a checksum, and are read only where all are as expected, or by
a migration written for that very fingerprint. Only plain data is unpickled, whatever the bytes ask
for.
"""

import io
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from functools import cache
from hashlib import sha256
from typing import Any, TypeAliasType, get_args, get_origin, get_type_hints
from zlib import crc32

import msgspec

from operators.errors import EngineError

MAGIC = b"NGSTATE1 "
_HEAD_BYTES = 400  # a header's line is shorter
_REMEDY = (
    "use the version of the engine that wrote it, or delete FILE.recovery and start again to "
    "rebuild it from the log"
)

_OURS = frozenset({"flows", "connectors", "operators", "models"})
# Names that pickles of plain data use; nothing here runs code that the data chooses.
_PLAIN = frozenset(
    {
        *(("builtins", name) for name in ("set", "frozenset", "list", "dict", "tuple")),
        *(("builtins", name) for name in ("bytearray", "complex", "int", "float")),
        *(("collections", name) for name in ("deque", "defaultdict", "OrderedDict", "Counter")),
        ("array", "array"),
        ("array", "_array_reconstructor"),
        ("msgspec._utils", "rebuild"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
        ("numpy._core.numeric", "_frombuffer"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "scalar"),
    }
)


class StateError(EngineError):
    """A frozen state that this version of the engine cannot go on from."""


@dataclass(frozen=True)
class Migration:
    """How a state of an earlier shape becomes one of today's.

    `convert` gets the earlier state and returns today's. `classes` says what stands in for
    classes that have changed since, by the path under which they were pickled, such as
    "operators.risk.RiskBook"; keep the earlier form of the class for it.

    A stage lists its migrations in a class attribute `migrations`, by the earlier fingerprint.
    """

    convert: Callable[[Any], Any]
    classes: Mapping[str, type] = field(default_factory=dict)


@cache
def fingerprint(stage: type, state: type) -> str:
    """Return what tells shapes of a stage's state apart: its version, and a hash of its fields.

    Fields count by name, order and annotation, those of their classes too. What annotations
    cannot tell (a changed meaning, or bytes of our own packing) a stage tells by raising its
    class attribute `version`, which is 1 where it has none.

    >>> fingerprint(Migration, type(None))
    '1-070770bbec58'
    """
    shape = sha256(_shape(state, set()).encode()).hexdigest()[:12]
    return f"{getattr(stage, 'version', 1)}-{shape}"


def pack(stage: type, state: Any) -> bytes:
    """Return the state of a `stage` as bytes that later changes cannot touch."""
    kind: type = type(state)
    body = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
    head = f"{_path(stage)} {fingerprint(stage, kind)} {crc32(body):08x}\n"
    return MAGIC + head.encode() + body


def unpack(stage: type, state: type, frozen: bytes) -> Any:
    """Return the state, of the class `state`, that `pack` made bytes of for this `stage`.

    Raises:
        StateError: it is damaged, another stage's, or of a shape that no migration is for.
    """
    owner, found, body = _parted(stage, frozen)
    if owner != _path(stage):
        raise StateError(f"expected a state of {_path(stage)}, found one of {owner}; {_REMEDY}")
    expected = fingerprint(stage, state)
    if found == expected:
        return _read(stage, state, body, {})
    migrations: Mapping[str, Migration] = getattr(stage, "migrations", {})
    migration = migrations.get(found)
    if migration is None:
        raise StateError(
            f"expected a state of {owner} of shape {expected}, found one of shape {found}, made "
            f"by another version of the engine; {_REMEDY}"
        )
    migrated = migration.convert(_read(stage, object, body, migration.classes))
    if not isinstance(migrated, state):
        raise StateError(
            f"expected the migration of {owner} from shape {found} to return a {_path(state)}, "
            f"found a {_path(type(migrated))}; correct the migration"
        )
    return migrated


def _parted(stage: type, frozen: bytes) -> tuple[str, str, memoryview]:
    """Return whose state it is, of which shape, and its pickle."""
    end = frozen.find(b"\n", 0, _HEAD_BYTES)
    head = frozen[len(MAGIC) : end].decode(errors="replace").split(" ")
    if end < 0 or not frozen.startswith(MAGIC) or len(head) != 3:
        raise StateError(
            f"expected a state of {_path(stage)} that says its shape, found {len(frozen):,} bytes "
            f"without one, made by an earlier version of the engine or damaged; {_REMEDY}"
        )
    owner, found, checksum = head
    body = memoryview(frozen)[end + 1 :]
    if f"{crc32(body):08x}" != checksum:
        raise StateError(
            f"expected a whole state of {_path(stage)}, found one whose checksum differs: it is "
            f"damaged; {_REMEDY}"
        )
    return owner, found, body


def _read(stage: type, state: type, body: memoryview, classes: Mapping[str, type]) -> Any:
    try:
        made = _PlainUnpickler(body, classes).load()
    except StateError:
        raise
    except Exception as error:
        # Bytes that no version of ours wrote can make an unpickler raise anything.
        raise StateError(
            f"expected a state of {_path(stage)}, found what cannot be read ({error}); {_REMEDY}"
        ) from error
    if not isinstance(made, state):
        raise StateError(
            f"expected a {_path(state)} as the state of {_path(stage)}, found a "
            f"{_path(type(made))}; {_REMEDY}"
        )
    return made


class _PlainUnpickler(pickle.Unpickler):
    """Gives back plain data: our own data classes, arrays and containers."""

    def __init__(self, body: memoryview, classes: Mapping[str, type]) -> None:
        super().__init__(io.BytesIO(body))
        self.classes = classes

    def find_class(self, module: str, name: str) -> Any:
        replaced = self.classes.get(f"{module}.{name}")
        if replaced is not None:
            return replaced
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        # A name with a dot could reach through our modules to whatever they import.
        if module.partition(".")[0] in _OURS and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module and _holds_data(found):
                return found
        raise StateError(
            f"expected plain data in a frozen state, found {module}.{name}; {_REMEDY}, and find "
            "out who wrote it"
        )


def _holds_data(kind: type) -> bool:
    return _has_fields(kind) or issubclass(kind, Enum)


def _has_fields(kind: type) -> bool:
    named = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return is_dataclass(kind) or issubclass(kind, msgspec.Struct) or named


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _shape(kind: Any, told: set[type]) -> str:
    """Return in words what values of a type hold; each class with fields is told once."""
    if isinstance(kind, TypeAliasType):
        return _shape(kind.__value__, told)
    origin = get_origin(kind)
    if origin is not None:
        inner = ",".join(_shape(each, told) for each in get_args(kind))
        return f"{_shape(origin, told)}[{inner}]"
    if not isinstance(kind, type):
        return repr(kind)
    if kind in told or not _has_fields(kind):
        return _path(kind)
    told.add(kind)
    fields = (f"{name}:{_shape(each, told)}" for name, each in get_type_hints(kind).items())
    return f"{_path(kind)}({','.join(fields)})"
