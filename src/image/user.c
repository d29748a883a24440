/* /etc/passwd and /etc/group are read line by line, as lenient as the C library is with them: lines that are
 * comments, too short or have no number are skipped. They come from the image and are distrusted. */
#include "image/config.h"

#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>

enum { FIELDS_MAX = 7, NAME_SHOWN = 160 };

struct fields { struct bytes f[FIELDS_MAX]; size_t n; };

/* The next line of *rest, split at colons. False at the end. */
static bool next_line(struct bytes *rest, struct fields *ret)
{
	if (rest->n == 0)
		return false;
	const uint8_t *newline = memchr(rest->p, '\n', rest->n);
	size_t end = newline != NULL ? (size_t)(newline - rest->p) : rest->n, start = 0;
	ret->n = 0;
	for (size_t i = 0; i <= end; i++)
		if (ret->n < FIELDS_MAX && (i == end || rest->p[i] == ':')) {
			ret->f[ret->n++] = bytes_slice(*rest, start, i - start);
			start = i + 1;
		}
	*rest = bytes_slice(*rest, end + 1, end < rest->n ? rest->n - end - 1 : 0);
	return true;
}

static bool number(struct bytes text, uint32_t *ret)
{
	uint64_t v;
	if (!text_to_u64(text, UINT32_MAX - 1, &v))
		return false;
	*ret = (uint32_t)v;
	return true;
}

static bool find_user(struct bytes passwd, struct bytes name, bool by_number, uint32_t wanted, struct image_user *u)
{
	struct fields l;
	while (next_line(&passwd, &l)) {
		uint32_t uid, gid;
		if (l.n < 4 || l.f[0].n == 0 || !number(l.f[2], &uid) || !number(l.f[3], &gid))
			continue;
		if (!bytes_equal(l.f[0], name) && !(by_number && uid == wanted))
			continue;
		u->uid = uid;
		u->gid = gid;
		if (!bytes_to_cstr(l.f[0], u->name, sizeof u->name))
			u->name[0] = '\0';
		if (l.n < 6 || l.f[5].n == 0 || !bytes_to_cstr(l.f[5], u->home, sizeof u->home))
			snprintf(u->home, sizeof u->home, "/");
		return true;
	}
	return false;
}

static bool find_group(struct bytes group, struct bytes name, bool by_number, uint32_t wanted, uint32_t *ret)
{
	struct fields l;
	while (next_line(&group, &l)) {
		uint32_t gid;
		if (l.n >= 3 && number(l.f[2], &gid) && (bytes_equal(l.f[0], name) || (by_number && gid == wanted))) {
			*ret = gid;
			return true;
		}
	}
	return false;
}

static bool lists_member(struct bytes members, struct bytes name)
{
	for (size_t at = 0; at < members.n;) {
		size_t end = at;
		while (end < members.n && members.p[end] != ',')
			end++;
		if (bytes_equal(bytes_slice(members, at, end - at), name))
			return true;
		at = end + 1;
	}
	return false;
}

static void add_group(struct image_user *u, uint32_t gid)
{
	size_t at = 0;
	while (at < u->group_count && u->group[at] < gid)
		at++;
	if (gid == u->gid || u->group_count == USER_GROUPS_MAX || (at < u->group_count && u->group[at] == gid))
		return;
	memmove(u->group + at + 1, u->group + at, (u->group_count - at) * sizeof u->group[0]);
	u->group[at] = gid;
	u->group_count++;
}

static void add_memberships(struct bytes group, struct image_user *u)
{
	struct fields l;
	if (u->name[0] == '\0')
		return;
	while (next_line(&group, &l)) {
		uint32_t gid;
		if (l.n >= 4 && number(l.f[2], &gid) && lists_member(l.f[3], bytes_str(u->name)))
			add_group(u, gid);
	}
}

static enum image_code unknown(const char *kind, struct bytes name, const char *file, struct err *err)
{
	char shown[NAME_SHOWN];
	return image_fail(err, IMAGE_UNKNOWN_USER, 0, "the image's USER names the %s \"%s\", which its /etc/%s does not have", kind,
	                  text_escape(name, shown, sizeof shown), file);
}

enum image_code user_resolve(const char *user, struct bytes passwd, struct bytes group, struct image_user *ret,
                             struct err *err)
{
	struct image_user u = { .home = "/" };
	const char *colon = strchr(user, ':');
	struct bytes name = bytes_of(user, colon != NULL ? (size_t)(colon - user) : strlen(user));
	struct bytes group_name = colon != NULL ? bytes_str(colon + 1) : BYTES_NONE;
	uint32_t uid = 0, gid = 0;
	if (name.n == 0)
		name = BYTES_LIT("0");
	bool by_number = number(name, &uid);
	if (!find_user(passwd, name, by_number, uid, &u)) {
		if (!by_number)
			return unknown("user", name, "passwd", err);
		u.uid = uid;
	}
	if (group_name.n > 0) {
		bool group_by_number = number(group_name, &gid);
		if (!find_group(group, group_name, group_by_number, gid, &u.gid)) {
			if (!group_by_number)
				return unknown("group", group_name, "group", err);
			u.gid = gid;
		}
	} else {
		add_memberships(group, &u);
	}
	*ret = u;
	return IMAGE_OK;
}
