"""The controller's public API as typed calls; the only package of the command line that talks over the network."""
