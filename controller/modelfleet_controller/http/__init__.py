"""What all routes share: bodies, problems, permissions, OpenAPI."""
