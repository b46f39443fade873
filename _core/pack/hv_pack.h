/* Packs: many small files read or written in one call.
 *
 * Knows names of one component and bytes; knows no path, no policy, no Python.  A step runs until the pack
 * is done, HV_STEP_MS have passed or a system call was interrupted; its caller then serves signals and
 * calls again. The file at which a call was interrupted is begun anew: a file is whole or not there.
 */
#ifndef HV_PACK_H
#define HV_PACK_H

#include "hv_sys.h"

#include <string.h>

enum {
    HV_STEP_MS = 100,
    HV_SETTLED_MS = 20,          /* age from which on a file's times tell of every write */
    HV_SETTLE_TRIES = 2,
    HV_MISSES_MAX = 4,           /* files opened in vain, for want of room, before a read ends */
    HV_FILE_RECORD_SIZE = 72,    /* struct "<iIIIQqqqQQQ" */
    HV_PLACE_RECORD_SIZE = 40,   /* struct "<QQqIIII" */
    HV_END_RECORD_SIZE = 12,     /* struct "<qI" */
    HV_STATUS_SIZE = 4,          /* struct "<i" */
    HV_SYNC_CHUNK = 256,         /* files held open for one sync: a quarter of the usual RLIMIT_NOFILE */
    HV_TEMP_PREFIX_MAX = 200,
    HV_TEMP_NAME_MAX = HV_TEMP_PREFIX_MAX + 33
};

/* Statuses of a read beside 0 and errno. */
enum { HV_TOO_LARGE = -1, HV_NO_ROOM = -2, HV_CHANGED = -3, HV_NOT_REGULAR = -4 };

/* Flags of a write. */
enum { HV_REPLACE = 1, HV_SYNC = 2, HV_SET_OWNER = 4 };

/* Which files: directory handle i is the i-th native int32 of `dirfds`; a name that is no component is
 * NULL. */
typedef struct {
    const unsigned char *dirfds;
    const char *const *names;
    size_t count;
} hv_entries;

typedef struct {
    hv_entries entries;
    size_t next;              /* the first file not yet read */
    size_t misses;            /* files that found no room */
    unsigned char *into;
    size_t room, used;        /* bytes */
    uint64_t limit;           /* bytes of the largest file that is read */
    unsigned char *records;   /* count * HV_FILE_RECORD_SIZE */
} hv_read_pack;

void hv_read_pack_step(hv_read_pack *pack);

/* 1 when nothing more will be read: all files have their records, or the first `next` of them. */
int hv_read_pack_done(const hv_read_pack *pack);

/* A file whose contents are written and which has no final name yet. */
typedef struct {
    size_t index;
    int fd;            /* -1 once closed */
    uint64_t serial;   /* of its temporary name; 0: it is anonymous */
} hv_new_file;

typedef struct {
    hv_entries entries;
    size_t next;                   /* the first file not yet begun */
    const unsigned char *places;   /* count * HV_PLACE_RECORD_SIZE, already checked against the data */
    const unsigned char *data;
    const char *temp_prefix;
    int flags;
    unsigned char *statuses;       /* count * HV_STATUS_SIZE */

    int free_names;                /* learnt: names are not taken, so that looking at them first is in vain */
    int no_anonymous;              /* learnt: O_TMPFILE or linking from it does not work here */
    uint64_t salt, serial;         /* make temporary names */
    hv_new_file waiting[HV_SYNC_CHUNK];   /* HV_SYNC: written, waiting for the sync */
    size_t waiting_count;
} hv_write_pack;

void hv_write_pack_step(hv_write_pack *pack);

/* 1 when every file has its status. */
int hv_write_pack_done(const hv_write_pack *pack);

/* Give up files that wait, leaving nothing of them.  Call it at every end; harmless after a complete pack. */
void hv_write_pack_end(hv_write_pack *pack);

/* Directories that nothing more goes into; one without a name is the handle itself. */
typedef struct {
    hv_entries entries;
    const unsigned char *records;   /* count * HV_END_RECORD_SIZE */
    size_t next;                    /* the first that is not done */
    int dirfd;                      /* the last folder, -1 at first, and its file system */
    uint64_t device;
} hv_end_pack;

/* Returns 1 when it is to be called again: 0 when all are done, or the one at `next` could not be. */
int hv_end_pack_step(hv_end_pack *pack);

/* 1 when *name* is one plain component: not "", ".", "..", no '/' and no NUL in it. */
int hv_is_component(const char *name, size_t size);

static inline int hv_dirfd_at(const hv_entries *entries, size_t index)
{
    int32_t fd;
    memcpy(&fd, entries->dirfds + index * sizeof fd, sizeof fd);
    return fd;
}

/* Little-endian fields, whatever the machine. */
static inline void hv_put32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static inline void hv_put64(unsigned char *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static inline uint32_t hv_get32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t hv_get64(const unsigned char *at)
{
    return (uint64_t)hv_get32(at) | (uint64_t)hv_get32(at + 4) << 32;
}

#endif
