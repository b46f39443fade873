# Single files: positioned reads and writes, zeros, a rename that replaces nothing.  Part of core.pyx.

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


def all_zeros(data, /):
    """Say whether *data* has no byte but zeros."""
    cdef Py_buffer view
    cdef bint zeros
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        with nogil:
            zeros = view.len == 0 or is_zero(<const unsigned char *>view.buf, <size_t>view.len)
    finally:
        PyBuffer_Release(&view)
    return zeros


cdef struct FileSpan:
    int fd
    unsigned char *data
    size_t size
    int64_t offset     # of data[0] in the file
    bint sparse
    size_t done        # bytes dealt with
    size_t moved       # bytes read or written
    int64_t patrolled_at   # ms: when signals were last served; at first 0, so that the second call finds them served
    int err


cdef int start_file(FileSpan *span, int fd, Py_buffer *view, int64_t offset) except -1:
    memset(span, 0, sizeof(span[0]))
    if offset < 0 or offset > INT64_MAX - view.len:
        raise ValueError("offset out of range")
    span.fd = fd
    span.data = <unsigned char *>view.buf
    span.size = <size_t>view.len
    span.offset = offset
    return 0


cdef Turn account_file(FileSpan *span, hv_result got) noexcept nogil:
    cdef int64_t now
    if got.err and not hv_interrupted(got.err):
        span.err = got.err
        return FAILED
    span.done += <size_t>got.value
    span.moved += <size_t>got.value
    if span.done == span.size:
        return GO
    now = hv_now_ms()
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
    """Write *data* at *offset* of file *fd*; with *sparse*, leave out aligned all-zero 4096-byte pages."""
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
    """Ask the system to begin writing that range to disk, without waiting.  Failure is ignored."""
    with nogil:
        hv_start_writeback(fd, offset, length)


def rename_new(int dirfd, bytes old not None, bytes new not None, /):
    """Rename within a directory, but never over something: FileExistsError when *new* is taken."""
    cdef const char *source = old
    cdef const char *target = new
    cdef hv_result renamed
    if not hv_is_component(source, <size_t>len(old)) or not hv_is_component(target, <size_t>len(new)):
        hv_raise_os_error(EINVAL)
    with nogil:
        renamed = hv_rename_new(dirfd, source, target)
    if renamed.err:
        hv_raise_os_error(renamed.err)


def sync_filesystem(int fd, /):
    """Wait until everything written to the file system of *fd* is on disk."""
    cdef hv_result synced
    with nogil:
        synced = hv_sync_filesystem(fd)
    while hv_interrupted(synced.err):
        PyErr_CheckSignals()
        with nogil:
            synced = hv_sync_filesystem(fd)
    if synced.err:
        hv_raise_os_error(synced.err)
