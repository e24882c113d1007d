"""The cloud service: stores releases, knows devices, moves rollouts and keeps the decision log.

Decides nothing by itself: the rules are in `modelfleet_core`, this package fetches their inputs and applies
their outputs in one transaction. Refuses to import the agent or the command line, and to write SQL outside
repositories.
"""
