/* The owner of one enclave, wherever it runs (host/backend.h): starts it, stays with it, ends with it. The process lives
 * exactly as long as the enclave, so what a service manager sees is true.
 *
 * It keeps the runtime directory (host/run_dir.h), answers the heartbeat, collects what the enclave reports, serves the
 * operator's socket (host/admin.h), starts the gateway beside it when asked to, says READY=1 when the service answers and
 * WATCHDOG=1 only because it answered again. */
#ifndef HOST_RUN_H
#define HOST_RUN_H

#include "host/backend.h"
#include "host/settings.h"

enum run_ready {
	RUN_READY_SERVICE,                       /* the service answers a health request */
	RUN_READY_HEARTBEAT,                     /* init said that it runs: for services that speak something else */
	RUN_READY_STARTED                        /* the virtual machine runs: for images without our init */
};

struct run_options {
	struct backend *backend;                 /* opened; run closes it */
	const char *self;                        /* path of tee-rex, for the gateway */
	const char *name;                        /* of the instance; names the runtime directory */
	const char *listen;                      /* ADDR:PORT of the gateway; NULL: no gateway */
	const char *operator;                    /* unix:PATH of its operator's socket; NULL: in the runtime directory */
	const struct settings_words *gateway;    /* its other options; NULL: none */
	const char *gateway_keep_dir;            /* one of them, which is to be made; NULL: none */
	uint64_t gateway_grace_s;                /* what it may take to end after a signal */
	enum run_ready ready;
	bool backoff;                            /* wait before a start that follows short lives (host/history.h) */
};

/* Runs until a signal, the operator's stop, or the end of the enclave or the gateway. 0 after an orderly stop, which a
 * gateway's is that was told to drain; else -errno and err. Says on standard output when it is ready: one line, "ready: …". */
int run_enclave(const struct run_options *o, struct err *err);

#endif
