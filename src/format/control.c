#include "format/control.h"

#include "base/text.h"

static const char *const names[CONTROL_KIND_COUNT] = {
	"boot", "service", "oom", "pressure", "memory", "clock", "log", "dropped", "shutdown", "bug", "refused"
};

const char *control_kind_name(enum control_kind k) { return k < CONTROL_KIND_COUNT ? names[k] : "?"; }

enum control_kind control_kind_of(struct bytes name)
{
	int k = 0;
	while (k < CONTROL_KIND_COUNT && !bytes_equal(name, bytes_str(names[k])))
		k++;
	return (enum control_kind)k;
}

static void put_number(struct writer *w, int64_t v)
{
	if (v < 0)
		put_u8(w, '-');
	put_decimal(w, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

static void put_field(struct writer *w, const struct control_field *f)
{
	put_str(w, ",\"");
	put_str(w, f->name);
	put_str(w, "\":");
	if (f->type == CONTROL_NUMBER)
		put_number(w, f->number);
	else if (f->type == CONTROL_FLAG)
		put_str(w, f->number != 0 ? "true" : "false");
	else
		put_json_string(w, bytes_slice(f->text, 0, f->text.n < CONTROL_TEXT_MAX ? f->text.n : CONTROL_TEXT_MAX));
}

/* Not printf: a service may log a hundred thousand lines a second, and what each costs is taken from it. */
void control_put(struct writer *w, enum control_kind kind, uint64_t seq, int64_t ms, const struct control_field *fields)
{
	put_str(w, "{\"kind\":\"");
	put_str(w, names[kind]);
	put_str(w, "\",\"seq\":");
	put_decimal(w, seq);
	put_str(w, ",\"ms\":");
	put_number(w, ms);
	for (; fields->name != NULL; fields++)
		put_field(w, fields);
	put_str(w, "}\n");
}
