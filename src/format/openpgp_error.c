#include "format/openpgp_error.h"

static const struct { const char *name, *text; } errors[] = {
#define PGP_ERROR_ROW(code, name, text) [code] = { name, text },
	PGP_ERRORS(PGP_ERROR_ROW)
#undef PGP_ERROR_ROW
};

const char *pgp_error_name(enum pgp_error e) { return e < PGP_ERROR_COUNT ? errors[e].name : "unknown"; }
const char *pgp_error_text(enum pgp_error e) { return e < PGP_ERROR_COUNT ? errors[e].text : "unknown error"; }
