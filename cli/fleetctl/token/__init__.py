"""`fleetctl token`: enrolment and API tokens."""
