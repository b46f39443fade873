"""The transports against real sockets: loopback, unix, a fake VMM, AF_VSOCK in a kernel of its own."""
