"""The Windows lane: a genuine Windows CPython under Wine, and the core cross-compiled for it."""
