/* Compression in the forms that a kernel unpacks a ramdisk from. Deterministic: no time, no name, one thread. */
#ifndef IMAGE_PACKER_H
#define IMAGE_PACKER_H

#include "image/ramdisk.h"

struct packer;
/* NULL when there is no memory. */
struct packer *packer_open(enum ramdisk_packing packing);
void packer_close(struct packer *p);                 /* NULL is fine */

/* Takes *in and advances it; *ret_out (borrowed until the next call) is what came out. Call until *in is empty; with
 * finish set, until it returns true. A plain false with an empty *ret_out and *in used up means: more, please.
 * *ret_failed: the library refused, which means no memory. */
bool packer_step(struct packer *p, struct bytes *in, bool finish, struct bytes *ret_out, bool *ret_failed);

#endif
