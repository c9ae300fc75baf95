"""Looking: topology, trace, explain, reachability, capture.

Reads the API and the kernel; changes neither.
"""
