# A relay: two directions at once between descriptors of any kind, in one poll loop.  Part of core.pyx.

cdef enum:
    BULK = 64 << 10     # bytes at once from which moving by reference costs less than copying
    PIPE_ROOM = 256 << 10
    APART = 64          # bytes into a page: what begins with one is copied there at full speed (hvcopy/buffers.py)

FLOWING = 0
DELIVERED = 1
SOURCE_FAILED = 2
SINK_FAILED = 3

cdef enum Course:
    """What has become of a direction; the numbers are the module's."""
    C_FLOWING
    C_DELIVERED
    C_SOURCE_FAILED
    C_SINK_FAILED


cdef struct End:
    hv_socket fd
    int kind
    bint waits      # its own calls could wait: only after poll(2), and no more than that promised
    bint ready


cdef struct Track:
    End source
    End sink
    hv_meter *meter
    unsigned char *base  # as malloc gave it
    unsigned char *data
    size_t room
    size_t head     # of what waits in data
    size_t tail
    int pipe[2]     # what moves by reference waits in it
    size_t capacity  # of the pipe; 0: there is none
    size_t piped
    int64_t by_reference  # bytes that may still move so
    bint bulk       # the next piece shall
    bint sends_wait  # in the system, for a moment, for room: poll(2) is not asked at each piece of it
    bint awake      # for a moment, when nothing comes after a large piece
    bint lively     # awake, and the last piece was a large one
    bint ended      # the source has
    int course
    int err


cdef int start_end(End *end, hv_socket fd) except -1:
    cdef hv_result kind = hv_kind(fd)
    cdef hv_result nonblocking
    if kind.err:
        hv_raise_os_error(kind.err)
    nonblocking = hv_nonblocking(fd)
    end.fd = fd
    end.kind = <int>kind.value
    # Sockets are always called with "do not wait"; waiting for a disk is what everybody does.
    end.waits = not nonblocking.value and end.kind != HV_SOCKET and end.kind != HV_FILE
    end.ready = not end.waits
    return 0


cdef bint can_splice(const End *end) noexcept:
    """Terminals and other devices wait inside of splice(2) whatever it is told, and so does a blocking socket."""
    return end.kind == HV_PIPE or end.kind == HV_FILE or (
        end.kind == HV_SOCKET and hv_nonblocking(end.fd).value != 0)


cdef size_t waiting(const Track *track) noexcept nogil:
    """Bytes taken from the source and not given to the sink."""
    return track.tail - track.head + track.piped


cdef void release(Track *track) noexcept nogil:
    """Let go of buffer and pipe; they come back when bytes do."""
    free(track.base)
    track.base = track.data = NULL
    track.head = track.tail = 0
    if track.capacity:
        hv_close(track.pipe[0])
        hv_close(track.pipe[1])
    track.capacity = track.piped = 0


cdef bint has_pipe(Track *track) noexcept nogil:
    cdef hv_result made
    if track.capacity == 0:
        made = hv_pipe(track.pipe, PIPE_ROOM)
        track.capacity = <size_t>made.value
    return track.capacity >= BULK


cdef hv_result pull_by_reference(Track *track) noexcept nogil:
    cdef size_t wanted = <size_t>min(<int64_t>min(track.capacity, <size_t>SLICE), track.by_reference)
    cdef hv_result got = hv_splice(track.source.fd, track.pipe[1], wanted)
    track.piped = <size_t>got.value
    track.by_reference -= got.value
    track.bulk = got.value >= BULK
    track.source.ready = track.source.kind == HV_FILE or track.bulk
    return got


cdef hv_result pull_into(Track *track, End *source, size_t wanted) noexcept nogil:
    """Fill the empty buffer with what is there."""
    cdef hv_result got
    if track.data == NULL:
        track.base = <unsigned char *>malloc(track.room + 2 * PAGE)
        if track.base == NULL:
            return hv_failed(ENOMEM)
        track.data = track.base + (PAGE - <size_t>track.base % PAGE) + APART
    if source.kind == HV_SOCKET:
        got = hv_recv(source.fd, track.data, wanted, 0)
    else:
        got = hv_read(source.fd, track.data, wanted)
    track.head = 0
    track.tail = <size_t>got.value
    return got


cdef hv_result pull(Track *track) noexcept nogil:
    """One piece from the source.  Nothing waits when this is called."""
    cdef hv_result got
    if track.bulk and track.by_reference and has_pipe(track):
        got = pull_by_reference(track)
        if not unfit(got.err):
            return got
        track.by_reference = 0
    got = pull_into(track, &track.source, min(track.room, <size_t>SLICE))
    track.bulk = got.value >= BULK
    # A short piece was all there was; one more call to hear "nothing" would cost more than asking poll.
    track.source.ready = track.source.kind == HV_FILE or (
        not track.source.waits and <size_t>got.value == min(track.room, <size_t>SLICE))
    return got


cdef bint unfit(int err) noexcept nogil:
    """This splice(2) does not do: a file opened for appending, a file system without it."""
    return err == EINVAL or err == ENOSYS


cdef hv_result push_by_reference(Track *track) noexcept nogil:
    cdef End spilled
    cdef size_t wanted = track.piped
    cdef hv_result got = hv_splice(track.pipe[0], track.sink.fd, wanted)
    if not unfit(got.err):
        track.piped -= <size_t>got.value
        track.sink.ready = <size_t>got.value == wanted
        return got
    track.by_reference = 0
    memset(&spilled, 0, sizeof(spilled))
    spilled.fd = track.pipe[0]
    spilled.kind = HV_PIPE
    got = pull_into(track, &spilled, min(track.room, track.piped))
    track.piped -= <size_t>got.value
    got.value = 0
    return got


cdef hv_result push(Track *track) noexcept nogil:
    """One piece to the sink, of what waits."""
    cdef hv_span span
    cdef hv_result got
    cdef size_t wanted = track.tail - track.head
    if wanted == 0:
        return push_by_reference(track)
    if track.sink.kind == HV_SOCKET:
        span.data = track.data + track.head
        span.size = wanted
        got = hv_send(track.sink.fd, &span, 1, wanted, track.sends_wait)
    else:
        if track.sink.waits:
            wanted = min(wanted, <size_t>HV_ATOMIC)
        got = hv_write(track.sink.fd, track.data + track.head, wanted)
    track.head += <size_t>got.value
    track.sink.ready = not track.sink.waits and <size_t>got.value == wanted
    return got


cdef bint harmless(int err) noexcept nogil:
    return err == 0 or hv_interrupted(err) or hv_would_block(err)


cdef void fail(Track *track, int course, int err) noexcept nogil:
    track.course = course
    track.err = err


cdef bint advance(Track *track) noexcept nogil:
    """Pull a piece if nothing waits, push what waits.  Returns whether bytes moved."""
    cdef hv_result got
    cdef bint moved = False
    if not waiting(track) and not track.ended and track.source.ready:
        got = pull(track)
        track.lively = track.awake and got.value >= LIVELY
        if not harmless(got.err):
            fail(track, C_SOURCE_FAILED, got.err)
            return False
        if got.err:
            track.source.ready = hv_interrupted(got.err) and not track.source.waits
        track.ended = got.err == 0 and got.value == 0
        moved = got.value > 0
    if waiting(track) and track.sink.ready:
        got = push(track)
        if not harmless(got.err):
            fail(track, C_SINK_FAILED, got.err)
            return False
        if got.err:
            track.sink.ready = hv_interrupted(got.err) and not track.sink.waits
        hv_meter_add(track.meter, got.value)
        moved = moved or got.value > 0
    if track.ended and not waiting(track):
        track.course = C_DELIVERED
    return moved


cdef struct Relay:
    Track *tracks[2]
    int count
    int64_t timeout_ms  # negative: idle for as long as it likes
    int64_t ends_at     # ms; negative: never
    int64_t moving_at
    int64_t patrolled_at
    int64_t now     # ms: the clock as last read
    int err


cdef int watch(hv_watch *watches, int count, End *end, int want) noexcept nogil:
    watches[count].fd = end.fd
    watches[count].want = want
    watches[count].got = 0
    return count + 1


cdef bint can_act(const Track *track) noexcept nogil:
    return track.sink.ready if waiting(track) else track.source.ready


cdef int why_gone(const End *sink) noexcept nogil:
    """EPIPE for one that was closed.  A connection that broke may have lost what was sent, and has an error of its own,
    which after the peer's end is EPIPE as well (net/ipv4/tcp_input.c tcp_reset)."""
    cdef int64_t err = hv_pending_error(sink.fd).value if sink.kind == HV_SOCKET else 0
    if err == 0:
        return EPIPE
    return ECONNRESET if err == EPIPE else <int>err


cdef void heed(Track *track, const hv_watch *seen, bint gives) noexcept nogil:
    """Take note of what poll said of one end; a sink that is gone ends a direction that has nothing for it, too."""
    if not gives:
        track.source.ready = track.source.ready or (seen.got & HV_READABLE) != 0
    elif seen.want:
        track.sink.ready = track.sink.ready or (seen.got & HV_WRITABLE) != 0
    elif seen.got & HV_GONE and track.course == C_FLOWING:
        fail(track, C_SINK_FAILED, why_gone(&track.sink))


cdef hv_result wait_awake(Relay *relay, hv_watch *watches, int count) noexcept nogil:
    """As ``comes_soon`` of one socket: value 0 when nothing has happened."""
    cdef hv_result seen = hv_failed(0)
    cdef bint lively = False
    cdef int64_t since
    cdef int i
    for i in range(relay.count):
        lively = lively or relay.tracks[i].lively
    if not lively:
        return seen
    since = hv_now_ms()
    while hv_now_ms() - since < AWAKE_MS:
        seen = hv_wait_any(watches, count, 0)
        if seen.value or seen.err:
            return seen
        hv_yield()
    for i in range(relay.count):
        relay.tracks[i].lively = False
    return seen


cdef Turn attend(Relay *relay) noexcept nogil:
    """Wait, unless a direction can go on at once, until an end is ready; for one patrol at most."""
    cdef hv_watch watches[HV_MAX_WATCHES]
    cdef Track *whose[HV_MAX_WATCHES]
    cdef bint gives[HV_MAX_WATCHES]
    cdef int count = 0, i
    cdef int64_t left = PATROL_MS
    cdef hv_result seen
    cdef Track *track
    for i in range(relay.count):
        track = relay.tracks[i]
        if track.course != C_FLOWING:
            continue
        if can_act(track):
            left = 0
        if not waiting(track) and not track.source.ready:
            whose[count] = track
            gives[count] = False
            count = watch(watches, count, &track.source, HV_READABLE)
        if not waiting(track) or not track.sink.ready:
            whose[count] = track
            gives[count] = True
            count = watch(watches, count, &track.sink, HV_WRITABLE if waiting(track) else 0)
    if left and relay.timeout_ms >= 0:
        left = min(left, max(<int64_t>0, relay.moving_at + relay.timeout_ms - relay.now))
    if left and relay.ends_at >= 0:
        left = min(left, max(<int64_t>0, relay.ends_at - relay.now))
    if count == 0:
        return GO
    seen = wait_awake(relay, watches, count) if left else hv_failed(0)
    if seen.value == 0 and seen.err == 0:
        seen = hv_wait_any(watches, count, <int>left)
    if seen.err:
        relay.err = seen.err
        return PATROL if hv_interrupted(seen.err) else FAILED
    for i in range(count):
        heed(whose[i], &watches[i], gives[i])
    return GO if seen.value or not left else PATROL


cdef Turn judge(Relay *relay, bint moved) noexcept nogil:
    """Whether the loop may go on: somebody may have cancelled it, or its time is over."""
    cdef int64_t now = hv_now_ms()
    cdef int i
    relay.now = now
    if moved:
        relay.moving_at = now
    for i in range(relay.count):
        if hv_meter_cancelled(relay.tracks[i].meter):
            return CANCELLED
        if relay.tracks[i].course != C_FLOWING:
            return DONE
    if relay.ends_at >= 0 and now >= relay.ends_at:
        return ENDED
    if relay.timeout_ms >= 0 and now - relay.moving_at >= relay.timeout_ms:
        return STALLED
    if now - relay.patrolled_at >= PATROL_MS:
        relay.patrolled_at = now
        return PATROL
    return GO


cdef Turn relay_on(Relay *relay) noexcept nogil:
    cdef bint moved
    cdef Turn turn
    cdef int i
    while True:
        moved = False
        for i in range(relay.count):
            moved = advance(relay.tracks[i]) or moved
        turn = judge(relay, moved)
        if turn != GO:
            return turn
        turn = attend(relay)
        if turn == PATROL:
            rest(relay)
        if turn != GO:
            return turn


cdef void rest(Relay *relay) noexcept nogil:
    """After a patrol without a byte: a connection that is idle holds no memory and no pipe."""
    cdef int i
    for i in range(relay.count):
        if not waiting(relay.tracks[i]):
            release(relay.tracks[i])


@cython.final
cdef class Flow:
    """One direction of a relay."""

    cdef Track track
    cdef Meter meter

    def __cinit__(self, hv_socket source, hv_socket sink, Meter meter not None, size_t room, int64_t by_reference,
                  bint sends_wait=False, bint awake=False, /):
        memset(&self.track, 0, sizeof(self.track))
        if room < HV_ATOMIC or by_reference < 0:
            raise ValueError(f"a flow needs room for {HV_ATOMIC} bytes at least, and no negative number of them")
        start_end(&self.track.source, source)
        start_end(&self.track.sink, sink)
        self.meter = meter
        self.track.meter = &meter.numbers
        self.track.room = room
        self.track.sends_wait = sends_wait
        self.track.awake = awake
        if can_splice(&self.track.source) and can_splice(&self.track.sink):
            self.track.by_reference = by_reference

    def __dealloc__(self):
        release(&self.track)

    @property
    def state(self):
        """FLOWING, DELIVERED, SOURCE_FAILED or SINK_FAILED."""
        return self.track.course

    @property
    def errno(self):
        """The system's error that ended it; 0 when none did."""
        return self.track.err

    @property
    def waiting(self):
        """Bytes taken from the source that the sink has not taken."""
        return waiting(&self.track)


cdef int come_up_relay(Relay *relay, Turn turn) except -1:
    if turn == PATROL:
        PyErr_CheckSignals()
    elif turn == STALLED:
        raise TimeoutError(ETIMEDOUT, f"nothing moved for {relay.timeout_ms} ms")
    elif turn == CANCELLED:
        hv_raise_os_error(ECANCELED)
    elif turn == FAILED:
        hv_raise_socket_error(relay.err)
    return 0


def relay(flows, int timeout_ms, int limit_ms, /):
    """Move bytes along 1 or 2 *flows* until one of them is over; see the stub."""
    cdef tuple held = tuple(flows)
    cdef Relay both
    cdef Turn turn = GO
    cdef Flow flow
    if not 1 <= len(held) <= 2:
        raise ValueError(f"a relay has 1 or 2 flows, not {len(held)}")
    memset(&both, 0, sizeof(both))
    for one in held:
        flow = <Flow?>one
        if flow.track.course != C_FLOWING:
            raise ValueError("a flow that is over cannot go on")
        both.tracks[both.count] = &flow.track
        both.count += 1
    both.timeout_ms = timeout_ms
    both.moving_at = both.patrolled_at = hv_now_ms()
    both.ends_at = both.moving_at + limit_ms if limit_ms >= 0 else -1
    while turn != DONE and turn != ENDED:
        with nogil:
            turn = relay_on(&both)
        come_up_relay(&both, turn)
    return turn == DONE
