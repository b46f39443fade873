/* Wine 8 lacks this DLL; extensions written in Rust take their random numbers from it. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE into, SIZE_T size)
{
    return RtlGenRandom(into, (ULONG)size);
}
