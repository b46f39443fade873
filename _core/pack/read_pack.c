/* Reading a pack of small files: each whole as of one moment, or a status that says why not. */
#include "hv_pack.h"

int hv_is_component(const char *name, size_t size)
{
    if (size == 0 || memchr(name, '/', size) || memchr(name, 0, size))
        return 0;
#ifdef _WIN32   /* the other separator, and what begins the name of a stream within the file */
    if (memchr(name, '\\', size) || memchr(name, ':', size))
        return 0;
#endif
    return !(name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.')));
}

/* Read *size* bytes and see that the file ends there.  0, an errno, or HV_CHANGED. */
static int read_to_end(int fd, unsigned char *into, size_t size, size_t room)
{
    unsigned char beyond;
    size_t done = 0;
    /* Asking for one byte too many, where there is room, saves a second call that looks for the end. */
    size_t wanted = room > size ? size + 1 : size;
    while (done < wanted) {
        hv_result got = hv_pread(fd, into + done, wanted - done, (int64_t)done);
        if (got.err)
            return got.err;
        done += (size_t)got.value;
        if (got.value == 0 || done == size)
            break;
    }
    if (done != size)
        return HV_CHANGED;
    if (wanted > size && size > 0)
        return 0;   /* a regular file gives fewer bytes than asked only at its end (read(2)) */
    hv_result more = hv_pread(fd, &beyond, 1, (int64_t)size);
    return more.err ? more.err : more.value ? HV_CHANGED : 0;
}

static int is_recent(int64_t time, int64_t now)
{
    const int64_t settled = HV_SETTLED_MS * (int64_t)1000000;
    return time > now - settled && time < now + settled;
}

/* Wait until times that stay the same mean that nothing was written.  A write sets them to the kernel's last tick, as much
 * as 10 ms ago (current_time(), CONFIG_HZ=100; 15.6 ms on Windows): the second one in a tick changes nothing of them.
 * 0, an errno, or HV_CHANGED when the file is written to again and again. */
static int settle(int fd, hv_stat *stat)
{
    for (int tries = 0; tries < HV_SETTLE_TRIES; tries++) {
        int64_t now = hv_wall_ns();
        if (!is_recent(stat->mtime_ns, now) && !is_recent(stat->ctime_ns, now))
            return 0;
        hv_result done = hv_pause(HV_SETTLED_MS);
        if (!done.err)
            done = hv_fstat(fd, stat);
        if (done.err)
            return done.err;
    }
    return HV_CHANGED;
}

static int read_once(hv_read_pack *pack, int fd, hv_stat *stat)
{
    hv_stat after;
    hv_result done;
    size_t room = pack->room - pack->used;
    if (!stat->regular)
        return HV_NOT_REGULAR;
    if ((uint64_t)stat->size > pack->limit)
        return HV_TOO_LARGE;
    if ((uint64_t)stat->size > room)
        return HV_NO_ROOM;
    int status = read_to_end(fd, pack->into + pack->used, (size_t)stat->size, room);
    if (status != 0 && status != HV_CHANGED)
        return status;
    done = hv_fstat(fd, &after);
    if (done.err)
        return done.err;
    if (after.size != stat->size || after.mtime_ns != stat->mtime_ns || after.ctime_ns != stat->ctime_ns)
        status = HV_CHANGED;
    *stat = after;   /* what a second attempt starts from */
    return status;
}

static int read_settled(hv_read_pack *pack, int fd, hv_stat *stat)
{
    int status = stat->regular && pack->limit > 0 ? settle(fd, stat) : 0;
    /* A larger file is looked at again when it was sent: it only has to have been waited for. */
    return status == 0 || (uint64_t)stat->size > pack->limit ? read_once(pack, fd, stat) : status;
}

static int read_file(hv_read_pack *pack, int dirfd, const char *name, hv_stat *stat)
{
    if (!name)
        return EINVAL;
    if (dirfd < 0)
        return EBADF;   /* AT_FDCWD is not a directory handle */
    hv_result opened = hv_open_file(dirfd, name);
    if (opened.err == ELOOP || opened.err == ENXIO)
        return HV_NOT_REGULAR;   /* a symbolic link or a socket (open(2)) */
    if (opened.err)
        return opened.err;
    int fd = (int)opened.value;
    hv_result done = hv_fstat(fd, stat);
    int status = done.err ? done.err : read_settled(pack, fd, stat);
    if (status == HV_CHANGED)
        status = read_settled(pack, fd, stat);
    hv_close(fd);
    return status;
}

static void put_record(unsigned char *record, int status, const hv_stat *stat, uint64_t offset)
{
    hv_put32(record, (uint32_t)status);
    hv_put32(record + 4, stat->mode);
    hv_put32(record + 8, stat->uid);
    hv_put32(record + 12, stat->gid);
    hv_put64(record + 16, stat->nlink);
    hv_put64(record + 24, (uint64_t)stat->size);
    hv_put64(record + 32, (uint64_t)stat->mtime_ns);
    hv_put64(record + 40, (uint64_t)stat->ctime_ns);
    hv_put64(record + 48, stat->ino);
    hv_put64(record + 56, stat->dev);
    hv_put64(record + 64, offset);
}

int hv_read_pack_done(const hv_read_pack *pack)
{
    return pack->next == pack->entries.count || pack->misses > HV_MISSES_MAX;
}

void hv_read_pack_step(hv_read_pack *pack)
{
    int64_t until = hv_now_ms() + HV_STEP_MS;
    while (!hv_read_pack_done(pack)) {
        size_t i = pack->next;
        hv_stat stat = {0};
        int status = read_file(pack, hv_dirfd_at(&pack->entries, i), pack->entries.names[i], &stat);
        if (status > 0 && hv_interrupted(status))
            return;
        put_record(pack->records + i * HV_FILE_RECORD_SIZE, status, &stat, pack->used);
        if (status == 0)
            pack->used += (size_t)stat.size;
        pack->misses += status == HV_NO_ROOM;
        pack->next = i + 1;
        if (hv_now_ms() >= until)
            return;
    }
}
