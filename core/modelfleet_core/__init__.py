"""The rules of Modelfleet, shared by every part.

Values in, values out: manifests, device classes and matching, rollout plans and the engine that decides,
gates, sketches, signed statements, the device's state machine and the bodies on the wire.

Refuses to do I/O: no sockets, files, subprocesses, clock or randomness; time and entropy come in as
arguments. Imports the standard library and msgspec alone (`cryptography` only in `trust/keys.py`).
"""
