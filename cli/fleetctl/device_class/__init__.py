"""`fleetctl class`: kinds of device."""
