"""Builds as jobs: ordered, run beside the controller, their results stored as blobs; never signed here."""
