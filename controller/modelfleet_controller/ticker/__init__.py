"""The clockwork that decides: loads, asks the engine, applies in one transaction."""
