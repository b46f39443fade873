/* The ends of directories: each made if it is missing, then its mode and time, in the order given. */
#include "hv_pack.h"

static hv_result open_or_make(int dirfd, const char *name)
{
    hv_result opened = hv_open_at(dirfd, name, HV_DIRECTORY);
    if (opened.err != ENOENT)
        return opened;
    hv_result made = hv_make_directory(dirfd, name);
    return made.err && made.err != EEXIST ? made : hv_open_at(dirfd, name, HV_DIRECTORY);
}

static int set_attributes(int fd, const hv_stat *now, const unsigned char *record)
{
    int err = hv_chmod(fd, (hv_get32(record + 8) & 0777) | (now->mode & 07000)).err;
    return err ? err : hv_set_mtime(fd, (int64_t)hv_get64(record)).err;
}

static int end_here(int fd, const unsigned char *record)
{
    hv_stat now = {0};
    int err = hv_fstat(fd, &now).err;
    return err ? err : set_attributes(fd, &now, record);
}

/* EXDEV for one of another file system than its folder, whose disk the caller has to know of. */
static int end_below(hv_end_pack *pack, int dirfd, const char *name, const unsigned char *record)
{
    hv_stat now = {0};
    int err = 0;
    if (dirfd != pack->dirfd) {
        err = hv_fstat(dirfd, &now).err;
        pack->device = now.dev;
        pack->dirfd = err ? -1 : dirfd;
    }
    if (err)
        return err;
    hv_result opened = open_or_make(dirfd, name);
    if (opened.err)
        return opened.err;
    err = hv_fstat((int)opened.value, &now).err;
    if (!err)
        err = now.dev != pack->device ? EXDEV : set_attributes((int)opened.value, &now, record);
    hv_close((int)opened.value);
    return err;
}

int hv_end_pack_step(hv_end_pack *pack)
{
    int64_t until = hv_now_ms() + HV_STEP_MS;
    while (pack->next < pack->entries.count && hv_now_ms() < until) {
        int dirfd = hv_dirfd_at(&pack->entries, pack->next);
        const char *name = pack->entries.names[pack->next];
        const unsigned char *record = pack->records + pack->next * HV_END_RECORD_SIZE;
        if (dirfd < 0 || (name ? end_below(pack, dirfd, name, record) : end_here(dirfd, record)))
            return 0;
        pack->next++;
    }
    return pack->next < pack->entries.count;
}
