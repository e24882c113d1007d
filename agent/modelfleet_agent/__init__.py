"""Everything that runs on a device: supervisor, serve, workers and the SDK for applications.

The supervisor and serve stay lean: they refuse to import a runtime or numpy; only a worker does. Refuses to
load what it has not verified, and to import the controller, the builder or the command line.
"""
