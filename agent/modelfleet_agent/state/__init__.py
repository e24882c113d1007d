"""The state directory: its layout, its version, its lock, and files that are whole or absent."""
