"""Explaining a rule over a history: what it reads is played once more through the core, and written down.

Nothing here judges: conditions, clocks and deadlines are those of the engine's own core.
"""
