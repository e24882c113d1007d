"""Estimates what a delta from the previous release would cost, and says why where it would be useless.

An estimate: the compressed size of what differs between tensors of the same name. The codec that devices use
does better where rows are rescaled; what makes a delta useless here makes it useless there.
"""
