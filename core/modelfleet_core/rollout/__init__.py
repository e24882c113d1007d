"""What a rollout is, what happened to it, and what happens next: pure rules, decided in `engine.py`."""
