"""int8 for OpenVINO by NNCF: plain post-training quantization, or with NNCF's own accuracy control.

NNCF's accuracy control (recipe `int8-accuracy`) never sees the validation set nor a label: it holds back a
part of the calibration samples and asks there how often the quantized model decides as the float model does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from modelfleet_build.arrays import read_calibration
from modelfleet_build.optimizers.keep_float import KeptNode, kept_nodes
from modelfleet_build.port import ConversionTask, Recipe, Tell
from modelfleet_core.error_codes import Code
from modelfleet_core.errors import CallerError, ModelfleetError, WorldError

FloatArray = npt.NDArray[np.float32]

_SEED = 1797
_LEAST_SAMPLES = 12
_RANKED_ON = 64
# Only constants feed them, or the world: nothing of an operator lies behind.
_BORDERS = ("Parameter", "Constant")


def quantised(model: Any, task: ConversionTask, tell: Tell) -> tuple[Any, tuple[str, ...]]:
    """The int8 form of an OpenVINO model, and notes for the report.

    Args:
        model: An `openvino.Model` with batch 1.
        task: `recipe.parameters` names preset, ranges and, for accuracy control, `max_drop`.
        tell: Takes progress.

    Raises:
        CallerError: MF-1461, `keep_float` names an operator that the model has not; MF-1462, there are too
            few calibration samples to hold some back.
        WorldError: MF-1432, NNCF failed.
    """
    import onnx

    samples = read_calibration(task.calibration)
    kept = kept_nodes(onnx.load(str(task.model)), task.recipe.keep_float)
    try:
        ignored, notes = _ignored(model, kept)
        settings = {**_settings(task.recipe), **ignored}
        name = task.facts.inputs[0].name
        if task.recipe.name == "int8-accuracy":
            made, told = _controlled(model, task.recipe, name, samples, settings, tell)
            return made, (*notes, told)
        tell(f"calibrating on {len(samples)} samples")
        return _plain(model, name, samples, settings), notes
    except ModelfleetError:
        raise
    except Exception as error:  # the library raises whatever its parts raise
        raise WorldError(
            Code.CONVERSION_FAILED,
            f"NNCF failed: {type(error).__name__}: {str(error)[:300]}",
            expected="a quantized model",
            todo="build this class without int8 (`--precision fp16`), or report the model",
        ) from error


def _settings(recipe: Recipe) -> dict[str, Any]:
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    presets = {"mixed": nncf.QuantizationPreset.MIXED, "performance": nncf.QuantizationPreset.PERFORMANCE}
    estimators = {
        "minmax": RangeEstimatorParametersSet.MINMAX,
        "mean-quantile": RangeEstimatorParametersSet.MEAN_QUANTILE,
    }
    wanted = recipe.parameters["ranges"]
    advanced = AdvancedQuantizationParameters()
    if wanted != "default":
        advanced = AdvancedQuantizationParameters(activations_range_estimator_params=estimators[wanted])
    return {"preset": presets[recipe.parameters["preset"]], "advanced": advanced}


def _plain(model: Any, name: str, samples: FloatArray, settings: dict[str, Any]) -> Any:
    import nncf

    return nncf.quantize(
        model,
        _dataset(name, samples),
        preset=settings["preset"],
        subset_size=len(samples),
        ignored_scope=settings["scope"],
        advanced_parameters=settings["advanced"],
    )


def _controlled(
    model: Any, recipe: Recipe, name: str, samples: FloatArray, settings: dict[str, Any], tell: Tell
) -> tuple[Any, str]:
    import nncf
    import openvino
    from nncf.quantization.advanced_parameters import AdvancedAccuracyRestorerParameters

    if len(samples) < _LEAST_SAMPLES:
        raise CallerError(
            Code.CALIBRATION_TOO_FEW,
            f"{len(samples)} calibration samples are too few for {recipe.name}, which holds a third back",
            expected=f"at least {_LEAST_SAMPLES}",
            todo="give more calibration samples, or take the recipe int8",
        )
    # Shuffled: sets are often sorted by kind, and every third of them may be of one.
    order = np.random.default_rng(_SEED).permutation(len(samples))
    held, seen = samples[order[: len(samples) // 3]], samples[order[len(samples) // 3 :]]
    exact = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    reference = [_answer(exact, sample) for sample in _rows(held)]
    items = [
        {name: sample, "reference": answer} for sample, answer in zip(_rows(held), reference, strict=True)
    ]
    tell(f"calibrating on {len(seen)} samples, comparing on {len(held)} that were held back")
    most = int(recipe.parameters["most_operators_in_float"])
    allowed = float(recipe.parameters["max_drop"])
    made = nncf.quantize_with_accuracy_control(
        model,
        _dataset(name, seen),
        nncf.Dataset(items),
        _judge(name),
        max_drop=allowed,
        drop_type=nncf.DropType.ABSOLUTE,
        preset=settings["preset"],
        subset_size=len(seen),
        ignored_scope=settings["scope"],
        advanced_quantization_parameters=settings["advanced"],
        advanced_accuracy_restorer_parameters=AdvancedAccuracyRestorerParameters(
            max_num_iterations=most, ranking_subset_size=_RANKED_ON, num_ranking_workers=1
        ),
    )
    final = openvino.Core().compile_model(made, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    reached, _ = _judge(name)(final, items)
    verdict = "reached" if 1.0 - reached <= allowed else f"not reachable with {most} operators in float"
    return made, (
        f"NNCF's accuracy control: decisions like the float model's weigh {100 * reached:.2f} % "
        f"on {len(held)} samples held back; {100 * (1 - allowed):g} % was wanted and is {verdict}"
    )


def _judge(name: str) -> Callable[[Any, Iterable[Any]], tuple[float, None]]:
    """The measure that NNCF asks for: mean likeness to the float model over some items."""

    def judge(compiled: Any, items: Iterable[Any]) -> tuple[float, None]:
        found = [likeness(item["reference"], _answer(compiled, item[name])) for item in items]
        return float(np.mean(found)), None

    return judge


def likeness(reference: FloatArray, answer: FloatArray) -> float:
    """How far two first outputs decide alike, 0 to 1.

    Decisions are made over the second axis at each place; each weighs as much as the reference's own margin,
    so that one that the float model could hardly make counts for nothing. An output without classes has
    1 - its relative error, at least 0.

    Args:
        reference: [1, classes, ...] of the float model.
        answer: The same of the other.
    """
    if not np.isfinite(answer).all():
        return 0.0
    if reference.ndim < 2 or reference.shape[1] < 2:
        size = float(np.linalg.norm(reference))
        return max(0.0, 1.0 - float(np.linalg.norm(reference - answer)) / size) if size else 1.0
    top = np.partition(reference, -2, axis=1)
    margin = (top[:, -1] - top[:, -2]).astype(np.float64)
    equal = reference.argmax(axis=1) == answer.argmax(axis=1)
    total = float(margin.sum())
    return float(margin[equal].sum()) / total if total else 1.0


def _answer(compiled: Any, sample: FloatArray) -> FloatArray:
    return np.array(compiled([sample])[0], np.float32)


def _rows(samples: FloatArray) -> list[FloatArray]:
    return [samples[row : row + 1] for row in range(len(samples))]


def _dataset(name: str, samples: FloatArray) -> Any:
    import nncf

    return nncf.Dataset(_rows(samples), lambda sample: {name: sample})


def _ignored(model: Any, kept: tuple[KeptNode, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """NNCF's scope of the operations that make up kept ONNX nodes.

    OpenVINO's frontend turns one ONNX node into several operations: a convolution and the addition of its
    bias, and only the last is called like the node. They are found by values: all operations from the one
    that gives the node's output back to those that give its inputs.
    """
    import nncf

    givers = {name: port.get_node() for op in model.get_ops() for port in op.outputs() for name in port.names}
    names: set[str] = set()
    notes: list[str] = []
    for node in kept:
        if node.output not in givers:
            notes.append(f"{node.output} ({node.operator}) is folded away; nothing of it is left to quantize")
            continue
        stop = {givers[name].get_friendly_name() for name in node.inputs if name in givers}
        names |= _behind(givers[node.output], stop)
    return {"scope": nncf.IgnoredScope(names=sorted(names)) if names else None}, tuple(notes)


def _behind(op: Any, stop: set[str]) -> set[str]:
    found: set[str] = set()
    waiting = [op]
    while waiting:
        current = waiting.pop()
        name = current.get_friendly_name()
        if name in found or name in stop or current.get_type_name() in _BORDERS:
            continue
        found.add(name)
        waiting.extend(port.get_source_output().get_node() for port in current.inputs())
    return found
