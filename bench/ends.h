/* The sockets of the yardsticks: one connection over unix, tcp (loopback) or vsock, or through a VMM's hybrid socket, tuned as
 * hvcopy tunes it. */
#ifndef ENDS_H
#define ENDS_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

static void check(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

enum { HYBRID = -2 };  /* only to dial: a unix socket, of which one asks for a port of the guest */

static int family_of(const char *name)
{
    if (strcmp(name, "hybrid") == 0)
        return HYBRID;
    if (strcmp(name, "vsock") == 0)
        return AF_VSOCK;
    return strcmp(name, "tcp") == 0 ? AF_INET : AF_UNIX;
}

/* As hvcopy/transport/tuning.py: TCP's buffers are the kernel's own affair. 0 keeps the system's. */
static void tune(int sock, int family, unsigned long buffer)
{
    int yes = 1, size = (int)buffer;
    uint64_t wide = buffer;
    if (family == AF_INET) {
        setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    } else if (buffer && family == AF_VSOCK) {  /* before connect and listen; the maximum first, it clamps the size */
        setsockopt(sock, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &wide, sizeof wide);
        setsockopt(sock, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &wide, sizeof wide);
    } else if (buffer) {
        setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
}

/* PATH; PORT of the loopback; PORT to listen on or CID:PORT. */
static socklen_t resolve(int family, const char *text, int listening, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (family == AF_UNIX) {
        struct sockaddr_un *name = (struct sockaddr_un *)out;
        name->sun_family = AF_UNIX;
        check(strlen(text) < sizeof name->sun_path, "path");
        strcpy(name->sun_path, text);
        return sizeof *name;
    }
    if (family == AF_INET) {
        struct sockaddr_in *name = (struct sockaddr_in *)out;
        name->sin_family = AF_INET;
        name->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        name->sin_port = htons((uint16_t)strtoul(text, NULL, 10));
        return sizeof *name;
    }
    struct sockaddr_vm *name = (struct sockaddr_vm *)out;
    const char *colon = strchr(text, ':');
    name->svm_family = AF_VSOCK;
    name->svm_cid = listening ? VMADDR_CID_ANY : (unsigned)strtoul(text, NULL, 10);
    name->svm_port = (unsigned)strtoul(colon ? colon + 1 : text, NULL, 10);
    return sizeof *name;
}

static int dialed(int family, const char *text, unsigned long buffer);

/* PATH:PORT */
static int through_vmm(const char *text, unsigned long buffer)
{
    char path[sizeof ((struct sockaddr_un *)0)->sun_path], line[32], answer[32] = "", last = 0;
    const char *colon = strrchr(text, ':');
    check(colon && (size_t)(colon - text) < sizeof path, "PATH:PORT");
    snprintf(path, sizeof path, "%.*s", (int)(colon - text), text);
    int sock = dialed(AF_UNIX, path, buffer);
    int length = snprintf(line, sizeof line, "CONNECT %s\n", colon + 1);
    check(send(sock, line, (size_t)length, MSG_NOSIGNAL) == length, "CONNECT");
    for (size_t have = 0; last != '\n'; have++) {
        check(have < sizeof answer && recv(sock, &last, 1, 0) == 1, "the VMM's answer");
        answer[have] = last;
    }
    check(strncmp(answer, "OK ", 3) == 0, "the VMM's answer");
    return sock;
}

static int dialed(int family, const char *text, unsigned long buffer)
{
    if (family == HYBRID)
        return through_vmm(text, buffer);
    struct sockaddr_storage address;
    socklen_t length = resolve(family, text, 0, &address);
    int sock = socket(family, SOCK_STREAM, 0);
    check(sock >= 0, "socket");
    tune(sock, family, buffer);
    check(connect(sock, (struct sockaddr *)&address, length) == 0, "connect");
    return sock;
}

/* Says "listening" on standard error, with the port that the system chose for tcp port 0, and takes one connection. */
static int accepted(int family, const char *text, unsigned long buffer)
{
    struct sockaddr_storage address;
    socklen_t length = resolve(family, text, 1, &address);
    int sock = socket(family, SOCK_STREAM, 0);
    check(sock >= 0, "socket");
    tune(sock, family, buffer);
    check(bind(sock, (struct sockaddr *)&address, length) == 0, "bind");
    check(listen(sock, 1) == 0, "listen");
    if (family == AF_INET) {
        check(getsockname(sock, (struct sockaddr *)&address, &length) == 0, "getsockname");
        fprintf(stderr, "listening %d\n", ntohs(((struct sockaddr_in *)&address)->sin_port));
    } else {
        fputs("listening\n", stderr);
    }
    int connection = accept(sock, NULL, NULL);
    check(connection >= 0, "accept");
    if (family != AF_VSOCK)  /* not inherited from the listener */
        tune(connection, family, buffer);
    return connection;
}

#endif
