"""Any valid value of any dataclass that crosses the wire, made from its type hints."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import types
import typing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

import modelfleet_core.release
import modelfleet_core.wire
from modelfleet_core.trust.bundle import Bundle, VerificationMaterial
from modelfleet_core.trust.policy import TrustFile
from modelfleet_core.wire.build import BuildInput, InputRole

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PRINTABLE = st.text("abcXYZ 09-_:äß漢", max_size=12)
NAME = st.from_regex(r"[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?", fullmatch=True)
FILE = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_+-]{0,10}", fullmatch=True)
DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
LABELS = st.dictionaries(NAME, st.text("abcXYZ09-_:ä", max_size=12), max_size=3)
WHOLE = st.integers(-(2**53), 2**53)
REAL = st.floats(allow_nan=False, allow_infinity=False)
POSITIVE = st.floats(1e-6, 1e9)
INSTANT = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - hypothesis wants naive bounds and adds the zone itself
    datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-8))]),
)

# class -> field -> strategy, where a rule of the class is narrower than the type
OWN: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "EnrollRequest": {"token": PRINTABLE, "public_key": PRINTABLE, "name": PRINTABLE, "labels": LABELS},
    "SlotAssignment": {
        "slot": NAME,
        "variant": NAME,
        "release": DIGEST,
        "bundle": DIGEST,
        "baseline": st.none() | DIGEST,
        "operation": PRINTABLE.filter(bool),
        "reference": PRINTABLE,
        "rollout": st.none() | PRINTABLE,
        "window_s": POSITIVE,
        "probation_s": POSITIVE,
        "bandwidth": st.none() | POSITIVE,
        "reverse_share": st.floats(0, 1),
        "golden_tolerance_points": POSITIVE,
    },
    "TokenRequest": {
        "kind": st.sampled_from(["enrolment", "api"]),
        "name": PRINTABLE,
        "ttl_s": POSITIVE,
        "max_uses": st.integers(1, 10**6),
        "labels": LABELS,
    },
    "ReleasePush": {"manifest": DIGEST, "bundles": st.dictionaries(NAME, DIGEST, max_size=3)},
    "RolloutCreate": {"idempotency_key": PRINTABLE.filter(bool)},
    "Operation": {
        "idempotency_key": PRINTABLE.filter(bool),
        "classes": st.lists(NAME, max_size=3).map(tuple),
    },
    "DeviceClass": {
        "name": NAME,
        "architectures": st.lists(TEXT, min_size=1, max_size=3).map(tuple),
        "runtime": TEXT.filter(bool),
        "recipes": st.lists(NAME, min_size=1, max_size=3).map(tuple),
        "objective": st.sampled_from(["", "latency", "size", "memory", "accuracy"]),
    },
    "VariantLimits": {
        "size_bytes": st.none() | st.integers(1, 2**40),
        "latency_s": st.none() | POSITIVE,
        "arena_bytes": st.none() | st.integers(1, 2**40),
        "min_coverage": st.none() | st.floats(0, 1),
        "min_mac_coverage": st.none() | st.floats(0, 1),
    },
    # three shapes of one rank, each dimension at least that of the one before
    "ShapeProfile": {
        "minimum": st.tuples(st.just(1), st.integers(1, 8)),
        "optimum": st.tuples(st.integers(1, 4), st.integers(8, 16)),
        "maximum": st.tuples(st.integers(4, 8), st.integers(16, 32)),
    },
    "EngineSpec": {
        "model": FILE,
        "model_sha256": DIGEST,
        "inputs": st.dictionaries(
            NAME, st.deferred(lambda: values_of("ShapeProfile")), min_size=1, max_size=2
        ),
        "workspace_bytes": st.integers(2**20, 2**36),
        "optimization_level": st.integers(0, 5),
        "schema": st.just(1),
    },
    "Artifact": {"path": FILE, "sha256": DIGEST, "size": st.integers(0, 4 * 1024**3)},
    "LogicalTensor": {
        "name": TEXT.filter(bool),
        "shape": st.lists(st.integers(1, 64), min_size=4, max_size=4).map(tuple),
    },
    "PhysicalTensor": {"scale": POSITIVE, "zero_point": st.integers(-128, 255)},
    "Decoder": {"name": NAME, "parameters": st.dictionaries(NAME, REAL | PRINTABLE, max_size=3)},
    "Manifest": {"name": NAME, "version": NAME, "target_scale": st.none() | POSITIVE},
    "BuildInput": {"name": FILE, "sha256": DIGEST},
    "BuildSpec": {
        "name": NAME,
        "version": NAME,
        "classes": st.lists(NAME, min_size=1, max_size=3).map(tuple),
        "inputs": st.lists(DIGEST, min_size=2, max_size=len(InputRole)).map(
            lambda digests: tuple(
                BuildInput(role, f"{role.value}.npz", digest)
                for role, digest in zip(InputRole, digests, strict=False)
            )
        ),
        "objective": st.sampled_from(["", "latency", "size", "memory", "accuracy"]),
        "max_drop_points": st.floats(0, 100),
        "search": st.integers(0, 1000),
        "tuning_s": st.floats(0, 1000),
    },
    "BuildOrder": {"idempotency_key": PRINTABLE.filter(bool)},
    "TrustFile": {
        "audience": NAME,
        "schema": st.just(1),
        "controller_ca": st.none() | TEXT,
    },
}


def wire_types() -> list[type]:
    """Every dataclass that the wire package and the release's files define, and the trust files."""
    found: list[type] = [TrustFile, Bundle, VerificationMaterial]
    for package in (modelfleet_core.wire, modelfleet_core.release):
        for info in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if info.name.endswith(".matching"):  # its answers stay in the process
                continue
            module = importlib.import_module(info.name)
            found += [
                value
                for value in vars(module).values()
                if dataclasses.is_dataclass(value)
                and isinstance(value, type)
                and value.__module__ == module.__name__
            ]
    return found


def values(kind: type) -> st.SearchStrategy[Any]:
    """Valid values of a dataclass."""
    if kind.__name__ == "Variant":
        return _variants(kind)
    hints = typing.get_type_hints(kind)
    own = OWN.get(kind.__name__, {})
    fields = {f.name: own[f.name] if f.name in own else of(hints[f.name]) for f in dataclasses.fields(kind)}
    return _made(kind, st.fixed_dictionaries(fields))


def _made(kind: Callable[..., Any], fields: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[Any]:
    def make(given: dict[str, Any]) -> Any:
        try:
            return kind(**given)
        except ValueError:  # a rule between fields, such as unique names
            reject()

    return fields.map(make)


@st.composite
def _variants(draw: st.DrawFn, kind: type) -> Any:
    hints = typing.get_type_hints(kind)
    given = {
        f.name: draw(of(hints[f.name])) for f in dataclasses.fields(kind) if f.name not in ("files", "entry")
    }
    files = draw(st.lists(values_of("Artifact"), min_size=1, max_size=3, unique_by=lambda a: a.path))
    given |= {"name": draw(NAME), "device_class": draw(NAME), "files": tuple(files), "entry": files[0].path}
    return kind(**given)


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Values of the wire type of that name."""
    return values(next(t for t in wire_types() if t.__name__ == name))


def of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type hint as wire types use them."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return st.one_of(*(of(a) for a in arguments))
    if origin is tuple:
        return st.lists(of(arguments[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(of(arguments[0]), of(arguments[1]), max_size=2)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: WHOLE,
        float: REAL,
        bool: st.booleans(),
        type(None): st.none(),
        datetime: INSTANT,
        object: st.none() | st.booleans() | TEXT,
    }
    if hint in simple:
        return simple[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return st.deferred(lambda: values(hint))
    raise TypeError(f"no strategy for {hint}: teach tests/core/wire/strategies.py")
