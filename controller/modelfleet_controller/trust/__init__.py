"""Keys that this controller knows, and the key it signs with."""
