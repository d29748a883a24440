/* The enclave's metrics on their way to whoever reads ours. They are text from another party inside a
 * page of our own, so only lines of the one plain shape pass:
 *
 *     # TYPE teerex_prover_NAME counter|gauge
 *     teerex_prover_NAME[_total][{label="word",…}] 123
 *
 * each sample under the TYPE it belongs to, each TYPE once. */
#ifndef HOST_METRICS_TEXT_H
#define HOST_METRICS_TEXT_H

#include "base/bytes.h"

enum { METRICS_LINE_MAX = 256, METRICS_LINES_MAX = 1024, METRICS_FAMILIES_MAX = 64 };

/* Copies the lines that pass to w, at most METRICS_LINES_MAX of them; returns how many did not. A closing
 * "# EOF" is neither: the page gets its own. */
size_t metrics_text_copy(struct bytes text, struct writer *w);

#endif
