"""A layer that is broken on purpose is the one that is named, in every family of formats."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from modelfleet_build.layers.compare import Compared, compare_layers
from modelfleet_build.layers.explain import ExplainRequest, explain
from modelfleet_build.layers.report import LayerReport
from modelfleet_core.clock import SystemClock
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.release.manifest import FLOATS, Precision
from modelfleet_core.wire import codec
from modelfleet_runtimes import golden, registry

from ..conftest import DIGITS, FullBuild
from .plant import DEEDS

EARLY = "/features/features.3/act/Clip_output_0"
MIDDLE = "/features/features.6/body/body.2/Clip_output_0"
LATE = "/features/features.8/body/body.3/Conv_output_0"
PADDED = "/features/features.4/body/body.2/Clip_output_0"
# A value and the operator before it, where the variant has both: the fault lies in the operator.
BEFORE = {
    EARLY: "/features/features.3/body/body.3/Conv_output_0",
    MIDDLE: "/features/features.6/body/body.0/Conv_output_0",
    PADDED: "/features/features.4/body/body.0/Conv_output_0",
}
KINDS = {"scale": {"gain"}, "clip": {"range"}, "swap": {"channels"}, "pad": {"values", "displaced", "border"}}
PLANTED = [
    (variant, deed, value)
    for variant in DEEDS
    for deed in DEEDS[variant]
    for value in ((PADDED,) if deed == "pad" else (EARLY, MIDDLE, LATE))
]
SAMPLES = 12


def compared(folder: Path, entry: str, precision: Precision, *, run: str = "") -> LayerReport:
    contract = codec.decode((folder / "contract.json").read_bytes(), InputContract, what="contract.json")
    inputs = golden.read(folder / "golden.npz").inputs[:SAMPLES]
    runtime = registry.load(run).open(folder, entry, contract) if run else None
    what = Compared(DIGITS / "digits-1.1.onnx", folder / entry, contract, precision, runtime)
    return compare_layers(what, inputs)


@pytest.mark.parametrize(("variant", "deed", "value"), PLANTED)
def test_the_planted_layer_is_named(
    full_build: FullBuild, tmp_path: Path, variant: str, deed: str, value: str
) -> None:
    assert full_build.result.manifest is not None
    made = full_build.result.manifest.variant(variant)
    assert made is not None
    folder = tmp_path / variant
    shutil.copytree(full_build.folder / "variants" / variant, folder)
    DEEDS[variant][deed](folder / made.entry, value)

    found = compared(folder, made.entry, made.precision)

    assert found.divergence is not None, found.verdict
    assert found.divergence.value in {value, BEFORE.get(value)}, found.verdict
    assert found.divergence.kind in KINDS[deed], found.verdict
    assert found.divergence.why in found.verdict
    # Later layers may stand out as well where the wrong values leave the ranges that calibration found.
    accused = [layer.value for layer in found.layers if layer.suspect]
    assert accused[0] == found.divergence.value
    later = found.layers[[layer.value for layer in found.layers].index(found.divergence.value) + 1 :]
    assert max(layer.total_error for layer in later) > 0.1


def test_healthy_variants_do_not_diverge(full_build: FullBuild) -> None:
    assert full_build.result.manifest is not None
    for variant in full_build.result.manifest.variants:
        folder = full_build.folder / "variants" / variant.name
        found = compared(folder, variant.entry, variant.precision, run=variant.runtime.name)
        assert found.divergence is None, f"{variant.name}: {found.verdict}"
        assert found.verdict.startswith("no layer diverges: the worst own error is ")
        assert not any(layer.suspect for layer in found.layers)
        assert len(found.layers) >= 20
        bound = 1e-3 if variant.precision in FLOATS else 0.1
        assert max(layer.own_error for layer in found.layers) < bound
        (output,) = found.outputs
        assert output.name == "logits"
        assert output.runtime_error is not None
        assert output.runtime_error < 0.03


def test_two_broken_layers_are_both_seen_and_the_first_is_named(
    full_build: FullBuild, tmp_path: Path
) -> None:
    folder = tmp_path / "variant"
    shutil.copytree(full_build.folder / "variants" / "x86-onnxruntime.int8", folder)
    for value in (LATE, EARLY):
        DEEDS["x86-onnxruntime.int8"]["clip"](folder / "model.onnx", value)
    found = compared(folder, "model.onnx", Precision.INT8)
    assert [layer.value for layer in found.layers if layer.suspect] == [EARLY, LATE]
    assert found.divergence is not None
    assert found.divergence.value == EARLY


def test_the_effects_of_all_layers_can_be_asked_for(full_build: FullBuild) -> None:
    """What accuracy control ranks by: each layer's own error, put alone into the float model."""
    folder = full_build.folder / "variants" / "x86-onnxruntime.int8"
    contract = codec.decode((folder / "contract.json").read_bytes(), InputContract, what="contract.json")
    what = Compared(DIGITS / "digits-1.1.onnx", folder / "model.onnx", contract, Precision.INT8)
    inputs = golden.read(folder / "golden.npz").inputs[:4]
    found = compare_layers(replace(what, effects=True), inputs)
    effects = [layer.effect for layer in found.layers]
    assert all(effect is not None and np.isfinite(effect) for effect in effects)
    last = found.layers[-1]
    assert last.value == "logits"
    # Nothing comes after the output: the effect of its own error is that error.
    assert last.effect == pytest.approx(last.own_error, rel=1e-3)
    assert 0 < sum(effect or 0.0 for effect in effects) < 1


def test_a_variant_that_its_runtime_refuses_is_explained_all_the_same(
    full_build: FullBuild, tmp_path: Path
) -> None:
    """XNNPACK refuses a padding that changes the scale; the layers still say which range was clipped."""
    release = tmp_path / "release"
    shutil.copytree(full_build.folder, release)
    DEEDS["arm-litert.int8"]["clip"](release / "variants" / "arm-litert.int8" / "model.tflite", EARLY)
    found = explain(ExplainRequest(release, "arm-litert.int8", samples=4), SystemClock(), lambda text: None)
    assert found.layers.divergence is not None
    assert found.layers.divergence.value == EARLY
    assert any(note.startswith("its own runtime does not open it: ") for note in found.layers.notes)
    assert found.layers.outputs[0].runtime_error is None


def test_a_file_that_was_compiled_for_an_accelerator_is_refused(
    full_build: FullBuild, tmp_path: Path
) -> None:
    release = tmp_path / "release"
    shutil.copytree(full_build.folder, release)
    entry = release / "variants" / "arm-litert.int8" / "model.tflite"
    entry.write_bytes(entry.read_bytes() + b"ethos-u")
    with pytest.raises(CallerError, match="compiled for the accelerator") as caught:
        explain(ExplainRequest(release, "arm-litert.int8"), SystemClock(), lambda text: None)
    assert caught.value.code is Code.LAYERS_OPAQUE


def test_a_model_that_changed_since_is_refused(full_build: FullBuild, tmp_path: Path) -> None:
    request = ExplainRequest(full_build.folder, "arm-litert.int8", model=DIGITS / "digits-1.0.onnx")
    with pytest.raises(CallerError, match="is not the model of digits:1.1") as caught:
        explain(request, SystemClock(), lambda text: None)
    assert caught.value.code is Code.EXPLAIN_PARENT
    moved = replace(request, model=tmp_path / "gone.onnx")
    with pytest.raises(CallerError, match="cannot be read"):
        explain(moved, SystemClock(), lambda text: None)
