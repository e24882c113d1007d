"""Tests of modelfleet_controller."""
