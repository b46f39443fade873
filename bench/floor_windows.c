/* The floor on Windows: one stream of 1 MiB reads and writes, file to file, without names, checks, or confirmation.
 *
 *   floor recv PORT FILE      says "listening PORT" on standard error, takes one connection and ends with it; 0: any
 *   floor send PORT FILE      TCP on 127.0.0.1, tuned as hvcopy tunes it (hvcopy/transport/tuning.py)
 *   floor ... overlapped      the file is read or written in the background, one block while the other is on its way
 */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 1 << 20 };

static char work[SLICE] __attribute__((aligned(4096))), other[SLICE] __attribute__((aligned(4096)));

static void check(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "%s: error %lu\n", what, GetLastError());
    exit(1);
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in address = {0};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((unsigned short)strtoul(port, NULL, 10));
    return address;
}

static void at_once(SOCKET sock)
{
    BOOL yes = TRUE;
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, (char *)&yes, sizeof yes);
}

static SOCKET accepted(const char *port)
{
    struct sockaddr_in address = loopback(port);
    int length = sizeof address;
    SOCKET listener = socket(AF_INET, SOCK_STREAM, 0), sock;
    check(listener != INVALID_SOCKET, "socket");
    check(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
    check(listen(listener, 1) == 0, "listen");
    check(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    fprintf(stderr, "listening %d\n", ntohs(address.sin_port));
    fflush(stderr);
    sock = accept(listener, NULL, NULL);
    check(sock != INVALID_SOCKET, "accept");
    at_once(sock);
    return sock;
}

static SOCKET dialed(const char *port)
{
    struct sockaddr_in address = loopback(port);
    SOCKET sock = socket(AF_INET, SOCK_STREAM, 0);
    check(sock != INVALID_SOCKET, "socket");
    at_once(sock);
    check(connect(sock, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    return sock;
}

static void send_whole(SOCKET sock, char *data, DWORD size)
{
    DWORD sent = 0;
    for (DWORD done = 0; done < size; done += sent) {
        WSABUF part = {size - done, data + done};
        check(WSASend(sock, &part, 1, &sent, 0, NULL, NULL) == 0, "WSASend");
    }
}

static HANDLE opened(const char *path, DWORD access, DWORD disposition, DWORD flags)
{
    HANDLE file = CreateFileA(path, access, FILE_SHARE_READ, NULL, disposition, FILE_ATTRIBUTE_NORMAL | flags, NULL);
    check(file != INVALID_HANDLE_VALUE, path);
    return file;
}

static void receive(SOCKET sock, const char *path)
{
    HANDLE file = opened(path, GENERIC_WRITE, CREATE_ALWAYS, 0);
    for (;;) {
        WSABUF part = {SLICE, work};
        DWORD got = 0, put = 0, flags = 0;
        check(WSARecv(sock, &part, 1, &got, &flags, NULL, NULL) == 0, "WSARecv");
        if (got == 0)
            break;
        check(WriteFile(file, work, got, &put, NULL) && put == got, "WriteFile");
    }
    check(CloseHandle(file), "CloseHandle");
}

static void transmit(SOCKET sock, const char *path)
{
    HANDLE file = opened(path, GENERIC_READ, OPEN_EXISTING, 0);
    for (;;) {
        DWORD got = 0;
        check(ReadFile(file, work, SLICE, &got, NULL), "ReadFile");
        if (got == 0)
            break;
        send_whole(sock, work, got);
    }
    check(shutdown(sock, SD_SEND) == 0, "shutdown");
    check(closesocket(sock) == 0, "closesocket");
}

/* A block of a file that is read or written in the background. */
struct flight {
    OVERLAPPED at;
    char *data;
    BOOL on_its_way;
};

static OVERLAPPED *placed(struct flight *flight, unsigned long long offset)
{
    flight->at.Offset = (DWORD)offset;
    flight->at.OffsetHigh = (DWORD)(offset >> 32);
    return &flight->at;
}

static void started(struct flight *flight, BOOL done, const char *what)
{
    DWORD error = done ? 0 : GetLastError();
    check(done || error == ERROR_IO_PENDING || error == ERROR_HANDLE_EOF, what);
    flight->on_its_way = done || error == ERROR_IO_PENDING;
}

static DWORD landed(struct flight *flight, HANDLE file)
{
    DWORD moved = 0;
    if (flight->on_its_way && !GetOverlappedResult(file, &flight->at, &moved, TRUE))
        check(GetLastError() == ERROR_HANDLE_EOF, "GetOverlappedResult");
    flight->on_its_way = FALSE;
    return moved;
}

static void pair(struct flight flights[2])
{
    memset(flights, 0, 2 * sizeof *flights);
    for (int i = 0; i < 2; i++) {
        flights[i].data = i ? other : work;
        flights[i].at.hEvent = CreateEventA(NULL, TRUE, FALSE, NULL);
        check(flights[i].at.hEvent != NULL, "CreateEvent");
    }
}

static void receive_overlapped(SOCKET sock, const char *path)
{
    HANDLE file = opened(path, GENERIC_WRITE, CREATE_ALWAYS, FILE_FLAG_OVERLAPPED);
    struct flight flights[2];
    unsigned long long offset = 0;
    pair(flights);
    for (int turn = 0;; turn ^= 1) {
        struct flight *now = &flights[turn];
        WSABUF part = {SLICE, now->data};
        DWORD got = 0, flags = 0;
        landed(now, file);
        check(WSARecv(sock, &part, 1, &got, &flags, NULL, NULL) == 0, "WSARecv");
        if (got == 0)
            break;
        started(now, WriteFile(file, now->data, got, NULL, placed(now, offset)), "WriteFile");
        offset += got;
    }
    landed(&flights[0], file);
    landed(&flights[1], file);
    check(CloseHandle(file), "CloseHandle");
}

static void transmit_overlapped(SOCKET sock, const char *path)
{
    HANDLE file = opened(path, GENERIC_READ, OPEN_EXISTING, FILE_FLAG_OVERLAPPED);
    struct flight flights[2];
    unsigned long long offset = 0;
    DWORD got;
    pair(flights);
    started(&flights[0], ReadFile(file, work, SLICE, NULL, placed(&flights[0], 0)), "ReadFile");
    for (int turn = 0; (got = landed(&flights[turn], file)) != 0; turn ^= 1) {
        struct flight *next = &flights[turn ^ 1];
        offset += got;
        started(next, ReadFile(file, next->data, SLICE, NULL, placed(next, offset)), "ReadFile");
        send_whole(sock, flights[turn].data, got);
    }
    check(shutdown(sock, SD_SEND) == 0, "shutdown");
    check(closesocket(sock) == 0, "closesocket");
}

int main(int argc, char **argv)
{
    WSADATA data;
    int overlapped = argc == 5 && strcmp(argv[4], "overlapped") == 0;
    if (argc != 4 + overlapped) {
        fputs("usage: floor recv|send PORT FILE [overlapped]\n", stderr);
        return 2;
    }
    check(WSAStartup(MAKEWORD(2, 2), &data) == 0, "WSAStartup");
    if (strcmp(argv[1], "recv") == 0)
        (overlapped ? receive_overlapped : receive)(accepted(argv[2]), argv[3]);
    else
        (overlapped ? transmit_overlapped : transmit)(dialed(argv[2]), argv[3]);
    return 0;
}
