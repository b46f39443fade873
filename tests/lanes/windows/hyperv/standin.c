/* For tests only: lets programs use AF_HYPERV where there is no Hyper-V, over TCP on 127.0.0.1.
 *
 * hv_install(module) puts functions of this file in the place of the Winsock functions that a loaded module imports.
 * They take and give SOCKADDR_HV, and pass everything that is no Hyper-V socket on as it is.  What the driver itself
 * does (who may bind, credit, pauses, half-close) is not imitated; what is decided from addresses and options is:
 *
 *   - a service is the port that its vsock GUID stands for, any other GUID a port from 10000 to 19999;
 *   - parent, loopback and silohost can be connected to; other VMs only if HVCOPY_HV_VMS names them ("GUID=0 GUID=10013":
 *     what connecting there ends in, 10060 after the time of HVSOCKET_CONNECT_TIMEOUT), else WSAEADDRNOTAVAIL;
 *   - connections come from the VM that HVCOPY_HV_PEER names, else from loopback;
 *   - options of HV_PROTOCOL_RAW are kept and can be read back, unless their number is in HVCOPY_HV_REFUSED ("2 8");
 *     those of TCP are refused.  A number plus HV_WHEN_NAMED reads what the option was when the socket got its address,
 *     by bind or by connect: later the driver may not look any more.
 *
 * breaks.c lets connections break, rights.c takes rights in the registry away, holes.c has files with holes.
 */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <windows.h>
#include <hvsocket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin.h"

#ifndef AF_HYPERV
#define AF_HYPERV 34    /* in Microsoft's ws2def.h, not in mingw's */
#endif

_Static_assert(sizeof(SOCKADDR_HV) == 36, "the address as hvsocket.h lays it out");

enum { SLOTS = 8192, OPTIONS = 9, HV_WHEN_NAMED = 0x100, DEFAULT_TIMEOUT_MS = 30000 };

typedef struct {
    SOCKET sock;                /* 0: free */
    SOCKADDR_HV near_end, far_end;
    ULONG options[OPTIONS], when_named[OPTIONS];    /* by their number */
} entry;

static entry table[SLOTS];
static CRITICAL_SECTION guard;

static const GUID ZERO = {0}, TEMPLATE = {0, 0xfacb, 0x11e6, {0xbd, 0x58, 0x64, 0x00, 0x6a, 0x79, 0x86, 0xd3}};
static const GUID CHILDREN = {0x90db8b89, 0x0d35, 0x4f79, {0x8c, 0xe9, 0x49, 0xea, 0x0a, 0xc8, 0xb7, 0xcd}};
static const GUID LOOPBACK = {0xe0e16197, 0xdd56, 0x4a10, {0x91, 0x95, 0x5e, 0xe7, 0xa1, 0x55, 0xa8, 0x38}};
static const GUID PARENT = {0xa42e7cda, 0xd03f, 0x480c, {0x9c, 0xc2, 0xa4, 0xde, 0x20, 0xab, 0xb8, 0x78}};
static const GUID SILOHOST = {0x36bd0c5c, 0x7276, 0x4223, {0x88, 0xba, 0x7d, 0x03, 0xb6, 0x54, 0xc5, 0x68}};

/* ---- which sockets are ours ---- */

static entry *slot_of(SOCKET sock, int make)
{
    unsigned start = (unsigned)(sock / 4 % SLOTS), i;
    for (i = 0; i < SLOTS; i++) {
        entry *one = &table[(start + i) % SLOTS];
        if (one->sock == sock || (make && !one->sock))
            return one;
    }
    return NULL;
}

static void remember(SOCKET sock, const SOCKADDR_HV *near_end, const SOCKADDR_HV *far_end)
{
    entry *one;
    EnterCriticalSection(&guard);
    one = slot_of(sock, 1);
    if (one) {
        memset(one, 0, sizeof *one);
        one->sock = sock;
        one->options[HVSOCKET_CONNECT_TIMEOUT] = DEFAULT_TIMEOUT_MS;
        if (near_end)
            one->near_end = *near_end;
        if (far_end)
            one->far_end = *far_end;
    }
    LeaveCriticalSection(&guard);
}

static int find(SOCKET sock, entry *copy)
{
    entry *one = NULL;
    EnterCriticalSection(&guard);
    if (sock && sock != INVALID_SOCKET && (one = slot_of(sock, 0)) != NULL && copy)
        *copy = *one;
    LeaveCriticalSection(&guard);
    return one != NULL;
}

int hv_is_ours(SOCKET sock) { return find(sock, NULL); }

static int fail(int error)
{
    WSASetLastError(error);
    return SOCKET_ERROR;
}

/* ---- addresses ---- */

static int same(const GUID *a, const GUID *b) { return memcmp(a, b, sizeof *a) == 0; }

static SOCKADDR_HV address_of(const GUID *vm, const GUID *service)
{
    SOCKADDR_HV made;
    memset(&made, 0, sizeof made);
    made.Family = AF_HYPERV;
    made.VmId = *vm;
    made.ServiceId = *service;
    return made;
}

static GUID service_of(unsigned short port)
{
    GUID made = TEMPLATE;
    made.Data1 = ntohs(port);
    return made;
}

static unsigned short port_of(const GUID *service)
{
    GUID rest = *service;
    unsigned hash = 2166136261u, i;
    rest.Data1 = 0;
    if (same(&rest, &TEMPLATE) && service->Data1 >= 1 && service->Data1 <= 65535)
        return (unsigned short)service->Data1;
    for (i = 0; i < sizeof *service; i++)
        hash = (hash ^ ((const unsigned char *)service)[i]) * 16777619u;
    return (unsigned short)(10000 + hash % 10000);
}

static struct sockaddr_in inet_of(const GUID *service)
{
    struct sockaddr_in made;
    memset(&made, 0, sizeof made);
    made.sin_family = AF_INET;
    made.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    made.sin_port = htons(port_of(service));
    return made;
}

static int taken(const struct sockaddr *given, int size, SOCKADDR_HV *out)
{
    if (!given || size < (int)sizeof *out || given->sa_family != AF_HYPERV)
        return fail(WSAEFAULT);
    memcpy(out, given, sizeof *out);
    return 0;
}

static int given_back(const SOCKADDR_HV *from, struct sockaddr *into, int *size)
{
    if (!into || !size)
        return 0;
    if (*size < (int)sizeof *from)
        return fail(WSAEFAULT);
    memcpy(into, from, sizeof *from);
    *size = sizeof *from;
    return 0;
}

/* Reads a GUID as people write it; returns what follows it, NULL when there is none. */
static const char *read_guid(const char *text, GUID *out)
{
    unsigned f[11];
    int used = 0, i;
    if (sscanf(text, " %8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x%n", &f[0], &f[1], &f[2], &f[3], &f[4], &f[5], &f[6], &f[7],
               &f[8], &f[9], &f[10], &used) != 11)
        return NULL;
    out->Data1 = f[0];
    out->Data2 = (unsigned short)f[1];
    out->Data3 = (unsigned short)f[2];
    for (i = 0; i < 8; i++)
        out->Data4[i] = (unsigned char)f[i + 3];
    return text + used;
}

/* What connecting to a VM ends in before anybody is asked: 0, or a Winsock error. */
static int fate_of(const GUID *vm)
{
    char text[4096];
    const char *rest = text;
    GUID named;
    if (GetEnvironmentVariableA("HVCOPY_HV_VMS", text, sizeof text) - 1u < sizeof text - 1u)
        while ((rest = read_guid(rest, &named)) != NULL) {
            int code = *rest == '=' ? (int)strtol(rest + 1, (char **)&rest, 10) : 0;
            if (same(vm, &named))
                return code;
        }
    return same(vm, &LOOPBACK) || same(vm, &PARENT) || same(vm, &SILOHOST) ? 0 : WSAEADDRNOTAVAIL;
}

static GUID comer(void)
{
    char text[64];
    GUID named;
    if (GetEnvironmentVariableA("HVCOPY_HV_PEER", text, sizeof text) - 1u < sizeof text - 1u && read_guid(text, &named))
        return named;
    return LOOPBACK;
}

/* ---- the functions ---- */

static SOCKET WSAAPI our_WSASocketW(int family, int type, int protocol, LPWSAPROTOCOL_INFOW info, GROUP group, DWORD flags)
{
    SOCKET sock;
    if (family != AF_HYPERV || info)
        return WSASocketW(family, type, protocol, info, group, flags);
    if (type != SOCK_STREAM || protocol != HV_PROTOCOL_RAW) {
        WSASetLastError(type != SOCK_STREAM ? WSAESOCKTNOSUPPORT : WSAEPROTONOSUPPORT);
        return INVALID_SOCKET;
    }
    sock = WSASocketW(AF_INET, SOCK_STREAM, IPPROTO_TCP, NULL, group, flags);
    if (sock != INVALID_SOCKET)
        remember(sock, NULL, NULL);
    return sock;
}

static SOCKET WSAAPI our_socket(int family, int type, int protocol)
{
    return our_WSASocketW(family, type, protocol, NULL, 0, WSA_FLAG_OVERLAPPED);
}

static void set_ends(SOCKET sock, const SOCKADDR_HV *near_end, const SOCKADDR_HV *far_end)
{
    entry *one;
    EnterCriticalSection(&guard);
    one = slot_of(sock, 0);
    if (one && near_end)
        one->near_end = *near_end;
    if (one && far_end)
        one->far_end = *far_end;
    if (one)
        memcpy(one->when_named, one->options, sizeof one->options);
    LeaveCriticalSection(&guard);
}

static int WSAAPI our_bind(SOCKET sock, const struct sockaddr *address, int size)
{
    SOCKADDR_HV wanted;
    struct sockaddr_in inet;
    if (!find(sock, NULL))
        return bind(sock, address, size);
    if (taken(address, size, &wanted))
        return SOCKET_ERROR;
    if (!same(&wanted.VmId, &ZERO) && !same(&wanted.VmId, &CHILDREN) && fate_of(&wanted.VmId) == WSAEADDRNOTAVAIL)
        return fail(WSAEADDRNOTAVAIL);
    inet = inet_of(&wanted.ServiceId);
    if (bind(sock, (struct sockaddr *)&inet, sizeof inet))
        return SOCKET_ERROR;
    set_ends(sock, &wanted, NULL);
    return 0;
}

static int WSAAPI our_connect(SOCKET sock, const struct sockaddr *address, int size)
{
    entry ours;
    SOCKADDR_HV wanted;
    struct sockaddr_in inet;
    int error;
    if (!find(sock, &ours))
        return connect(sock, address, size);
    if (taken(address, size, &wanted))
        return SOCKET_ERROR;
    error = fate_of(&wanted.VmId);
    if (error == WSAETIMEDOUT)
        Sleep(ours.options[HVSOCKET_CONNECT_TIMEOUT]);
    if (error)
        return fail(error);
    inet = inet_of(&wanted.ServiceId);
    set_ends(sock, NULL, &wanted);
    return connect(sock, (struct sockaddr *)&inet, sizeof inet);
}

static SOCKET WSAAPI our_accept(SOCKET sock, struct sockaddr *address, int *size)
{
    entry ours;
    struct sockaddr_in from;
    int length = sizeof from;
    SOCKET accepted;
    SOCKADDR_HV far_end;
    GUID vm, service;
    if (!find(sock, &ours))
        return accept(sock, address, size);
    accepted = accept(sock, (struct sockaddr *)&from, &length);
    if (accepted == INVALID_SOCKET)
        return accepted;
    vm = comer();
    service = service_of(from.sin_port);
    far_end = address_of(&vm, &service);
    remember(accepted, &ours.near_end, &far_end);
    if (given_back(&far_end, address, size)) {
        closesocket(accepted);
        WSASetLastError(WSAEFAULT);
        return INVALID_SOCKET;
    }
    return accepted;
}

static int WSAAPI our_getsockname(SOCKET sock, struct sockaddr *address, int *size)
{
    entry ours;
    struct sockaddr_in inet;
    int length = sizeof inet;
    GUID service;
    if (!find(sock, &ours))
        return getsockname(sock, address, size);
    if (ours.near_end.Family)
        return given_back(&ours.near_end, address, size);
    if (getsockname(sock, (struct sockaddr *)&inet, &length))
        return SOCKET_ERROR;
    service = service_of(inet.sin_port);
    ours.near_end = address_of(&CHILDREN, &service);    /* as clients have it (go-winio's tests) */
    return given_back(&ours.near_end, address, size);
}

static int WSAAPI our_getpeername(SOCKET sock, struct sockaddr *address, int *size)
{
    entry ours;
    struct sockaddr_in inet;
    int length = sizeof inet;
    if (!find(sock, &ours))
        return getpeername(sock, address, size);
    if (getpeername(sock, (struct sockaddr *)&inet, &length))
        return SOCKET_ERROR;
    return given_back(&ours.far_end, address, size);
}

static int is_refused(int option)
{
    char text[64], *rest = text, *end;
    long number;
    if (GetEnvironmentVariableA("HVCOPY_HV_REFUSED", text, sizeof text) - 1u < sizeof text - 1u)
        for (; (number = strtol(rest, &end, 10)), end != rest; rest = end)
            if (number == option)
                return 1;
    return 0;
}

static int WSAAPI our_setsockopt(SOCKET sock, int level, int option, const char *value, int size)
{
    entry *one;
    if (!find(sock, NULL))
        return setsockopt(sock, level, option, value, size);
    if (level == IPPROTO_TCP)
        return fail(WSAENOPROTOOPT);
    if (level != HV_PROTOCOL_RAW)
        return setsockopt(sock, level, option, value, size);
    if (option < 1 || option >= OPTIONS || (option & (option - 1)) || is_refused(option))
        return fail(WSAENOPROTOOPT);
    if (!value || size != sizeof(ULONG))
        return fail(WSAEINVAL);
    EnterCriticalSection(&guard);
    if ((one = slot_of(sock, 0)) != NULL)
        memcpy(&one->options[option], value, sizeof(ULONG));
    LeaveCriticalSection(&guard);
    return 0;
}

static int WSAAPI our_getsockopt(SOCKET sock, int level, int option, char *value, int *size)
{
    entry ours;
    const ULONG *options = ours.options;
    if (!find(sock, &ours) || (level != HV_PROTOCOL_RAW && level != IPPROTO_TCP))
        return getsockopt(sock, level, option, value, size);
    if (option & HV_WHEN_NAMED)
        options = ours.when_named;
    option &= ~HV_WHEN_NAMED;
    if (level == IPPROTO_TCP || option < 1 || option >= OPTIONS)
        return fail(WSAENOPROTOOPT);
    if (!value || !size || *size < (int)sizeof(ULONG))
        return fail(WSAEFAULT);
    memcpy(value, &options[option], sizeof(ULONG));
    *size = sizeof(ULONG);
    return 0;
}

static int WSAAPI our_closesocket(SOCKET sock)
{
    entry *one;
    EnterCriticalSection(&guard);
    if (sock && (one = slot_of(sock, 0)) != NULL)
        one->sock = 0;
    LeaveCriticalSection(&guard);
    return closesocket(sock);
}

/* ---- into their place ---- */

static const hv_replacement SOCKETS[] = {
    {"WSASocketW", our_WSASocketW}, {"socket", our_socket}, {"bind", our_bind}, {"connect", our_connect},
    {"accept", our_accept}, {"getsockname", our_getsockname}, {"getpeername", our_getpeername},
    {"setsockopt", our_setsockopt}, {"getsockopt", our_getsockopt}, {"closesocket", our_closesocket}, {NULL, NULL},
};

static void put(ULONG_PTR *place, void *function)
{
    DWORD before;
    VirtualProtect(place, sizeof *place, PAGE_READWRITE, &before);
    *place = (ULONG_PTR)function;
    VirtualProtect(place, sizeof *place, before, &before);
}

int hv_replace(unsigned char *module, const char *library, const hv_replacement *replacements)
{
    const IMAGE_NT_HEADERS *head = (const void *)(module + ((const IMAGE_DOS_HEADER *)module)->e_lfanew);
    const IMAGE_IMPORT_DESCRIPTOR *from =
        (const void *)(module + head->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress);
    HMODULE loaded = GetModuleHandleA(library);
    int count = 0;
    for (; from->Name; from++) {
        ULONG_PTR *place = (ULONG_PTR *)(module + from->FirstThunk);
        if (_stricmp((const char *)module + from->Name, library))
            continue;
        for (; *place; place++) {   /* by address, for ws2_32 is imported by ordinals too */
            const hv_replacement *one;
            for (one = replacements; one->name; one++)
                if (*place == (ULONG_PTR)GetProcAddress(loaded, one->name)) {
                    put(place, one->ours);
                    count++;
                    break;
                }
        }
    }
    return count;
}

/* Returns how many of *module*'s imports were exchanged. */
__declspec(dllexport) int hv_install(unsigned char *module) { return hv_replace(module, "ws2_32.dll", SOCKETS); }

BOOL WINAPI DllMain(HINSTANCE self, DWORD why, LPVOID reserved)
{
    (void)self;
    (void)reserved;
    if (why == DLL_PROCESS_ATTACH)
        InitializeCriticalSection(&guard);
    return TRUE;
}
