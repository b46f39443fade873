"""The demonstration: the main job on real input, as processes of their own.  It measures and compares; it prints nothing."""
