"""Faults on purpose: inject, list, clear. Networks are learnt by breaking them.

`catalogue` says what can be broken, what it teaches and what is seen from a pod; each mechanism breaks and mends one
kind of thing; `record` remembers what is broken, so that it stays so over a restart and can be put back as it was.
"""
