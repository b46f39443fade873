/* From the C runtime's descriptors, which Python has, to Windows' handles and back; from Windows' errors to errno.
 * Included by hv_windows.h only.
 *
 * The descriptors are those of Python's own C runtime, ucrtbase.dll.  A module that mingw-w64 built is linked with an
 * older one, msvcrt.dll, whose table of descriptors is another: hence ucrtbase is asked by name.
 */
#ifndef HV_WINDOWS_HANDLES_H
#define HV_WINDOWS_HANDLES_H

#include <fcntl.h>
#include <io.h>

#define HV_INVALID_STATUS(status) ((status) < 0)

static inline int hv_errno_of(DWORD error)
{
    switch (error) {
    case ERROR_SUCCESS: return 0;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
    case ERROR_BAD_NETPATH:
    case ERROR_BAD_NET_NAME: return ENOENT;
    case ERROR_TOO_MANY_OPEN_FILES: return EMFILE;
    case ERROR_ACCESS_DENIED:
    case ERROR_CANNOT_MAKE: return EACCES;
    case ERROR_PRIVILEGE_NOT_HELD: return EPERM;
    case ERROR_SHARING_VIOLATION:
    case ERROR_LOCK_VIOLATION:
    case ERROR_DELETE_PENDING:
    case ERROR_USER_MAPPED_FILE: return EBUSY;
    case ERROR_INVALID_HANDLE:
    case ERROR_INVALID_TARGET_HANDLE: return EBADF;
    case ERROR_NOT_ENOUGH_MEMORY:
    case ERROR_OUTOFMEMORY:
    case ERROR_NO_SYSTEM_RESOURCES: return ENOMEM;
    case ERROR_WRITE_PROTECT: return EROFS;
    case ERROR_NOT_SAME_DEVICE: return EXDEV;
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS: return EEXIST;
    case ERROR_DIR_NOT_EMPTY: return ENOTEMPTY;
    case ERROR_DIRECTORY: return ENOTDIR;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
    case 1295: /* ERROR_DISK_QUOTA_EXCEEDED: not in every header */ return ENOSPC;
    case ERROR_FILENAME_EXCED_RANGE: return ENAMETOOLONG;
    case ERROR_FILE_TOO_LARGE: return EFBIG;
    case ERROR_TOO_MANY_LINKS: return EMLINK;
    case ERROR_INVALID_NAME:
    case ERROR_INVALID_PARAMETER:
    case ERROR_BAD_PATHNAME: return EINVAL;
    case ERROR_BROKEN_PIPE:
    case ERROR_NO_DATA:
    case ERROR_PIPE_NOT_CONNECTED: return EPIPE;
    case ERROR_OPERATION_ABORTED: return ECANCELED;
    case ERROR_CANT_RESOLVE_FILENAME:
    case 681: /* ERROR_STOPPED_ON_SYMLINK */ return ELOOP;
    case ERROR_INVALID_FUNCTION:
    case ERROR_NOT_SUPPORTED:
    case ERROR_CALL_NOT_IMPLEMENTED: return ENOSYS;
    default: return EIO;
    }
}

/* The statuses that RtlNtStatusToDosError makes less of than they say. */
enum { HV_STATUS_IS_DIRECTORY = (int)0xC00000BA, HV_STATUS_DELETE_PENDING = (int)0xC0000056 };
enum { HV_STATUS_PENDING = 0x103, HV_STATUS_END_OF_FILE = (int)0xC0000011 };

static inline int hv_errno_of_status(NTSTATUS status)
{
    if (!HV_INVALID_STATUS(status))
        return 0;
    if (status == HV_STATUS_IS_DIRECTORY)
        return EISDIR;
    if (status == HV_STATUS_DELETE_PENDING)
        return EBUSY;
    return hv_errno_of(RtlNtStatusToDosError(status));
}

static inline hv_result hv_done(BOOL done, int64_t value)
{
    hv_result result = {done ? value : 0, done ? 0 : hv_errno_of(GetLastError())};
    return result;
}

typedef void (__cdecl *hv_bad_parameter)(const wchar_t *, const wchar_t *, const wchar_t *, unsigned, uintptr_t);

typedef struct {
    intptr_t (__cdecl *get_handle)(int);
    int (__cdecl *open_handle)(intptr_t, int);
    int (__cdecl *close)(int);
    hv_bad_parameter (__cdecl *set_handler)(hv_bad_parameter);
} hv_runtime;

static void __cdecl hv_ignore(const wchar_t *a, const wchar_t *b, const wchar_t *c, unsigned d, uintptr_t e)
{
    (void)a; (void)b; (void)c; (void)d; (void)e;
}

static inline const hv_runtime *hv_crt(void)
{
    static hv_runtime found;   /* filled alike by whoever comes first; the last field says that it is whole */
    if (!found.set_handler) {
        HMODULE crt = GetModuleHandleW(L"ucrtbase.dll");
        found.get_handle = (void *)GetProcAddress(crt, "_get_osfhandle");
        found.open_handle = (void *)GetProcAddress(crt, "_open_osfhandle");
        found.close = (void *)GetProcAddress(crt, "_close");
        found.set_handler = (void *)GetProcAddress(crt, "_set_thread_local_invalid_parameter_handler");
    }
    return &found;
}

/* INVALID_HANDLE_VALUE for a descriptor that is not open; the runtime would end the process, if it were not told to
 * ignore that. */
static inline HANDLE hv_handle(int fd)
{
    const hv_runtime *crt = hv_crt();
    hv_bad_parameter before;
    intptr_t handle;
    before = crt->set_handler(hv_ignore);
    handle = crt->get_handle(fd);
    crt->set_handler(before);
    return handle == -2 ? INVALID_HANDLE_VALUE : (HANDLE)handle;
}

/* value: a descriptor that owns *handle*. */
static inline hv_result hv_descriptor(HANDLE handle, int how)
{
    int fd = hv_crt()->open_handle((intptr_t)handle, _O_BINARY | _O_NOINHERIT | how);
    hv_result made = {fd, 0};
    if (fd >= 0)
        return made;
    CloseHandle(handle);
    return hv_failed(EMFILE);
}

static inline hv_result hv_close(int fd)
{
    const hv_runtime *crt = hv_crt();
    hv_bad_parameter before = crt->set_handler(hv_ignore);
    hv_result closed = {0, crt->close(fd) == 0 ? 0 : EBADF};
    crt->set_handler(before);
    return closed;
}

#endif
