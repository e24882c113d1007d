"""`fleetctl login` and `fleetctl context`: which controller, and by what right."""
