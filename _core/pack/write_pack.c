/* Writing a pack of small files: each appears whole under its name or not at all; failures leave nothing. */
#include "hv_pack.h"

#include <stdio.h>

enum { CREATE_ATTEMPTS = 64 };   /* temporary names tried before EEXIST is believed */

static int dirfd_of(const hv_write_pack *pack, const hv_new_file *file)
{
    return hv_dirfd_at(&pack->entries, file->index);
}

static void temp_name(const hv_write_pack *pack, uint64_t serial, char *name)
{
    snprintf(name, HV_TEMP_NAME_MAX, "%s%016llx%llx", pack->temp_prefix, (unsigned long long)pack->salt,
             (unsigned long long)serial);
}

/* What O_TMPFILE gives where the filesystem or the kernel has no such thing (open(2)). */
static int no_anonymous_here(int err)
{
    return err == EOPNOTSUPP || err == EISDIR || err == ENOENT || err == EINVAL || err == ENOSYS;
}

/* What linking from an anonymous file gives where that does not work: no /proc, no hard links, or forbidden
 * by fs.protected_hardlinks for a file that now belongs to somebody else (proc_sys_fs(5)). */
static int no_linking_here(int err)
{
    return err == ENOENT || err == EPERM || err == EXDEV || err == EOPNOTSUPP || err == EINVAL
        || err == ENOSYS;
}

static int create_named(hv_write_pack *pack, hv_new_file *file)
{
    char temp[HV_TEMP_NAME_MAX];
    hv_result made = {0, EEXIST};
    for (int i = 0; i < CREATE_ATTEMPTS && made.err == EEXIST; i++) {
        file->serial = ++pack->serial;
        temp_name(pack, file->serial, temp);
        made = hv_create_named(dirfd_of(pack, file), temp);
    }
    if (made.err) {
        file->serial = 0;
        return made.err;
    }
    file->fd = (int)made.value;
    return 0;
}

static int create(hv_write_pack *pack, hv_new_file *file)
{
    if (!pack->no_anonymous) {
        hv_result made = hv_create_anonymous(dirfd_of(pack, file));
        if (!made.err) {
            file->fd = (int)made.value;
            return 0;
        }
        if (!no_anonymous_here(made.err))
            return made.err;
        pack->no_anonymous = 1;
    }
    return create_named(pack, file);
}

static int write_contents(int fd, const unsigned char *data, uint64_t size)
{
    uint64_t done = 0;
    while (done < size) {
        hv_result wrote = hv_pwrite(fd, data + done, (size_t)(size - done), (int64_t)done);
        if (wrote.err)
            return wrote.err;
        if (wrote.value == 0)
            return EIO;
        done += (uint64_t)wrote.value;
    }
    return 0;
}

/* Contents, owner, mode, time: in this order, since write(2) and chown(2) clear set-id bits, and the time
 * moves with each write. */
static int fill(const hv_write_pack *pack, const hv_new_file *file)
{
    const unsigned char *place = pack->places + file->index * HV_PLACE_RECORD_SIZE;
    int err = write_contents(file->fd, pack->data + hv_get64(place), hv_get64(place + 8));
    if (!err && (pack->flags & HV_SET_OWNER))
        err = hv_chown(file->fd, hv_get32(place + 28), hv_get32(place + 32)).err;
    if (!err)
        err = hv_chmod(file->fd, hv_get32(place + 24) & 07777).err;
    if (!err)
        err = hv_set_mtime(file->fd, (int64_t)hv_get64(place + 16)).err;
    return err;
}

static void discard(const hv_write_pack *pack, hv_new_file *file)
{
    char temp[HV_TEMP_NAME_MAX];
    if (file->fd >= 0)
        hv_close(file->fd);
    file->fd = -1;
    if (file->serial) {
        temp_name(pack, file->serial, temp);
        hv_unlink(dirfd_of(pack, file), temp);
    }
    file->serial = 0;
}

/* From its temporary name to its own, closing it first: some filesystems tell of a failed write only then. */
static int place_named(hv_write_pack *pack, hv_new_file *file, const char *name)
{
    char temp[HV_TEMP_NAME_MAX];
    int dirfd = dirfd_of(pack, file);
    int err = hv_close(file->fd).err;
    file->fd = -1;
    if (err && !hv_interrupted(err))
        return err;
    temp_name(pack, file->serial, temp);
    if (pack->flags & HV_REPLACE) {
        err = hv_rename(dirfd, temp, name).err;   /* EISDIR for a directory; follows no link */
    } else {
        err = hv_rename_new(dirfd, temp, name).err;
        if (err == EINVAL || err == ENOSYS) {   /* the filesystem or the kernel has no RENAME_NOREPLACE */
            err = hv_link(dirfd, temp, name).err;
            if (!err)
                hv_unlink(dirfd, temp);
        }
    }
    if (!err)
        file->serial = 0;
    return err;
}

/* link(2) never replaces, so a file that is in the way is replaced by way of a temporary name. */
static int place_anonymous(hv_write_pack *pack, hv_new_file *file, const char *name)
{
    char temp[HV_TEMP_NAME_MAX];
    int dirfd = dirfd_of(pack, file);
    int err = hv_link_anonymous(file->fd, dirfd, name).err;
    if (err != EEXIST || !(pack->flags & HV_REPLACE))
        return err;
    for (int i = 0; i < CREATE_ATTEMPTS && err == EEXIST; i++) {
        file->serial = ++pack->serial;
        temp_name(pack, file->serial, temp);
        err = hv_link_anonymous(file->fd, dirfd, temp).err;
    }
    if (err) {
        file->serial = 0;
        return err;
    }
    return place_named(pack, file, name);
}

static int place(hv_write_pack *pack, hv_new_file *file)
{
    const char *name = pack->entries.names[file->index];
    int err = file->serial ? place_named(pack, file, name) : place_anonymous(pack, file, name);
    discard(pack, file);
    return err;
}

/* Whether the name is taken, which is looked at while names are: a copy done again finds nearly all of them so, and a new
 * one pays for one look a pack. */
static int stands(hv_write_pack *pack, const hv_new_file *file)
{
    hv_result found = {0, ENOENT};
    if (!pack->free_names && !(pack->flags & HV_REPLACE))
        found = hv_open_at(dirfd_of(pack, file), pack->entries.names[file->index], HV_ANY);
    if (!found.err)
        hv_close((int)found.value);
    pack->free_names = found.err != 0;
    return !found.err;
}

static int begin(hv_write_pack *pack, hv_new_file *file)
{
    file->fd = -1;
    file->serial = 0;
    if (!pack->entries.names[file->index])
        return EINVAL;
    if (dirfd_of(pack, file) < 0)
        return EBADF;   /* AT_FDCWD is not a directory handle */
    if (stands(pack, file))
        return EEXIST;
    int err = create(pack, file);
    if (!err)
        err = fill(pack, file);
    if (err)
        discard(pack, file);
    return err;
}

/* A file that cannot be linked from an anonymous one is written once more under a temporary name. */
static int place_or_rewrite(hv_write_pack *pack, hv_new_file *file)
{
    int anonymous = file->serial == 0;
    int err = place(pack, file);
    if (!anonymous || !err || !no_linking_here(err))
        return err;
    pack->no_anonymous = 1;
    err = begin(pack, file);
    if (!err && (pack->flags & HV_SYNC))
        err = hv_sync_filesystem(file->fd).err;
    if (err)
        discard(pack, file);
    else
        err = place(pack, file);
    return err;
}

static void set_status(hv_write_pack *pack, size_t index, int status)
{
    if (status == EEXIST)
        pack->free_names = 0;
    hv_put32(pack->statuses + index * HV_STATUS_SIZE, (uint32_t)status);
}

/* Sync each filesystem among the waiting files once.  *errs* gets each file's outcome; EINTR is returned. */
static int sync_waiting(hv_write_pack *pack, int *errs)
{
    uint64_t devs[HV_SYNC_CHUNK];
    for (size_t i = 0; i < pack->waiting_count; i++) {
        hv_stat stat = {0};
        errs[i] = hv_fstat(pack->waiting[i].fd, &stat).err;
        devs[i] = stat.dev;
        size_t same = HV_SYNC_EACH ? i : 0;
        while (same < i && devs[same] != devs[i])
            same++;
        if (!errs[i])
            errs[i] = same < i ? errs[same] : hv_sync_filesystem(pack->waiting[i].fd).err;
        if (errs[i] && hv_interrupted(errs[i]))
            return errs[i];
    }
    return 0;
}

static int commit_waiting(hv_write_pack *pack)
{
    int errs[HV_SYNC_CHUNK];
    int err = sync_waiting(pack, errs);
    if (err)
        return err;
    for (size_t i = 0; i < pack->waiting_count; i++) {
        hv_new_file *file = &pack->waiting[i];
        if (errs[i])
            discard(pack, file);
        else
            errs[i] = place_or_rewrite(pack, file);
        set_status(pack, file->index, errs[i]);
    }
    pack->waiting_count = 0;
    return 0;
}

/* Begin file `next`.  Returns EINTR to be called again for the same file, else 0. */
static int advance(hv_write_pack *pack)
{
    hv_new_file *file = &pack->waiting[pack->waiting_count];
    file->index = pack->next;
    int err = begin(pack, file);
    if ((err == EMFILE || err == ENFILE) && pack->waiting_count) {
        err = commit_waiting(pack);   /* frees descriptors */
        return err ? err : advance(pack);
    }
    if (!err && (pack->flags & HV_SYNC)) {
        pack->waiting_count++;
    } else {
        if (!err)
            err = place_or_rewrite(pack, file);
        if (err && hv_interrupted(err))
            return err;
        set_status(pack, file->index, err);
    }
    pack->next++;
    return 0;
}

int hv_write_pack_done(const hv_write_pack *pack)
{
    return pack->next == pack->entries.count && pack->waiting_count == 0;
}

void hv_write_pack_step(hv_write_pack *pack)
{
    int64_t until = hv_now_ms() + HV_STEP_MS;
    while (!hv_write_pack_done(pack)) {
        int full = pack->waiting_count == HV_SYNC_CHUNK || pack->next == pack->entries.count;
        int err = full ? commit_waiting(pack) : advance(pack);
        if (err || hv_now_ms() >= until)
            return;
    }
}

void hv_write_pack_end(hv_write_pack *pack)
{
    while (pack->waiting_count)
        discard(pack, &pack->waiting[--pack->waiting_count]);
}
