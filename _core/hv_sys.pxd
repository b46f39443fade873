"""The C below the core: the OS seam, the meter's atomics, packs of small files; all nogil but raising."""

from libc.stddef cimport wchar_t
from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "hv_sys.h" nogil:
    ctypedef int hv_socket   # SOCKET on Windows
    ctypedef struct hv_result:
        int64_t value
        int err
    ctypedef struct hv_span:
        const unsigned char *data
        size_t size
    enum:
        HV_MAX_SPANS
        HV_READABLE
        HV_WRITABLE
        HV_GONE
        HV_SOCKET
        HV_PIPE
        HV_FILE
        HV_OTHER
        HV_ATOMIC
        HV_MAX_WATCHES
        ECANCELED
        HV_READ
        HV_WRITE
        HV_NEW
        HV_DIRECTORY
        HV_ANY
        HV_ALONE
        HV_REGULAR
        HV_SUBDIRECTORY
        HV_SYMLINK
        HV_NEITHER
    ctypedef struct hv_entry:
        const wchar_t *name
        size_t units
        int kind
    ctypedef struct hv_watch:
        hv_socket fd
        int want
        int got

    hv_result hv_failed(int err)
    int64_t hv_now_ms()
    void hv_yield()
    bint hv_interrupted(int err)
    bint hv_would_block(int err)
    hv_result hv_send(hv_socket sock, const hv_span *spans, int count, size_t limit, int waits)
    hv_result hv_recv(hv_socket sock, unsigned char *into, size_t size, int waits)
    hv_result hv_send_file(hv_socket sock, int fd, int64_t offset, size_t size)
    hv_result hv_wait(hv_socket sock, int what, int timeout_ms)
    hv_result hv_wait_descriptor(int fd, int what, int timeout_ms)
    hv_result hv_wait_any(hv_watch *watches, int count, int timeout_ms)
    hv_result hv_pending_error(hv_socket sock)
    hv_result hv_kind(hv_socket fd)
    hv_result hv_nonblocking(hv_socket fd)
    hv_result hv_is_terminal(int fd)
    hv_result hv_read(hv_socket fd, unsigned char *into, size_t size)
    hv_result hv_write(hv_socket fd, const unsigned char *data, size_t size)
    hv_result hv_splice(hv_socket source, hv_socket sink, size_t size)
    hv_result hv_pipe(int *ends, int size)
    hv_result hv_close(int fd)
    hv_result hv_tee(hv_socket source, hv_socket sink, size_t size)
    hv_result hv_pread(int fd, unsigned char *into, size_t size, int64_t offset)
    hv_result hv_pwrite(int fd, const unsigned char *data, size_t size, int64_t offset)
    hv_result hv_start_writeback(int fd, int64_t offset, int64_t size)
    hv_result hv_rename_new(int dirfd, const char *old, const char *new)
    hv_result hv_sync_filesystem(int fd)
    hv_result hv_open_folder(const char *path)
    hv_result hv_list(int fd, unsigned char *into, size_t size, int first)
    size_t hv_next_entry(const unsigned char *at, hv_entry *entry)
    hv_result hv_open_at(int dirfd, const char *name, int how)
    hv_result hv_make_directory(int dirfd, const char *name)
    hv_result hv_unlink(int dirfd, const char *name)
    hv_result hv_rename(int dirfd, const char *old, const char *new)
    hv_result hv_link_between(int old_dirfd, const char *old, int new_dirfd, const char *new)
    hv_result hv_chmod(int fd, uint32_t mode)
    hv_result hv_set_mtime(int fd, int64_t mtime_ns)
    hv_result hv_make_sparse(int fd)
    hv_result hv_link_kind(int fd)
    hv_result hv_next_allocated(int fd, int64_t offset, int64_t size, int64_t *end)
    hv_result hv_set_size(int fd, int64_t size)

cdef extern from "hv_meter.h" nogil:
    ctypedef struct hv_meter:
        pass
    void hv_meter_add(hv_meter *meter, int64_t count)
    int64_t hv_meter_moved(hv_meter *meter)
    void hv_meter_store(hv_meter *meter, int storing)
    bint hv_meter_storing(hv_meter *meter)
    void hv_meter_cancel(hv_meter *meter)
    bint hv_meter_cancelled(hv_meter *meter)

cdef extern from "hv_pack.h" nogil:
    enum:
        HV_FILE_RECORD_SIZE
        HV_PLACE_RECORD_SIZE
        HV_END_RECORD_SIZE
        HV_STATUS_SIZE
        HV_TEMP_PREFIX_MAX
        HV_TOO_LARGE
        HV_NO_ROOM
        HV_CHANGED
        HV_NOT_REGULAR
        HV_REPLACE
        HV_SYNC
        HV_SET_OWNER

    ctypedef struct hv_entries:
        const unsigned char *dirfds
        const char **names
        size_t count
    ctypedef struct hv_read_pack:
        hv_entries entries
        size_t next
        unsigned char *into
        size_t room
        size_t used
        uint64_t limit
        unsigned char *records
    ctypedef struct hv_write_pack:
        hv_entries entries
        const unsigned char *places
        const unsigned char *data
        const char *temp_prefix
        int flags
        unsigned char *statuses
        uint64_t salt

    ctypedef struct hv_end_pack:
        hv_entries entries
        const unsigned char *records
        size_t next
        int dirfd

    bint hv_is_component(const char *name, size_t size)
    uint64_t hv_get64(const unsigned char *at)
    void hv_read_pack_step(hv_read_pack *pack)
    int hv_read_pack_done(const hv_read_pack *pack)
    void hv_write_pack_step(hv_write_pack *pack)
    bint hv_write_pack_done(const hv_write_pack *pack)
    void hv_write_pack_end(hv_write_pack *pack)
    bint hv_end_pack_step(hv_end_pack *pack)

cdef extern from "hv_raise.h":
    const char *hv_words(int err)
    int hv_raise_os_error(int err) except -1       # err of a file call
    int hv_raise_socket_error(int err) except -1   # err of a socket call
