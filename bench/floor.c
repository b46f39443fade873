/* The floor: one stream of 1 MiB reads and writes, file to file, without names, checks, or confirmation.
 *
 *   floor recv unix|tcp|vsock ADDRESS BUFFER FILE     ADDRESS: PATH, PORT, PORT
 *   floor send unix|tcp|vsock|hybrid ADDRESS BUFFER FILE     ADDRESS: PATH, PORT, CID:PORT, PATH:PORT
 *   floor peak OUTPUT COMMAND [ARG...]     runs a command; writes its peak resident memory in KiB to OUTPUT
 *
 * BUFFER: the socket's buffers in bytes, set as hvcopy sets them (hvcopy/transport/tuning.py); 0 keeps the system's.
 * FILE: - is standard input or output. recv says "listening" on standard error, takes one connection and ends with it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "ends.h"

#define SLICE (1 << 20)

static char work[SLICE] __attribute__((aligned(4096)));

static int opened(const char *path, int flags, int standard)
{
    int file = strcmp(path, "-") == 0 ? standard : open(path, flags, 0644);
    check(file >= 0, path);
    return file;
}

static void receive(int sock, const char *path)
{
    int file = opened(path, O_WRONLY | O_CREAT | O_TRUNC, STDOUT_FILENO);
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
    int file = opened(path, O_RDONLY, STDIN_FILENO);
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
        fputs("usage: floor recv|send unix|tcp|vsock ADDRESS BUFFER FILE\n", stderr);
        return 2;
    }
    int family = family_of(argv[2]);
    unsigned long buffer = strtoul(argv[4], NULL, 10);
    if (strcmp(argv[1], "recv") == 0)
        receive(accepted(family, argv[3], buffer), argv[5]);
    else
        transmit(dialed(family, argv[3], buffer), argv[5]);
    return 0;
}
