"""docs/reference/tflite-operators.md from the converter's own table."""

from __future__ import annotations

from modelfleet_build.tflite.ops import OPERATORS, Row

INTRO = """# ONNX to TFLite

What `arm-litert` and every class that starts from TFLite can be built from. Each row is an ONNX operator of
the default domain, opset 7 and newer; its result agrees with onnxruntime within 1e-4 of the largest value, or
the model is refused with the names of node and operator (`MF-1431`). Why there is a converter at all:
[ADR 0004](../adr/0004-own-onnx-to-tflite-converter.md).

Before that, the model is made smaller: batch 1, functions inlined, everything constant computed (also shapes
and branches on them), normalisations and scales by channel put into the convolution before them, zero `Pad`s
into the convolution behind them, biases into products, `Relu`, `Clip(0, 6)` and `Clip(-1, 1)` into the
operator before them, what no output needs left out. A `Transpose` or a layout costs an operator only where
elements really have to move.

Where there is a choice, a row becomes operators that `ai-edge-quantizer` and Vela know in int8. Weights may
be stored in float16, which halves the file; activations are float32 either way. Integers and conditions are
taken where the last column says so, else float32 alone.

Dynamic shapes other than the batch, sequences, optional values, loops and operators of other domains are
refused.
"""


def page() -> str:
    """Return the page."""
    rows = [_row(name, row) for name, row in OPERATORS.items()]
    head = ["| ONNX | becomes | refused | fuses an activation | types |", "|---|---|---|---|---|"]
    return "\n".join([INTRO, *head, *rows])


def _row(name: str, row: Row) -> str:
    fuses, kinds = "yes" if row.fuses else "", "any" if row.any_kind else ""
    return f"| `{name}` | {row.makes} | {row.refuses} | {fuses} | {kinds} |"
