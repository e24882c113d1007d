"""Verdicts that stay valid under continuous looking: e-processes over device reports."""
