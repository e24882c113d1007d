"""The variant builder: one ONNX model in, a release folder with one variant per device class out.

Importable without the service. Measures every variant in its real runtime against its float parent and
refuses the ones beyond the budget. Refuses to sign (that is `fleetctl release sign`) and to use the
network.
"""
