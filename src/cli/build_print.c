#include "cli/build_print.h"

#include "base/text.h"

struct registers { char pcr[3][2 * PCR_SIZE + 1]; };

static struct registers registers_of(const struct build_report *r)
{
	struct registers t;
	hex_encode(BYTES_ARRAY(r->measures.pcr0), t.pcr[0]);
	hex_encode(BYTES_ARRAY(r->measures.pcr1), t.pcr[1]);
	hex_encode(BYTES_ARRAY(r->measures.pcr2), t.pcr[2]);
	return t;
}

static const char *layout_text(enum layout l)
{
	return l == LAYOUT_PLAIN ? "plain" : "squashfs";
}

void build_print_registers(FILE *to, const struct build_result *b)
{
	struct registers t = registers_of(b->report);
	for (int i = 0; i < 3; i++)
		fprintf(to, "%d=%s\n", i, t.pcr[i]);
}

static double mb(uint64_t bytes) { return (double)bytes / 1e6; }

void build_print_remarks(FILE *to, const struct build_result *b)
{
	const struct build_report *r = b->report;
	const struct rootfs *f = b->rootfs;
	for (int k = 0; k < WARNING_COUNT; k++)
		if (f->warnings.count[k] > 0)
			fprintf(to, "tee-rex build: warning: %s: %llu, the first is %s\n", image_warning_text((enum image_warning)k),
			        (unsigned long long)f->warnings.count[k], f->warnings.example[k]);
	if (r->xattrs_lost > 0)
		fprintf(to, "tee-rex build: warning: the plain layout knows no extended attributes: %llu files lose theirs, capabilities among "
		        "them; --layout squashfs keeps them\n", (unsigned long long)r->xattrs_lost);
	if (b->ports_left_out > 0)
		fprintf(to, "tee-rex build: warning: %llu exposed ports are not reachable (UDP, or more than %d); --bridge says which are\n",
		        (unsigned long long)b->ports_left_out, SERVICE_BRIDGE_MAX);
	for (size_t i = 0; i < r->kernel.report.n; i++)
		if (r->kernel.report.finding[i].verdict == KERNEL_DEGRADED)
			fprintf(to, "tee-rex build: warning: the kernel works with less: CONFIG_%s: %s\n", r->kernel.report.finding[i].rule->option,
			        r->kernel.report.finding[i].rule->why);
	if (f->tree->pool.spilled > 0)
		fprintf(to, "tee-rex build: the file tree needed %llu MiB on disk\n", (unsigned long long)(f->tree->pool.spilled >> 20));
	fprintf(to, "tee-rex build: %s: kernel %.1f MB, boot %.2f MB, application %.1f MB (%s, ramdisks %s; %.1f MB in %u names), %.1f s\n",
	        b->plan->output, mb(r->kernel_bytes), mb(r->boot_bytes), mb(r->application_bytes), layout_text(b->plan->table->layout),
	        ramdisk_packing_name(b->plan->packing), mb(r->unpacked_bytes), f->tree->live_nodes, b->seconds);
}

static void put_warnings(struct writer *w, const struct build_result *b)
{
	const char *comma = "";
	put_str(w, ",\"warnings\":[");
	for (int k = 0; k < WARNING_COUNT; k++) {
		const struct image_warnings *v = &b->rootfs->warnings;
		if (v->count[k] == 0)
			continue;
		put_fmt(w, "%s{\"kind\":\"%s\",\"count\":%llu,\"example\":", comma, image_warning_name((enum image_warning)k),
		        (unsigned long long)v->count[k]);
		put_json_string(w, bytes_str(v->example[k]));
		put_str(w, "}");
		comma = ",";
	}
	if (b->report->xattrs_lost > 0) {
		put_fmt(w, "%s{\"kind\":\"xattr-layout\",\"count\":%llu}", comma, (unsigned long long)b->report->xattrs_lost);
		comma = ",";
	}
	if (b->ports_left_out > 0) {
		put_fmt(w, "%s{\"kind\":\"port\",\"count\":%llu}", comma, (unsigned long long)b->ports_left_out);
		comma = ",";
	}
	for (size_t i = 0; i < b->report->kernel.report.n; i++) {
		const struct kernel_finding *f = &b->report->kernel.report.finding[i];
		if (f->verdict != KERNEL_DEGRADED)
			continue;
		put_fmt(w, "%s{\"kind\":\"kernel\",\"option\":\"CONFIG_%s\"}", comma, f->rule->option);
		comma = ",";
	}
	put_str(w, "]");
}

void build_print_json(FILE *to, const struct build_result *b)
{
	static uint8_t buf[64 << 10];
	struct writer w = writer_of(buf, sizeof buf);
	struct registers t = registers_of(b->report);
	const struct build_report *r = b->report;
	const struct source *s = b->rootfs->source;
	char digest[OCI_DIGEST_TEXT_SIZE];
	put_str(&w, "{\"image\":");
	put_json_string(&w, bytes_str(b->plan->output));
	put_fmt(&w, ",\"measurements\":{\"HashAlgorithm\":\"Sha384 { ... }\",\"PCR0\":\"%s\",\"PCR1\":\"%s\",\"PCR2\":\"%s\"}", t.pcr[0],
	        t.pcr[1], t.pcr[2]);
	put_fmt(&w, ",\"architecture\":\"%s\",\"layout\":\"%s\",\"compression\":\"%s\",\"epoch\":%u", kernel_arch_name(r->arch),
	        layout_text(b->plan->table->layout), ramdisk_packing_name(b->plan->packing), b->plan->table->epoch);
	put_fmt(&w, ",\"bytes\":{\"kernel\":%llu,\"boot\":%llu,\"application\":%llu,\"unpacked\":%llu,\"layers\":%llu}",
	        (unsigned long long)r->kernel_bytes, (unsigned long long)r->boot_bytes, (unsigned long long)r->application_bytes,
	        (unsigned long long)r->unpacked_bytes, (unsigned long long)b->rootfs->unpacked);
	put_fmt(&w, ",\"names\":%u,\"fetched_bytes\":%llu,\"cached_bytes\":%llu,\"tree_spilled_bytes\":%llu,\"spooled_bytes\":%llu,\"seconds\":%.3f",
	        b->rootfs->tree->live_nodes, (unsigned long long)s->fetched, (unsigned long long)s->from_cache,
	        (unsigned long long)b->rootfs->tree->pool.spilled, (unsigned long long)r->spooled_bytes, b->seconds);
	if (s->has_digest)
		put_fmt(&w, ",\"source_digest\":\"%s\"", oci_digest_text(s->digest, digest));
	put_warnings(&w, b);
	put_str(&w, "}\n");
	fwrite(buf, 1, writer_bytes(&w).n, to);
}
