/* Lets this process's files have holes as NTFS tells of them: Wine makes none, and tells of none.
 *
 * HVCOPY_HV_HOLES is the pieces of every file that are allocated, in order: "OFFSET+LENGTH OFFSET+LENGTH".  Each file says
 * that it is sparse (FILE_ATTRIBUTE_SPARSE_FILE).  FSCTL_QUERY_ALLOCATED_RANGES answers as it is documented: the pieces
 * within what was asked for, cut off at its ends; ERROR_MORE_DATA when there is no room for all of them.  Every
 * FSCTL_SET_SPARSE, which succeeds, and every query is a line in the file that HVCOPY_HV_HOLES_ASKED names.
 */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <windows.h>
#include <winioctl.h>
#include <stdio.h>
#include <stdlib.h>

#include "standin.h"

enum { PIECES = 16 };

static FILE_ALLOCATED_RANGE_BUFFER pieces[PIECES];
static int piece_count;
static char asked_file[MAX_PATH];

static void note(const char *line)
{
    FILE *file = fopen(asked_file, "ab");
    if (!file)
        abort();
    fputs(line, file);
    fclose(file);
}

static BOOL answer(const FILE_ALLOCATED_RANGE_BUFFER *asked, FILE_ALLOCATED_RANGE_BUFFER *into, DWORD room, DWORD *got)
{
    LONGLONG first = asked->FileOffset.QuadPart, last = first + asked->Length.QuadPart;
    char line[80];
    snprintf(line, sizeof line, "query %lld %lld\n", first, last);
    note(line);
    *got = 0;
    for (int i = 0; i < piece_count; i++) {
        LONGLONG start = pieces[i].FileOffset.QuadPart, end = start + pieces[i].Length.QuadPart;
        start = max(start, first);
        end = min(end, last);
        if (start >= end)
            continue;
        if (*got + sizeof *into > room) {
            SetLastError(ERROR_MORE_DATA);
            return FALSE;
        }
        into->FileOffset.QuadPart = start;
        into->Length.QuadPart = end - start;
        into++;
        *got += sizeof *into;
    }
    return TRUE;
}

static BOOL WINAPI our_DeviceIoControl(HANDLE handle, DWORD code, LPVOID in, DWORD in_size, LPVOID out, DWORD out_size,
                                       LPDWORD got, LPOVERLAPPED later)
{
    if (code == FSCTL_SET_SPARSE) {
        note("set sparse\n");
        return TRUE;
    }
    if (code == FSCTL_QUERY_ALLOCATED_RANGES && in_size == sizeof(FILE_ALLOCATED_RANGE_BUFFER))
        return answer(in, out, out_size, got);
    return DeviceIoControl(handle, code, in, in_size, out, out_size, got, later);
}

static BOOL WINAPI our_GetFileInformationByHandle(HANDLE handle, LPBY_HANDLE_FILE_INFORMATION found)
{
    BOOL done = GetFileInformationByHandle(handle, found);
    if (done && !(found->dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY))
        found->dwFileAttributes |= FILE_ATTRIBUTE_SPARSE_FILE;
    return done;
}

static const hv_replacement CALLS[] = {
    {"DeviceIoControl", our_DeviceIoControl}, {"GetFileInformationByHandle", our_GetFileInformationByHandle}, {NULL, NULL},
};

/* Returns how many of *module*'s imports were exchanged. */
__declspec(dllexport) int hv_install_holes(unsigned char *module)
{
    char text[256] = "", *rest = text;
    GetEnvironmentVariableA("HVCOPY_HV_HOLES", text, sizeof text);
    GetEnvironmentVariableA("HVCOPY_HV_HOLES_ASKED", asked_file, sizeof asked_file);
    for (piece_count = 0; piece_count < PIECES && *rest; piece_count++) {
        pieces[piece_count].FileOffset.QuadPart = strtoll(rest, &rest, 10);
        pieces[piece_count].Length.QuadPart = strtoll(rest, &rest, 10);   /* with its + */
    }
    return hv_replace(module, "kernel32.dll", CALLS);
}
