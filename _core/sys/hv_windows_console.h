/* A console of Windows, whose text is UTF-8 here whatever its code pages are.  Included by hv_windows.h only.
 *
 * ReadFile and WriteFile would convert to and from these (Microsoft's conhost, and Wine's), which lack most characters.
 */
#ifndef HV_WINDOWS_CONSOLE_H
#define HV_WINDOWS_CONSOLE_H

enum { HV_CONSOLE_UNITS = 8192, HV_CTRL_Z = 0x1a };

static inline int hv_is_console(HANDLE handle)
{
    DWORD mode;
    return GetFileType(handle) == FILE_TYPE_CHAR && GetConsoleMode(handle, &mode);
}

/* value: whether what is written there somebody sees, or what is read there somebody types. */
static inline hv_result hv_is_terminal(int fd)
{
    hv_result is = {hv_is_console(hv_handle(fd)), 0};
    return is;
}

static inline DWORD hv_without_returns(wchar_t *text, DWORD length)
{
    DWORD kept = 0, i;
    for (i = 0; i < length; i++)
        if (text[i] != L'\r')
            text[kept++] = text[i];
    return kept;
}

/* A line that is typed ends with a line feed alone, as at any other terminal, and one that begins with Ctrl-Z is the end. */
static inline hv_result hv_read_console(HANDLE handle, unsigned char *into, size_t size)
{
    wchar_t typed[HV_CONSOLE_UNITS + 1];
    size_t wanted = size / 3 < HV_CONSOLE_UNITS ? size / 3 : HV_CONSOLE_UNITS;   /* a unit is at most 3 bytes */
    DWORD got = 0, more = 0, mode = 0;
    int lines = GetConsoleMode(handle, &mode) && (mode & ENABLE_LINE_INPUT);
    if (wanted < 2)
        return hv_failed(EINVAL);
    SetLastError(0);
    if (!ReadConsoleW(handle, typed, (DWORD)wanted - 1, &got, NULL))
        return hv_done(FALSE, 0);
    if (got == 0 && GetLastError() == ERROR_OPERATION_ABORTED)   /* Ctrl-C, and no end (CPython, Parser/myreadline.c) */
        return hv_failed(EINTR);
    if (lines && got && typed[0] == HV_CTRL_Z)
        return hv_done(TRUE, 0);
    if (got && IS_HIGH_SURROGATE(typed[got - 1]) && ReadConsoleW(handle, typed + got, 1, &more, NULL))
        got += more;
    if (lines)
        got = hv_without_returns(typed, got);
    return hv_done(TRUE, (DWORD)WideCharToMultiByte(CP_UTF8, 0, typed, (int)got, (char *)into, (int)hv_clamped(size), NULL, NULL));
}

/* How many bytes at the end of *text* begin a character that is not whole. */
static inline size_t hv_unfinished(const unsigned char *text, size_t length)
{
    size_t back;
    for (back = 1; back <= 3 && back <= length; back++) {
        unsigned char byte = text[length - back];
        if (byte < 0x80 || byte > 0xf4)
            return 0;
        if (byte >= 0xc0)
            return (byte >= 0xf0 ? 4u : byte >= 0xe0 ? 3u : 2u) > back ? back : 0;
    }
    return 0;
}

/* What begins a character is kept until the rest of it comes, and counts as written; bytes that are no UTF-8 show as U+FFFD. */
static inline hv_result hv_write_console(HANDLE handle, const unsigned char *data, size_t size)
{
    static struct { SRWLOCK lock; unsigned char bytes[4]; size_t count; } kept = {SRWLOCK_INIT, {0}, 0};
    unsigned char text[HV_CONSOLE_UNITS + sizeof(kept.bytes)];
    wchar_t shown[sizeof(text)];
    size_t taken = size < HV_CONSOLE_UNITS ? size : HV_CONSOLE_UNITS, length, left;
    DWORD put = 0;
    BOOL done = TRUE;
    AcquireSRWLockExclusive(&kept.lock);
    memcpy(text, kept.bytes, kept.count);
    memcpy(text + kept.count, data, taken);
    length = kept.count + taken;
    left = hv_unfinished(text, length);
    if (length > left) {
        int units = MultiByteToWideChar(CP_UTF8, 0, (const char *)text, (int)(length - left), shown, (int)sizeof(text));
        done = WriteConsoleW(handle, shown, (DWORD)units, &put, NULL);
    }
    if (done) {
        kept.count = left;
        memcpy(kept.bytes, text + length - left, left);
    }
    ReleaseSRWLockExclusive(&kept.lock);
    return hv_done(done, (DWORD)taken);
}

#endif
