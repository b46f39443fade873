"""Sans-IO state machines of docs/protocol.md: frames in, decisions and frames out.  No socket, no file, no clock."""
