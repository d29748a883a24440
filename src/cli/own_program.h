/* Where the other programs of this installation are. */
#ifndef CLI_OWN_PROGRAM_H
#define CLI_OWN_PROGRAM_H

#include "base/fail.h"

#include <limits.h>

/* The path of the program that runs. */
int own_path(char ret[PATH_MAX], struct err *err);
/* The path of the program called name: beside this one (a build tree) or in ../libexec/tee-rex (an installation). -errno
 * when it is in neither. */
int own_program(const char *name, char ret[PATH_MAX], struct err *err);

#endif
