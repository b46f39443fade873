# Sockets: vectored send and exact receive, with a no-progress deadline.  Part of core.pyx.

# How a call waits: by poll(2); in the system itself, for a patrol at most; for bytes by poll(2) as well, but awake for
# a moment first.
ASLEEP = 0
IN_SYSTEM = 1
AWAKE = 2

cdef enum:
    C_IN_SYSTEM = 1
    C_AWAKE = 2
    AWAKE_MS = 2        # by a clock of milliseconds: one at least
    LIVELY = 64 << 10   # bytes at once after which more is likely to come in that time


cdef struct Stream:
    hv_socket sock
    hv_meter *meter
    int64_t timeout_ms
    int64_t now           # ms: the clock as last read; before that -1
    int64_t moving_at     # ms: when bytes last moved
    int64_t patrolled_at  # ms: when signals were last served
    bint moved            # bytes have moved since the clock was read
    int unclocked         # calls since then
    int err
    bint descriptor       # it is one of the C runtime's, which on Windows is no socket
    bint waits            # IN_SYSTEM: it is not asked whether calls would wait
    bint lively           # AWAKE, and the last bytes came in bulk
    bint awake


cdef int start_stream(Stream *stream, hv_socket sock, Meter meter, int timeout_ms, int waiting=0) except -1:
    if timeout_ms < 0:
        raise ValueError("timeout_ms must not be negative")
    stream.sock = sock
    stream.meter = &meter.numbers
    stream.timeout_ms = timeout_ms
    stream.now = stream.moving_at = stream.patrolled_at = -1
    stream.moved = False
    stream.unclocked = 0
    stream.err = 0
    stream.descriptor = False
    stream.waits = waiting == C_IN_SYSTEM
    stream.awake = stream.lively = waiting == C_AWAKE
    if hv_meter_cancelled(stream.meter):
        come_up(stream, CANCELLED)
    return 0


cdef int come_up(Stream *stream, Turn turn) except -1:
    """Serve signals, or raise what ended the loop."""
    if turn == PATROL:
        PyErr_CheckSignals()
    elif turn == STALLED:
        raise TimeoutError(ETIMEDOUT, f"nothing moved for {stream.timeout_ms} ms")
    elif turn == CANCELLED:
        hv_raise_os_error(ECANCELED)
    elif turn == FAILED:
        if stream.descriptor:
            hv_raise_os_error(stream.err)
        hv_raise_socket_error(stream.err)
    return 0


cdef Turn read_clock(Stream *stream) noexcept nogil:
    """Note when bytes moved, and say whether signals are to be served."""
    cdef bint first = stream.now < 0
    stream.now = hv_now_ms()
    stream.unclocked = 0
    if first or stream.moved:
        stream.moving_at = stream.now
        stream.moved = False
    if first:
        stream.patrolled_at = stream.now
    if stream.now - stream.patrolled_at >= PATROL_MS:
        stream.patrolled_at = stream.now
        return PATROL
    return GO


cdef Turn account(Stream *stream, hv_result got) noexcept nogil:
    """Count the bytes of one system call, and say whether its loop may go on.

    A signal that lands in a call which has already moved bytes shows as a short count and not as EINTR, hence
    the clock: whatever the calls return, signals are served in time.  It is read before each wait and every few
    calls only: where the kernel's clock cannot be read without a system call, that costs as much as they do.
    """
    if got.value > 0:
        hv_meter_add(stream.meter, got.value)
        stream.moved = True
    if hv_meter_cancelled(stream.meter):
        return CANCELLED
    if got.err and not hv_interrupted(got.err) and not hv_would_block(got.err):
        stream.err = got.err
        return FAILED
    if hv_interrupted(got.err):
        return PATROL
    stream.unclocked += 1
    return read_clock(stream) if stream.unclocked >= UNCLOCKED else GO


cdef Turn wait(Stream *stream, int what) noexcept nogil:
    """Wait until the socket is ready, for one patrol at most.  GO: try; PATROL: come up, then wait again."""
    cdef int64_t left
    cdef int patrol_ms
    cdef hv_result ready
    cdef bint nothing
    cdef Turn turn = read_clock(stream)
    if turn != GO:
        return turn
    left = stream.moving_at + stream.timeout_ms - stream.now
    patrol_ms = <int>max(0, min(left, <int64_t>PATROL_MS))
    if stream.descriptor:
        ready = hv_wait_descriptor(<int>stream.sock, what, patrol_ms)
    else:
        ready = hv_wait(stream.sock, what, patrol_ms)
    nothing = ready.value == 0 and ready.err == 0
    ready.value = 0
    turn = account(stream, ready)
    if turn == CANCELLED or turn == FAILED or not nothing:
        return turn
    stream.patrolled_at = stream.now + patrol_ms
    return STALLED if left <= 0 else PATROL


cdef Turn pause_for(Stream *stream) noexcept nogil:
    """Take note of a call that has waited in the system, and got less than it wanted."""
    cdef Turn turn = read_clock(stream)
    return STALLED if stream.now >= stream.moving_at + stream.timeout_ms else turn


cdef struct Cargo:
    hv_span spans[HV_MAX_SPANS]
    int count
    int first       # spans before it are gone
    bint wait_first


cdef size_t take(Cargo *cargo, size_t sent) noexcept nogil:
    """Take *sent* bytes and all empty spans off the front; return the bytes that are left, up to a slice."""
    cdef size_t left = 0
    cdef int i
    while cargo.first < cargo.count and sent >= cargo.spans[cargo.first].size:
        sent -= cargo.spans[cargo.first].size
        cargo.first += 1
    if sent:
        cargo.spans[cargo.first].data += sent
        cargo.spans[cargo.first].size -= sent
    for i in range(cargo.first, cargo.count):
        left += min(cargo.spans[i].size, <size_t>SLICE)
    return min(left, <size_t>SLICE)


cdef Turn send_on(Stream *stream, Cargo *cargo) noexcept nogil:
    cdef size_t wanted = take(cargo, 0)
    cdef Turn turn = GO
    cdef hv_result got
    while wanted:
        if cargo.wait_first and not stream.waits:
            turn = wait(stream, HV_WRITABLE)
            if turn != GO:
                return turn
        got = hv_send(stream.sock, &cargo.spans[cargo.first], cargo.count - cargo.first, wanted, stream.waits)
        cargo.wait_first = <size_t>got.value < wanted
        wanted = take(cargo, <size_t>got.value)
        turn = account(stream, got)
        if turn == GO and stream.waits and cargo.wait_first:
            turn = pause_for(stream)
        if turn != GO:
            return turn
    return DONE


cdef struct Passage:
    int fd
    int64_t offset
    size_t left
    int64_t sent
    bint wait_first


cdef Turn pass_on(Stream *stream, Passage *passage) noexcept nogil:
    cdef Turn turn
    cdef hv_result got
    while passage.left:
        if passage.wait_first:
            turn = wait(stream, HV_WRITABLE)
            if turn != GO:
                return turn
        got = hv_send_file(stream.sock, passage.fd, passage.offset, min(passage.left, <size_t>SLICE))
        passage.wait_first = hv_would_block(got.err)
        passage.offset += got.value
        passage.sent += got.value
        passage.left -= <size_t>got.value
        turn = account(stream, got)
        if turn == FAILED or (got.value == 0 and got.err == 0):
            return ENDED    # which of the two failed cannot be told from here: the caller's next call on each tells
        if turn != GO:
            return turn
    return DONE


cdef struct Hold:
    unsigned char *into
    size_t size       # what is waited for
    size_t room       # what may come along
    size_t filled
    bint once         # one successful receive is enough
    bint wait_first


cdef bint comes_soon(Stream *stream) noexcept nogil:
    """Look again and again for a moment, letting others run: waking up costs more than that where each piece goes from
    hand to hand (docs/performance.md#inside-a-guest-and-over-af_vsocks-loopback)."""
    cdef int64_t since = hv_now_ms()
    while hv_wait(stream.sock, HV_READABLE, 0).value == 0:
        if hv_now_ms() - since >= AWAKE_MS:
            stream.lively = False
            return False
        hv_yield()
    return True


cdef Turn receive_more(Stream *stream, Hold *hold) noexcept nogil:
    """Receive once, after a wait if there was nothing the last time.  GO: call again; ENDED: nothing follows."""
    cdef Turn turn
    cdef hv_result got
    if hold.wait_first and not stream.waits and not (stream.lively and comes_soon(stream)):
        turn = wait(stream, HV_READABLE)
        if turn != GO:
            return turn
    got = hv_recv(stream.sock, hold.into + hold.filled, min(hold.room - hold.filled, <size_t>SLICE), stream.waits)
    hold.wait_first = got.err != 0
    hold.filled += <size_t>got.value
    if got.value:
        stream.lively = stream.awake and got.value >= LIVELY
    turn = account(stream, got)
    if got.value == 0 and got.err == 0 and turn != CANCELLED:
        return ENDED
    if turn == GO and stream.waits and hold.wait_first:
        turn = pause_for(stream)
    return turn


cdef Turn receive_on(Stream *stream, Hold *hold) noexcept nogil:
    cdef Turn turn
    while hold.filled < hold.size and not (hold.once and hold.filled):
        turn = receive_more(stream, hold)
        if turn != GO:
            return turn
    return DONE


def send_all(hv_socket sock, parts, Meter meter not None, int timeout_ms, int waiting=0, /):
    """Send all bytes of 1 to 8 *parts*, in order, gathered in as few calls as the system allows."""
    cdef tuple held = tuple(parts)
    cdef Py_buffer views[HV_MAX_SPANS]
    cdef Stream stream
    cdef Cargo cargo
    cdef Turn turn = GO
    cdef int i
    if not 1 <= len(held) <= HV_MAX_SPANS:
        raise ValueError(f"send_all takes 1 to {HV_MAX_SPANS} parts, not {len(held)}")
    start_stream(&stream, sock, meter, timeout_ms, waiting)
    memset(&cargo, 0, sizeof(cargo))
    try:
        for i in range(<int>len(held)):
            PyObject_GetBuffer(held[i], &views[i], PyBUF_SIMPLE)
            cargo.spans[i].data = <const unsigned char *>views[i].buf
            cargo.spans[i].size = <size_t>views[i].len
            cargo.count = i + 1
        while turn != DONE:
            with nogil:
                turn = send_on(&stream, &cargo)
            come_up(&stream, turn)
    finally:
        for i in range(cargo.count):
            PyBuffer_Release(&views[i])


def send_file(hv_socket sock, int fd, int64_t offset, int64_t length, Meter meter not None, int timeout_ms, /):
    """Send *length* bytes of file *fd* from *offset* on without a copy.  Returns the bytes sent: fewer if it cannot."""
    cdef Stream stream
    cdef Passage passage
    cdef Turn turn = GO
    if offset < 0 or length < 0 or offset > INT64_MAX - length:
        raise ValueError("offset or length out of range")
    start_stream(&stream, sock, meter, timeout_ms)
    memset(&passage, 0, sizeof(passage))
    passage.fd = fd
    passage.offset = offset
    passage.left = <size_t>length
    while turn != DONE and turn != ENDED:
        with nogil:
            turn = pass_on(&stream, &passage)
        come_up(&stream, turn)
    return passage.sent


cdef size_t receive(hv_socket sock, into, Meter meter, int timeout_ms, bint once, int waiting) except? 0:
    cdef Py_buffer view
    cdef Stream stream
    cdef Hold hold
    cdef Turn turn = GO
    start_stream(&stream, sock, meter, timeout_ms, waiting)
    PyObject_GetBuffer(into, &view, PyBUF_WRITABLE)
    try:
        if once and view.len == 0:
            raise ValueError("recv_some needs room for at least one byte")
        memset(&hold, 0, sizeof(hold))
        hold.into = <unsigned char *>view.buf
        hold.size = hold.room = <size_t>view.len
        hold.once = once
        while turn != DONE and turn != ENDED:
            with nogil:
                turn = receive_on(&stream, &hold)
            come_up(&stream, turn)
    finally:
        PyBuffer_Release(&view)
    return hold.filled


def recv_exact(hv_socket sock, into, Meter meter not None, int timeout_ms, int waiting=0, /):
    """Fill *into*.  Returns the bytes received: fewer only when the peer's end of stream came first."""
    return receive(sock, into, meter, timeout_ms, once=False, waiting=waiting)


def recv_some(hv_socket sock, into, Meter meter not None, int timeout_ms, int waiting=0, /):
    """Receive at least one byte, whatever is there, into *into*.  Returns 0 at end of stream."""
    return receive(sock, into, meter, timeout_ms, once=True, waiting=waiting)
