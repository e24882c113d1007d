"""The tests, mirroring the packages; `tests/house` holds the rules of the house as checks."""
