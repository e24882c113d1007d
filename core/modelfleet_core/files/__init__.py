"""Files that people write (camelCase resources) to domain objects and back; strict, unknown keys refused."""
