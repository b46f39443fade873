/* Descriptors that may make one wait, on Windows: pipes and devices.  Included by hv_windows.h only.
 *
 * Nothing polls a pipe: one looks into it again and again, with pauses.  A write to a pipe waits for its reader.
 */
#ifndef HV_WINDOWS_PIPES_H
#define HV_WINDOWS_PIPES_H

enum { HV_LOOK_AGAIN_MS = 2, HV_LOOK_FOR_GONE_MS = 50 };

/* A write waits as long as its reader does anyway. */
enum { HV_ATOMIC = 1 << 16 };

/* What the relay is given for a descriptor: a number that no socket has (hvcopy/descriptors.py). */
#define HV_DESCRIPTOR ((hv_socket)1 << 40)

static inline int hv_is_descriptor(hv_socket fd) { return (fd & HV_DESCRIPTOR) != 0; }
static inline int hv_number(hv_socket fd) { return (int)(fd & 0x7fffffff); }

/* value: HV_SOCKET, HV_PIPE, HV_FILE or HV_OTHER. */
static inline hv_result hv_kind_of_descriptor(int fd)
{
    HANDLE handle = hv_handle(fd);
    DWORD type = GetFileType(handle);
    hv_result kind = {HV_OTHER, 0};
    if (handle == INVALID_HANDLE_VALUE || (type == FILE_TYPE_UNKNOWN && GetLastError() != NO_ERROR))
        return hv_failed(EBADF);
    kind.value = type == FILE_TYPE_PIPE ? HV_PIPE : type == FILE_TYPE_DISK ? HV_FILE : HV_OTHER;
    return kind;
}

static inline hv_result hv_wait_descriptor(int fd, int what, int timeout_ms)
{
    HANDLE handle = hv_handle(fd);
    int64_t until = hv_now_ms() + timeout_ms;
    hv_result ready = {1, 0};
    hv_result kind = hv_kind_of_descriptor(fd);
    if (kind.err || what != HV_READABLE)
        return kind.err ? kind : ready;
    while (kind.value == HV_PIPE) {
        DWORD waiting = 0;
        int64_t left = until - hv_now_ms();
        if (!PeekNamedPipe(handle, NULL, 0, NULL, &waiting, NULL) || waiting)
            return ready;   /* its end, or an error, is for the read to tell */
        if (left <= 0)
            return hv_failed(0);
        Sleep(left < HV_LOOK_AGAIN_MS ? (DWORD)left : HV_LOOK_AGAIN_MS);
    }
    return ready;
}

static inline hv_result hv_kind(hv_socket fd)
{
    hv_result socket = {HV_SOCKET, 0};
    return hv_is_descriptor(fd) ? hv_kind_of_descriptor(hv_number(fd)) : socket;
}

/* Winsock does not tell: whoever owns a socket has made it so. */
static inline hv_result hv_nonblocking(hv_socket fd)
{
    hv_result is = {!hv_is_descriptor(fd), 0};
    return is;
}

/* What a watch that WSAPoll is not asked about has to say. */
static inline int hv_look(const hv_watch *watch)
{
    if (!hv_is_descriptor(watch->fd))   /* WSAPoll says POLLHUP for a peer that has only ended as for one that is gone */
        return hv_look_ahead((SOCKET)watch->fd) ? HV_GONE : 0;
    if (watch->want != HV_READABLE)
        return watch->want;
    hv_result ready = hv_wait_descriptor(hv_number(watch->fd), HV_READABLE, 0);
    return ready.value || ready.err ? HV_READABLE : 0;
}

/* value: how many of *watches* have something to say.  Nothing waits for sockets and descriptors together. */
static inline hv_result hv_wait_any(hv_watch *watches, int count, int timeout_ms)
{
    int64_t until = hv_now_ms() + timeout_ms;
    for (;;) {
        WSAPOLLFD entries[HV_MAX_WATCHES];
        hv_watch *whose[HV_MAX_WATCHES];
        int sockets = 0, ready = 0, hung_up = 0, i;
        int64_t left, pause = timeout_ms;
        for (i = 0; i < count; i++) {
            watches[i].got = 0;
            if (hv_is_descriptor(watches[i].fd) || !watches[i].want) {
                watches[i].got = hv_look(&watches[i]);
                ready += watches[i].got != 0;
                if (hv_is_descriptor(watches[i].fd))
                    pause = HV_LOOK_AGAIN_MS;
                else if (pause > HV_LOOK_FOR_GONE_MS)
                    pause = HV_LOOK_FOR_GONE_MS;
                continue;
            }
            whose[sockets] = &watches[i];
            entries[sockets].fd = (SOCKET)watches[i].fd;
            entries[sockets].events = watches[i].want == HV_READABLE ? POLLRDNORM : POLLWRNORM;
            entries[sockets++].revents = 0;
        }
        left = ready ? 0 : until - hv_now_ms();
        if (left < 0)
            left = 0;
        if (left > pause)
            left = pause;
        if (sockets == 0)
            Sleep((DWORD)left);
        else if (WSAPoll(entries, (ULONG)sockets, (INT)left) == SOCKET_ERROR)
            return hv_failed(hv_socket_error());
        for (i = 0; i < sockets; i++) {
            int seen = entries[i].revents;
            if (seen & POLLNVAL)
                return hv_failed(EBADF);
            whose[i]->got = (seen & (POLLRDNORM | POLLERR | POLLHUP) ? HV_READABLE : 0)
                | (seen & (POLLWRNORM | POLLERR) ? HV_WRITABLE : 0);
            whose[i]->got &= whose[i]->want;
            ready += whose[i]->got != 0;
            hung_up |= seen & POLLHUP;
        }
        if (!ready && hung_up)   /* that is told again and again, though nothing has become possible */
            Sleep(HV_LOOK_AGAIN_MS);
        if (ready || hv_now_ms() >= until) {
            hv_result result = {ready, 0};
            return result;
        }
    }
}

static inline hv_result hv_read(hv_socket fd, unsigned char *into, size_t size)
{
    HANDLE handle = hv_handle(hv_number(fd));
    DWORD got = 0;
    if (hv_is_console(handle))
        return hv_read_console(handle, into, size);
    if (ReadFile(handle, into, (DWORD)hv_clamped(size), &got, NULL))
        return hv_done(TRUE, got);
    return GetLastError() == ERROR_BROKEN_PIPE || GetLastError() == ERROR_HANDLE_EOF ? hv_done(TRUE, 0) : hv_done(FALSE, 0);
}

static inline hv_result hv_write(hv_socket fd, const unsigned char *data, size_t size)
{
    HANDLE handle = hv_handle(hv_number(fd));
    DWORD put = 0;
    BOOL done;
    if (hv_is_console(handle))
        return hv_write_console(handle, data, size);
    done = WriteFile(handle, data, (DWORD)hv_clamped(size), &put, NULL);
    return hv_done(done, put);
}

/* Nothing moves by reference here. */

static inline hv_result hv_splice(hv_socket from, hv_socket to, size_t size)
{
    (void)from; (void)to; (void)size;
    return hv_failed(ENOSYS);
}

static inline hv_result hv_tee(hv_socket from, hv_socket to, size_t size)
{
    (void)from; (void)to; (void)size;
    return hv_failed(ENOSYS);
}

static inline hv_result hv_pipe(int ends[2], int size)
{
    (void)ends; (void)size;
    return hv_failed(ENOSYS);
}

#endif
