/* The constructions of seipd.h against the message that the specification gives (RFC 9580, A.8): its recipient is
 * a version 6 key, which decrypt.h does not serve, so the parts are put together here. */
#include "openpgp_fixture.h"

static struct bytes hex(const char *text, uint8_t *out)
{
	size_t n = strlen(text) / 2;
	assert_true(hex_decode(bytes_str(text), out, n));
	return bytes_of(out, n);
}

static const char secret[] = "4d600a4f794d44775c57a26e0feefed558e9afffd6ad0d582d57fb2ba2dcedb8";
static const char pkesk_rest[] = "87cf18d5f1b53f817cce5a004cf393cc8958bddc065f25f84af509b17dd36764"
                                 "18dea355437956617901e06957fbca8a6a47a5b5153e8d3ab7";
static const char seipd_body[] = "02070206616416535be0b0716d60e052a56c4c407f9eb36b0efafe9ad0a0df9b033c69a2"
                                 "1ba9ebd2c0ec95bf569d25c999ee4a3de17058f40dfa8b4c682be3fbbbd7b27eb0f59bb500"
                                 "5f80c7c6f40388c30ad406ab0513dcd6f9fd737656286e1177d00f888adb31c4";

static void message_of_the_specification_decrypts(void **state)
{
	(void)state;
	uint8_t raw[32], public[32], rest[64], body[128], want[32], plain[64];
	struct pgp_session_key session;
	struct key25519 *k = x25519_from_raw(hex(secret, raw).p);
	assert_true(key25519_public(k, public));
	assert_error(pgp_session_key_unwrap(k, public, hex(pkesk_rest, rest), &session), PGP_OK);
	assert_int_equal(session.n, 16);
	assert_memory_equal(session.key, hex("dd708f6fa1ed65114d68d2343e7c2f1d", want).p, 16);

	struct pgp_seipd head;
	struct pgp_chunks chunks;
	struct reader r = reader_of(hex(seipd_body, body));
	assert_error(pgp_seipd_parse(get_bytes(&r, PGP_SEIPD_HEADER_SIZE), &head), PGP_OK);
	assert_error(pgp_chunks_open(&chunks, false, &head, &session), PGP_OK);
	struct bytes chunk = get_bytes(&r, 37), tag = get_bytes(&r, 16), final = get_bytes(&r, 16);
	assert_true(reader_done(&r));
	assert_error(pgp_chunks_end_decrypt(&chunks, chunk, plain, tag.p), PGP_OK);
	assert_error(pgp_chunks_check_final(&chunks, final.p), PGP_OK);
	pgp_chunks_close(&chunks);

	struct pgp_content content;
	CLEANUP(buffer_free) struct buffer out = { 0 };
	pgp_content_init(&content, 100, into_buffer, &out);
	assert_error(pgp_content_feed(&content, bytes_of(plain, 37)), PGP_OK);       /* a literal and padding */
	assert_error(pgp_content_finish(&content), PGP_OK);
	assert_true(bytes_equal(buffer_bytes(&out), BYTES_LIT("Hello, world!")));
	key25519_free(k);
}

static void wrapped_session_keys_come_back(void **state)
{
	(void)state;
	uint8_t public[32], fingerprint[20] = { 1 }, room[128];
	struct key25519 *k = x25519_generate();
	assert_true(key25519_public(k, public));
	for (size_t n = 16; n <= 32; n += 16) {
		struct pgp_session_key session = { .n = n }, back = { .n = 0 };
		struct writer w = writer_of(room, sizeof room);
		struct bytes body;
		struct pgp_pkesk p;
		assert_true(crypto_random(session.key, n));
		assert_error(pgp_session_key_wrap(&w, public, fingerprint, &session), PGP_OK);
		struct reader r = reader_of(writer_bytes(&w));
		assert_int_equal(pgp_get_packet(&r, &body), PGP_TAG_PKESK);
		assert_error(pgp_pkesk_parse(body, &p), PGP_OK);
		assert_error(pgp_session_key_unwrap(k, public, p.rest, &back), PGP_OK);
		assert_int_equal(back.n, n);
		assert_memory_equal(back.key, session.key, n);
		/* and not for another recipient, though the secret be the same */
		public[0] ^= 1;
		assert_error(pgp_session_key_unwrap(k, public, p.rest, &back), PGP_BAD_SESSION_KEY);
		public[0] ^= 1;
		w = writer_of(room, 60);
		assert_error(pgp_session_key_wrap(&w, public, fingerprint, &session), PGP_NO_ROOM);
	}
	key25519_free(k);
}

static void more_than_a_chunk_is_our_mistake(void **state)
{
	(void)state;
	const struct pgp_seipd head = { PGP_CIPHER_AES256, PGP_AEAD_GCM, 0, BYTES_LIT("0123456789abcdef0123456789abcdef") };
	const struct pgp_session_key session = { { 1 }, 32 };
	struct pgp_chunks c;
	uint8_t buf[128] = { 0 }, tag[AEAD_TAG_SIZE];
	assert_error(pgp_chunks_open(&c, true, &head, &session), PGP_OK);
	assert_error(pgp_chunks_update(&c, bytes_of(buf, 80), buf), PGP_CRYPTO);
	assert_error(pgp_chunks_update(&c, bytes_of(buf, 8), buf), PGP_CRYPTO);          /* not whole blocks */
	assert_error(pgp_chunks_update(&c, bytes_of(buf, 48), buf), PGP_OK);
	assert_error(pgp_chunks_end_encrypt(&c, bytes_of(buf, 17), buf, tag), PGP_CRYPTO);
	assert_error(pgp_chunks_end_encrypt(&c, bytes_of(buf, 16), buf, tag), PGP_OK);
	assert_true(pgp_chunks_fresh(&c));
	pgp_chunks_close(&c);
	pgp_chunks_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(message_of_the_specification_decrypts),
		cmocka_unit_test(wrapped_session_keys_come_back),
		cmocka_unit_test(more_than_a_chunk_is_our_mistake),
	};
	return cmocka_run_group_tests_name("openpgp_seipd", tests, NULL, NULL);
}
