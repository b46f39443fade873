/* Files on Windows.  Included by hv_windows.h only.
 *
 * Names are resolved relative to a directory's handle, one component at a time and never through a link, as openat(2)
 * does it with O_NOFOLLOW: NtCreateFile with a RootDirectory.  Win32 has no such call.  Everything is opened so that
 * others may read, write, rename and delete it meanwhile, as on POSIX, unless HV_ALONE is asked for.
 */
#ifndef HV_WINDOWS_FILES_H
#define HV_WINDOWS_FILES_H

enum {
    HV_NAME_UNITS = 256,   /* UTF-16 units of one name and its zero: NTFS has 255 */
    HV_SHARE_ALL = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE,
    HV_PLAIN_OPEN = FILE_SYNCHRONOUS_IO_NONALERT | FILE_OPEN_REPARSE_POINT | FILE_OPEN_FOR_BACKUP_INTENT
};

/* Information classes and flags that not every header has (ntifs.h). */
enum {
    HV_RENAME = 10, HV_LINK = 11, HV_DISPOSITION = 13, HV_DISPOSITION_EX = 64, HV_RENAME_EX = 65,
    HV_REPLACE_EXISTING = 1, HV_POSIX_SEMANTICS = 2, HV_RENAME_READ_ONLY = 0x40,
    HV_DELETE = 1, HV_DELETE_POSIX = 2, HV_DELETE_READ_ONLY = 0x10
};

/* winternl.h lacks them; documented at learn.microsoft.com, ntifs.h. */
NTSYSAPI NTSTATUS NTAPI NtReadFile(HANDLE, HANDLE, PIO_APC_ROUTINE, PVOID, PIO_STATUS_BLOCK, PVOID, ULONG, PLARGE_INTEGER,
                                   PULONG);
NTSYSAPI NTSTATUS NTAPI NtWriteFile(HANDLE, HANDLE, PIO_APC_ROUTINE, PVOID, PIO_STATUS_BLOCK, PVOID, ULONG, PLARGE_INTEGER,
                                    PULONG);

typedef struct {
    ULONG how;       /* a BOOLEAN and padding in the classes without EX */
    HANDLE root;
    ULONG length;    /* bytes */
    WCHAR name[HV_NAME_UNITS];
} hv_new_name;

/* One component as UTF-16; its length, or 0 with *err*. */
static inline int hv_wide(const char *name, WCHAR *into, int *err)
{
    int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, name, -1, into, HV_NAME_UNITS);
    if (units == 0)
        *err = GetLastError() == ERROR_INSUFFICIENT_BUFFER ? ENAMETOOLONG : EILSEQ;
    return units ? units - 1 : 0;
}

static inline int hv_open_under(int dirfd, const char *name, ACCESS_MASK access, ULONG share, ULONG make, ULONG options,
                                HANDLE *handle)
{
    WCHAR wide[HV_NAME_UNITS];
    OBJECT_ATTRIBUTES attributes;
    UNICODE_STRING text;
    IO_STATUS_BLOCK io;
    int err = 0, units = hv_wide(name, wide, &err);
    if (units == 0)
        return err;
    InitializeObjectAttributes(&attributes, &text, OBJ_CASE_INSENSITIVE, hv_handle(dirfd), NULL);
    if (attributes.RootDirectory == INVALID_HANDLE_VALUE)
        return EBADF;
    if (units == 1 && wide[0] == L'.')
        units = 0;   /* the directory itself, once more */
    text.Buffer = wide;
    text.Length = text.MaximumLength = (USHORT)(units * sizeof(WCHAR));
    return hv_errno_of_status(NtCreateFile(handle, access | SYNCHRONIZE, &attributes, &io, NULL, FILE_ATTRIBUTE_NORMAL,
                                           share, make, options, NULL, 0));
}

/* 1 for a symbolic link or a junction: what stands for another name. */
static inline int hv_is_link(HANDLE handle)
{
    FILE_ATTRIBUTE_TAG_INFO tag;
    return GetFileInformationByHandleEx(handle, FileAttributeTagInfo, &tag, sizeof tag)
        && (tag.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) && IsReparseTagNameSurrogate(tag.ReparseTag);
}

/* value: 1 for such a one. */
static inline hv_result hv_link_kind(int fd)
{
    hv_result is = {hv_is_link(hv_handle(fd)), 0};
    return is;
}

/* A reparse point that is no link (a file in the cloud, or one the file system deduplicated) is opened again in the way
 * that brings its contents.  That way would follow a link, too: what it led to has to be the same file, in whose place
 * somebody may have put one. */
static inline int hv_open_plain(int dirfd, const char *name, ACCESS_MASK access, ULONG share, ULONG options, HANDLE *handle)
{
    FILE_ATTRIBUTE_TAG_INFO tag;
    FILE_ID_INFO was, is;
    BOOL known;
    int err = hv_open_under(dirfd, name, access, share, FILE_OPEN, options | HV_PLAIN_OPEN, handle);
    if (err || !GetFileInformationByHandleEx(*handle, FileAttributeTagInfo, &tag, sizeof tag)
        || !(tag.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT))
        return err;
    known = GetFileInformationByHandleEx(*handle, FileIdInfo, &was, sizeof was);
    CloseHandle(*handle);
    if (!known || IsReparseTagNameSurrogate(tag.ReparseTag))
        return ELOOP;
    err = hv_open_under(dirfd, name, access, share, FILE_OPEN, options | (HV_PLAIN_OPEN & ~FILE_OPEN_REPARSE_POINT), handle);
    if (err)
        return err;
    if (GetFileInformationByHandleEx(*handle, FileIdInfo, &is, sizeof is) && was.VolumeSerialNumber == is.VolumeSerialNumber
        && memcmp(&was.FileId, &is.FileId, sizeof is.FileId) == 0)
        return 0;
    CloseHandle(*handle);
    return ELOOP;
}

static inline ACCESS_MASK hv_access(int how)
{
    ACCESS_MASK access = FILE_READ_ATTRIBUTES;
    if (how & (HV_READ | HV_WRITE))
        access |= FILE_GENERIC_READ;
    if (how & HV_WRITE)
        access |= FILE_GENERIC_WRITE;
    return access;
}

/* value: a descriptor.  HV_DIRECTORY: with the right to set its times, if this user has it. */
static inline hv_result hv_open_at(int dirfd, const char *name, int how)
{
    ULONG share = how & HV_ALONE ? FILE_SHARE_READ | FILE_SHARE_DELETE : HV_SHARE_ALL;
    HANDLE handle;
    int err;
    if (how & HV_DIRECTORY) {
        ACCESS_MASK list = FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES;
        err = hv_open_plain(dirfd, name, list | FILE_WRITE_ATTRIBUTES, share, FILE_DIRECTORY_FILE, &handle);
        if (err == EACCES || err == EROFS)
            err = hv_open_plain(dirfd, name, list, share, FILE_DIRECTORY_FILE, &handle);
    } else if (how & HV_NEW) {
        err = hv_open_under(dirfd, name, hv_access(how), share, FILE_CREATE, HV_PLAIN_OPEN | FILE_NON_DIRECTORY_FILE,
                            &handle);
    } else if (how & HV_ANY) {
        err = hv_open_under(dirfd, name, FILE_READ_ATTRIBUTES, share, FILE_OPEN, HV_PLAIN_OPEN, &handle);
    } else {
        err = hv_open_plain(dirfd, name, hv_access(how), share, FILE_NON_DIRECTORY_FILE, &handle);
    }
    return err ? hv_failed(err) : hv_descriptor(handle, how & HV_WRITE ? _O_RDWR : _O_RDONLY);
}

/* A directory by its path in UTF-8, links followed: what the user of this side named. */
static inline hv_result hv_open_folder(const char *path)
{
    ACCESS_MASK list = FILE_LIST_DIRECTORY | FILE_TRAVERSE | FILE_READ_ATTRIBUTES | SYNCHRONIZE;
    int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    WCHAR *wide = units ? malloc((size_t)units * sizeof(WCHAR)) : NULL;
    FILE_BASIC_INFO basic = {0};
    HANDLE handle;
    if (!wide)
        return hv_failed(units ? ENOMEM : EILSEQ);
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, wide, units);
    handle = CreateFileW(wide, list | FILE_WRITE_ATTRIBUTES, HV_SHARE_ALL, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (handle == INVALID_HANDLE_VALUE && (GetLastError() == ERROR_ACCESS_DENIED || GetLastError() == ERROR_WRITE_PROTECT))
        handle = CreateFileW(wide, list, HV_SHARE_ALL, NULL, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, NULL);
    if (handle == INVALID_HANDLE_VALUE) {
        hv_result failed = hv_done(FALSE, 0);
        free(wide);
        return failed;
    }
    free(wide);
    if (!GetFileInformationByHandleEx(handle, FileBasicInfo, &basic, sizeof basic)
        || !(basic.FileAttributes & FILE_ATTRIBUTE_DIRECTORY)) {
        CloseHandle(handle);
        return hv_failed(ENOTDIR);
    }
    return hv_descriptor(handle, _O_RDONLY);
}

/* The next entries of a directory, for hv_next_entry.  value: 1, or 0 when there are no more. */
static inline hv_result hv_list(int fd, unsigned char *into, size_t size, int first)
{
    /* not FileIdBothDirectoryInfo, which some network folders refuse (golang/go issue 62044) */
    FILE_INFO_BY_HANDLE_CLASS class_ = first ? FileFullDirectoryRestartInfo : FileFullDirectoryInfo;
    if (GetFileInformationByHandleEx(hv_handle(fd), class_, into, (DWORD)size))
        return hv_done(TRUE, 1);
    if (GetLastError() == ERROR_NO_MORE_FILES || (first && GetLastError() == ERROR_FILE_NOT_FOUND))   /* an empty root */
        return hv_done(TRUE, 0);
    return hv_done(FALSE, 0);
}

/* The entry at *at*; bytes to the one after it, 0 for the last. */
static inline size_t hv_next_entry(const unsigned char *at, hv_entry *entry)
{
    const FILE_FULL_DIR_INFO *info = (const void *)at;
    entry->name = info->FileName;
    entry->units = info->FileNameLength / sizeof(WCHAR);
    entry->kind = info->FileAttributes & FILE_ATTRIBUTE_DIRECTORY ? HV_SUBDIRECTORY : HV_REGULAR;
    /* EaSize is the tag of a reparse point (learn.microsoft.com, FILE_FULL_DIR_INFORMATION) */
    if ((info->FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) && IsReparseTagNameSurrogate(info->EaSize))
        entry->kind = HV_SYMLINK;
    return info->NextEntryOffset;
}

static inline hv_result hv_make_directory(int dirfd, const char *name)
{
    HANDLE handle;
    int err = hv_open_under(dirfd, name, FILE_LIST_DIRECTORY, HV_SHARE_ALL, FILE_CREATE,
                            HV_PLAIN_OPEN | FILE_DIRECTORY_FILE, &handle);
    if (!err)
        CloseHandle(handle);
    return hv_failed(err);
}

static inline hv_result hv_open_file(int dirfd, const char *name) { return hv_open_at(dirfd, name, HV_READ); }

static inline hv_result hv_create_named(int dirfd, const char *name)
{
    return hv_open_at(dirfd, name, HV_WRITE | HV_NEW);
}

static inline hv_result hv_create_anonymous(int dirfd)
{
    (void)dirfd;
    return hv_failed(ENOSYS);
}

static inline hv_result hv_link_anonymous(int fd, int dirfd, const char *name)
{
    (void)fd; (void)dirfd; (void)name;
    return hv_failed(ENOSYS);
}

static inline int64_t hv_wall_ns(void)
{
    FILETIME now;
    GetSystemTimeAsFileTime(&now);
    return hv_unix_ns(now);
}

static inline hv_result hv_pause(int ms)
{
    Sleep((DWORD)ms);
    return hv_failed(0);
}

static inline hv_result hv_fstat(int fd, hv_stat *out)
{
    BY_HANDLE_FILE_INFORMATION now;
    HANDLE handle = hv_handle(fd);
    hv_result done = hv_done(GetFileInformationByHandle(handle, &now), 0);
    FILE_BASIC_INFO basic;
    FILE_ID_INFO id;
    if (done.err)
        return done;
    out->regular = !(now.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) && GetFileType(handle) == FILE_TYPE_DISK
        && !((now.dwFileAttributes & FILE_ATTRIBUTE_REPARSE_POINT) && hv_is_link(handle));
    out->mode = out->regular ? 0100000 : 040000;
    out->mode |= now.dwFileAttributes & FILE_ATTRIBUTE_READONLY ? 0444 : 0644;
    out->uid = out->gid = 0;
    out->nlink = now.nNumberOfLinks;
    out->size = (int64_t)((uint64_t)now.nFileSizeHigh << 32 | now.nFileSizeLow);
    out->mtime_ns = hv_unix_ns(now.ftLastWriteTime);
    out->ctime_ns = hv_unix_ns(now.ftCreationTime);
    if (GetFileInformationByHandleEx(handle, FileBasicInfo, &basic, sizeof basic)) {   /* as os.fstat since CPython 3.12 */
        FILETIME changed = {basic.ChangeTime.LowPart, (DWORD)basic.ChangeTime.HighPart};
        out->ctime_ns = hv_unix_ns(changed);
    }
    out->ino = (uint64_t)now.nFileIndexHigh << 32 | now.nFileIndexLow;
    out->dev = now.dwVolumeSerialNumber;
    if (GetFileInformationByHandleEx(handle, FileIdInfo, &id, sizeof id)) {
        memcpy(&out->ino, &id.FileId, sizeof out->ino);   /* the other half is zero but on ReFS */
        out->dev = id.VolumeSerialNumber;
    }
    return done;
}

/* One call reads or writes at most 1 GiB.  Not by ReadFile with an OVERLAPPED: the system would be told of each call for
 * a completion port, which no file of ours has (an hEvent with its lowest bit set says so, but takes an event).  The
 * handles are synchronous; should one not be, the call is waited for as ReadFile does it without an OVERLAPPED. */
static inline hv_result hv_moved_at(HANDLE handle, NTSTATUS status, const IO_STATUS_BLOCK *io)
{
    hv_result result;
    if (status == HV_STATUS_PENDING) {
        WaitForSingleObject(handle, INFINITE);
        status = io->Status;
    }
    result.err = status == HV_STATUS_END_OF_FILE ? 0 : hv_errno_of_status(status);
    result.value = HV_INVALID_STATUS(status) ? 0 : (int64_t)io->Information;
    return result;
}

static inline hv_result hv_pread(int fd, unsigned char *into, size_t size, int64_t offset)
{
    HANDLE handle = hv_handle(fd);
    IO_STATUS_BLOCK io = {{0}, 0};
    LARGE_INTEGER at;
    at.QuadPart = offset;
    return hv_moved_at(handle, NtReadFile(handle, NULL, NULL, NULL, &io, into, (ULONG)hv_clamped(size), &at, NULL), &io);
}

static inline hv_result hv_pwrite(int fd, const unsigned char *data, size_t size, int64_t offset)
{
    HANDLE handle = hv_handle(fd);
    IO_STATUS_BLOCK io = {{0}, 0};
    LARGE_INTEGER at;
    at.QuadPart = offset;
    return hv_moved_at(handle, NtWriteFile(handle, NULL, NULL, NULL, &io, (void *)(uintptr_t)data, (ULONG)hv_clamped(size),
                                           &at, NULL), &io);
}

/* The system begins by itself. */
static inline hv_result hv_start_writeback(int fd, int64_t offset, int64_t size)
{
    (void)fd; (void)offset; (void)size;
    return hv_failed(0);
}

static inline hv_result hv_set_size(int fd, int64_t size)
{
    FILE_END_OF_FILE_INFO end;
    end.EndOfFile.QuadPart = size;
    return hv_done(SetFileInformationByHandle(hv_handle(fd), FileEndOfFileInfo, &end, sizeof end), 0);
}

static inline hv_result hv_make_sparse(int fd)
{
    DWORD none;
    return hv_done(DeviceIoControl(hv_handle(fd), FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &none, NULL), 0);
}

/* value: where the first allocated byte from *offset* on is, and in *end* where that piece ends; the size if there is
 * none, *offset* where the file system cannot tell. */
static inline hv_result hv_next_allocated(int fd, int64_t offset, int64_t size, int64_t *end)
{
    FILE_ALLOCATED_RANGE_BUFFER asked, found;
    DWORD got = 0;
    BOOL done;
    asked.FileOffset.QuadPart = offset;
    asked.Length.QuadPart = size - offset;
    done = DeviceIoControl(hv_handle(fd), FSCTL_QUERY_ALLOCATED_RANGES, &asked, sizeof asked, &found, sizeof found, &got, NULL);
    *end = size;
    if (!done && GetLastError() != ERROR_MORE_DATA) {
        hv_result failed = hv_done(FALSE, 0);
        return failed.err == ENOSYS || failed.err == EINVAL ? hv_done(TRUE, offset) : failed;   /* it cannot tell */
    }
    if (got < sizeof found)
        return hv_done(TRUE, size);
    *end = found.FileOffset.QuadPart + found.Length.QuadPart;
    return hv_done(TRUE, found.FileOffset.QuadPart);
}

static inline int hv_open_named(int dirfd, const char *name, ACCESS_MASK access, HANDLE *handle)
{
    return hv_open_under(dirfd, name, access | FILE_READ_ATTRIBUTES, HV_SHARE_ALL, FILE_OPEN, HV_PLAIN_OPEN, handle);
}

/* A class of ntdll that is missing here: an older Windows, a file system other than NTFS, Wine. */
static inline int hv_no_such_class(NTSTATUS status)
{
    return status == (NTSTATUS)0xC0000003 /* INVALID_INFO_CLASS */ || status == (NTSTATUS)0xC0000002 /* NOT_IMPLEMENTED */
        || status == (NTSTATUS)0xC000000D /* INVALID_PARAMETER */ || status == (NTSTATUS)0xC00000BB /* NOT_SUPPORTED */;
}

static inline NTSTATUS hv_set(HANDLE handle, void *value, ULONG size, int class_)
{
    IO_STATUS_BLOCK io;
    return NtSetInformationFile(handle, &io, value, size, (FILE_INFORMATION_CLASS)class_);
}

static inline int hv_fill_name(int dirfd, const char *name, hv_new_name *into)
{
    int err = 0, units = hv_wide(name, into->name, &err);
    into->root = hv_handle(dirfd);
    into->length = (ULONG)(units * sizeof(WCHAR));
    return units ? into->root == INVALID_HANDLE_VALUE ? EBADF : 0 : err;
}

static inline int hv_stands_a_directory(int dirfd, const char *name)
{
    HANDLE handle;
    FILE_BASIC_INFO basic;
    int is = 0;
    if (hv_open_named(dirfd, name, 0, &handle))
        return 0;
    if (GetFileInformationByHandleEx(handle, FileBasicInfo, &basic, sizeof basic))
        is = (basic.FileAttributes & FILE_ATTRIBUTE_DIRECTORY) && !hv_is_link(handle);
    CloseHandle(handle);
    return is;
}

/* With *replace* a directory in the way is EISDIR, and a file that is open elsewhere is replaced where the system can. */
static inline hv_result hv_rename_as(int dirfd, const char *from, const char *to, int replace)
{
    hv_new_name target;
    HANDLE handle;
    NTSTATUS status;
    int err = hv_fill_name(dirfd, to, &target);
    if (!err)
        err = hv_open_named(dirfd, from, DELETE, &handle);
    if (err)
        return hv_failed(err);
    target.how = replace ? HV_REPLACE_EXISTING | HV_POSIX_SEMANTICS | HV_RENAME_READ_ONLY : 0;
    status = hv_set(handle, &target, sizeof target, HV_RENAME_EX);
    if (hv_no_such_class(status)) {
        target.how = replace ? TRUE : FALSE;
        status = hv_set(handle, &target, sizeof target, HV_RENAME);
    }
    CloseHandle(handle);
    err = hv_errno_of_status(status);
    if (err == EACCES && replace && hv_stands_a_directory(dirfd, to))
        err = EISDIR;
    return hv_failed(err);
}

static inline hv_result hv_rename(int dirfd, const char *from, const char *to) { return hv_rename_as(dirfd, from, to, 1); }
static inline hv_result hv_rename_new(int dirfd, const char *from, const char *to) { return hv_rename_as(dirfd, from, to, 0); }

static inline hv_result hv_link_between(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
    hv_new_name target;
    HANDLE handle;
    int err = hv_fill_name(to_dirfd, to, &target);
    if (!err)
        err = hv_open_named(from_dirfd, from, FILE_WRITE_ATTRIBUTES, &handle);
    if (err)
        return hv_failed(err);
    target.how = FALSE;
    err = hv_errno_of_status(hv_set(handle, &target, sizeof target, HV_LINK));
    CloseHandle(handle);
    return hv_failed(err);
}

static inline hv_result hv_link(int dirfd, const char *from, const char *to)
{
    return hv_link_between(dirfd, from, dirfd, to);
}

/* FAT, and Windows before 1809, have only this way, which refuses what is read-only; its other names are so again afterwards. */
static inline NTSTATUS hv_delete_plainly(HANDLE handle)
{
    BOOLEAN yes = TRUE;
    FILE_BASIC_INFO was;
    NTSTATUS status = hv_set(handle, &yes, sizeof yes, HV_DISPOSITION);
    if (status && GetFileInformationByHandleEx(handle, FileBasicInfo, &was, sizeof was)
        && (was.FileAttributes & FILE_ATTRIBUTE_READONLY)) {
        FILE_BASIC_INFO now = {.FileAttributes = FILE_ATTRIBUTE_NORMAL};   /* times of 0 stay */
        SetFileInformationByHandle(handle, FileBasicInfo, &now, sizeof now);
        status = hv_set(handle, &yes, sizeof yes, HV_DISPOSITION);
        now.FileAttributes = was.FileAttributes;
        SetFileInformationByHandle(handle, FileBasicInfo, &now, sizeof now);
    }
    return status;
}

/* A file or a link; a directory is EISDIR. */
static inline hv_result hv_unlink(int dirfd, const char *name)
{
    ULONG how = HV_DELETE | HV_DELETE_POSIX | HV_DELETE_READ_ONLY;
    HANDLE handle;
    NTSTATUS status;
    int err = hv_stands_a_directory(dirfd, name) ? EISDIR : hv_open_named(dirfd, name, DELETE | FILE_WRITE_ATTRIBUTES, &handle);
    if (err == EACCES)   /* who may delete what is in a folder may not always change it */
        err = hv_open_named(dirfd, name, DELETE, &handle);
    if (err)
        return hv_failed(err);
    status = hv_set(handle, &how, sizeof how, HV_DISPOSITION_EX);
    if (hv_no_such_class(status))
        status = hv_delete_plainly(handle);
    CloseHandle(handle);
    return hv_failed(hv_errno_of_status(status));
}

/* Of a mode Windows has one bit: whether its owner may write. */
static inline hv_result hv_chmod(int fd, uint32_t mode)
{
    FILE_BASIC_INFO basic;
    HANDLE handle = hv_handle(fd);
    DWORD read_only = mode & 0200 ? 0 : FILE_ATTRIBUTE_READONLY;
    hv_result done = hv_done(GetFileInformationByHandleEx(handle, FileBasicInfo, &basic, sizeof basic), 0);
    /* on a directory it means something else: that the shell has notes on it */
    if (done.err || (basic.FileAttributes & FILE_ATTRIBUTE_DIRECTORY)
        || (basic.FileAttributes & FILE_ATTRIBUTE_READONLY) == read_only)
        return done;
    memset(&basic.CreationTime, 0, 4 * sizeof basic.CreationTime);   /* 0: the times stay */
    basic.FileAttributes = (basic.FileAttributes & ~FILE_ATTRIBUTE_READONLY) | read_only;
    return hv_done(SetFileInformationByHandle(handle, FileBasicInfo, &basic, sizeof basic), 0);
}

static inline hv_result hv_chown(int fd, uint32_t uid, uint32_t gid)
{
    (void)fd; (void)uid; (void)gid;
    return hv_failed(ENOSYS);
}

static inline hv_result hv_set_mtime(int fd, int64_t mtime_ns)
{
    FILETIME time = hv_file_time(mtime_ns);
    return hv_done(SetFileTime(hv_handle(fd), NULL, NULL, &time), 0);
}

/* One file: a volume is flushed for administrators only.  A directory's entries are in the file system's journal. */
static inline hv_result hv_sync_filesystem(int fd)
{
    FILE_BASIC_INFO basic;
    hv_result done = hv_done(GetFileInformationByHandleEx(hv_handle(fd), FileBasicInfo, &basic, sizeof basic), 0);
    if (done.err || (basic.FileAttributes & FILE_ATTRIBUTE_DIRECTORY))
        return done;
    return hv_done(FlushFileBuffers(hv_handle(fd)), 0);
}

#endif
