"""The data plane: owns the sockets, routes each inference to the active model's worker, mirrors some to the
other's.

Imports neither numpy nor a runtime: tensors pass through as bytes.
"""
