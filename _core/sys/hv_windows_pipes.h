/* Descriptors that may make one wait, on Windows: pipes, consoles, devices.  Included by hv_windows.h only.
 *
 * Nothing polls a pipe: one looks into it again and again, with pauses.  A write to a pipe waits for its reader.
 */
#ifndef HV_WINDOWS_PIPES_H
#define HV_WINDOWS_PIPES_H

enum { HV_LOOK_AGAIN_MS = 2 };

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
    if (kind.value == HV_OTHER) {
        DWORD mode;
        if (GetConsoleMode(handle, &mode) && WaitForSingleObject(handle, (DWORD)timeout_ms) == WAIT_TIMEOUT)
            ready.value = 0;
        return ready;
    }
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

static inline hv_result hv_read(hv_socket fd, unsigned char *into, size_t size)
{
    DWORD got = 0;
    if (ReadFile(hv_handle((int)fd), into, (DWORD)hv_clamped(size), &got, NULL))
        return hv_done(TRUE, got);
    return GetLastError() == ERROR_BROKEN_PIPE || GetLastError() == ERROR_HANDLE_EOF ? hv_done(TRUE, 0) : hv_done(FALSE, 0);
}

static inline hv_result hv_write(hv_socket fd, const unsigned char *data, size_t size)
{
    DWORD put = 0;
    BOOL done = WriteFile(hv_handle((int)fd), data, (DWORD)hv_clamped(size), &put, NULL);
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
