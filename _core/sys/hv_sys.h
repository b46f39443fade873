/* The OS seam: every system call of the core, one inline function each, nothing else.
 *
 * Each function returns hv_result, whose `err` was read in the very line of the call, before anything else
 * could overwrite it.  No function loops, retries, logs or remembers; nothing here knows Python.  A build
 * for fault injection puts a header of the same name before this one on the include path (tests/faults).
 *
 *   err of a socket call   errno on POSIX, WSAGetLastError() on Windows
 *   err of a file call     errno everywhere
 */
#ifndef HV_SYS_H
#define HV_SYS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1   /* O_TMPFILE, syncfs, sync_file_range */
#endif
#ifndef _FILE_OFFSET_BITS
#define _FILE_OFFSET_BITS 64
#endif

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <wchar.h>

typedef struct {
    int64_t value;   /* bytes, a descriptor, or 1 for "yes"; 0 when err is set */
    int err;         /* 0: done */
} hv_result;

typedef struct {
    const unsigned char *data;
    size_t size;
} hv_span;

typedef struct {
    uint32_t mode, uid, gid;
    int regular;
    uint64_t nlink, ino, dev;
    int64_t size, mtime_ns, ctime_ns;
} hv_stat;

enum {
    HV_MAX_SPANS = 8,   /* parts of one vectored send */
    HV_READABLE = 1,
    HV_WRITABLE = 2,
    HV_GONE = 4         /* nobody will read what is written there */
};

/* How a name is opened: rights, and what it may be. */
enum {
    HV_READ = 1,
    HV_WRITE = 2,        /* for reading as well */
    HV_NEW = 4,          /* it must not be there yet; a regular file */
    HV_DIRECTORY = 8,    /* it must be one; alone or with HV_READ */
    HV_ANY = 16,         /* whatever it is, a link itself, only to be looked at */
    HV_ALONE = 32        /* nobody else may write to it meanwhile, EBUSY if somebody does; Windows only */
};

/* One entry of a directory, from hv_next_entry. */
typedef struct {
    const wchar_t *name;
    size_t units;
    int kind;
} hv_entry;

enum { HV_REGULAR, HV_SUBDIRECTORY, HV_SYMLINK, HV_NEITHER };

/* What a descriptor is, as far as moving bytes goes. */
enum {
    HV_SOCKET,
    HV_PIPE,
    HV_FILE,    /* always ready: a regular file, a block device, /dev/null */
    HV_OTHER    /* a terminal or another device */
};

static inline hv_result hv_failed(int err)
{
    hv_result result = {0, err};
    return result;
}

#ifdef _WIN32
#include "hv_windows.h"
#else
#include "hv_posix.h"
#endif

#endif
