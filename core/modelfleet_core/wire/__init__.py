"""Versioned bodies that cross a process boundary, and the one door through which they pass."""
