/* Stands for powershell.exe and wsl.exe: answers from the environment what a test wants, and keeps what it was asked.
 *
 * SAYS_powershell, SAYS_list (wsl --list) and SAYS_id (wsl -d NAME -- wslinfo): the answer; without one it never ends.
 * ASKED: a file that gets the last argument.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

int main(int count, char **words)
{
    const char *first = count > 1 ? words[1] : "";
    const char *name = !strcmp(first, "--list") ? "SAYS_list" : !strcmp(first, "-d") ? "SAYS_id" : "SAYS_powershell";
    const char *answer = getenv(name), *asked = getenv("ASKED");
    FILE *file = asked ? fopen(asked, "wb") : NULL;

    if (file) {
        fprintf(file, "%d %s", count, words[count - 1]);
        fclose(file);
    }
    if (!answer)
        Sleep(INFINITE);
    fputs(answer, stdout);
    return 0;
}
