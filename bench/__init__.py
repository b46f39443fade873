"""Benchmarks of hvcopy against other tools; see README.md."""
