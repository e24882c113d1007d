"""What makes deltas useless is planted, and named."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from modelfleet_build.delta_estimate.estimate import USELESS, estimate
from modelfleet_build.delta_estimate.previous import delta_warnings, estimates, read_previous
from modelfleet_build.delta_estimate.report import DeltaEstimate
from modelfleet_build.delta_estimate.tensors import Tensor, Weights, read_weights
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.manifest import Manifest, Precision
from modelfleet_core.wire import codec

from ..conftest import Bench, FullBuild
from ..graphs import classifier

FAMILIES = ("x86-onnxruntime.int8", "x86-openvino.int8", "arm-litert.int8")


def weights(full_build: FullBuild, name: str) -> Weights:
    manifest = codec.decode((full_build.folder / "release.json").read_bytes(), Manifest, what="release.json")
    variant = manifest.variant(name)
    assert variant is not None
    found = read_weights(full_build.folder / "variants" / name, variant.entry)
    assert found is not None
    return found


def compared(old: Weights, new: Weights) -> DeltaEstimate:
    return estimate("c.int8", "digits:1.0", old, new)


def nudged(item: Weights, share: float) -> Weights:
    """A gentle fine-tune: that share of the int8 values moves by one, and of the floats' by a little."""
    random = np.random.default_rng(5)

    def change(tensor: Tensor) -> Tensor:
        if not tensor.is_small_integer:
            return tensor
        step = (random.random(len(tensor.data)) < share) * random.choice([1, 255], len(tensor.data))
        return replace(tensor, data=(tensor.data + step.astype(np.uint8)).astype(np.uint8))

    return replace(item, tensors=tuple(map(change, item.tensors)))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_constants_of_every_family_are_read(full_build: FullBuild, name: str) -> None:
    found = weights(full_build, name)
    small = sum(len(tensor.data) for tensor in found.tensors if tensor.is_small_integer)
    # NNCF leaves the depthwise convolutions of this network in floating point.
    assert 45_000 < small < 60_000, "the network has 54,922 parameters, nearly all of them int8"
    assert len(found.activation_scales) >= 15
    assert sum(len(t.data) for t in found.tensors) < sum(len(c) for c in found.content)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_variant_costs_nothing(full_build: FullBuild, name: str) -> None:
    found = compared(weights(full_build, name), weights(full_build, name))
    assert found.delta_bytes < 0.01 * found.full_bytes
    assert (found.matched, found.equal_share, found.changed_int8) == (found.tensors, 1.0, 0.0)
    assert found.changed_scales == 0
    assert delta_warnings((found,)) == ()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_gentle_fine_tune_with_frozen_scales_is_worth_a_delta(full_build: FullBuild, name: str) -> None:
    old = weights(full_build, name)
    found = compared(old, nudged(old, 0.1))
    assert found.share < 0.5
    assert found.changed_int8 == pytest.approx(0.1, abs=0.01)
    assert delta_warnings((found,)) == ()


@pytest.mark.parametrize("name", FAMILIES)
def test_scales_that_all_moved_are_named(full_build: FullBuild, name: str) -> None:
    old = weights(full_build, name)
    moved = {key: tuple(1.01 * n for n in numbers) for key, numbers in old.activation_scales.items()}
    found = compared(old, replace(nudged(old, 0.02), activation_scales=moved))
    assert found.cause.startswith(f"all {len(moved)} scales changed: calibration differs")
    (told,) = delta_warnings((found, replace(found, variant="d.int8", kind="", cause="")))
    assert told.startswith("a delta from digits:1.0 would take about ")
    assert "% of the file for 1 of 2 variants, most for c.int8: all " in told


@pytest.mark.parametrize("name", FAMILIES)
def test_renamed_nodes_are_named(full_build: FullBuild, name: str) -> None:
    old = weights(full_build, name)
    renamed = tuple(replace(t, name=f"new/{t.name}") for t in old.tensors)
    found = compared(old, replace(old, tensors=renamed))
    assert found.matched == 0
    assert found.share > 0.9
    assert found.cause.startswith(f"nodes were renamed: 0 of {len(renamed)} tensors match by name")


def test_batch_normalisation_that_moved_is_named(full_build: FullBuild) -> None:
    old = weights(full_build, "x86-onnxruntime.fp32")
    random = np.random.default_rng(3)

    def rescale(tensor: Tensor) -> Tensor:
        if tensor.kind != "float32" or len(tensor.shape) < 2:
            return tensor
        values = np.frombuffer(tensor.data.tobytes(), np.float32).reshape(tensor.shape[0], -1)
        gain = random.uniform(0.8, 1.2, (tensor.shape[0], 1))
        return replace(tensor, data=np.frombuffer((values * gain).astype(np.float32).tobytes(), np.uint8))

    found = compared(old, replace(old, tensors=tuple(map(rescale, old.tensors))))
    assert found.cause.startswith("BatchNorm moved: the channels of ")
    assert "freeze BatchNorm" in found.cause


def test_batch_normalisation_seen_in_the_scales_of_int8(full_build: FullBuild) -> None:
    old = weights(full_build, "x86-onnxruntime.int8")
    moved = {key: tuple(1.1 * n for n in numbers) for key, numbers in old.weight_scales.items()}
    assert compared(old, replace(old, weight_scales=moved)).cause.startswith("BatchNorm moved: ")


def test_batch_normalisation_that_was_folded_otherwise_is_named(full_build: FullBuild) -> None:
    old = weights(full_build, "x86-onnxruntime.fp32")
    found = compared(replace(old, normalisations=14), old)
    assert found.cause.startswith("BatchNorm was folded otherwise: 14 were left")


def test_a_model_trained_anew_is_named(full_build: FullBuild) -> None:
    old = weights(full_build, "arm-litert.int8")
    random = np.random.default_rng(1)
    other = tuple(replace(t, data=random.permutation(t.data)) for t in old.tensors)
    found = compared(old, replace(old, tensors=other))
    assert found.share >= USELESS
    assert "changed: training moved every layer" in found.cause


@given(st.integers(0, 255), st.integers(1, 400))
@settings(max_examples=25, deadline=None)
def test_never_more_than_the_whole_and_never_less_than_nothing(value: int, count: int) -> None:
    random = np.random.default_rng(value)
    old = Tensor("w", "int8", 1, (count,), random.integers(0, 256, count).astype(np.uint8))
    new = replace(old, data=random.integers(0, 256, count).astype(np.uint8))
    one = Weights((old,), {}, {}, 0, (old.data,))
    found = compared(one, replace(one, tensors=(new,), content=(new.data,)))
    assert 0 <= found.delta_bytes <= found.full_bytes
    assert 0 <= found.equal_share <= 1


def test_a_build_tells_what_deltas_from_the_previous_release_cost(bench: Bench, tmp_path: Path) -> None:
    first = bench.build(precisions=(Precision.FP32, Precision.INT8))
    assert first.folder is not None
    model = classifier()
    for item in model.graph.initializer:
        if item.name == "g":
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item) + np.float32(0.01), "g"))
    onnx.save(model, bench.request.model)
    second = bench.build(
        version="1.1",
        output=tmp_path / "second",
        precisions=(Precision.FP32, Precision.INT8),
        previous=first.folder,
    )
    told = {item.variant: item for item in second.report.deltas}
    assert set(told) == {"x86-onnxruntime.fp32", "x86-onnxruntime.int8"}
    assert all(item.previous == "small:1.0" and item.matched == item.tensors for item in told.values())
    assert told["x86-onnxruntime.fp32"].equal_share > 0.5, "the convolution stayed as it was"

    with pytest.raises(CallerError) as caught:
        bench.build(version="1.2", output=tmp_path / "third", previous=tmp_path)
    assert caught.value.code is Code.PREVIOUS_UNREADABLE
    assert not (tmp_path / "third").exists()


def test_variants_of_another_recipe_or_class_are_not_compared(full_build: FullBuild, tmp_path: Path) -> None:
    manifest = read_previous(full_build.folder)
    other = tuple(replace(v, recipe="another") for v in manifest.variants)
    assert estimates(full_build.folder, full_build.folder, other) == ()
    damaged = tmp_path / "damaged"
    shutil.copytree(full_build.folder, damaged)
    (damaged / "variants" / "x86-openvino.int8" / "model.xml").write_text("<!DOCTYPE a><net/>")
    names = {item.variant for item in estimates(damaged, full_build.folder, manifest.variants)}
    assert names == {v.name for v in manifest.variants} - {"x86-openvino.int8"}
