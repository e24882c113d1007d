"""`fleetctl rollout`: plan, start, watch and steer rollouts."""
