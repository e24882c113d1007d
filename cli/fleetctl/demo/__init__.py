"""`fleetctl demo`: the whole story on one machine. Real processes, models, signatures, traffic and
statistics.

Rule: the demo decides nothing that the product decides. It starts the programs, does what an operator would
do by the same code as the commands, and compares what it then reads (REST API, `/metrics`, decision log, the
applications' own counts) with what was promised.
"""
