"""`fleetctl release`: keys, signatures and the way of a release to the controller."""
