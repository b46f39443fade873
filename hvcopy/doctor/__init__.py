"""What works on this machine, what does not, and why: docs/doctor.md.

It looks and tries; it prints nothing.  What it reads of the system stands below a *root*, so that it can be shown another.
"""
