# Packs of small files: borrow buffers and names, check records, let pack/ do the work.  Part of core.pyx.

cdef const char **component_pointers(tuple names) except NULL:
    """The C strings of *names*, NULL for one that is no component; free them, and keep *names* till then."""
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
    except BaseException:
        free(pointers)
        raise
    return pointers


cdef int start_entries(
    hv_entries *entries, Py_buffer *dirfds, const char **names, Py_ssize_t count
) except -1:
    if dirfds.len != count * 4:
        raise ValueError(f"{count} names need as many int32 directory handles, not {dirfds.len} bytes")
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
        while not hv_read_pack_done(&pack):
            with nogil:
                hv_read_pack_step(&pack)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&room)
        PyBuffer_Release(&handles)
        free(pointers)
    return records[:pack.next * HV_FILE_RECORD_SIZE], pack.used


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
        raise ValueError(f"temp_prefix must begin a file name, and have 1 to {HV_TEMP_PREFIX_MAX} bytes")
    return 0


def write_files(dirfds, names, places, data, bytes temp_prefix not None, int flags, /):
    """Create many small files, each whole or not at all; returns one int32 errno (0: done) a name."""
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


def end_directories(dirfds, names, records, /):
    """Set mode and time of directories, made if they are missing; returns how many were done before one that failed."""
    cdef tuple held = tuple(names)
    cdef hv_end_pack pack
    cdef Py_buffer handles, attributes
    cdef const char **pointers = component_pointers(held)
    cdef bint more = True
    cdef Py_ssize_t count = 0
    memset(&pack, 0, sizeof(pack))
    memset(&handles, 0, sizeof(handles))   # releasing an empty one is harmless
    memset(&attributes, 0, sizeof(attributes))
    try:
        PyObject_GetBuffer(dirfds, &handles, PyBUF_SIMPLE)
        PyObject_GetBuffer(records, &attributes, PyBUF_SIMPLE)
        start_entries(&pack.entries, &handles, pointers, len(held))
        if attributes.len != len(held) * HV_END_RECORD_SIZE:
            raise ValueError(f"{len(held)} names need as many records, not {attributes.len} bytes of them")
        while count < len(held) and (pointers[count] != NULL or held[count] == b""):
            count += 1
        pack.entries.count = <size_t>count   # what leads elsewhere is never come to
        pack.records = <const unsigned char *>attributes.buf
        pack.dirfd = -1
        while more:
            with nogil:
                more = hv_end_pack_step(&pack)
            PyErr_CheckSignals()
    finally:
        PyBuffer_Release(&attributes)
        PyBuffer_Release(&handles)
        free(pointers)
    return pack.next
