/* A recognizer, not a parser: nothing is unescaped or escaped, because a word that would need it does not
 * pass. Families are compared as bytes of the text itself. */
#include "host/metrics_text.h"

static const char prefix[] = "teerex_prover_";

struct families { struct bytes seen[METRICS_FAMILIES_MAX], now; size_t n; bool counter; };

static bool name_char(uint8_t c) { return (c >= 'a' && c <= 'z') || c == '_'; }
static bool digit(uint8_t c) { return c >= '0' && c <= '9'; }
static bool word_char(uint8_t c)
{
	return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c != 0 && strchr("._+-", c) != NULL);
}

/* The longest run of such characters at the front, which is taken off. */
static struct bytes take_run(struct bytes *from, bool (*fits)(uint8_t c))
{
	size_t n = 0;
	while (n < from->n && fits(from->p[n]))
		n++;
	struct bytes run = bytes_of(from->p, n);
	*from = bytes_of(from->p + n, from->n - n);
	return run;
}

static bool take_text(struct bytes *from, const char *text)
{
	size_t n = strlen(text);
	if (n > from->n || memcmp(from->p, text, n) != 0)
		return false;
	*from = bytes_of(from->p + n, from->n - n);
	return true;
}

static bool type_line(struct bytes line, struct families *f)
{
	struct bytes name = take_run(&line, name_char), at = name;
	bool counter = bytes_equal(line, BYTES_LIT(" counter"));
	if (!take_text(&at, prefix) || at.n == 0 || (!counter && !bytes_equal(line, BYTES_LIT(" gauge"))))
		return false;
	for (size_t i = 0; i < f->n; i++)
		if (bytes_equal(f->seen[i], name))
			return false;
	if (f->n == METRICS_FAMILIES_MAX)
		return false;
	f->seen[f->n++] = f->now = name;
	f->counter = counter;
	return true;
}

static bool take_labels(struct bytes *line)
{
	if (!take_text(line, "{"))
		return true;
	do {
		if (take_run(line, name_char).n == 0 || !take_text(line, "=\""))
			return false;
		take_run(line, word_char);
		if (!take_text(line, "\""))
			return false;
	} while (take_text(line, ","));
	return take_text(line, "}");
}

static bool sample_line(struct bytes line, const struct families *f)
{
	struct bytes name = take_run(&line, name_char), want = f->now;
	if (want.n == 0 || name.n < want.n || !bytes_equal(bytes_of(name.p, want.n), want) ||
	    !bytes_equal(bytes_of(name.p + want.n, name.n - want.n), f->counter ? BYTES_LIT("_total") : BYTES_LIT("")))
		return false;
	if (!take_labels(&line) || !take_text(&line, " "))
		return false;
	size_t digits = take_run(&line, digit).n;
	return digits > 0 && digits <= 20 && line.n == 0;
}

static bool passes(struct bytes line, struct families *f)
{
	if (line.n > METRICS_LINE_MAX)
		return false;
	if (!take_text(&line, "# TYPE "))
		return sample_line(line, f);
	f->now = BYTES_NONE;                     /* what follows a TYPE that does not pass has none */
	return type_line(line, f);
}

size_t metrics_text_copy(struct bytes text, struct writer *w)
{
	struct families f = { .n = 0 };
	size_t dropped = 0, copied = 0;
	while (text.n > 0) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		size_t n = end == NULL ? text.n : (size_t)(end - text.p);
		struct bytes line = bytes_of(text.p, n);
		n += end != NULL;
		text = bytes_of(text.p + n, text.n - n);
		if (bytes_equal(line, BYTES_LIT("# EOF")) && text.n == 0)
			break;
		if (copied == METRICS_LINES_MAX || !passes(line, &f)) {
			dropped++;
			continue;
		}
		put_bytes(w, line);
		put_u8(w, '\n');
		copied++;
	}
	return dropped;
}
