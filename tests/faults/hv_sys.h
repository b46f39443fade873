/* The OS seam with faults: the real one, each call of it wrapped.  The include path of a faults build finds
 * it in place of _core/sys/hv_sys.h; the product code is the same, to the letter.  The plan's grammar is in
 * plan.h. */
#ifndef HV_FAULTS_SYS_H
#define HV_FAULTS_SYS_H

#include "../../_core/sys/hv_sys.h"

#include "plan.h"

static inline size_t hv_least(size_t a, size_t b) { return a < b ? a : b; }

#define HV_FAULT(kind)                                                                                    \
    hv_fault fault = hv_fault_next(kind);                                                                 \
    if (fault.err || fault.eof)                                                                           \
        return hv_failed(fault.err)

static inline hv_result hv_fault_send(hv_socket sock, const hv_span *spans, int count, size_t limit, int waits)
{
    HV_FAULT("send");
    return hv_send(sock, spans, count, hv_least(limit, fault.limit), waits);
}

static inline hv_result hv_fault_recv(hv_socket sock, unsigned char *into, size_t size, int waits)
{
    HV_FAULT("recv");
    hv_result got = hv_recv(sock, into, hv_least(size, fault.limit), waits);
    hv_fault_flip("recv", fault, into, got.value);
    return got;
}

static inline hv_result hv_fault_send_file(hv_socket sock, int fd, int64_t offset, size_t size)
{
    HV_FAULT("send_file");
    return hv_send_file(sock, fd, offset, hv_least(size, fault.limit));
}

static inline hv_result hv_fault_wait(hv_socket sock, int what, int timeout_ms)
{
    HV_FAULT("wait");
    return hv_wait(sock, what, timeout_ms);
}

static inline hv_result hv_fault_read(hv_socket fd, unsigned char *into, size_t size)
{
    HV_FAULT("read");
    hv_result got = hv_read(fd, into, hv_least(size, fault.limit));
    hv_fault_flip("read", fault, into, got.value);
    return got;
}

static inline hv_result hv_fault_write(hv_socket fd, const unsigned char *data, size_t size)
{
    HV_FAULT("write");
    return hv_write(fd, data, hv_least(size, fault.limit));
}

static inline hv_result hv_fault_splice(hv_socket from, hv_socket to, size_t size)
{
    HV_FAULT("splice");
    return hv_splice(from, to, hv_least(size, fault.limit));
}

static inline hv_result hv_fault_tee(hv_socket from, hv_socket to, size_t size)
{
    HV_FAULT("tee");
    return hv_tee(from, to, hv_least(size, fault.limit));
}

static inline hv_result hv_fault_pread(int fd, unsigned char *into, size_t size, int64_t offset)
{
    HV_FAULT("pread");
    hv_result got = hv_pread(fd, into, hv_least(size, fault.limit), offset);
    hv_fault_flip("pread", fault, into, got.value);
    return got;
}

static inline hv_result hv_fault_pwrite(int fd, const unsigned char *data, size_t size, int64_t offset)
{
    HV_FAULT("pwrite");
    return hv_pwrite(fd, data, hv_least(size, fault.limit), offset);
}

static inline hv_result hv_fault_fstat(int fd, hv_stat *out)
{
    HV_FAULT("fstat");
    hv_result done = hv_fstat(fd, out);
    if (fault.touched)
        out->mtime_ns++;
    if (fault.elsewhere)
        out->dev++;
    if (fault.fresh)
        out->ctime_ns = hv_wall_ns();
    return done;
}

/* A failed close(2) has closed the descriptor all the same (Linux): so does this one. */
static inline hv_result hv_fault_close(int fd)
{
    hv_fault fault = hv_fault_next("close");
    hv_result closed = hv_close(fd);
    return fault.err ? hv_failed(fault.err) : closed;
}

#define HV_WRAP(kind, parameters, call)                                                                   \
    static inline hv_result hv_fault_##kind parameters                                                    \
    {                                                                                                     \
        HV_FAULT(#kind);                                                                                  \
        return call;                                                                                      \
    }

HV_WRAP(wait_any, (hv_watch *watches, int count, int timeout_ms), hv_wait_any(watches, count, timeout_ms))
HV_WRAP(kind, (hv_socket fd), hv_kind(fd))
HV_WRAP(pipe, (int ends[2], int size), hv_pipe(ends, (int)hv_least((size_t)size, fault.limit)))
HV_WRAP(writeback, (int fd, int64_t offset, int64_t size), hv_start_writeback(fd, offset, size))
HV_WRAP(pause, (int ms), hv_pause(ms))
HV_WRAP(open, (int dirfd, const char *name), hv_open_file(dirfd, name))
HV_WRAP(tmpfile, (int dirfd), hv_create_anonymous(dirfd))
HV_WRAP(create, (int dirfd, const char *name), hv_create_named(dirfd, name))
HV_WRAP(link_tmpfile, (int fd, int dirfd, const char *name), hv_link_anonymous(fd, dirfd, name))
HV_WRAP(link, (int dirfd, const char *from, const char *to), hv_link(dirfd, from, to))
HV_WRAP(rename, (int dirfd, const char *from, const char *to), hv_rename(dirfd, from, to))
HV_WRAP(rename_new, (int dirfd, const char *from, const char *to), hv_rename_new(dirfd, from, to))
HV_WRAP(unlink, (int dirfd, const char *name), hv_unlink(dirfd, name))
HV_WRAP(chmod, (int fd, uint32_t mode), hv_chmod(fd, mode))
HV_WRAP(chown, (int fd, uint32_t uid, uint32_t gid), hv_chown(fd, uid, gid))
HV_WRAP(utime, (int fd, int64_t mtime_ns), hv_set_mtime(fd, mtime_ns))
HV_WRAP(syncfs, (int fd), hv_sync_filesystem(fd))

#undef HV_WRAP
#undef HV_FAULT

#define hv_send hv_fault_send
#define hv_recv hv_fault_recv
#define hv_send_file hv_fault_send_file
#define hv_wait hv_fault_wait
#define hv_wait_any hv_fault_wait_any
#define hv_kind hv_fault_kind
#define hv_read hv_fault_read
#define hv_write hv_fault_write
#define hv_splice hv_fault_splice
#define hv_pipe hv_fault_pipe
#define hv_tee hv_fault_tee
#define hv_pread hv_fault_pread
#define hv_pwrite hv_fault_pwrite
#define hv_close hv_fault_close
#define hv_start_writeback hv_fault_writeback
#define hv_fstat hv_fault_fstat
#define hv_pause hv_fault_pause
#define hv_open_file hv_fault_open
#define hv_create_anonymous hv_fault_tmpfile
#define hv_create_named hv_fault_create
#define hv_link_anonymous hv_fault_link_tmpfile
#define hv_link hv_fault_link
#define hv_rename hv_fault_rename
#define hv_rename_new hv_fault_rename_new
#define hv_unlink hv_fault_unlink
#define hv_chmod hv_fault_chmod
#define hv_chown hv_fault_chown
#define hv_set_mtime hv_fault_utime
#define hv_sync_filesystem hv_fault_syncfs

#endif
