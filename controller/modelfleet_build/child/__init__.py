"""Converters and runtimes in processes of their own: killable, limited, and gone when the builder is."""
