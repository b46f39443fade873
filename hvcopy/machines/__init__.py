"""Finding VMs: who runs them, what they are called, how each is reached (docs/vms.md).

One file a source.  This package asks programs, /proc and VMMs, never a VM; it knows no transport, and remembers nothing.
"""
