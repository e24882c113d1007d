"""The decision log: append-only and hash-chained."""
