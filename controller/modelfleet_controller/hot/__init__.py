"""The hot routes: check-in, reports and events as plain ASGI, and the snapshot they answer from."""
