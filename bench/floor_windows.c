/* The floor on Windows: one stream of 1 MiB reads and writes, file to file, without names, checks, or confirmation.
 *
 *   floor recv PORT FILE      says "listening PORT" on standard error, takes one connection and ends with it; 0: any
 *   floor send PORT FILE      TCP on 127.0.0.1, tuned as hvcopy tunes it (hvcopy/transport/tuning.py)
 */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 1 << 20 };

static char work[SLICE] __attribute__((aligned(4096)));

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

static void receive(SOCKET sock, const char *path)
{
    HANDLE file = CreateFileA(path, GENERIC_WRITE, FILE_SHARE_READ, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    check(file != INVALID_HANDLE_VALUE, path);
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
    HANDLE file = CreateFileA(path, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL, NULL);
    check(file != INVALID_HANDLE_VALUE, path);
    for (;;) {
        DWORD got = 0, sent = 0;
        check(ReadFile(file, work, SLICE, &got, NULL), "ReadFile");
        if (got == 0)
            break;
        for (DWORD done = 0; done < got; done += sent) {
            WSABUF part = {got - done, work + done};
            check(WSASend(sock, &part, 1, &sent, 0, NULL, NULL) == 0, "WSASend");
        }
    }
    check(shutdown(sock, SD_SEND) == 0, "shutdown");
    check(closesocket(sock) == 0, "closesocket");
}

int main(int argc, char **argv)
{
    WSADATA data;
    if (argc != 4) {
        fputs("usage: floor recv|send PORT FILE\n", stderr);
        return 2;
    }
    check(WSAStartup(MAKEWORD(2, 2), &data) == 0, "WSAStartup");
    if (strcmp(argv[1], "recv") == 0)
        receive(accepted(argv[2]), argv[3]);
    else
        transmit(dialed(argv[2]), argv[3]);
    return 0;
}
