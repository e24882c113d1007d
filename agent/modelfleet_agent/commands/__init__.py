"""What the commands of `modelfleet-agent` do, one module each; `main.py` parses and calls."""
