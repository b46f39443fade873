/* The floor: one stream of 1 MiB reads and writes, file to file, without names, checks, or confirmation.
 *
 *   floor recv unix PATH BUFFER FILE       floor send unix PATH BUFFER FILE
 *   floor recv vsock PORT BUFFER FILE      floor send vsock CID:PORT BUFFER FILE
 *   floor peak OUTPUT COMMAND [ARG...]     runs a command; writes its peak resident memory in KiB to OUTPUT
 *
 * BUFFER: the socket's buffers in bytes, set as hvcopy sets them (hvcopy/transport/tuning.py); 0 keeps the system's.
 * recv says "listening" on standard error, takes one connection and ends with it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/vm_sockets.h>

#define SLICE (1 << 20)

static char work[SLICE] __attribute__((aligned(4096)));

static void check(int good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void tune(int sock, int family, unsigned long buffer)
{
    if (!buffer)
        return;
    if (family == AF_VSOCK) {  /* before connect and listen; the maximum first, for it clamps the size */
        uint64_t size = buffer;
        setsockopt(sock, AF_VSOCK, SO_VM_SOCKETS_BUFFER_MAX_SIZE, &size, sizeof size);
        setsockopt(sock, AF_VSOCK, SO_VM_SOCKETS_BUFFER_SIZE, &size, sizeof size);
    } else {
        int size = (int)buffer;
        setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    }
}

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
    struct sockaddr_vm *name = (struct sockaddr_vm *)out;
    const char *colon = strchr(text, ':');
    name->svm_family = AF_VSOCK;
    name->svm_cid = listening ? VMADDR_CID_ANY : (unsigned)strtoul(text, NULL, 10);
    name->svm_port = (unsigned)strtoul(colon ? colon + 1 : text, NULL, 10);
    return sizeof *name;
}

static void receive(int sock, const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    check(file >= 0, path);
    for (;;) {
        ssize_t got = recv(sock, work, SLICE, 0);
        check(got >= 0, "recv");
        if (got == 0)
            break;
        for (ssize_t done = 0; done < got;) {
            ssize_t n = write(file, work + done, (size_t)(got - done));
            check(n > 0, "write");
            done += n;
        }
    }
    check(close(file) == 0, "close");
}

static void transmit(int sock, const char *path)
{
    int file = open(path, O_RDONLY);
    check(file >= 0, path);
    for (;;) {
        ssize_t got = read(file, work, SLICE);
        check(got >= 0, "read");
        if (got == 0)
            break;
        for (ssize_t done = 0; done < got;) {
            ssize_t n = send(sock, work + done, (size_t)(got - done), MSG_NOSIGNAL);
            check(n > 0, "send");
            done += n;
        }
    }
    check(close(sock) == 0, "close");
}

static int peak(char **argv)
{
    struct rusage usage;
    int status;
    pid_t child = fork();  /* from here, for ru_maxrss counts what the process before exec had (kernel fs/exec.c) */
    check(child >= 0, "fork");
    if (child == 0) {
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    check(wait4(child, &status, 0, &usage) == child, "wait4");
    FILE *out = fopen(argv[2], "w");
    check(out != NULL, argv[2]);
    fprintf(out, "%ld\n", usage.ru_maxrss);
    check(fclose(out) == 0, argv[2]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int argc, char **argv)
{
    if (argc > 3 && strcmp(argv[1], "peak") == 0)
        return peak(argv);
    if (argc != 6) {
        fputs("usage: floor recv|send unix|vsock ADDRESS BUFFER FILE\n", stderr);
        return 2;
    }
    int listening = strcmp(argv[1], "recv") == 0;
    int family = strcmp(argv[2], "vsock") == 0 ? AF_VSOCK : AF_UNIX;
    unsigned long buffer = strtoul(argv[4], NULL, 10);
    struct sockaddr_storage address;
    socklen_t length = resolve(family, argv[3], listening, &address);
    int sock = socket(family, SOCK_STREAM, 0);
    check(sock >= 0, "socket");
    tune(sock, family, buffer);
    if (!listening) {
        check(connect(sock, (struct sockaddr *)&address, length) == 0, "connect");
        transmit(sock, argv[5]);
        return 0;
    }
    check(bind(sock, (struct sockaddr *)&address, length) == 0, "bind");
    check(listen(sock, 1) == 0, "listen");
    fputs("listening\n", stderr);
    int connection = accept(sock, NULL, NULL);
    check(connection >= 0, "accept");
    if (family == AF_UNIX)  /* not inherited from the listener */
        tune(connection, family, buffer);
    receive(connection, argv[5]);
    return 0;
}
