/* Every byte of an image goes into two digests: PCR0 and one of PCR1 and PCR2 share no prefix that could be
 * hashed once, since PCR2 starts anew in the middle. */
#include "attest/pcr.h"

bool pcr_extend(uint8_t pcr[PCR_SIZE], struct bytes data)
{
	struct hash *h = hash_new(HASH_SHA384);
	if (h == NULL)
		return false;
	hash_update(h, bytes_of(pcr, PCR_SIZE));
	hash_update(h, data);
	bool ok = hash_peek(h, pcr);
	hash_free(h);
	return ok;
}

static bool starts_with(struct bytes *text, const char *prefix)
{
	size_t n = strlen(prefix);
	if (text->n < n || memcmp(text->p, prefix, n) != 0)
		return false;
	*text = bytes_of(text->p + n, text->n - n);
	return true;
}

/* How many of the leading bytes are in the set. */
static size_t span(struct bytes text, const char *set)
{
	size_t n = 0;
	while (n < text.n && text.p[n] != 0 && strchr(set, text.p[n]) != NULL)
		n++;
	return n;
}

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

bool pcr_role_valid(struct bytes arn)
{
	if (!starts_with(&arn, "arn:aws"))
		return false;
	size_t partition = span(arn, LOWER "-");
	arn = bytes_of(arn.p + partition, arn.n - partition);
	if (!starts_with(&arn, ":iam::") || span(arn, DIGITS) != 12)
		return false;
	arn = bytes_of(arn.p + 12, arn.n - 12);
	/* a path may come before the name; AWS measures the ARN with it */
	return starts_with(&arn, ":role/") && arn.n > 0 && arn.n <= 512 + 64 && arn.p[arn.n - 1] != '/' &&
	       span(arn, LOWER UPPER DIGITS "+=,.@_-/!\"#$%&'()*:;<>?[\\]^`{|}~") == arn.n;
}

bool pcr_instance_valid(struct bytes id)
{
	return starts_with(&id, "i-") && (id.n == 8 || id.n == 17) && span(id, DIGITS "abcdef") == id.n;
}

static bool extend_zeros(struct bytes data, uint8_t ret[PCR_SIZE])
{
	uint8_t pcr[PCR_SIZE] = { 0 };
	if (!pcr_extend(pcr, data))
		return false;
	memcpy(ret, pcr, PCR_SIZE);
	return true;
}

bool pcr_of_role(struct bytes role_arn, uint8_t ret[PCR_SIZE]) { return extend_zeros(role_arn, ret); }
bool pcr_of_instance(struct bytes instance_id, uint8_t ret[PCR_SIZE]) { return extend_zeros(instance_id, ret); }

bool pcr_of_certificate(struct bytes der, uint8_t ret[PCR_SIZE])
{
	uint8_t digest[SHA384_SIZE];
	return crypto_hash(HASH_SHA384, der, digest) && extend_zeros(BYTES_ARRAY(digest), ret);
}

bool pcr_meter_open(struct pcr_meter *m)
{
	*m = (struct pcr_meter){ hash_new(HASH_SHA384), hash_new(HASH_SHA384), hash_new(HASH_SHA384) };
	if (m->image != NULL && m->boot != NULL && m->application != NULL)
		return true;
	pcr_meter_close(m);
	return false;
}

void pcr_meter_feed(struct pcr_meter *m, enum pcr_part part, struct bytes in)
{
	hash_update(m->image, in);
	hash_update(part == PCR_BOOT ? m->boot : m->application, in);
}

static bool register_of(const struct hash *h, uint8_t ret[PCR_SIZE])
{
	uint8_t digest[SHA384_SIZE];
	return hash_peek(h, digest) && extend_zeros(BYTES_ARRAY(digest), ret);
}

bool pcr_meter_read(const struct pcr_meter *m, uint8_t pcr0[PCR_SIZE], uint8_t pcr1[PCR_SIZE], uint8_t pcr2[PCR_SIZE])
{
	return register_of(m->image, pcr0) && register_of(m->boot, pcr1) && register_of(m->application, pcr2);
}

void pcr_meter_close(struct pcr_meter *m)
{
	hash_free(m->image);
	hash_free(m->boot);
	hash_free(m->application);
	*m = (struct pcr_meter){ NULL, NULL, NULL };
}
