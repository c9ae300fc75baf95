"""`minik8s demo`: every statement of seed.md, shown and proved on a fresh cluster, each with its negative control.

`seed.md` is the text itself; its manifests are taken out of it as they stand. `stage.py` is the cast of pods and how
one asks them things; one file per section of the text holds the statements; `runner.py` tells the story.
"""
