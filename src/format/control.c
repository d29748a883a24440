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

static void put_field(struct writer *w, const struct control_field *f)
{
	put_fmt(w, ",\"%s\":", f->name);
	if (f->type == CONTROL_NUMBER)
		put_fmt(w, "%lld", (long long)f->number);
	else if (f->type == CONTROL_FLAG)
		put_str(w, f->number != 0 ? "true" : "false");
	else
		put_json_string(w, bytes_slice(f->text, 0, f->text.n < CONTROL_TEXT_MAX ? f->text.n : CONTROL_TEXT_MAX));
}

void control_put(struct writer *w, enum control_kind kind, uint64_t seq, int64_t ms, const struct control_field *fields)
{
	put_fmt(w, "{\"kind\":\"%s\",\"seq\":%llu,\"ms\":%lld", names[kind], (unsigned long long)seq, (long long)ms);
	for (; fields->name != NULL; fields++)
		put_field(w, fields);
	put_str(w, "}\n");
}
