"""Whose rule is that? From a chain or a rule's text to the object, its line of YAML, and our line that wrote it.

Nothing is guessed from the text: kube-proxy's and the policy enforcer's own memory of what they wrote is searched, and
the one Service or pod concerned is rendered once more, watched line by line.
"""
