/* Lets Hyper-V connections of this process break, as HVCOPY_HV_BREAKS says:
 *
 *   recv ERROR BYTES   once that many bytes have moved, both ways taken together, the next receive fails
 *   send ERROR BYTES   the same for the next send
 *   end ERROR          a peer's end of stream is told as that error
 *   look ERROR         every look at what comes next (MSG_PEEK) fails
 *
 * From the moment that the bytes have moved nothing does any more, so that the call which is meant comes first; after it
 * every call fails with that error.  A receive with flags is refused: of none is known what AF_HYPERV makes of it.
 */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <windows.h>
#include <stdio.h>
#include <string.h>

#include "standin.h"

enum { RECV = 1, SEND = 2, END = 4, LOOK = 8 };
enum { PAUSE_MS = 10 };

static int breaks_at, breaks_with;
static LONGLONG breaks_after;
static volatile LONG64 moved;
static volatile LONG broken;

/* What a call of one kind ends in: 0 when nothing hinders it. */
static int fate_of_call(SOCKET sock, int kind)
{
    if (!(breaks_at & (RECV | SEND)) || moved < breaks_after || !hv_is_ours(sock))
        return 0;
    if (breaks_at == kind)
        InterlockedExchange(&broken, 1);
    return broken ? breaks_with : WSAEWOULDBLOCK;
}

static int failed(int error)
{
    WSASetLastError(error);
    return SOCKET_ERROR;
}

static int WSAAPI our_WSARecv(SOCKET sock, LPWSABUF parts, DWORD count, LPDWORD got, LPDWORD flags, LPWSAOVERLAPPED later,
                              LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    int fate = fate_of_call(sock, RECV), rc;
    if (*flags || fate)
        return failed(*flags ? WSAEOPNOTSUPP : fate);
    rc = WSARecv(sock, parts, count, got, flags, later, routine);
    if (rc == 0 && *got == 0 && breaks_at == END && hv_is_ours(sock))
        return failed(breaks_with);
    if (rc == 0 && hv_is_ours(sock))
        InterlockedExchangeAdd64(&moved, *got);
    return rc;
}

static int WSAAPI our_recv(SOCKET sock, char *into, int size, int flags)
{
    return breaks_at == LOOK && (flags & MSG_PEEK) && hv_is_ours(sock) ? failed(breaks_with) : recv(sock, into, size, flags);
}

static int WSAAPI our_WSASend(SOCKET sock, LPWSABUF parts, DWORD count, LPDWORD sent, DWORD flags, LPWSAOVERLAPPED later,
                              LPWSAOVERLAPPED_COMPLETION_ROUTINE routine)
{
    int fate = fate_of_call(sock, SEND), rc;
    if (fate)
        return failed(fate);
    rc = WSASend(sock, parts, count, sent, flags, later, routine);
    if (rc == 0 && hv_is_ours(sock))
        InterlockedExchangeAdd64(&moved, *sent);
    return rc;
}

/* Who waits hears at once of a call that is to fail, and of nothing else. */
static int WSAAPI our_WSAPoll(LPWSAPOLLFD entries, ULONG count, INT timeout)
{
    int fate = count == 1 ? fate_of_call(entries->fd, entries->events & POLLRDNORM ? RECV : SEND) : 0;
    if (!fate)
        return WSAPoll(entries, count, timeout);
    entries->revents = fate == WSAEWOULDBLOCK ? 0 : POLLERR;
    if (!entries->revents)
        Sleep(timeout >= 0 && timeout < PAUSE_MS ? (DWORD)timeout : PAUSE_MS);
    return entries->revents != 0;
}

static const hv_replacement CALLS[] = {
    {"WSARecv", our_WSARecv}, {"WSASend", our_WSASend}, {"WSAPoll", our_WSAPoll}, {"recv", our_recv}, {NULL, NULL},
};

/* Returns how many of *module*'s imports were exchanged. */
__declspec(dllexport) int hv_install_breaks(unsigned char *module)
{
    char text[64] = "", kind[8] = "";
    GetEnvironmentVariableA("HVCOPY_HV_BREAKS", text, sizeof text);
    if (sscanf(text, "%7s %d %lld", kind, &breaks_with, &breaks_after) < 2)
        return 0;
    breaks_at = !strcmp(kind, "recv") ? RECV : !strcmp(kind, "send") ? SEND : !strcmp(kind, "end") ? END
        : !strcmp(kind, "look") ? LOOK : 0;
    return breaks_at ? hv_replace(module, "ws2_32.dll", CALLS) : 0;
}
