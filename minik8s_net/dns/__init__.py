"""Names to answers: the Kubernetes DNS specification.

In Kubernetes: CoreDNS with its kubernetes plugin. An ordinary pod in kube-system; a plain client of the API over HTTPS.
"""
