"""Conformance suites for this package's ports, shipped as code."""
