"""The bytes of docs/protocol.md as pure functions: frames, messages, digests of blocks.  No socket, no file, no clock."""
