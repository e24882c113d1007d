"""Releases, variants, device classes, and which variant fits which device (and why not)."""
