/* What the files of the stand-in have of each other. */
#ifndef HV_STANDIN_H
#define HV_STANDIN_H

#include <winsock2.h>

/* Whether a socket was opened as one of AF_HYPERV. */
int hv_is_ours(SOCKET sock);

typedef struct {
    const char *name;   /* NULL ends a list */
    void *ours;
} hv_replacement;

/* Puts functions into the place of those that *module* imports from *library*; returns how many imports were exchanged. */
int hv_replace(unsigned char *module, const char *library, const hv_replacement *replacements);

#endif
