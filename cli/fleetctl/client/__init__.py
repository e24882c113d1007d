"""The controller's public API as typed calls; nothing else in the command line uses the network."""
