"""HTTP on the device: Open Inference Protocol v2, `/metrics` and `/status`."""
