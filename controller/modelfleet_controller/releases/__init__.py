"""Releases: pushed signed, verified at the door, never changed."""
