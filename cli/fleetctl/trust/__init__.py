"""`fleetctl trust`: whose releases devices accept, remembered on the operator's side."""
