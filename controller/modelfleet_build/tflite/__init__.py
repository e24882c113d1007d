"""ONNX -> TFLite without TensorFlow: an exact converter for static float32 networks."""

from modelfleet_build.tflite.convert import TfliteModel, convert
from modelfleet_build.tflite.graph import Refused

__all__ = ["Refused", "TfliteModel", "convert"]
