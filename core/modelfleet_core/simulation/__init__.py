"""Fleets in virtual time that run whole rollouts through the real gates and the real engine."""
