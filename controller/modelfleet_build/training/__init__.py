"""Makes a model smaller with the user's own training, isolated from ours, and says what it brought."""
