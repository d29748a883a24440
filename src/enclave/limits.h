/* Every fixed size of the enclave's programs, in one place: nothing in there grows with what a peer
 * sends. Sizes of the wire formats are with their format (format/frame.h, format/launch.h). */
#ifndef ENCLAVE_LIMITS_H
#define ENCLAVE_LIMITS_H

enum {
	/* measured configuration */
	CONFIG_FILE_MAX = 64 << 10,              /* bytes of the file */
	CONFIG_LINE_MAX = 512,                   /* bytes of a line */
	CONFIG_STRING_MAX = 256,                 /* bytes of a value, with its zero */
	CONFIG_ALLOW_MAX = 64,                   /* SHA-256 allow list */
	CONFIG_ARGS_MAX = 32,
	CONFIG_ENV_MAX = 32,
	CONFIG_RO_MAX = 16,                      /* read-only paths of a job's root */
	CONFIG_CRS_PINS_MAX = 8,                 /* CRS files with a SHA-256 */
	CONFIG_FILE_NAME_MAX = 64,               /* input and output file names */

	/* launcher */
	JOB_TEXT_MAX = 16 << 10,                 /* expanded argv and environment of a job */
	JOB_MEMORY_MIN = 4 << 20,                /* bytes: the least a START may ask for */
	JOB_TMPFS_MARGIN = 1 << 20,              /* bytes, beside payload and proof: whole pages, small files */
	JOB_TMPFS_INODES = 64,
	JOB_ROOT_BYTES = 256 << 10,              /* tmpfs of the read-only root: directories only */
	JOB_ROOT_INODES = 256,
	JOB_FILES_MAX = 256,                     /* open descriptors */
	JOB_STACK_BYTES = 8 << 20,               /* main thread; default of the others */
	JOB_THREAD_ADDRESS_BYTES = 136 << 20,    /* address space of a thread: stack and its malloc arena */
	JOB_OPEN_MS = 10000,                     /* to build the cell */
	JOB_REAP_MS = 5000,                      /* after SIGKILL: then something is stuck in the kernel */
	JOB_OOM_POLL_MS = 200,                   /* cgroup v1 has no group kill: look at its counter */
	OUTPUT_CHUNK = 16 << 10,                 /* job output read at once */
	OUTPUT_LOG_LINE = 400,                   /* bytes of job output in one log line */
	LAUNCHER_SEND_QUEUE = 64,                /* messages waiting for the prover to read */
	LAUNCHER_CRS_MS = 200,                   /* after it is ready the CRS is hashed, if no job came before */

	/* init */
	INIT_EVENT_RING = 64 << 10,              /* bytes of events kept for the control channel */
	INIT_LOG_RING = 256 << 10,               /* … and of log lines, which never push events out */
	INIT_BATCH = 32 << 10,                   /* bytes handed to the control connection at once */
	INIT_RECONNECT_MS = 100, INIT_RECONNECT_MAX_MS = 2000,
	INIT_READ = 16 << 10,                    /* of a service's output at once */
	INIT_BRIDGE_CONNECTIONS = 32,            /* of all bridges together; the next wait in the backlog */
	INIT_BRIDGE_BUFFER = 16 << 10,           /* of each direction */
	INIT_SHUTDOWN_PEERS = 4,
	INIT_FLUSH_MS = 1000, INIT_LEAVE_MS = 50,        /* for the last words, before the power goes */
	INIT_STUCK_S = 30,                       /* one turn of the loop never takes that long */
	INIT_SIGNALS = 16, INIT_REAP = 64,       /* read, and children buried, in a turn */
	INIT_REFUSED_S = 60,                     /* between two reports of signals that nobody may send */
	INIT_CLOCK_S = 600, INIT_CLOCK_STEP_MS = 250,
	INIT_MEMORY_S = 60,                      /* between two reports of memory by owner */

	/* prover */
	JOB_STATED_MIB_MIN = 8,                  /* a stated peak below it is raised to it */
	PROVER_FIXED_MIB = 40,                   /* the service's own memory: code, state, a reply for each slot */
	PROVER_CONNECTIONS = 64                  /* exchanges at once; the next is told to come back */
};

#endif
