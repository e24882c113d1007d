"""`fleetctl server`: a controller on this machine."""
