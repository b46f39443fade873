# Names below a directory's handle: opened, made, linked and removed without a path that could lead elsewhere.  For
# systems whose Python has no dir_fd; every one of them works on POSIX as well.  Part of core.pyx.

cdef extern from "Python.h":
    object PyUnicode_DecodeLocale(const char *text, const char *errors)

cdef enum:
    LISTING = 1 << 16    # bytes of entries that one call brings


cdef int check_component(bytes name) except -1:
    if not hv_is_component(name, <size_t>len(name)):
        hv_raise_os_error(EINVAL)
    return 0


cdef int done_or_raise(hv_result done) except -1:
    if done.err:
        hv_raise_os_error(done.err)
    return 0


def open_folder(bytes path not None, /):
    """Open a directory by its path, links followed.  Returns a descriptor."""
    cdef const char *text = path
    cdef hv_result opened
    if b"\0" in path:
        raise ValueError("embedded null byte")
    with nogil:
        opened = hv_open_folder(text)
    done_or_raise(opened)
    return opened.value


def list_directory(int fd, /):
    """Return (name, IS_FILE, IS_DIRECTORY or IS_LINK) of each entry.  Windows only: OSError(ENOSYS) elsewhere."""
    cdef bytearray room = bytearray(LISTING)
    cdef unsigned char *begin = <unsigned char *>PyByteArray_AsString(room)
    cdef unsigned char *at
    cdef hv_result more
    cdef hv_entry entry
    cdef bint first = True
    cdef size_t step
    cdef list found = []
    while True:
        with nogil:
            more = hv_list(fd, begin, LISTING, first)
        done_or_raise(more)
        if not more.value:
            return found
        first = False
        at = begin
        while True:
            step = hv_next_entry(at, &entry)
            text = PyUnicode_FromWideChar(entry.name, <Py_ssize_t>entry.units)
            name = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass")
            if name not in (b".", b".."):
                found.append((name, entry.kind))
            if step == 0:
                break
            at += step
        PyErr_CheckSignals()


def open_at(int dirfd, bytes name not None, int how, /):
    """Open *name* in directory *dirfd*, never through a link; *how* is a sum of the OPEN constants."""
    cdef const char *component = name
    cdef hv_result opened
    if how & ~(HV_READ | HV_WRITE | HV_NEW | HV_DIRECTORY | HV_ANY | HV_ALONE):
        raise ValueError("unknown flag")
    if name != b"." or not how & HV_DIRECTORY:
        check_component(name)
    with nogil:
        opened = hv_open_at(dirfd, component, how)
    done_or_raise(opened)
    return opened.value


def make_directory_at(int dirfd, bytes name not None, /):
    """Make directory *name* in directory *dirfd*, for this user alone where modes say so."""
    cdef const char *component = name
    cdef hv_result made
    check_component(name)
    with nogil:
        made = hv_make_directory(dirfd, component)
    done_or_raise(made)


def remove_at(int dirfd, bytes name not None, /):
    """Remove *name*, which is no directory, from directory *dirfd*."""
    cdef const char *component = name
    cdef hv_result removed
    check_component(name)
    with nogil:
        removed = hv_unlink(dirfd, component)
    done_or_raise(removed)


def replace_at(int dirfd, bytes old not None, bytes new not None, /):
    """Rename within a directory, over whatever has the name *new* but a directory."""
    cdef const char *source = old
    cdef const char *target = new
    cdef hv_result renamed
    check_component(old)
    check_component(new)
    with nogil:
        renamed = hv_rename(dirfd, source, target)
    done_or_raise(renamed)


def link_at(int old_dirfd, bytes old not None, int new_dirfd, bytes new not None, /):
    """Give the file *old* of one directory the name *new* in another as well; never over something."""
    cdef const char *source = old
    cdef const char *target = new
    cdef hv_result linked
    check_component(old)
    check_component(new)
    with nogil:
        linked = hv_link_between(old_dirfd, source, new_dirfd, target)
    done_or_raise(linked)


def set_attributes(int fd, uint32_t mode, int64_t mtime_ns, /):
    """Set the mode, as far as the system has one, and then the time of last writing of what is open."""
    cdef hv_result done
    with nogil:
        done = hv_chmod(fd, mode)
        if not done.err:
            done = hv_set_mtime(fd, mtime_ns)
    done_or_raise(done)


def set_size(int fd, int64_t size, bint sparse, /):
    """Cut the file off or make it longer, by a hole if it is to be *sparse* and the file system has holes."""
    cdef hv_result done
    if size < 0:
        raise ValueError("a size is not negative")
    with nogil:
        if sparse:
            hv_make_sparse(fd)
        done = hv_set_size(fd, size)
    done_or_raise(done)


def next_piece(int fd, int64_t offset, int64_t size, /):
    """Return (start, end) of the first piece from *offset* on that is no hole; (size, size) if there is none."""
    cdef hv_result start
    cdef int64_t end = size
    if not 0 <= offset <= size:
        raise ValueError("offset out of range")
    with nogil:
        start = hv_next_allocated(fd, offset, size, &end)
    done_or_raise(start)
    return min(start.value, size), min(end, size)


def is_link(int fd, /):
    """Say whether what is open is a symbolic link, or a junction, itself."""
    cdef hv_result kind
    with nogil:
        kind = hv_link_kind(fd)
    done_or_raise(kind)
    return kind.value != 0


def describe(int err, /):
    """Return what the errno of a file call means, in words."""
    return PyUnicode_DecodeLocale(hv_words(err), "surrogateescape")
