"""What can be said: kinds, schema walk, defaulting, validation, selectors, patching, tables. Pure: no I/O.

In Kubernetes: k8s.io/api, apimachinery and the registries' strategies. Objects are JSON trees (`dict`) here; the typed
lightkube models are their schema, never their decoder (see docs/decisions.md).
"""
