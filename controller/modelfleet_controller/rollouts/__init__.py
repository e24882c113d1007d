"""Rollouts: plans, verbs, views; the rules are in modelfleet_core.rollout."""
