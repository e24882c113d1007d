"""`fleetctl audit`: the log of decisions, and whether it is whole."""
