/* One line or object for each file, written as the tree is walked: nothing grows with the number of files, and long
 * strings go out in pieces. */
#include "cli/image_print.h"

#include "base/text.h"
#include "crypto/crypto.h"

enum { PIECE = 768 };        /* input bytes at a time; a multiple of 3 */

static void out(FILE *to, struct bytes b) { fwrite(b.p, 1, b.n, to); }

/* Printable, for terminals. */
static void out_text(FILE *to, struct bytes b)
{
	char buf[4 * PIECE + 1];
	for (size_t at = 0; at < b.n; at += PIECE)
		fputs(text_escape(bytes_slice(b, at, b.n - at < PIECE ? b.n - at : PIECE), buf, sizeof buf), to);
}

static void out_json(FILE *to, struct bytes b)
{
	uint8_t buf[6 * PIECE + 2];
	fputc('"', to);
	for (size_t at = 0; at < b.n;) {
		size_t n = b.n - at < PIECE ? b.n - at : PIECE;
		/* a character is not to be cut in two */
		for (size_t back = 1; back < 4 && at + n < b.n && n > back; back++)
			if ((b.p[at + n - back] & 0xc0) == 0xc0) {
				n -= utf8_sequence(bytes_slice(b, at + n - back, b.n - at - n + back)) > back ? back : 0;
				break;
			}
		struct writer w = writer_of(buf, sizeof buf);
		put_json_string(&w, bytes_slice(b, at, n));
		out(to, bytes_slice(writer_bytes(&w), 1, w.at - 2));
		at += n;
	}
	fputc('"', to);
}

static void out_base64(FILE *to, struct bytes b)
{
	uint8_t buf[2 * PIECE];
	fputc('"', to);
	for (size_t at = 0; at < b.n; at += PIECE) {
		struct writer w = writer_of(buf, sizeof buf);
		put_base64(&w, bytes_slice(b, at, b.n - at < PIECE ? b.n - at : PIECE));
		out(to, writer_bytes(&w));
	}
	fputc('"', to);
}

static void out_strings(FILE *to, const struct strings *s)
{
	fputc('[', to);
	for (size_t i = 0; i < s->n; i++) {
		if (i > 0)
			fputc(',', to);
		out_json(to, bytes_str(s->v[i]));
	}
	fputc(']', to);
}

static const char *digest_of(const struct rootfs *r, const struct file_digests *d, uint32_t inode,
                             char buf[2 * SHA256_SIZE + 1])
{
	uint8_t none[SHA256_SIZE];
	if (tree_inode(r->tree, inode)->size == 0 && crypto_hash(HASH_SHA256, BYTES_NONE, none))
		return hex_encode(BYTES_ARRAY(none), buf);
	return hex_encode(bytes_of(slab_at(&d->slab, inode), SHA256_SIZE), buf);
}

static void platform_text(const struct oci_platform *p, char *buf, size_t cap)
{
	snprintf(buf, cap, "%s/%s%s%s", p->os, p->architecture, p->variant[0] != '\0' ? "/" : "", p->variant);
}

/* --- text --------------------------------------------------------------------------------------------------- */

static void mode_text(uint32_t mode, char buf[11])
{
	static const char bits[] = "rwxrwxrwx";
	buf[0] = S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : S_ISFIFO(mode) ? 'p' : '-';
	for (int i = 0; i < 9; i++)
		buf[1 + i] = mode & (0400u >> i) ? bits[i] : '-';
	if (mode & S_ISUID)
		buf[3] = mode & 0100 ? 's' : 'S';
	if (mode & S_ISGID)
		buf[6] = mode & 010 ? 's' : 'S';
	if (mode & S_ISVTX)
		buf[9] = mode & 01 ? 't' : 'T';
	buf[10] = '\0';
}

static void print_config_text(FILE *to, const struct source *s)
{
	const struct image_config *c = &s->config;
	const struct image_user *u = &c->resolved_user;
	char text[OCI_DIGEST_TEXT_SIZE + 64];
	platform_text(&c->platform, text, sizeof text);
	fprintf(to, "platform    %s\n", text);
	if (s->has_digest)
		fprintf(to, "manifest    %s\n", oci_digest_text(s->digest, text));
	if (s->ops->open_blob != NULL)
		fprintf(to, "image id    %s\n", oci_digest_text(s->config_digest, text));
	fprintf(to, "layers      %zu\nentrypoint  ", source_layer_count(s));
	out_strings(to, &c->entrypoint);
	fprintf(to, "\ncmd         ");
	out_strings(to, &c->cmd);
	for (size_t i = 0; i < c->env.n; i++) {
		fprintf(to, "\nenv         ");
		out_text(to, bytes_str(c->env.v[i]));
	}
	fprintf(to, "\nworkdir     ");
	out_text(to, bytes_str(c->working_dir));
	fprintf(to, "\nuser        ");
	out_text(to, bytes_str(c->user));
	fprintf(to, "%suid %u gid %u", c->user[0] != '\0' ? " = " : "", u->uid, u->gid);
	for (size_t i = 0; i < u->group_count; i++)
		fprintf(to, "%s%u", i > 0 ? "," : " groups ", u->group[i]);
	fprintf(to, " home ");
	out_text(to, bytes_str(u->home));
	for (size_t i = 0; i < c->exposed_ports.n; i++)
		fprintf(to, "\nexpose      %s", c->exposed_ports.v[i]);
	fprintf(to, "\nstop signal %d\n\n", c->stop_signal_number);
}

static void print_node_text(FILE *to, const struct rootfs *r, const struct file_digests *d, uint32_t n)
{
	char path[TREE_PATH_MAX + 1], mode[11], hex[2 * SHA256_SIZE + 1] = "-";
	size_t path_n;
	const struct tree_inode *i = tree_inode_of(r->tree, n);
	if (!tree_path(r->tree, n, path, sizeof path, &path_n))
		return;
	mode_text(i->mode, mode);
	fprintf(to, "%s %5u %5u %11llu %-64s ", mode, i->uid, i->gid, (unsigned long long)i->size,
	        S_ISREG(i->mode) ? digest_of(r, d, tree_node(r->tree, n)->inode, hex) : hex);
	out_text(to, n == TREE_ROOT ? BYTES_LIT(".") : bytes_of(path, path_n));
	if (S_ISLNK(i->mode)) {
		fputs(" -> ", to);
		out_text(to, tree_target(r->tree, tree_node(r->tree, n)->inode));
	}
	if (i->node != n && tree_path(r->tree, i->node, path, sizeof path, &path_n)) {
		fputs(" link to ", to);
		out_text(to, bytes_of(path, path_n));
	}
	fputc('\n', to);
}

void image_print_text(FILE *to, const struct rootfs *r, const struct file_digests *d)
{
	print_config_text(to, r->source);
	for (uint32_t n = TREE_ROOT; n != 0; n = tree_next(r->tree, n))
		print_node_text(to, r, d, n);
}

void image_print_warnings(FILE *to, const struct rootfs *r)
{
	for (int k = 0; k < WARNING_COUNT; k++)
		if (r->warnings.count[k] > 0)
			fprintf(to, "tee-rex image: warning: %s: %llu, the first is %s\n", image_warning_text((enum image_warning)k),
			        (unsigned long long)r->warnings.count[k], r->warnings.example[k]);
	if (r->tree->pool.spilled > 0)
		fprintf(to, "tee-rex image: the file tree needed %llu MiB on disk\n",
		        (unsigned long long)(r->tree->pool.spilled >> 20));
}

/* --- JSON --------------------------------------------------------------------------------------------------- */

static void print_config_json(FILE *to, const struct source *s)
{
	const struct image_config *c = &s->config;
	const struct image_user *u = &c->resolved_user;
	char text[OCI_DIGEST_TEXT_SIZE + 64];
	platform_text(&c->platform, text, sizeof text);
	fprintf(to, "\"kind\":\"%s\",\"platform\":\"%s\",", s->kind, text);
	if (s->has_digest)
		fprintf(to, "\"manifest_digest\":\"%s\",", oci_digest_text(s->digest, text));
	if (s->ops->open_blob != NULL)
		fprintf(to, "\"image_id\":\"%s\",", oci_digest_text(s->config_digest, text));
	fprintf(to, "\"layers\":%zu,\"fetched_bytes\":%llu,\"cached_bytes\":%llu,\n\"config\":{\"entrypoint\":",
	        source_layer_count(s), (unsigned long long)s->fetched, (unsigned long long)s->from_cache);
	out_strings(to, &c->entrypoint);
	fputs(",\"cmd\":", to);
	out_strings(to, &c->cmd);
	fputs(",\"env\":", to);
	out_strings(to, &c->env);
	fputs(",\"exposed_ports\":", to);
	out_strings(to, &c->exposed_ports);
	fputs(",\"working_dir\":", to);
	out_json(to, bytes_str(c->working_dir));
	fputs(",\"stop_signal\":{\"name\":", to);
	out_json(to, bytes_str(c->stop_signal));
	fprintf(to, ",\"number\":%d},\"user\":{\"spec\":", c->stop_signal_number);
	out_json(to, bytes_str(c->user));
	fprintf(to, ",\"uid\":%u,\"gid\":%u,\"groups\":[", u->uid, u->gid);
	for (size_t i = 0; i < u->group_count; i++)
		fprintf(to, "%s%u", i > 0 ? "," : "", u->group[i]);
	fputs("],\"name\":", to);
	out_json(to, bytes_str(u->name));
	fputs(",\"home\":", to);
	out_json(to, bytes_str(u->home));
	fputs("}},\n", to);
}

/* A path; where it is not UTF-8, its bytes as well. */
static void out_path(FILE *to, const char *key, struct bytes path)
{
	fprintf(to, "\"%s\":", key);
	out_json(to, path);
	if (!utf8_valid(path)) {
		fprintf(to, ",\"%s_base64\":", key);
		out_base64(to, path);
	}
}

static const char *type_name(uint32_t mode)
{
	return S_ISDIR(mode) ? "directory" : S_ISLNK(mode) ? "symlink" : S_ISFIFO(mode) ? "fifo" : "file";
}

static void print_node_json(FILE *to, const struct rootfs *r, const struct file_digests *d, uint32_t n)
{
	char path[TREE_PATH_MAX + 1], hex[2 * SHA256_SIZE + 1];
	size_t path_n;
	uint32_t inode = tree_node(r->tree, n)->inode;
	const struct tree_inode *i = tree_inode(r->tree, inode);
	if (!tree_path(r->tree, n, path, sizeof path, &path_n))
		return;
	fputc('{', to);
	out_path(to, "path", bytes_of(path, path_n));
	fprintf(to, ",\"type\":\"%s\",\"mode\":\"%04o\",\"uid\":%u,\"gid\":%u,\"mtime\":%lld,\"size\":%llu,\"layer\":%u",
	        type_name(i->mode), i->mode & 07777, i->uid, i->gid, (long long)i->mtime, (unsigned long long)i->size,
	        i->layer + 1u);
	if (S_ISREG(i->mode))
		fprintf(to, ",\"sha256\":\"%s\"", digest_of(r, d, inode, hex));
	if (S_ISLNK(i->mode)) {
		fputc(',', to);
		out_path(to, "target", tree_target(r->tree, inode));
	}
	if (i->links > 1)
		fprintf(to, ",\"links\":%u", i->links);
	if (i->node != n && tree_path(r->tree, i->node, path, sizeof path, &path_n)) {
		fputc(',', to);
		out_path(to, "link_to", bytes_of(path, path_n));
	}
	struct reader x = tree_xattrs(r->tree, inode);
	struct bytes name, value;
	bool first = true;
	for (; tree_xattr_next(&x, &name, &value); first = false) {
		fputs(first ? ",\"xattrs\":{" : ",", to);
		out_json(to, name);
		fputc(':', to);
		out_base64(to, value);
	}
	fputs(first ? "}" : "}}", to);
}

void image_print_json(FILE *to, const struct rootfs *r, const struct file_digests *d)
{
	fputc('{', to);
	print_config_json(to, r->source);
	fputs("\"files\":[\n", to);
	for (uint32_t n = TREE_ROOT; n != 0; n = tree_next(r->tree, n)) {
		fputs(n == TREE_ROOT ? "" : ",\n", to);
		print_node_json(to, r, d, n);
	}
	fprintf(to, "],\n\"totals\":{\"names\":%u,\"bytes\":%llu,\"entries\":%llu,\"unpacked_bytes\":%llu,"
	        "\"tree_memory_bytes\":%llu,\"tree_spilled_bytes\":%llu},\n\"warnings\":[", r->tree->live_nodes,
	        (unsigned long long)r->tree->live_bytes, (unsigned long long)r->entries, (unsigned long long)r->unpacked,
	        (unsigned long long)r->tree->pool.memory_used, (unsigned long long)r->tree->pool.spilled);
	bool first = true;
	for (int k = 0; k < WARNING_COUNT; k++) {
		if (r->warnings.count[k] == 0)
			continue;
		fprintf(to, "%s{\"kind\":\"%s\",\"count\":%llu,\"example\":", first ? "" : ",",
		        image_warning_name((enum image_warning)k), (unsigned long long)r->warnings.count[k]);
		out_json(to, bytes_str(r->warnings.example[k]));
		fputc('}', to);
		first = false;
	}
	fputs("]}\n", to);
}

void image_print_error(FILE *to, enum image_code c, const struct err *err)
{
	fprintf(to, "{\"error\":{\"code\":\"%s\",\"message\":", image_code_name(c));
	out_json(to, bytes_str(err->text));
	fputs("}}\n", to);
}
