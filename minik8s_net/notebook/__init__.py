"""The cluster in Jupyter: rich display, widgets, magics. Talks to the API only."""
