"""Other model servers with the same weights, each in an environment of its own; docs/performance.md.

`network.py` and the `*_server.py` modules run in those environments and import nothing of this project.
"""
