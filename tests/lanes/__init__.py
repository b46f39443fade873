"""Test lanes: machines of our own, started by the tests, in which AF_VSOCK may be opened."""
