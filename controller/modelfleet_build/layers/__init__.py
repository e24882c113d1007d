"""Compares a variant with its float parent layer by layer, and names the first layer that goes wrong.

Two errors are told apart for every value that both models have. The *total* error is against the parent's
value: it grows from layer to layer also in a healthy int8 network. The *own* error is against what the
parent's operators make of the variant's own inputs of that layer: a healthy layer's stays small however deep
it lies, and a broken layer's stands out though all layers after it are wrong, too.

`explain.explain` does it for a release folder, in a child process; `compare.compare_layers` for two files,
here.
"""
