# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: auto_pickle=False, autotestdict=False, warn.unreachable=True
"""The native core: it moves and scans bytes, and knows no frame, no name, no policy.

Two storeys.  Below: ``noexcept nogil`` loops over the calls of hv_sys.h, which come up with a Turn.  Above: ``def``
functions, which borrow buffers, serve signals and are the only ones that raise.  hvcopy/_core.pyi is the contract.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EIO, ETIMEDOUT
from libc.stdint cimport INT64_MAX, int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memset

from hv_sys cimport *

FILE_RECORD = "<iIIIQqqqQQQ"
PLACE_RECORD = "<QQqIIII"
TOO_LARGE = HV_TOO_LARGE
NO_ROOM = HV_NO_ROOM
CHANGED = HV_CHANGED
NOT_REGULAR = HV_NOT_REGULAR
REPLACE = HV_REPLACE
SYNC = HV_SYNC
SET_OWNER = HV_SET_OWNER

cdef enum:
    SLICE = 1 << 20     # bytes of one system call at most: how fine the meter and cancelling are
    PATROL_MS = 100     # signals are served this often, and one wait is this long; the contract says 200
    PAGE = 4096         # bytes; the grain of holes
    RUNS = 128          # runs found before they become Python objects


cdef enum Turn:
    """Why a loop goes on or comes up."""
    GO
    DONE
    ENDED       # end of stream or file
    PATROL      # come up to serve signals, then go on
    STALLED     # nothing moved for the whole timeout
    CANCELLED
    FAILED      # with an errno


@cython.final
cdef class Meter:
    """Counts bytes moved; any thread may read it or cancel it at any time."""

    cdef hv_meter numbers   # an object begins zeroed

    @property
    def moved(self):
        """Bytes moved so far, also in the middle of a call."""
        return hv_meter_moved(&self.numbers)

    @property
    def cancelled(self):
        """Whether cancel() was called."""
        return hv_meter_cancelled(&self.numbers) != 0

    def add(self, int64_t count, /):
        """Count bytes that moved by other means."""
        if count < 0:
            raise ValueError("a meter only counts up")
        hv_meter_add(&self.numbers, count)

    def cancel(self):
        """Make every core call that was given this meter end within 200 ms with OSError(ECANCELED)."""
        hv_meter_cancel(&self.numbers)


# ---- sockets ----

cdef struct Stream:
    hv_socket sock
    hv_meter *meter
    int64_t timeout_ms
    int64_t moving_at     # ms: when bytes last moved
    int64_t patrolled_at  # ms: when signals were last served
    int err


cdef int start_stream(Stream *stream, hv_socket sock, Meter meter, int timeout_ms) except -1:
    if timeout_ms < 0:
        raise ValueError("timeout_ms must not be negative")
    stream.sock = sock
    stream.meter = &meter.numbers
    stream.timeout_ms = timeout_ms
    stream.moving_at = stream.patrolled_at = hv_now_ms()
    stream.err = 0
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
        hv_raise_socket_error(stream.err)
    return 0


cdef Turn account(Stream *stream, hv_result got) noexcept nogil:
    """Count the bytes of one system call, and say whether its loop may go on.

    A signal that lands in a call which has already moved bytes shows as a short count and not as EINTR, hence the
    clock: whatever the calls return, signals are served in time.
    """
    cdef int64_t now = hv_now_ms()
    if got.value > 0:
        hv_meter_add(stream.meter, got.value)
        stream.moving_at = now
    if hv_meter_cancelled(stream.meter):
        return CANCELLED
    if got.err and not hv_interrupted(got.err) and not hv_would_block(got.err):
        stream.err = got.err
        return FAILED
    if hv_interrupted(got.err) or now - stream.patrolled_at >= PATROL_MS:
        stream.patrolled_at = now
        return PATROL
    return GO


cdef Turn wait(Stream *stream, int what) noexcept nogil:
    """Wait until the socket is ready, for one patrol at most.  GO: try; PATROL: come up, then wait again."""
    cdef int64_t left = stream.moving_at + stream.timeout_ms - hv_now_ms()
    cdef hv_result ready = hv_wait(stream.sock, what, <int>max(0, min(left, <int64_t>PATROL_MS)))
    cdef bint nothing = ready.value == 0 and ready.err == 0
    cdef Turn turn
    ready.value = 0
    turn = account(stream, ready)
    if turn == CANCELLED or turn == FAILED or not nothing:
        return turn
    return STALLED if left <= 0 else PATROL


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
        if HV_WAIT_FIRST or cargo.wait_first:
            turn = wait(stream, HV_WRITABLE)
            if turn != GO:
                return turn
        got = hv_send(stream.sock, &cargo.spans[cargo.first], cargo.count - cargo.first, wanted)
        cargo.wait_first = <size_t>got.value < wanted
        wanted = take(cargo, <size_t>got.value)
        turn = account(stream, got)
        if turn != GO:
            return turn
    return DONE


cdef struct Hold:
    unsigned char *into
    size_t size
    size_t filled
    bint once         # one successful receive is enough
    bint wait_first


cdef Turn receive_on(Stream *stream, Hold *hold) noexcept nogil:
    cdef Turn turn
    cdef hv_result got
    while hold.filled < hold.size and not (hold.once and hold.filled):
        if HV_WAIT_FIRST or hold.wait_first:
            turn = wait(stream, HV_READABLE)
            if turn != GO:
                return turn
        got = hv_recv(stream.sock, hold.into + hold.filled, min(hold.size - hold.filled, <size_t>SLICE))
        hold.wait_first = got.err != 0
        hold.filled += <size_t>got.value
        turn = account(stream, got)
        if got.value == 0 and got.err == 0 and turn != CANCELLED:
            return ENDED
        if turn != GO:
            return turn
    return DONE


def send_all(hv_socket sock, parts, Meter meter not None, int timeout_ms, /):
    """Send all bytes of 1 to 8 *parts*, in order, gathered in as few calls as the system allows."""
    cdef tuple held = tuple(parts)
    cdef Py_buffer views[HV_MAX_SPANS]
    cdef Stream stream
    cdef Cargo cargo
    cdef Turn turn = GO
    cdef int i
    if not 1 <= len(held) <= HV_MAX_SPANS:
        raise ValueError(f"send_all takes 1 to {HV_MAX_SPANS} parts, not {len(held)}")
    start_stream(&stream, sock, meter, timeout_ms)
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


cdef size_t receive(hv_socket sock, into, Meter meter, int timeout_ms, bint once) except? 0:
    cdef Py_buffer view
    cdef Stream stream
    cdef Hold hold
    cdef Turn turn = GO
    start_stream(&stream, sock, meter, timeout_ms)
    PyObject_GetBuffer(into, &view, PyBUF_WRITABLE)
    try:
        if once and view.len == 0:
            raise ValueError("recv_some needs room for at least one byte")
        memset(&hold, 0, sizeof(hold))
        hold.into = <unsigned char *>view.buf
        hold.size = <size_t>view.len
        hold.once = once
        while turn != DONE and turn != ENDED:
            with nogil:
                turn = receive_on(&stream, &hold)
            come_up(&stream, turn)
    finally:
        PyBuffer_Release(&view)
    return hold.filled


def recv_exact(hv_socket sock, into, Meter meter not None, int timeout_ms, /):
    """Fill *into*.  Returns the bytes received: fewer than asked only when the peer's end of stream came first."""
    return receive(sock, into, meter, timeout_ms, once=False)


def recv_some(hv_socket sock, into, Meter meter not None, int timeout_ms, /):
    """Receive at least one byte, whatever is there, into *into*.  Returns 0 at end of stream."""
    return receive(sock, into, meter, timeout_ms, once=True)


# ---- zeros ----

cdef bint is_zero(const unsigned char *data, size_t size) noexcept nogil:
    """Each byte equals the one before it, and the first is zero."""
    return data[0] == 0 and memcmp(data, data + 1, size - 1) == 0


cdef size_t zero_pages(const unsigned char *data, size_t size, size_t page) noexcept nogil:
    """Bytes of all-zero whole pages at the beginning of *data*."""
    cdef size_t zeros = 0
    while size - zeros >= page and is_zero(data + zeros, page):
        zeros += page
    return zeros


cdef size_t data_pages(const unsigned char *data, size_t size, size_t page) noexcept nogil:
    """Bytes before the first all-zero whole page; a last page that is not whole counts as data."""
    cdef size_t found = 0
    while size - found >= page:
        if is_zero(data + found, page):
            return found
        found += page
    return size


def zero_runs(data, size_t grain, /):
    """Return (start, length) of the maximal runs of *grain*-aligned, *grain*-sized all-zero pieces of *data*."""
    cdef size_t starts[RUNS]
    cdef size_t sizes[RUNS]
    cdef size_t at = 0, size
    cdef Py_buffer view
    cdef const unsigned char *bytes_
    cdef int found, i
    cdef list runs = []
    if grain == 0:
        raise ValueError("grain must be positive")
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        bytes_ = <const unsigned char *>view.buf
        size = <size_t>view.len
        while at < size:
            found = 0
            with nogil:
                while at < size and found < RUNS:
                    at += data_pages(bytes_ + at, size - at, grain)
                    starts[found] = at
                    sizes[found] = zero_pages(bytes_ + at, size - at, grain)
                    at += sizes[found]
                    found += sizes[found] != 0
            for i in range(found):
                runs.append((starts[i], sizes[i]))
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&view)
    return runs


# ---- files ----

cdef struct FileSpan:
    int fd
    unsigned char *data
    size_t size
    int64_t offset     # of data[0] in the file
    bint sparse
    size_t done        # bytes dealt with
    size_t moved       # bytes read or written
    int64_t patrolled_at
    int err


cdef int start_file(FileSpan *span, int fd, Py_buffer *view, int64_t offset) except -1:
    memset(span, 0, sizeof(span[0]))
    if offset < 0 or offset > INT64_MAX - view.len:
        raise ValueError("offset out of range")
    span.fd = fd
    span.data = <unsigned char *>view.buf
    span.size = <size_t>view.len
    span.offset = offset
    span.patrolled_at = hv_now_ms()
    return 0


cdef Turn account_file(FileSpan *span, hv_result got) noexcept nogil:
    cdef int64_t now = hv_now_ms()
    if got.err and not hv_interrupted(got.err):
        span.err = got.err
        return FAILED
    span.done += <size_t>got.value
    span.moved += <size_t>got.value
    if got.err or now - span.patrolled_at >= PATROL_MS:
        span.patrolled_at = now
        return PATROL
    return GO


cdef Turn read_on(FileSpan *span) noexcept nogil:
    cdef Turn turn
    cdef hv_result got
    while span.done < span.size:
        got = hv_pread(span.fd, span.data + span.done, min(span.size - span.done, <size_t>SLICE),
                       span.offset + <int64_t>span.done)
        turn = account_file(span, got)
        if got.value == 0 and got.err == 0:
            return ENDED
        if turn != GO:
            return turn
    return DONE


cdef size_t next_data(FileSpan *span) noexcept nogil:
    """Skip pages that become a hole; return the bytes to write now, at most a slice."""
    cdef size_t inside = (<size_t>span.offset + span.done) % PAGE
    cdef size_t head = (PAGE - inside) % PAGE
    cdef size_t left = min(span.size - span.done, SLICE - inside)
    if not span.sparse or left <= head:
        return left
    if head == 0:
        span.done += zero_pages(span.data + span.done, span.size - span.done, PAGE)
        left = min(span.size - span.done, <size_t>SLICE)
    return head + data_pages(span.data + span.done + head, left - head, PAGE)


cdef Turn write_on(FileSpan *span) noexcept nogil:
    cdef Turn turn
    cdef hv_result got
    cdef size_t wanted
    while span.done < span.size:
        wanted = next_data(span)
        if wanted == 0:
            continue
        got = hv_pwrite(span.fd, span.data + span.done, wanted, span.offset + <int64_t>span.done)
        if got.value == 0 and got.err == 0:
            got.err = EIO   # a file that takes nothing and gives no reason
        turn = account_file(span, got)
        if turn != GO:
            return turn
    return DONE


cdef int come_up_file(FileSpan *span, Turn turn) except -1:
    if turn == PATROL:
        PyErr_CheckSignals()
    elif turn == FAILED:
        hv_raise_os_error(span.err)
    return 0


def read_at(int fd, into, int64_t offset, /):
    """Read from file *fd* at *offset* until *into* is full or the file ends.  Returns the bytes read."""
    cdef Py_buffer view
    cdef FileSpan span
    cdef Turn turn = GO
    PyObject_GetBuffer(into, &view, PyBUF_WRITABLE)
    try:
        start_file(&span, fd, &view, offset)
        while turn != DONE and turn != ENDED:
            with nogil:
                turn = read_on(&span)
            come_up_file(&span, turn)
    finally:
        PyBuffer_Release(&view)
    return span.moved


def write_at(int fd, data, int64_t offset, bint sparse, /):
    """Write *data* at *offset* of file *fd*; with *sparse*, leave out aligned 4096-byte pages that are all zero."""
    cdef Py_buffer view
    cdef FileSpan span
    cdef Turn turn = GO
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        start_file(&span, fd, &view, offset)
        span.sparse = sparse
        while turn != DONE:
            with nogil:
                turn = write_on(&span)
            come_up_file(&span, turn)
    finally:
        PyBuffer_Release(&view)
    return span.moved


def start_writeback(int fd, int64_t offset, int64_t length, /):
    """Ask the system to begin writing that range to disk, without waiting.  Failure is ignored: it is a hint."""
    with nogil:
        hv_start_writeback(fd, offset, length)


# ---- packs of small files ----

cdef const char **component_pointers(tuple names) except NULL:
    """The C strings of *names*, NULL for one that is no component; to be freed, and good while *names* lives."""
    cdef Py_ssize_t count = len(names), i
    cdef const char **pointers = <const char **>malloc(<size_t>(count + 1) * sizeof(char *))
    cdef bytes name
    if pointers == NULL:
        raise MemoryError
    try:
        for i in range(count):
            name = <bytes?>names[i]
            pointers[i] = PyBytes_AsString(name)
            if not hv_is_component(pointers[i], <size_t>len(name)):
                pointers[i] = NULL
    except:
        free(pointers)
        raise
    return pointers


cdef int start_entries(hv_entries *entries, Py_buffer *dirfds, const char **names, Py_ssize_t count) except -1:
    if dirfds.len != count * 4:
        raise ValueError(f"{count} names need {count} int32 directory handles, not {dirfds.len} bytes of them")
    entries.dirfds = <const unsigned char *>dirfds.buf
    entries.names = names
    entries.count = <size_t>count
    return 0


def read_files(dirfds, names, into, uint64_t limit, /):
    """Read many small regular files; see the stub for the record that each name gets."""
    cdef tuple held = tuple(names)
    cdef bytes records = PyBytes_FromStringAndSize(NULL, len(held) * HV_FILE_RECORD_SIZE)
    cdef hv_read_pack pack
    cdef Py_buffer handles, room
    cdef const char **pointers = component_pointers(held)
    memset(&pack, 0, sizeof(pack))
    memset(&handles, 0, sizeof(handles))   # releasing an empty one is harmless
    memset(&room, 0, sizeof(room))
    try:
        PyObject_GetBuffer(dirfds, &handles, PyBUF_SIMPLE)
        PyObject_GetBuffer(into, &room, PyBUF_WRITABLE)
        start_entries(&pack.entries, &handles, pointers, len(held))
        pack.into = <unsigned char *>room.buf
        pack.room = <size_t>room.len
        pack.limit = limit
        pack.records = <unsigned char *>PyBytes_AsString(records)
        while pack.next < pack.entries.count:
            with nogil:
                hv_read_pack_step(&pack)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&room)
        PyBuffer_Release(&handles)
        free(pointers)
    return records, pack.used


cdef int check_places(const unsigned char *places, size_t count, uint64_t size) except -1:
    cdef uint64_t offset
    cdef size_t i
    for i in range(count):
        offset = hv_get64(places + i * HV_PLACE_RECORD_SIZE)
        if offset > size or hv_get64(places + i * HV_PLACE_RECORD_SIZE + 8) > size - offset:
            raise ValueError(f"place {i} lies outside the data")
    return 0


cdef int check_prefix(bytes temp_prefix, int flags) except -1:
    if flags & ~(HV_REPLACE | HV_SYNC | HV_SET_OWNER):
        raise ValueError("unknown flag")
    if len(temp_prefix) > HV_TEMP_PREFIX_MAX or not hv_is_component(temp_prefix, <size_t>len(temp_prefix)):
        raise ValueError(f"temp_prefix must be the beginning of a file name, of 1 to {HV_TEMP_PREFIX_MAX} bytes")
    return 0


def write_files(dirfds, names, places, data, bytes temp_prefix not None, int flags, /):
    """Create many small files, each whole under its name or not at all; returns one int32 errno (0: done) a name."""
    cdef tuple held = tuple(names)
    cdef bytes statuses = PyBytes_FromStringAndSize(NULL, len(held) * HV_STATUS_SIZE)
    cdef hv_write_pack pack
    cdef Py_buffer handles, records, contents
    check_prefix(temp_prefix, flags)
    cdef const char **pointers = component_pointers(held)
    memset(&pack, 0, sizeof(pack))
    memset(&handles, 0, sizeof(handles))   # releasing an empty one is harmless
    memset(&records, 0, sizeof(records))
    memset(&contents, 0, sizeof(contents))
    try:
        PyObject_GetBuffer(dirfds, &handles, PyBUF_SIMPLE)
        PyObject_GetBuffer(places, &records, PyBUF_SIMPLE)
        PyObject_GetBuffer(data, &contents, PyBUF_SIMPLE)
        start_entries(&pack.entries, &handles, pointers, len(held))
        if records.len != len(held) * HV_PLACE_RECORD_SIZE:
            raise ValueError(f"{len(held)} names need as many places, not {records.len} bytes of them")
        check_places(<const unsigned char *>records.buf, <size_t>len(held), <uint64_t>contents.len)
        pack.places = <const unsigned char *>records.buf
        pack.data = <const unsigned char *>contents.buf
        pack.temp_prefix = temp_prefix
        pack.flags = flags
        pack.statuses = <unsigned char *>PyBytes_AsString(statuses)
        pack.salt = <uint64_t>hv_now_ms() << 24 ^ <uint64_t><uintptr_t>&pack
        while not hv_write_pack_done(&pack):
            with nogil:
                hv_write_pack_step(&pack)
            PyErr_CheckSignals()
    finally:
        hv_write_pack_end(&pack)
        PyBuffer_Release(&contents)
        PyBuffer_Release(&records)
        PyBuffer_Release(&handles)
        free(pointers)
    return statuses


def rename_new(int dirfd, bytes old not None, bytes new not None, /):
    """Rename within a directory, but never over something: FileExistsError when *new* is taken."""
    cdef const char *source = old
    cdef const char *target = new
    cdef hv_result renamed
    with nogil:
        renamed = hv_rename_new(dirfd, source, target)
    if renamed.err:
        hv_raise_os_error(renamed.err)


def sync_filesystem(int fd, /):
    """Wait until everything written to the file system of *fd* is on disk."""
    cdef hv_result synced
    with nogil:
        synced = hv_sync_filesystem(fd)
    if synced.err:
        hv_raise_os_error(synced.err)
