/* The seam on POSIX (Linux: files use O_TMPFILE, renameat2, syncfs).  Included by hv_sys.h only. */
#ifndef HV_POSIX_H
#define HV_POSIX_H

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

typedef int hv_socket;

enum { HV_SYNC_EACH = 0 };

/* Bytes that a pipe which poll(2) calls writable takes without waiting: PIPE_BUF (pipe(7)). */
enum { HV_ATOMIC = 4096 };

static inline hv_result hv_returned(int64_t value)
{
    hv_result result = {value < 0 ? 0 : value, value < 0 ? errno : 0};
    return result;
}

static inline int hv_interrupted(int err) { return err == EINTR; }
static inline int hv_would_block(int err) { return err == EAGAIN || err == EWOULDBLOCK; }

static inline int64_t hv_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- sockets ---- */

/* MSG_DONTWAIT: one call does not block, whatever the mode of the socket; with *waits* it may, for as long as
 * SO_SNDTIMEO says (socket(7)).  MSG_NOSIGNAL: EPIPE, not a signal. */
static inline hv_result hv_send(hv_socket sock, const hv_span *spans, int count, size_t limit, int waits)
{
    struct iovec iov[HV_MAX_SPANS];
    struct msghdr message = {0};
    int used = 0;
    for (; used < count && used < HV_MAX_SPANS && limit > 0; used++) {
        size_t size = spans[used].size < limit ? spans[used].size : limit;
        iov[used].iov_base = (void *)(uintptr_t)spans[used].data;
        iov[used].iov_len = size;
        limit -= size;
    }
    message.msg_iov = iov;
    message.msg_iovlen = (size_t)used;
    return hv_returned(sendmsg(sock, &message, (waits ? 0 : MSG_DONTWAIT) | MSG_NOSIGNAL));
}

/* Never MSG_WAITALL: AF_VSOCK fails it with ENOMEM for lengths >= the buffer size
 * (net/vmw_vsock/af_vsock.c). */
static inline hv_result hv_recv(hv_socket sock, unsigned char *into, size_t size, int waits)
{
    return hv_returned(recv(sock, into, size, waits ? 0 : MSG_DONTWAIT));
}

/* File to socket without a copy through this process, where the socket takes pages by reference (Linux 6.5: AF_UNIX and
 * AF_INET, MSG_SPLICE_PAGES in include/linux/socket.h).  One call does not block on a non-blocking socket; on a closed one
 * it raises SIGPIPE, which Python ignores. */
static inline hv_result hv_send_file(hv_socket sock, int fd, int64_t offset, size_t size)
{
    off_t at = offset;
    return hv_returned(sendfile(sock, fd, &at, size));
}

/* Lets others run who are ready to. */
static inline void hv_yield(void) { sched_yield(); }

/* value 1: something happened (also an error or a hang-up: the next call tells); 0: *timeout_ms* passed. */
static inline hv_result hv_wait(hv_socket sock, int what, int timeout_ms)
{
    struct pollfd entry = {sock, what == HV_READABLE ? POLLIN : POLLOUT, 0};
    hv_result ready = hv_returned(poll(&entry, 1, timeout_ms));
    if (entry.revents & POLLNVAL)
        return hv_failed(EBADF);
    return ready;
}

/* A macro, so that what stands in for hv_wait (tests/faults) does for this one. */
#define hv_wait_descriptor(fd, what, timeout_ms) hv_wait(fd, what, timeout_ms)

/* ---- streams of any kind ---- */

typedef struct {
    hv_socket fd;
    int want;   /* HV_READABLE, HV_WRITABLE, or 0: only whether it is gone */
    int got;
} hv_watch;

enum { HV_MAX_WATCHES = 4 };

/* value: how many of *watches* have something to say; a source that failed counts as readable. */
static inline hv_result hv_wait_any(hv_watch *watches, int count, int timeout_ms)
{
    struct pollfd entries[HV_MAX_WATCHES];
    hv_result ready;
    for (int i = 0; i < count; i++) {
        entries[i].fd = watches[i].fd;
        entries[i].events = watches[i].want == HV_READABLE ? POLLIN : watches[i].want ? POLLOUT : 0;
        entries[i].revents = 0;
    }
    ready = hv_returned(poll(entries, (nfds_t)count, timeout_ms));
    for (int i = 0; i < count; i++) {
        int seen = entries[i].revents;
        if (seen & POLLNVAL)
            return hv_failed(EBADF);
        watches[i].got = (seen & (POLLIN | POLLERR | POLLHUP) ? HV_READABLE : 0)
            | (seen & (POLLOUT | POLLERR | POLLHUP) ? HV_WRITABLE : 0)
            | (seen & (POLLERR | POLLHUP) ? HV_GONE : 0);
    }
    return ready;
}

/* value: the error that waits on a socket, which this takes off it; 0 for none. */
static inline hv_result hv_pending_error(hv_socket sock)
{
    int pending = 0;
    socklen_t size = sizeof pending;
    hv_result asked = hv_returned(getsockopt(sock, SOL_SOCKET, SO_ERROR, &pending, &size));
    asked.value = pending;
    return asked;
}

/* /dev/null, zero, full, random, urandom (Documentation/admin-guide/devices.txt); others of their major wait, as kmsg. */
static inline int hv_is_memory(const struct stat *of)
{
    unsigned int number = minor(of->st_rdev);
    return S_ISCHR(of->st_mode) && major(of->st_rdev) == 1 && (number == 3 || number == 5 || (number >= 7 && number <= 9));
}

/* value: HV_SOCKET, HV_PIPE, HV_FILE or HV_OTHER. */
static inline hv_result hv_kind(hv_socket fd)
{
    struct stat now;
    hv_result done = hv_returned(fstat(fd, &now));
    if (!done.err)
        done.value = S_ISSOCK(now.st_mode) ? HV_SOCKET
            : S_ISFIFO(now.st_mode) ? HV_PIPE
            : S_ISREG(now.st_mode) || S_ISBLK(now.st_mode) || hv_is_memory(&now) ? HV_FILE
                                                                                 : HV_OTHER;
    return done;
}

/* value: 1 when calls on it never wait. */
static inline hv_result hv_nonblocking(hv_socket fd)
{
    hv_result flags = hv_returned(fcntl(fd, F_GETFL));
    flags.value = !flags.err && flags.value & O_NONBLOCK;
    return flags;
}

static inline hv_result hv_is_terminal(int fd)
{
    hv_result is = {isatty(fd), 0};
    return is;
}

static inline hv_result hv_read(hv_socket fd, unsigned char *into, size_t size)
{
    return hv_returned(read(fd, into, size));
}

static inline hv_result hv_write(hv_socket fd, const unsigned char *data, size_t size)
{
    return hv_returned(write(fd, data, size));
}

/* Move bytes by reference; one of the two is a pipe.  The flag keeps pipes from waiting, not sockets or files
 * (fs/splice.c). */
static inline hv_result hv_splice(hv_socket from, hv_socket to, size_t size)
{
    return hv_returned(splice(from, NULL, to, NULL, size, SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
}

/* Both are pipes; what *from* holds stays in it. */
static inline hv_result hv_tee(hv_socket from, hv_socket to, size_t size)
{
    return hv_returned(tee(from, to, size, SPLICE_F_NONBLOCK));
}

/* A new pipe that holds up to *size* bytes; value: what it really holds, less when this user has too many
 * (pipe(7), pipe-user-pages-soft). */
static inline hv_result hv_pipe(int ends[2], int size)
{
    hv_result made = hv_returned(pipe2(ends, O_CLOEXEC | O_NONBLOCK));
    if (made.err)
        return made;
    fcntl(ends[1], F_SETPIPE_SZ, size);
    made = hv_returned(fcntl(ends[1], F_GETPIPE_SZ));
    if (made.err) {
        close(ends[0]);
        close(ends[1]);
    }
    return made;
}

/* ---- files ---- */

static inline hv_result hv_pread(int fd, unsigned char *into, size_t size, int64_t offset)
{
    return hv_returned(pread(fd, into, size, offset));
}

static inline hv_result hv_pwrite(int fd, const unsigned char *data, size_t size, int64_t offset)
{
    return hv_returned(pwrite(fd, data, size, offset));
}

static inline hv_result hv_start_writeback(int fd, int64_t offset, int64_t size)
{
    return hv_returned(sync_file_range(fd, offset, size, SYNC_FILE_RANGE_WRITE));
}

static inline hv_result hv_close(int fd) { return hv_returned(close(fd)); }

static inline int64_t hv_timespec_ns(struct timespec time)
{
    int64_t ns;
    if (__builtin_mul_overflow((int64_t)time.tv_sec, (int64_t)1000000000, &ns)
        || __builtin_add_overflow(ns, (int64_t)time.tv_nsec, &ns))
        return time.tv_sec < 0 ? INT64_MIN : INT64_MAX;   /* beyond the years 1677 to 2262 */
    return ns;
}

/* Since 1970, as file systems count. */
static inline int64_t hv_wall_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return hv_timespec_ns(now);
}

static inline hv_result hv_pause(int ms) { return hv_returned(poll(NULL, 0, ms)); }

static inline hv_result hv_fstat(int fd, hv_stat *out)
{
    struct stat now;
    hv_result done = hv_returned(fstat(fd, &now));
    if (done.err)
        return done;
    out->mode = now.st_mode;
    out->uid = now.st_uid;
    out->gid = now.st_gid;
    out->regular = S_ISREG(now.st_mode);
    out->nlink = now.st_nlink;
    out->ino = now.st_ino;
    out->dev = now.st_dev;
    out->size = now.st_size;
    out->mtime_ns = hv_timespec_ns(now.st_mtim);
    out->ctime_ns = hv_timespec_ns(now.st_ctim);
    return done;
}

/* O_NONBLOCK: opening a FIFO must not wait for a writer (fifo(7)). */
static inline hv_result hv_open_at(int dirfd, const char *name, int how)
{
    int flags = how & HV_WRITE ? O_RDWR : O_RDONLY;
    if (how & HV_NEW)
        flags |= O_CREAT | O_EXCL;
    if (how & HV_DIRECTORY)
        flags |= O_DIRECTORY;
    if (how & HV_ANY)
        flags |= O_PATH;
    return hv_returned(openat(dirfd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600));
}

static inline hv_result hv_open_folder(const char *path)
{
    return hv_returned(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

/* Python lists directories by descriptor on POSIX. */
static inline hv_result hv_list(int fd, unsigned char *into, size_t size, int first)
{
    (void)fd; (void)into; (void)size; (void)first;
    return hv_failed(ENOSYS);
}

static inline size_t hv_next_entry(const unsigned char *at, hv_entry *entry)
{
    (void)at; (void)entry;
    return 0;
}

static inline hv_result hv_make_directory(int dirfd, const char *name) { return hv_returned(mkdirat(dirfd, name, 0700)); }

static inline hv_result hv_open_file(int dirfd, const char *name)
{
    return hv_returned(openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

static inline hv_result hv_create_anonymous(int dirfd)
{
    return hv_returned(openat(dirfd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
}

static inline hv_result hv_create_named(int dirfd, const char *name)
{
    return hv_returned(openat(dirfd, name, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, 0600));
}

/* Give anonymous file *fd* a name, unless it exists.  By descriptor, where the kernel lets us (Linux 6.10, or with
 * CAP_DAC_READ_SEARCH: link(2)); by way of /proc it costs three more lookups. */
static inline hv_result hv_link_anonymous(int fd, int dirfd, const char *name)
{
    char path[sizeof "/proc/self/fd/" + 11];
    hv_result linked = hv_returned(linkat(fd, "", dirfd, name, AT_EMPTY_PATH));
    if (linked.err != ENOENT)
        return linked;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return hv_returned(linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW));
}

static inline hv_result hv_link_between(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
    return hv_returned(linkat(from_dirfd, from, to_dirfd, to, 0));
}

static inline hv_result hv_link(int dirfd, const char *from, const char *to)
{
    return hv_link_between(dirfd, from, dirfd, to);
}

static inline hv_result hv_rename(int dirfd, const char *from, const char *to)
{
    return hv_returned(renameat(dirfd, from, dirfd, to));
}

/* By syscall(2): the function came with glibc 2.28, the call with Linux 3.15; flag 1 is RENAME_NOREPLACE. */
static inline hv_result hv_rename_new(int dirfd, const char *from, const char *to)
{
    return hv_returned(syscall(SYS_renameat2, dirfd, from, dirfd, to, 1u));
}

static inline hv_result hv_unlink(int dirfd, const char *name)
{
    return hv_returned(unlinkat(dirfd, name, 0));
}

static inline hv_result hv_set_size(int fd, int64_t size) { return hv_returned(ftruncate(fd, size)); }

/* Every file may have holes. */
static inline hv_result hv_make_sparse(int fd)
{
    (void)fd;
    return hv_failed(0);
}

/* value: 1 for a symbolic link. */
static inline hv_result hv_link_kind(int fd)
{
    struct stat now;
    hv_result done = hv_returned(fstat(fd, &now));
    done.value = !done.err && S_ISLNK(now.st_mode);
    return done;
}

static inline hv_result hv_next_allocated(int fd, int64_t offset, int64_t size, int64_t *end)
{
    hv_result start = hv_returned(lseek(fd, offset, SEEK_DATA));
    *end = size;
    if (start.err == ENXIO) {
        start.value = size;
        start.err = 0;
    } else if (!start.err) {
        int64_t hole = lseek(fd, start.value, SEEK_HOLE);
        *end = hole < 0 ? size : hole; /* cut short meanwhile: what there is no more is found when it is read */
    }
    return start;
}

static inline hv_result hv_chmod(int fd, uint32_t mode) { return hv_returned(fchmod(fd, mode)); }

static inline hv_result hv_chown(int fd, uint32_t uid, uint32_t gid)
{
    return hv_returned(fchown(fd, uid, gid));
}

static inline hv_result hv_set_mtime(int fd, int64_t mtime_ns)
{
    int64_t below = mtime_ns % 1000000000;
    struct timespec times[2] = {{0, UTIME_OMIT}, {0, 0}};
    if (below < 0)
        below += 1000000000;
    times[1].tv_sec = mtime_ns / 1000000000 - (mtime_ns % 1000000000 < 0);
    times[1].tv_nsec = below;
    return hv_returned(futimens(fd, times));
}

static inline hv_result hv_sync_filesystem(int fd) { return hv_returned(syncfs(fd)); }

#endif
