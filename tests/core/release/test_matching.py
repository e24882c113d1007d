from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelfleet_core.release.device_class import DeviceClass, DeviceFacts
from modelfleet_core.release.manifest import RuntimeNeed, Variant
from modelfleet_core.release.matching import (
    class_no,
    match_class,
    match_variant,
    variant_no,
    version_key,
)
from modelfleet_core.release.shipped_classes import SHIPPED

from tests.core.release.samples import manifest, variant

RUNTIMES = ("onnxruntime", "openvino", "litert")
ARCHITECTURES = ("x86_64", "aarch64", "armv7l")
MEMORY = st.integers(0, 4)
NUMBERS = st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(0, 2))
# few, so that bounds are met exactly
VERSION = st.tuples(st.integers(0, 2), st.sampled_from([0, 9, 10]), st.just(0)).map(
    lambda n: ".".join(map(str, n))
)

FACTS = st.builds(
    DeviceFacts,
    architecture=st.sampled_from(ARCHITECTURES),
    runtimes=st.dictionaries(st.sampled_from(RUNTIMES), VERSION),
    memory_bytes=MEMORY,
    accelerators=st.lists(st.sampled_from(["cuda", "npu"]), unique=True).map(tuple),
)
CLASSES = st.lists(
    st.builds(
        DeviceClass,
        name=st.sampled_from(["a", "b", "c", "d"]),
        architectures=st.lists(st.sampled_from(ARCHITECTURES), min_size=1).map(tuple),
        runtime=st.sampled_from(RUNTIMES),
        runtime_minimum=VERSION,
        runtime_below=st.none() | VERSION,
        min_memory_bytes=MEMORY,
        accelerators=st.lists(st.sampled_from(["cuda", "npu"]), max_size=1).map(tuple),
        priority=st.integers(0, 2),
    ),
    max_size=5,
    unique_by=lambda c: c.name,
)
VARIANTS = st.lists(
    st.builds(
        lambda index, name, runtime, rank, memory: variant(
            f"{name}.int8",
            name=f"{name}-{index}.int8",
            device_class=name,
            runtime=runtime,
            rank=rank,
            min_memory_bytes=memory,
        ),
        st.integers(0, 10**6),
        st.sampled_from(["a", "b"]),
        st.builds(RuntimeNeed, st.sampled_from(RUNTIMES), VERSION, st.none() | VERSION),
        st.integers(0, 2),
        MEMORY,
    ),
    max_size=6,
    unique_by=lambda v: v.name,
)


def _numbers(text: str) -> tuple[int, ...]:
    """An oracle of its own: versions here are always three numbers."""
    return tuple(int(part) for part in text.split("."))


def _has(facts: DeviceFacts, name: str, minimum: str, below: str | None, memory: int) -> bool:
    """Whether a device has what is needed, said again in other words."""
    if name not in facts.runtimes or facts.memory_bytes < memory:
        return False
    offered = _numbers(facts.runtimes[name])
    return _numbers(minimum) <= offered and (below is None or offered < _numbers(below))


def _runs(facts: DeviceFacts, device_class: str, one: Variant) -> bool:
    need = one.runtime
    return one.device_class == device_class and _has(
        facts, need.name, need.minimum, need.below, one.min_memory_bytes
    )


def _is_of(facts: DeviceFacts, one: DeviceClass) -> bool:
    return (
        facts.architecture in one.architectures
        and set(one.accelerators) <= set(facts.accelerators)
        and _has(facts, one.runtime, one.runtime_minimum, one.runtime_below, one.min_memory_bytes)
    )


@given(FACTS, st.sampled_from(["a", "b"]), VARIANTS)
def test_a_variant_is_never_picked_whose_needs_the_device_lacks(
    facts: DeviceFacts, device_class: str, variants: list[Variant]
) -> None:
    match = match_variant(facts, device_class, manifest(*variants))
    fitting = [v for v in variants if _runs(facts, device_class, v)]
    if match.variant is None:
        assert fitting == []
    else:
        assert match.variant == min(fitting, key=lambda v: (v.rank, v.name))
        assert variant_no(facts, device_class, match.variant) is None
    # every other one is told, with a reason
    told = {no.name for no in match.refused}
    assert told == {v.name for v in variants} - ({match.variant.name} if match.variant else set())
    assert all(no.reason for no in match.refused)
    assert match.sentence()


@given(FACTS, CLASSES)
def test_a_class_is_never_given_whose_needs_the_device_lacks(
    facts: DeviceFacts, classes: list[DeviceClass]
) -> None:
    match = match_class(facts, classes)
    fitting = [c for c in classes if _is_of(facts, c)]
    if match.device_class is None:
        assert fitting == []
    else:
        assert match.device_class == min(fitting, key=lambda c: (-c.priority, c.name))
        assert class_no(facts, match.device_class) is None
    told = {no.name for no in match.refused}
    assert told == {c.name for c in classes} - ({match.device_class.name} if match.device_class else set())


@given(FACTS, CLASSES, st.randoms(use_true_random=False))
def test_the_order_of_the_classes_does_not_matter(
    facts: DeviceFacts, classes: list[DeviceClass], random: object
) -> None:
    shuffled = list(classes)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    assert match_class(facts, classes) == match_class(facts, shuffled)


@given(NUMBERS, NUMBERS)
def test_versions_compare_as_numbers(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    texts = [".".join(map(str, n)) for n in (a, b)]
    assert (version_key(texts[0]) < version_key(texts[1])) is (a < b)
    assert (version_key(texts[0]) == version_key(texts[1])) is (a == b)


@given(st.text(max_size=50))
def test_any_text_has_a_version_key(text: str) -> None:
    assert len(version_key(text)) <= 8


def test_a_version_of_endless_digits_is_only_a_large_one() -> None:
    assert version_key("9" * 10_000) > version_key("1.17")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("1.17.0", (1, 17)),
        ("1.17", (1, 17)),
        ("2024.0", (2024,)),
        ("", ()),
        ("0.0", ()),
        ("2.0rc1", (2, 0, 1)),
    ],
)
def test_trailing_zeros_do_not_count(text: str, key: tuple[int, ...]) -> None:
    assert version_key(text) == key


FULL = DeviceFacts("x86_64", {"onnxruntime": "1.22", "openvino": "2025.2", "litert": "2.0.1"}, 2**33)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (FULL, "x86-openvino"),
        (DeviceFacts("x86_64", {"onnxruntime": "1.22"}, 2**33), "x86-onnxruntime"),
        (DeviceFacts("aarch64", {"litert": "2.0"}, 2**28), "arm-litert"),
        (DeviceFacts("armv7l", {"litert": "2.1"}, 2**27), "arm-litert"),
        (DeviceFacts("x86_64", {"openvino": "2025.2"}, 2**28), None),
        (DeviceFacts("x86_64", {"onnxruntime": "1.16.3"}, 2**33), None),
        (DeviceFacts("riscv64", {"litert": "2.0"}, 2**33), None),
        (DeviceFacts("aarch64", {}, 2**33), None),
    ],
)
def test_shipped_classes(facts: DeviceFacts, name: str | None) -> None:
    found = match_class(facts, SHIPPED).device_class
    assert (found.name if found else None) == name


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (DeviceFacts("aarch64", {"onnxruntime": "1.22"}, 2**33), "architecture aarch64"),
        (DeviceFacts("x86_64", {"litert": "2.0"}, 2**33), "offered: litert"),
        (DeviceFacts("x86_64", {}, 2**33), "offered: none"),
        (DeviceFacts("x86_64", {"onnxruntime": "1.16"}, 2**33), "older than the needed 1.17"),
        (DeviceFacts("x86_64", {"onnxruntime": "1.17"}, 7), "memory 7 B"),
    ],
)
def test_every_no_says_why(facts: DeviceFacts, word: str) -> None:
    reason = class_no(facts, SHIPPED[0])
    assert reason is not None
    assert word in reason


def test_a_variant_s_no_says_why() -> None:
    one = variant(runtime=RuntimeNeed("onnxruntime", "1.17", "1.20"), min_memory_bytes=100)
    cases = [
        (FULL, "arm-litert", "built for class x86-onnxruntime"),
        (FULL, "x86-onnxruntime", "not below 1.20"),
        (DeviceFacts("x86_64", {}, 2**33), "x86-onnxruntime", "not offered"),
        (DeviceFacts("x86_64", {"onnxruntime": "1.18"}, 99), "x86-onnxruntime", "memory 99 B"),
    ]
    for facts, device_class, word in cases:
        match = match_variant(facts, device_class, manifest(one))
        assert match.variant is None
        assert word in match.sentence()
    assert "no variant at all" in match_variant(FULL, "x86-onnxruntime", manifest()).sentence()


def test_the_builder_s_choice_comes_first_and_the_next_best_where_it_does_not_fit() -> None:
    ranked = [
        variant("x86-onnxruntime.int8", rank=0, min_memory_bytes=2**33),
        variant("x86-onnxruntime.fp16", rank=2),
        variant("x86-onnxruntime.fp32", rank=1),
    ]
    for memory, expected in ((2**33, "int8"), (2**30, "fp32")):
        facts = DeviceFacts("x86_64", {"onnxruntime": "1.22"}, memory)
        match = match_variant(facts, "x86-onnxruntime", manifest(*ranked))
        assert match.variant is not None
        assert match.variant.name == f"x86-onnxruntime.{expected}"
        assert any("ranks before it" in no.reason for no in match.refused)


@pytest.mark.parametrize(
    ("offered", "fits"),
    [
        ("1.16.9", False),
        ("1.17", True),
        ("1.17.0", True),
        ("1.19.9", True),
        ("1.20", False),
        ("1.20.0", False),
    ],
)
def test_the_bounds_of_a_version_range(offered: str, fits: bool) -> None:
    facts = DeviceFacts("x86_64", {"onnxruntime": offered}, 2**30)
    one = variant(runtime=RuntimeNeed("onnxruntime", "1.17", "1.20"))
    assert (variant_no(facts, "x86-onnxruntime", one) is None) is fits
    device_class = DeviceClass(
        "x86-onnxruntime", ("x86_64",), "onnxruntime", runtime_minimum="1.17", runtime_below="1.20"
    )
    assert (class_no(facts, device_class) is None) is fits


def test_a_class_that_nothing_can_match_is_refused() -> None:
    for fields in ({"name": "A B"}, {"architectures": ()}, {"runtime": ""}):
        with pytest.raises(ValueError):
            DeviceClass(**({"name": "a", "architectures": ("x86_64",), "runtime": "onnxruntime"} | fields))  # type: ignore[arg-type]
