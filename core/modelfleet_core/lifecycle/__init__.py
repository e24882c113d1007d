"""The device's lifecycle: its states and events as tables, and what each of them does to the chain of
releases.
"""
