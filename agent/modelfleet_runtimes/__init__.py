"""The runtime port, its adapters and the binding of logical tensors to physical ones.

Used by the builder to measure and by the agent's worker to serve, so that both run a variant the same way.
Refuses to import a runtime before its adapter is asked to load, and to know anything of rollouts or networks.

A plug-in of one's own implements `port.Runtime`; `plugin.Plugin` does all of it but loading the file.
"""
