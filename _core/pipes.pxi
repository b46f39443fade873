# Descriptors that may block for ever: pipes, terminals, devices; and pipes that go straight into a socket.
# Part of core.pyx; the loops are those of streams.pxi, with read(2) and write(2) in place of the socket's calls.

cdef Turn read_in(Stream *stream, Hold *hold, bint blocking) noexcept nogil:
    """Read until *hold* is full or nothing more is there just now."""
    cdef Turn turn
    cdef hv_result got
    cdef bint waits = blocking or hold.wait_first
    while hold.filled < hold.size:
        if waits:
            if hold.filled:
                return DONE     # a second wait is not worth it: the caller has something to go on with
            turn = wait(stream, HV_READABLE)
            if turn != GO:
                return turn
        got = hv_read(stream.sock, hold.into + hold.filled, min(hold.size - hold.filled, <size_t>SLICE))
        waits = blocking or got.err != 0
        hold.wait_first = got.err != 0
        hold.filled += <size_t>got.value
        turn = account(stream, got)
        if got.value == 0 and got.err == 0 and turn != CANCELLED:
            return ENDED
        if turn != GO:
            return DONE if turn == PATROL and hold.filled else turn
        if hold.once and hold.filled:
            return DONE
    return DONE


def read_some(hv_socket fd, into, Meter meter not None, int timeout_ms, bint blocking, bint once, /):
    """Read at least one byte, and whatever else is there, into *into*.  Returns 0 at the end."""
    cdef Py_buffer view
    cdef Stream stream
    cdef Hold hold
    cdef Turn turn = GO
    start_stream(&stream, fd, meter, timeout_ms)
    stream.descriptor = True
    PyObject_GetBuffer(into, &view, PyBUF_WRITABLE)
    try:
        if view.len == 0:
            raise ValueError("read_some needs room for at least one byte")
        memset(&hold, 0, sizeof(hold))
        hold.into = <unsigned char *>view.buf
        hold.size = <size_t>view.len
        hold.once = once
        while turn != DONE and turn != ENDED:
            with nogil:
                turn = read_in(&stream, &hold, blocking)
            come_up(&stream, turn)
    finally:
        PyBuffer_Release(&view)
    return hold.filled


cdef Turn write_out(Stream *stream, Cargo *cargo, bint blocking) noexcept nogil:
    cdef size_t wanted = take(cargo, 0)
    cdef Turn turn = GO
    cdef hv_result got
    while wanted:
        if blocking or cargo.wait_first:
            turn = wait(stream, HV_WRITABLE)
            if turn != GO:
                return turn
        if blocking:
            wanted = min(wanted, <size_t>HV_ATOMIC)
        got = hv_write(stream.sock, cargo.spans[cargo.first].data, wanted)
        cargo.wait_first = <size_t>got.value < wanted
        if got.value == 0 and got.err == 0:
            got.err = EIO   # a file that takes nothing and gives no reason
        wanted = take(cargo, <size_t>got.value)
        turn = account(stream, got)
        if turn != GO:
            return turn
    return DONE


def write_all(hv_socket fd, data, Meter meter not None, int timeout_ms, bint blocking, /):
    """Write all of *data*."""
    cdef Py_buffer view
    cdef Stream stream
    cdef Cargo cargo
    cdef Turn turn = GO
    start_stream(&stream, fd, meter, timeout_ms)
    stream.descriptor = True
    memset(&cargo, 0, sizeof(cargo))
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        cargo.spans[0].data = <const unsigned char *>view.buf
        cargo.spans[0].size = <size_t>view.len
        cargo.count = 1
        while turn != DONE:
            with nogil:
                turn = write_out(&stream, &cargo, blocking)
            come_up(&stream, turn)
    finally:
        PyBuffer_Release(&view)


def is_terminal(int fd, /):
    """Say whether it is a terminal, or a console of Windows."""
    return hv_is_terminal(fd).value != 0


def share_pipe(hv_socket source, hv_socket target, size_t limit, /):
    """Let pipe *target* hold what *source* holds, up to *limit*, without taking it out.  Returns how much that is."""
    cdef hv_result shared
    with nogil:
        shared = hv_tee(source, target, limit)
    if shared.err and not hv_would_block(shared.err) and not hv_interrupted(shared.err):
        hv_raise_os_error(shared.err)
    return shared.value


cdef struct Drain:
    int pipe
    size_t left
    int64_t sent
    bint wait_first


cdef Turn drain_on(Stream *stream, Drain *drain) noexcept nogil:
    cdef Turn turn
    cdef hv_result got
    while drain.left:
        if drain.wait_first:
            turn = wait(stream, HV_WRITABLE)
            if turn != GO:
                return turn
        got = hv_splice(drain.pipe, stream.sock, min(drain.left, <size_t>SLICE))
        if hv_would_block(got.err) and hv_wait(drain.pipe, HV_READABLE, 0).value == 0:
            return ENDED    # it is the pipe that has nothing
        drain.wait_first = hv_would_block(got.err)
        drain.sent += got.value
        drain.left -= <size_t>got.value
        turn = account(stream, got)
        if turn == FAILED or (got.value == 0 and got.err == 0):
            return ENDED    # as in pass_on: the caller's next call on each tells which of the two it was
        if turn != GO:
            return turn
    return DONE


def send_pipe(hv_socket sock, int pipe, size_t length, Meter meter not None, int timeout_ms, /):
    """Send *length* bytes that *pipe* holds without a copy.  Returns the bytes sent: fewer if it cannot."""
    cdef Stream stream
    cdef Drain drain
    cdef Turn turn = GO
    start_stream(&stream, sock, meter, timeout_ms)
    memset(&drain, 0, sizeof(drain))
    drain.pipe = pipe
    drain.left = length
    while turn != DONE and turn != ENDED:
        with nogil:
            turn = drain_on(&stream, &drain)
        come_up(&stream, turn)
    return drain.sent
