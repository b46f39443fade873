/* The seam on Windows: Winsock for every family (AF_HYPERV included), and hv_windows_files.h.  Included by hv_sys.h only.
 *
 * Winsock has no MSG_DONTWAIT, its calls do not end for Ctrl-C, and nobody tells whether a socket is non-blocking:
 * whoever owns one has made it so.  The loops then try first and wait with WSAPoll only when there is reason to.
 */
#ifndef HV_WINDOWS_H
#define HV_WINDOWS_H

#ifndef WIN32_LEAN_AND_MEAN
#define WIN32_LEAN_AND_MEAN
#endif
#include <winsock2.h>
#include <windows.h>
#include <winioctl.h>
#include <winternl.h>
#include <stdlib.h>
#include <string.h>

/* Python's module errno has Winsock's numbers for these names, and who reads an errno of ours compares it with those. */
#undef ELOOP
#define ELOOP WSAELOOP
#undef ECONNRESET
#define ECONNRESET WSAECONNRESET
#undef ETIMEDOUT
#define ETIMEDOUT WSAETIMEDOUT
#undef EOPNOTSUPP
#define EOPNOTSUPP WSAEOPNOTSUPP
#undef EWOULDBLOCK
#define EWOULDBLOCK WSAEWOULDBLOCK

typedef intptr_t hv_socket;   /* a SOCKET; signed, for Python's number of a closed one is -1 */

/* HV_SYNC_EACH: a sync is of one file. */
enum { HV_SYNC_EACH = 1 };

static inline int hv_socket_error(void)
{
    int err = WSAGetLastError();
    return err == WSAENOTSOCK ? EBADF : err;
}

static inline hv_result hv_returned_socket(int rc, int64_t value)
{
    hv_result result = {rc == 0 ? value : 0, rc == 0 ? 0 : hv_socket_error()};
    return result;
}

static inline int hv_interrupted(int err) { return err == WSAEINTR || err == EINTR; }
static inline int hv_would_block(int err) { return err == WSAEWOULDBLOCK; }
static inline int64_t hv_now_ms(void) { return (int64_t)GetTickCount64(); }

/* ---- sockets ---- */

/* DWORD and ULONG are 32 bits wide: one call moves at most the limit, and the limit at most 1 GiB. */
static inline size_t hv_clamped(size_t size)
{
    return size < ((size_t)1 << 30) ? size : (size_t)1 << 30;
}

static inline hv_result hv_send(hv_socket sock, const hv_span *spans, int count, size_t limit, int waits)
{
    WSABUF parts[HV_MAX_SPANS];
    DWORD used = 0, sent = 0;
    int rc;
    (void)waits;
    limit = hv_clamped(limit);
    for (; (int)used < count && used < HV_MAX_SPANS && limit > 0; used++) {
        size_t size = spans[used].size < limit ? spans[used].size : limit;
        parts[used].buf = (CHAR *)(uintptr_t)spans[used].data;
        parts[used].len = (ULONG)size;
        limit -= size;
    }
    rc = WSASend(sock, parts, used, &sent, 0, NULL, NULL);
    return hv_returned_socket(rc, sent);
}

/* ERROR_BROKEN_PIPE is how AF_HYPERV says that the peer closed without shutdown (seen by microsoft/WSL
 * relay.cpp and linuxkit/virtsock): an end of stream, whose meaning only the session knows. */
static inline hv_result hv_recv(hv_socket sock, unsigned char *into, size_t size, int waits)
{
    (void)waits;
    WSABUF part = {(ULONG)hv_clamped(size), (CHAR *)into};
    DWORD flags = 0, got = 0;
    hv_result result = hv_returned_socket(WSARecv(sock, &part, 1, &got, &flags, NULL, NULL), 0);
    if (result.err == ERROR_BROKEN_PIPE)
        return hv_failed(0);
    result.value = result.err ? 0 : (int64_t)got;
    return result;
}

/* TransmitFile on AF_HYPERV is unknown ground: the caller reads and sends. */
static inline hv_result hv_send_file(hv_socket sock, int fd, int64_t offset, size_t size)
{
    (void)sock; (void)fd; (void)offset; (void)size;
    return hv_failed(ENOSYS);
}

/* Waits until *sock* takes more: 1 when it does, 0 when nobody said so in time, -1 when nobody would.  A socket has one
 * event to select: that is for who sends, and one thread sends at a time. */
static inline int hv_room_comes(SOCKET sock, int timeout_ms)
{
    HANDLE event = CreateEventW(NULL, TRUE, FALSE, NULL);
    int comes = -1;
    if (!event)
        return comes;
    if (WSAEventSelect(sock, event, FD_WRITE) == 0) {   /* set at once when there is room already */
        comes = WaitForSingleObject(event, (DWORD)timeout_ms) == WAIT_OBJECT_0;
        WSAEventSelect(sock, NULL, 0);
    }
    CloseHandle(event);
    return comes;
}

/* For room an event is waited for; WSAPoll is asked when none came, for it also knows what ends a connection.  From the
 * moment there is room until the poller has its answer Wine's server looks at the socket again and again. */
static inline hv_result hv_wait(hv_socket sock, int what, int timeout_ms)
{
    WSAPOLLFD entry = {(SOCKET)sock, what == HV_READABLE ? POLLRDNORM : POLLWRNORM, 0};
    hv_result result = {1, 0};
    int ready;
    if (what == HV_WRITABLE && timeout_ms > 0) {
        int comes = hv_room_comes((SOCKET)sock, timeout_ms);
        if (comes > 0)
            return result;
        if (comes == 0)
            timeout_ms = 0;
    }
    ready = WSAPoll(&entry, 1, timeout_ms);
    result = hv_returned_socket(ready == SOCKET_ERROR ? SOCKET_ERROR : 0, ready);
    if (!result.err && (entry.revents & POLLNVAL))
        return hv_failed(EBADF);
    return result;
}

static inline void hv_yield(void) { SwitchToThread(); }

/* ---- streams of any kind ---- */

typedef struct {
    hv_socket fd;
    int want;   /* HV_READABLE, HV_WRITABLE, or 0: only whether it is gone */
    int got;
} hv_watch;

enum { HV_MAX_WATCHES = 4 };

/* The error of a look at what comes next; 0 for bytes, for an end, and where nothing is known. */
static inline int hv_look_ahead(SOCKET sock)
{
    char next;
    int err = recv(sock, &next, 1, MSG_PEEK) == SOCKET_ERROR ? hv_socket_error() : 0;
    return err == WSAEWOULDBLOCK || err == WSAEOPNOTSUPP ? 0 : err;
}

/* SO_ERROR is of connecting only.  0 also for one that was closed, here or there. */
static inline hv_result hv_pending_error(hv_socket sock)
{
    int err = hv_look_ahead((SOCKET)sock);
    hv_result pending = {err == ERROR_BROKEN_PIPE || err == WSAESHUTDOWN ? 0 : err, 0};
    return pending;
}

/* Times: 100 ns since 1601; Python's and POSIX's are since 1970. */
#define HV_UNIX_BEGINS 116444736000000000

static inline int64_t hv_unix_ns(FILETIME time)
{
    int64_t since = (int64_t)((uint64_t)time.dwHighDateTime << 32 | time.dwLowDateTime) - HV_UNIX_BEGINS;
    if (since > INT64_MAX / 100 || since < INT64_MIN / 100)
        return since < 0 ? INT64_MIN : INT64_MAX;   /* beyond the years 1677 to 2262: FAT says 1601 where it has none */
    return since * 100;
}

static inline FILETIME hv_file_time(int64_t ns)
{
    int64_t since = ns / 100 - (ns % 100 < 0) + HV_UNIX_BEGINS;
    FILETIME time;   /* 64 bits of nanoseconds begin in 1677: never 0, which would mean to leave the time */
    time.dwLowDateTime = (DWORD)since;
    time.dwHighDateTime = (DWORD)((uint64_t)since >> 32);
    return time;
}

#include "hv_windows_handles.h"
#include "hv_windows_files.h"
#include "hv_windows_console.h"
#include "hv_windows_pipes.h"

#endif
