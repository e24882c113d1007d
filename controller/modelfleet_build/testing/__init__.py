"""The conformance suite that every optimizer plug-in has to pass; shipped, so that others can run it.

A plug-in's test is a subclass of `OptimizerConformance` with the fixtures `optimizer` and `case`.
"""

from .conformance import OptimizerCase, OptimizerConformance

__all__ = ["OptimizerCase", "OptimizerConformance"]
