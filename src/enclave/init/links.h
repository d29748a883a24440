/* SOCK_SEQPACKET pairs between services. A pair serves one life of both: whoever starts and finds his end taken makes a
 * new pair, and a service whose other end is gone with its process has to be started anew. */
#ifndef ENCLAVE_INIT_LINKS_H
#define ENCLAVE_INIT_LINKS_H

#include "format/service_table.h"

struct link_pair {
	int fd[2];                               /* owned until taken; -1 */
	uint32_t serial;                         /* of this pair, from 1 */
	uint32_t held[2];                        /* serial of the pair whose end each side has; 0: none */
};

struct links { struct link_pair pair[SERVICES_MAX][SERVICES_MAX]; };     /* [a][b], a < b */

void links_init(struct links *l);
/* The end of service i towards peer: the caller's now. -errno. */
int links_take(struct links *l, uint32_t i, uint32_t peer, struct err *err);
/* Service i is gone: true when peer holds the other end of the same pair. */
bool links_cut(struct links *l, uint32_t i, uint32_t peer);

#endif
