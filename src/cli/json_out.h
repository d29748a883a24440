/* One JSON object on standard output, for scripts. */
#ifndef CLI_JSON_OUT_H
#define CLI_JSON_OUT_H

#include <jansson.h>
#include <stdio.h>

/* Takes j over. ASCII only, so that nothing in a string reaches a terminal as anything but text. */
static inline void json_out(json_t *j)
{
	json_dumpf(j, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
	json_decref(j);
}

#endif
