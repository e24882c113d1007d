"""`fleetctl build`: drives the variant builder and shows what it found."""
