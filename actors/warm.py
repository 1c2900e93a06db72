"""Imports what an actor may need, in a worker that has nothing to do yet (actors/spare.py); cluster/ray_head.py names it.

Thousands of objects are made for good, so Python's collector finds nothing among them however often it looks: it rests
meanwhile, and does not look at them later either.
"""

import gc
from importlib import import_module

gc.disable()
for _module in ("actors.gateway", "actors.partition", "actors.writer"):
    import_module(_module)
gc.freeze()
gc.enable()
