/* hostile_host: a host that sits where the gateway sits and does everything but its job.
 *
 *     hostile_host --socket PATH --evil FILE --small FILE [--seed N] [--runs N] [--from N | --one N]
 *                  [--connections N] [--proves N] [--tries N] [--no-jobs] [--stage SECONDS]
 *                  [--patience MS] [--payload-max BYTES]
 *
 * Each run takes an honest exchange (attest, public-key, versions, upload, prove, health, metrics), spoils
 * its frames, its byte stream or its timing (hostile_script.c) and sends that to the service's socket, many
 * connections at once. A model that knows the protocol but not the prover's code says which answers the
 * bytes sent deserve (hostile_model.c); a reply is looked at in full (hostile_answer.c). A run is a violation when
 *   - another code comes, or a reply that an honest exchange would not have given;
 *   - there is no answer, or the connection is not closed after it, within the stage's deadline and --patience;
 *   - a second frame follows the answer, or anything arrives that is no frame;
 *   - "timed-out" comes before the stage's deadline.
 * A run that is told "busy" by a prove or an upload is made again, since it has shown nothing.
 * The same --seed, --runs and files give the same runs; --one N does a single one, in words. What many
 * connections do to each other is not repeatable, of course.
 *
 * Prints one JSON object. Exit status: 0; 1 there were violations (each is told on stderr); 2 usage, or
 * no service. */
#include "hostile_lane.h"
#include "hostile_model.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/options.h"
#include "base/text.h"

#include <signal.h>
#include <sys/socket.h>

enum {
	LANES_MAX = 56,                  /* the prover takes 64 connections */
	UPLOADS = 2,                     /* at once; the prover takes one */
	BUSY_MS = 10, VIOLATIONS_TOLD = 20, SHOWN = 96
};

struct arguments {
	const char *socket, *evil, *small;
	bool no_jobs;
	uint64_t seed, runs, from, one, connections, proves, tries, stage_s, patience_ms, payload_max;
};

static const struct option_spec options[] = {
	{ 0, "socket", OPT_STRING, offsetof(struct arguments, socket), "PATH", "the service socket" },
	{ 0, "evil", OPT_STRING, offsetof(struct arguments, evil), "FILE", "the evil prover, loaded as 1.0" },
	{ 0, "small", OPT_STRING, offsetof(struct arguments, small), "FILE", "another allowed binary, loaded as h1 h2 h3" },
	{ 0, "seed", OPT_U64, offsetof(struct arguments, seed), "N", "of all runs" },
	{ 0, "runs", OPT_U64, offsetof(struct arguments, runs), "N", "how many" },
	{ 0, "from", OPT_U64, offsetof(struct arguments, from), "N", "number of the first" },
	{ 0, "one", OPT_U64, offsetof(struct arguments, one), "N", "only this one, in words" },
	{ 0, "connections", OPT_U64, offsetof(struct arguments, connections), "N", "at once" },
	{ 0, "proves", OPT_U64, offsetof(struct arguments, proves), "N", "prove exchanges among them" },
	{ 0, "tries", OPT_U64, offsetof(struct arguments, tries), "N", "for a run that is told \"busy\"" },
	{ 0, "no-jobs", OPT_FLAG, offsetof(struct arguments, no_jobs), NULL, "leave out the runs that prove" },
	{ 0, "stage", OPT_U64, offsetof(struct arguments, stage_s), "SECONDS", "request_s, body_s and reply_s of the enclave" },
	{ 0, "patience", OPT_U64, offsetof(struct arguments, patience_ms), "MS", "for an answer that is due" },
	{ 0, "payload-max", OPT_U64, offsetof(struct arguments, payload_max), "BYTES", "payload_max_mib of the enclave" },
	OPTIONS_HELP,
	OPTIONS_END
};

struct seat {                            /* a lane and whose turn it is */
	struct lane lane;
	bool busy, parked;
	uint64_t number;                 /* of the run */
	uint64_t tries;
};

static struct {
	struct arguments a;
	struct hostile_material material;
	struct loop loop;
	struct lane_host shared;
	struct seat seat[LANES_MAX];
	uint64_t next, end, finished, violations, retries, skipped, honest, honest_right, replies[OP_COUNT];
	uint64_t at_once[OP_COUNT];      /* runs under way */
	uint64_t ended[OP_COUNT][ENDED_COUNT], changes[64];
	int64_t began_ms;
} host = { .a = { .seed = 1, .runs = 2000, .one = UINT64_MAX, .connections = 40, .proves = 5, .tries = 100, .stage_s = 1,
	.patience_ms = 15000, .payload_max = 48 << 20 } };

/* --- telling --------------------------------------------------------------------------------------------------- */

static void tell_run(const struct seat *seat)
{
	const struct script *s = &seat->lane.script;
	char text[2 * SHOWN + 1];
	fprintf(stderr, "  run %llu, %s:", (unsigned long long)seat->number, frame_op_name(s->op));
	for (size_t i = 0; i < hostile_mutation_count(); i++)
		if (s->changes >> i & 1)
			fprintf(stderr, " %s", hostile_mutation_name(i));
	fprintf(stderr, "; %zu of %zu bytes sent, pieces of %zd, %zu pauses, end %d after %u ms, read after %u ms%s%s",
	        seat->lane.sent, s->n, (ssize_t)s->piece, s->pauses, (int)s->end, s->end_ms, s->read_ms,
	        s->linger ? ", lingering" : "", s->deaf ? ", deaf" : "");
	fprintf(stderr, ", %u connections beside\n", s->extra);
	fprintf(stderr, "  starts %s\n", hex_encode(bytes_of(s->bytes, s->n < SHOWN ? s->n : SHOWN), text));
}

static void tell_violation(const struct seat *seat, const char *what)
{
	const struct lane *l = &seat->lane;
	struct verdict v;
	hostile_judge(&host.material, bytes_of(l->script.bytes, l->sent), &v);
	fprintf(stderr, "VIOLATION after %lld ms: %s\n  deserved%s:", (long long)(clock_monotonic_ms() - l->began_ms), what,
	        v.owed ? "" : " at most");
	for (unsigned i = 0; i < OUTCOME_COUNT; i++)
		if (v.codes & CODE(i))
			fprintf(stderr, " %s", outcome_name((enum outcome)i));
	fprintf(stderr, "\n");
	tell_run(seat);
	fprintf(stderr, "  again alone: --seed %llu --one %llu\n", (unsigned long long)host.a.seed, (unsigned long long)seat->number);
}

/* --- runs ------------------------------------------------------------------------------------------------------- */

/* More of these at once would only be told so. */
static bool must_wait(const struct seat *s)
{
	enum frame_op op = s->lane.script.op;
	return (op == OP_PROVE && host.at_once[op] >= host.a.proves) || (op == OP_UPLOAD && host.at_once[op] >= UPLOADS);
}

static void play(struct seat *s)
{
	s->parked = false;
	host.at_once[s->lane.script.op]++;
	lane_play(&s->lane, 0);
}

static bool take_next(struct seat *s)
{
	while (host.next < host.end) {
		s->number = host.next++;
		script_make(&host.material, host.a.seed, s->number, &s->lane.script);
		if (!host.a.no_jobs || s->lane.script.op != OP_PROVE)
			return true;
		script_free(&s->lane.script);
		host.skipped++;
	}
	return false;
}

static void fill_seats(void)
{
	for (size_t i = 0; i < host.a.connections; i++) {
		struct seat *s = &host.seat[i];
		if (s->parked && !must_wait(s))
			play(s);
		if (s->busy || !take_next(s))
			continue;
		s->busy = true;
		s->tries = 0;
		if (host.a.one != UINT64_MAX)
			tell_run(s);
		s->parked = must_wait(s);
		if (!s->parked)
			play(s);
	}
	host.loop.stop = host.finished + host.skipped == host.end - host.a.from;
}

static void on_end(struct lane *l, unsigned ended, const char *fault)
{
	struct seat *s = CONTAINER_OF(l, struct seat, lane);
	enum frame_op op = l->script.op;
	if (host.a.one != UINT64_MAX)
		fprintf(stderr, "ended: %s after %lld ms\n", lane_ended_name(ended), (long long)(clock_monotonic_ms() - l->began_ms));
	if (fault != NULL && host.violations++ < VIOLATIONS_TOLD)
		tell_violation(s, fault);
	if (fault == NULL && ended == OUTCOME_BUSY && (op == OP_PROVE || op == OP_UPLOAD) && s->tries++ < host.a.tries) {
		host.retries++;
		lane_play(l, BUSY_MS);
		return;
	}
	host.honest += l->script.changes == 0 && l->answered;
	host.honest_right += l->script.changes == 0 && l->answered && l->right;
	host.replies[l->replied] += l->answered && l->code == OUTCOME_OK;
	host.ended[op][ended]++;
	for (size_t i = 0; i < 64; i++)
		host.changes[i] += l->script.changes >> i & 1;
	host.at_once[op]--;
	host.finished++;
	script_free(&l->script);
	s->busy = false;
	fill_seats();
}

/* --- before and after --------------------------------------------------------------------------------------------- */

static int fetch_key(char *buf, size_t cap, struct err *err)
{
	uint8_t map[64], frame[FRAME_HEADER_SIZE + sizeof map];
	static uint8_t in[FRAME_HEADER_SIZE + 4096];
	struct writer w = writer_of(map, sizeof map), out = writer_of(frame, sizeof frame);
	CLEANUP(close_fd) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	frame_request_put(&w, &(struct frame_request){ .op = OP_PUBLIC_KEY });
	frame_header(FRAME_REQUEST, w.at, frame);
	out.at = FRAME_HEADER_SIZE;
	put_bytes(&out, writer_bytes(&w));
	if (fd < 0 || connect(fd, (const struct sockaddr *)&host.shared.address, sizeof host.shared.address) != 0 ||
	    send(fd, frame, out.at, MSG_NOSIGNAL) != (ssize_t)out.at)
		return fail(err, errno, "ask %s for its key", host.shared.address.sun_path);
	size_t n = 0, used;
	for (ssize_t got; n < sizeof in && (got = recv(fd, in + n, sizeof in - n, 0)) > 0;)
		n += (size_t)got;
	struct frame f;
	struct frame_reply p;
	if (frame_parse(bytes_of(in, n), &f, &used) != FRAME_OK || f.kind != FRAME_REPLY || !frame_reply_parse(f.payload, &p) ||
	    !bytes_to_cstr(p.key, buf, cap))
		return fail(err, 0, "%s does not tell its key", host.shared.address.sun_path);
	return 0;
}

static int prepare(struct err *err)
{
	const struct arguments *a = &host.a;
	char key[FRAME_KEY_MAX + 1];
	if (a->socket == NULL || a->evil == NULL || a->small == NULL || a->connections == 0 || a->connections > LANES_MAX ||
	    a->proves == 0)
		return fail(err, 0, "--socket, --evil and --small are needed; --connections is 1 to %d", LANES_MAX);
	host.shared.address.sun_family = AF_UNIX;
	if (!bytes_to_cstr(bytes_str(a->socket), host.shared.address.sun_path, sizeof host.shared.address.sun_path))
		return fail(err, ENAMETOOLONG, "%s", a->socket);
	int ret = fetch_key(key, sizeof key, err);
	host.material.payload_max = a->payload_max;
	host.shared.loop = &host.loop;
	host.shared.material = &host.material;
	host.shared.stage_ms = (int64_t)a->stage_s * 1000;
	host.shared.patience_ms = (int64_t)a->patience_ms;
	host.shared.on_end = on_end;
	for (size_t i = 0; i < a->connections; i++)
		lane_init(&host.seat[i].lane, &host.shared);
	if (ret == 0)
		ret = hostile_material_make(&host.material, bytes_str(key), a->evil, a->small, err);
	if (ret == 0)
		ret = loop_open(&host.loop, err);
	if (a->one != UINT64_MAX)
		host.a.from = a->one, host.a.runs = 1;
	host.next = host.a.from;
	host.end = host.a.from + host.a.runs;
	return ret;
}

static void put_number(const char *before, const char *name, uint64_t v)
{
	printf("%s\"%s\": %llu", before, name, (unsigned long long)v);
}

static void report(void)
{
	put_number("{", "seed", host.a.seed);
	put_number(", ", "runs", host.finished);
	put_number(", ", "violations", host.violations);
	put_number(", ", "ms", (uint64_t)(clock_monotonic_ms() - host.began_ms));
	put_number(", ", "honest", host.honest);
	put_number(", ", "honest_right", host.honest_right);
	put_number(", ", "retries", host.retries);
	printf(",\n \"outcomes\": {");
	for (unsigned op = 0; op < OP_COUNT; op++) {
		const char *between = "";
		printf("%s\n  \"%s\": {", op > 0 ? "," : "", frame_op_name((enum frame_op)op));
		for (unsigned e = 0; e < ENDED_COUNT; e++) {
			if (host.ended[op][e] == 0)
				continue;
			put_number(between, lane_ended_name(e), host.ended[op][e]);
			between = ", ";
		}
		printf("}");
	}
	printf("},\n \"replies\": {");
	for (unsigned op = 0; op < OP_COUNT; op++)
		put_number(op > 0 ? ", " : "", frame_op_name((enum frame_op)op), host.replies[op]);
	printf("},\n \"mutations\": {");
	for (size_t i = 0; i < hostile_mutation_count(); i++)
		put_number(i > 0 ? ", " : "", hostile_mutation_name(i), host.changes[i]);
	printf("}}\n");
}

int main(int argc, char **argv)
{
	struct err err = { "" };
	size_t n;
	enum option_result parsed = options_parse(options, &host.a, argc, argv, NULL, 0, &n, &err);
	if (parsed == OPTIONS_WANT_HELP) {
		options_help(stdout, "hostile_host", "--socket PATH --evil FILE --small FILE", "Attacks the prover's service socket.",
		             options);
		return 0;
	}
	if (parsed == OPTIONS_USAGE) {
		fprintf(stderr, "hostile_host: %s\n", err.text);
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	if (prepare(&err) < 0) {
		fprintf(stderr, "hostile_host: %s\n", err.text);
		return 2;
	}
	host.began_ms = clock_monotonic_ms();
	fill_seats();
	if (loop_run(&host.loop, &err) < 0) {
		fprintf(stderr, "hostile_host: %s\n", err.text);
		return 2;
	}
	report();
	for (size_t i = 0; i < host.a.connections; i++)
		lane_free(&host.seat[i].lane);
	hostile_material_free(&host.material);
	loop_close(&host.loop);
	return host.violations > 0 ? 1 : 0;
}
