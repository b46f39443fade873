"""Drivers: they run the state machines of ``session`` over channels and files, with threads and lanes."""
