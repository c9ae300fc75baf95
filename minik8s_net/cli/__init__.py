"""The minik8s command. Quick to start: heavy imports only inside the commands that need them.
"""
