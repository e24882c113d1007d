"""The update lifecycle on the device: journal first, then act; every effect idempotent."""
