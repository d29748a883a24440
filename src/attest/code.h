/* Verdicts of the library: from the parsers' own results, and to sentences. */
#ifndef ATTEST_CODE_H
#define ATTEST_CODE_H

#include "attest/teerex_attest.h"
#include "crypto/x509.h"
#include "format/attest_doc.h"
#include "format/cose_sign1.h"

enum teerex_code code_of_cose(enum cose_result r);
enum teerex_code code_of_doc(enum doc_result r);
enum teerex_code code_of_x509(enum x509_result r);

/* What failed, why, and what to do, for a verdict without details to add. Never NULL. */
const char *code_sentence(enum teerex_code code);

#endif
