/* Secrets are in more places than the variables that hold them. A cipher's assembly works in vector registers: there the last blocks
 * of a plaintext stay until somebody uses these registers, and whenever the task is not running the kernel's memory has a copy. */
#include "crypto/crypto.h"

#include <openssl/crypto.h>

enum { STACK_USED = 16 << 10 };                  /* more than a call to libcrypto takes */

void crypto_wipe(void *p, size_t n) { OPENSSL_cleanse(p, n); }

#define EACH_OF_16 "\t.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
#define EACH_OF_32 "\t.irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31\n"
#define END_EACH "\t.endr\n"

/* Ones and not zeros: over registers that are all zeros a processor may not write the kernel's copy. */
static void wipe_vectors(void)
{
#if defined __x86_64__
#define CLOBBERED "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", \
	"xmm14", "xmm15"
	if (__builtin_cpu_supports("avx512f"))
		__asm__ volatile(EACH_OF_32 "\tvpternlogd $0xff, %%zmm\\n, %%zmm\\n, %%zmm\\n\n" END_EACH ::: CLOBBERED);
	else if (__builtin_cpu_supports("avx"))
		__asm__ volatile(EACH_OF_16 "\tvcmptrueps %%ymm\\n, %%ymm\\n, %%ymm\\n\n" END_EACH ::: CLOBBERED);
	else
		__asm__ volatile(EACH_OF_16 "\tpcmpeqd %%xmm\\n, %%xmm\\n\n" END_EACH ::: CLOBBERED);
#elif defined __aarch64__
	__asm__ volatile(EACH_OF_32 "\tmovi v\\n\\().16b, #255\n" END_EACH ::: "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9",
	                 "v10", "v11", "v12", "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",
	                 "v26", "v27", "v28", "v29", "v30", "v31");
#else
#error "which vector registers has this processor?"
#endif
}

__attribute__((noinline)) void crypto_wipe_traces(void)
{
	uint8_t below[STACK_USED];
	OPENSSL_cleanse(below, sizeof below);
	wipe_vectors();
}
