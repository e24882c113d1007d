"""The command line: `fleetctl`.

Renders typed view models of the controller's public API and drives the builder. Starts the controller and the
agent as programs; refuses to import either.
"""
