"""What runs inside tflite-runtime's own environment (numpy 1): pytest collects this file there, never here.

`test_tflite_legacy.py` makes the environment, and the folder `variants` beside the copy of this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelfleet_core.error_codes import Code
from modelfleet_core.errors import WorldError
from modelfleet_core.release.contract import InputContract
from modelfleet_core.wire import codec
from modelfleet_runtimes import registry
from modelfleet_runtimes.port import Runtime
from modelfleet_runtimes.testing import ConformanceCase, RuntimeConformance
from modelfleet_runtimes.tflite_legacy import plugin

VARIANTS = Path(__file__).parent / "variants"
FOLDERS = sorted(path.parent for path in VARIANTS.glob("*/contract.json"))


def load(folder: Path) -> tuple[InputContract, dict[str, Any], dict[str, Any]]:
    contract = codec.decode((folder / "contract.json").read_bytes(), InputContract, what="contract")
    with np.load(folder / "answers.npz", allow_pickle=False) as arrays:
        inputs = {name.removeprefix("in."): arrays[name] for name in arrays.files if name.startswith("in.")}
        expected = {
            name.removeprefix("out."): arrays[name] for name in arrays.files if name.startswith("out.")
        }
    return contract, inputs, expected


class TestTfliteLegacy(RuntimeConformance):
    @pytest.fixture
    def runtime(self) -> Runtime:
        return plugin

    @pytest.fixture(scope="class")
    @classmethod
    def case(cls) -> ConformanceCase:
        folder = VARIANTS / "digits.fp32"
        contract, inputs, expected = load(folder)
        return ConformanceCase(folder, "model.tflite", contract, inputs, expected, 2e-4, ("tflite_runtime",))


def test_the_environment_is_the_old_one() -> None:
    assert plugin.version() == "2.14.0"
    assert np.__version__.startswith("1.")
    # Both plug-ins whose packages are not here say so and hide nothing else.
    assert registry.installed_version("ai-edge-litert") is None


@pytest.mark.parametrize("name", [path.name for path in FOLDERS if not path.name.endswith(".dynamic")])
def test_it_answers_as_litert_does(name: str) -> None:
    contract, inputs, expected = load(VARIANTS / name)
    session = plugin.open(VARIANTS / name, "model.tflite", contract)
    answer = session.run(inputs)
    session.close()
    for output, wanted in expected.items():
        scale = next(b.physical.scale for b in contract.outputs if b.logical.name == output)
        apart = np.abs(answer[output] - wanted)
        if scale is None:
            assert apart.max() <= 1e-4 * np.abs(wanted).max(), output
            continue
        # Kernels round otherwise, so some elements are steps apart; a wrong network is apart everywhere.
        assert np.mean(apart > 3.5 * scale) < 0.02, (output, float(np.mean(apart > 3.5 * scale)))
        correlation = np.corrcoef(answer[output].ravel(), wanted.ravel())[0, 1]
        assert correlation > 0.99, (output, correlation)


def test_what_it_answers_with_garbage_is_refused() -> None:
    folder = VARIANTS / "digits.dynamic"
    contract, _, _ = load(folder)
    with pytest.raises(WorldError, match="garbage") as caught:
        plugin.open(folder, "model.tflite", contract)
    assert caught.value.code is Code.VARIANT_GARBAGE


def test_the_refused_file_really_gives_garbage() -> None:
    """The reason for the refusal: once this fails, the refusal can go."""
    from tflite_runtime.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    _, inputs, expected = load(VARIANTS / "digits.dynamic")
    interpreter = Interpreter(model_path=str(VARIANTS / "digits.dynamic" / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    got = [runner(image=image[None].transpose(0, 2, 3, 1).copy())["logits"][0] for image in inputs["image"]]
    right = np.mean(np.argmax(got, axis=1) == expected["logits"].argmax(axis=1))
    assert right < 0.5, right


def test_the_table_of_operators() -> None:
    """Every operator in its newest version is known to the wheel, and in the next is not."""
    from tflite_runtime.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    wrong = []
    for name, files in json.loads((VARIANTS / "operators.json").read_text()).items():
        for content, wanted in zip(files, (True, False), strict=True):
            try:
                Interpreter(model_content=bytes.fromhex(content), num_threads=1)
                known = True
            except (RuntimeError, ValueError) as error:
                known = "Didn't find op" not in str(error)
            if known is not wanted:
                wrong.append((name, wanted))
    assert wrong == []
