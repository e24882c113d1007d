"""`fleetctl doctor`: is everything in place?"""
