/* One value of the configuration: its text, by the row of the table, into struct settings. */
#ifndef HOST_SETTINGS_VALUE_H
#define HOST_SETTINGS_VALUE_H

#include "host/settings.h"

/* e[0] is the key's entry, with its items behind it when it is a list; n counts them all. -EINVAL and what is wrong,
 * what is allowed, without the place. What is stored borrows from the entries. */
int setting_read(const struct setting *row, const struct yaml_entry *e, size_t n, struct settings *s, struct err *err);

#endif
