/* Takes rights to Hyper-V's services in the registry away, as HVCOPY_HV_RIGHTS says: "read" leaves what reading needs,
 * "none" nothing.
 *
 * Wine lets everybody do everything there.  Windows checks what a key is opened for (RegOpenKeyEx, RegCreateKeyEx:
 * ERROR_ACCESS_DENIED), and so does this; the key's own functions are the real ones.
 */
#define WIN32_LEAN_AND_MEAN
#include <winsock2.h>
#include <windows.h>
#include <string.h>
#include <wchar.h>

#include "standin.h"

enum { CHANGES = KEY_SET_VALUE | KEY_CREATE_SUB_KEY | KEY_CREATE_LINK | DELETE | WRITE_DAC | WRITE_OWNER | GENERIC_WRITE };

static int reading_too;

static int is_denied(HKEY root, const wchar_t *path, REGSAM access)
{
    static const wchar_t ABOVE[] = L"SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\Virtualization";
    size_t length = wcslen(ABOVE);
    int below = root == HKEY_LOCAL_MACHINE && path && !_wcsnicmp(path, ABOVE, length) &&
                (path[length] == L'\\' || !path[length]);
    return below && (reading_too || (access & (CHANGES | MAXIMUM_ALLOWED)));
}

static LSTATUS WINAPI our_RegOpenKeyExW(HKEY root, LPCWSTR path, DWORD options, REGSAM access, PHKEY opened)
{
    return is_denied(root, path, access) ? ERROR_ACCESS_DENIED : RegOpenKeyExW(root, path, options, access, opened);
}

static LSTATUS WINAPI our_RegCreateKeyExW(HKEY root, LPCWSTR path, DWORD zero, LPWSTR class, DWORD options, REGSAM access,
                                          LPSECURITY_ATTRIBUTES security, PHKEY made, LPDWORD which)
{
    return is_denied(root, path, access) ? ERROR_ACCESS_DENIED
                                         : RegCreateKeyExW(root, path, zero, class, options, access, security, made, which);
}

static const hv_replacement CALLS[] = {
    {"RegOpenKeyExW", our_RegOpenKeyExW}, {"RegCreateKeyExW", our_RegCreateKeyExW}, {NULL, NULL},
};

/* Returns how many of *module*'s imports were exchanged. */
__declspec(dllexport) int hv_install_rights(unsigned char *module)
{
    char text[8] = "";
    GetEnvironmentVariableA("HVCOPY_HV_RIGHTS", text, sizeof text);
    reading_too = !strcmp(text, "none");
    return reading_too || !strcmp(text, "read") ? hv_replace(module, "advapi32.dll", CALLS) : 0;
}
