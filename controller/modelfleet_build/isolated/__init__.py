"""Tools that cannot share our environment: a locked environment for each, called over files."""
