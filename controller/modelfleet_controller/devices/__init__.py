"""Devices: enrolment, facts, labels, classes, revocation."""
