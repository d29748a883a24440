#include "enclave/prover/keyring.h"

#include "base/clock.h"
#include "crypto/crypto.h"

#include <errno.h>

static void entry_wipe(struct keyring_entry *e)
{
	pgp_key_free(&e->key);
	crypto_wipe(e, sizeof *e);
}

static struct keyring_entry *entry_new(struct keyring *r, struct err *err)
{
	struct keyring_entry *e = NULL;
	for (size_t i = 0; i < KEYRING_MAX && e == NULL; i++)
		if (!r->entry[i].used)
			e = &r->entry[i];
	if (e == NULL) {
		fail(err, EBUSY, "make a new key while jobs hold all older ones");
		return NULL;
	}
	struct writer w = writer_of(e->armored, sizeof e->armored - 1);
	enum pgp_error made = pgp_key_generate(&e->key, (uint32_t)(clock_wall_ms() / 1000), PGP_BACKDATE_S);
	if (made == PGP_OK)
		made = pgp_key_export(&e->key, &w);
	if (made != PGP_OK) {
		fail(err, 0, "generate a key pair: %s", pgp_error_name(made));
		entry_wipe(e);
		return NULL;
	}
	e->used = true;
	e->armored[w.at] = '\0';
	return e;
}

int keyring_init(struct keyring *r, struct err *err)
{
	memset(r, 0, sizeof *r);
	r->current = entry_new(r, err);
	r->generation = 1;
	return r->current == NULL ? -EIO : 0;
}

void keyring_expire(struct keyring *r)
{
	int64_t now = clock_monotonic_ms();
	for (size_t i = 0; i < KEYRING_MAX; i++) {
		struct keyring_entry *e = &r->entry[i];
		if (e->used && e != r->current && e->refs == 0 && e->expires_ms <= now)
			entry_wipe(e);
	}
}

int keyring_rotate(struct keyring *r, int64_t keep_ms, struct err *err)
{
	keyring_expire(r);
	struct keyring_entry *e = entry_new(r, err);
	if (e == NULL)
		return -EBUSY;
	r->current->expires_ms = clock_monotonic_ms() + keep_ms;
	r->current = e;
	r->generation++;
	return 0;
}

size_t keyring_accepted(struct keyring *r, struct keyring_entry *ret[KEYRING_MAX])
{
	int64_t now = clock_monotonic_ms();
	size_t n = 0;
	ret[n++] = r->current;
	for (size_t i = 0; i < KEYRING_MAX; i++) {
		struct keyring_entry *e = &r->entry[i];
		if (e->used && e != r->current && e->expires_ms > now)
			ret[n++] = e;
	}
	return n;
}

void keyring_close(struct keyring *r)
{
	for (size_t i = 0; i < KEYRING_MAX; i++)
		if (r->entry[i].used)
			entry_wipe(&r->entry[i]);
}
