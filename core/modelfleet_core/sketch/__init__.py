"""Mergeable summaries of many numbers in few bytes."""
