"""The generated pages of `docs/reference`, and the facts that tests hold the hand-written docs to.

Written from the code, so that they cannot be wrong for long: `make docs-write` writes them, `make docs`
refuses stale ones. Refuses to generate prose: guides are written by people.
"""
