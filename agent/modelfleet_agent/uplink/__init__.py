"""Everything that is said to the controller: signed requests, check-ins, events, reports, downloads."""
