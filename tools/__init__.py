"""What the Makefile runs: setting up, checking, relocking, generated docs. Never imported by the product."""
