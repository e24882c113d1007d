"""Evidence and events of devices: stored once, summed for the gates."""
