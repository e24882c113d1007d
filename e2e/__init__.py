"""End-to-end tests: real processes, real models, real traffic. `e2e/support` holds what they share."""
