"""`fleetctl device`: the fleet as it is."""
