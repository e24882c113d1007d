"""Who may say what: signed bytes in, verified values out. Refuses to fetch, store or read a clock.

Layer A: release bundles (`bundle`, `statement`), signed off the controller. Layer C: director statements
(`director`), signed by the controller's online key. Devices sign requests (`http_signature`). What is trusted
stands in `policy`.
"""
