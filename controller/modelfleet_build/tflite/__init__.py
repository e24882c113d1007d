"""ONNX -> TFLite without TensorFlow: an exact converter for static float32 networks."""

from modelfleet_build.tflite.convert import VERSION, Place, TfliteModel, convert
from modelfleet_build.tflite.graph import Refused
from modelfleet_build.tflite.repack import with_inline_constants
from modelfleet_build.tflite.writer import Weights

__all__ = ["VERSION", "Place", "Refused", "TfliteModel", "Weights", "convert", "with_inline_constants"]
