/* Options on top of a configuration: a command that takes --file CONFIG, or the NAME of an instance, reads that first and
 * lets its own options override it. A list on the command line replaces the file's. */
#ifndef CLI_SETTINGS_ARGS_H
#define CLI_SETTINGS_ARGS_H

#include "base/options.h"
#include "host/settings.h"

enum { INSTANCE_NAME_MAX = 65 };

struct settings_args {
	struct settings s;               /* to be closed */
	const char *file;                /* --file */
	bool takes_image;                /* IMAGE.eif in place of NAME is the enclave's image, as --image */
	char name[INSTANCE_NAME_MAX];    /* of the instance; "" when neither NAME nor --file was given */
};

#define SETTINGS_ARGS { .s = SETTINGS_DEFAULTS }
#define SETTINGS_OPTION(args, member) \
	{ 'f', "file", OPT_STRING, offsetof(struct args, member.file), "FILE", "configuration; default with NAME: /etc/tee-rex/NAME.yaml" }

/* args, of that size, is what the table's offsets are in and starts with a struct settings_args that holds
 * SETTINGS_ARGS. OPTIONS_USAGE: what is wrong was said on standard error already. */
enum option_result settings_args_parse(const char *command, const struct option_spec *table, void *args, size_t size,
                                       int argc, char **argv);

#endif
