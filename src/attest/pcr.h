/* Platform configuration registers: how an image, its signer, a role and an instance become 48 bytes.
 *
 *     extend(pcr, data) = SHA-384(pcr || data); a register starts as 48 zeros
 *     PCR0 = extend(0, SHA-384(kernel || command line || all ramdisks))
 *     PCR1 = extend(0, SHA-384(kernel || command line || first ramdisk))
 *     PCR2 = extend(0, SHA-384(the other ramdisks))
 *     PCR3 = extend(0, role ARN)        PCR4 = extend(0, instance id)
 *     PCR8 = extend(0, SHA-384(DER of the signing certificate)); zeros when the image is not signed
 *
 * Functions fail (false) only for lack of memory or a broken libcrypto. */
#ifndef ATTEST_PCR_H
#define ATTEST_PCR_H

#include "base/bytes.h"
#include "crypto/crypto.h"

enum { PCR_SIZE = SHA384_SIZE };

bool pcr_extend(uint8_t pcr[PCR_SIZE], struct bytes data);

/* Role ARN and instance id are measured as their text, so a wrong letter makes another register: check them first. */
bool pcr_role_valid(struct bytes role_arn);              /* arn:aws…:iam::123456789012:role/… */
bool pcr_instance_valid(struct bytes instance_id);       /* i- and 8 or 17 hex digits, lower case */
bool pcr_of_role(struct bytes role_arn, uint8_t ret[PCR_SIZE]);
bool pcr_of_instance(struct bytes instance_id, uint8_t ret[PCR_SIZE]);
bool pcr_of_certificate(struct bytes der, uint8_t ret[PCR_SIZE]);

/* The three registers of an image, fed piece by piece in file order. */
enum pcr_part {
	PCR_BOOT,                                /* kernel, command line, first ramdisk: PCR0 and PCR1 */
	PCR_APPLICATION                          /* the other ramdisks: PCR0 and PCR2 */
};
struct pcr_meter { struct hash *image, *boot, *application; };  /* owned */

bool pcr_meter_open(struct pcr_meter *m);
void pcr_meter_feed(struct pcr_meter *m, enum pcr_part part, struct bytes in);
/* The registers so far; the meter goes on. */
bool pcr_meter_read(const struct pcr_meter *m, uint8_t pcr0[PCR_SIZE], uint8_t pcr1[PCR_SIZE], uint8_t pcr2[PCR_SIZE]);
void pcr_meter_close(struct pcr_meter *m);               /* harmless on a zeroed meter */

#endif
