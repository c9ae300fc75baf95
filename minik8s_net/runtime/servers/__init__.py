"""The built-in servers that server images stand for. Small, preloaded in the runtime, run in a forked process.

They must import everything they need at their top: once forked, they live in a root file system without our Python.
"""
