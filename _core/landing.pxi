# From a socket into a file: what has come is written while more is on its way.  Part of core.pyx.

cdef size_t landed(Hold *hold, FileSpan *file) noexcept nogil:
    """Bytes that may be written: all at the end, before that whole pages, so that zero pages stay whole."""
    if hold.filled >= hold.size:
        return hold.size
    return hold.filled - min(hold.filled, (<size_t>file.offset + hold.filled) % PAGE)


cdef Turn write_landed(Stream *stream, FileSpan *file) noexcept nogil:
    """GO: all of *file* is written, or cannot be, which the caller's own write will tell."""
    cdef Turn turn
    if file.err:
        return GO
    hv_meter_store(stream.meter, 1)
    turn = write_on(file)
    hv_meter_store(stream.meter, 0)
    return PATROL if turn == PATROL else GO


cdef Turn land_on(Stream *stream, Hold *hold, FileSpan *file, size_t grain) noexcept nogil:
    cdef Turn turn
    while True:
        if hold.wait_first or hold.filled >= hold.size or hold.filled - file.size >= grain:
            file.size = landed(hold, file)
            turn = write_landed(stream, file)
            if turn != GO:
                return turn
        if hold.filled >= hold.size:
            return DONE
        turn = receive_more(stream, hold)
        if turn != GO:
            return turn


def recv_file(hv_socket sock, into, size_t size, int fd, int64_t offset, bint sparse, size_t grain,
              Meter meter not None, int timeout_ms, int waiting=0, /):
    """Receive *size* bytes and write them to file *fd* meanwhile.  Returns (received, of that written)."""
    cdef Py_buffer view
    cdef Stream stream
    cdef Hold hold
    cdef FileSpan file
    cdef Turn turn = GO
    start_stream(&stream, sock, meter, timeout_ms, waiting)
    PyObject_GetBuffer(into, &view, PyBUF_WRITABLE)
    try:
        if size > <size_t>view.len:
            raise ValueError("no room for that size")
        start_file(&file, fd, &view, offset)
        file.size = 0
        file.sparse = sparse
        memset(&hold, 0, sizeof(hold))
        hold.into = <unsigned char *>view.buf
        hold.size = size
        hold.room = <size_t>view.len
        while turn != DONE and turn != ENDED:
            with nogil:
                turn = land_on(&stream, &hold, &file, grain)
            come_up(&stream, turn)
    finally:
        PyBuffer_Release(&view)
    return hold.filled, file.done
