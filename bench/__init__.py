"""The measurements that the docs quote. Each is a module with a `main()`; `make bench` runs them all."""
