/* One row per result of eif.h. */
#include "format/eif.h"

#define NOT_OURS "; the tool that wrote it is broken, or the file was changed: build the image again"
#define DAMAGED "; copy or build the image again"

static const struct { const char *name, *message; } rows[EIF_RESULT_COUNT] = {
	[EIF_OK] = { "ok", "the image is intact" },
	[EIF_TRUNCATED] = { "eif-truncated", "the file is shorter than an image's header" DAMAGED },
	[EIF_BAD_MAGIC] = { "eif-bad-magic", "this is not an enclave image: it does not start with \".eif\"; check which file was named" },
	[EIF_BAD_VERSION] = { "eif-bad-version", "the image is not of version 4, the only one understood here; build it again with a current tool" },
	[EIF_BAD_FLAGS] = { "eif-bad-flags", "the header has flags that are not known here" NOT_OURS },
	[EIF_BAD_RESERVED] = { "eif-bad-reserved", "a reserved field of the header is not zero" NOT_OURS },
	[EIF_NO_SECTIONS] = { "eif-no-sections", "the image has no sections" NOT_OURS },
	[EIF_TOO_MANY_SECTIONS] = { "eif-too-many-sections", "an image has at most 32 sections; use fewer ramdisks" },
	[EIF_BAD_SLOT] = { "eif-bad-slot", "the section table has entries beyond its count" NOT_OURS },
	[EIF_SECTION_IN_HEADER] = { "eif-section-in-header", "a section begins inside the header" NOT_OURS },
	[EIF_SECTIONS_UNSORTED] = { "eif-sections-unsorted", "the section table is not in file order" NOT_OURS },
	[EIF_SECTIONS_OVERLAP] = { "eif-sections-overlap", "sections overlap" NOT_OURS },
	[EIF_OUT_OF_RANGE] = { "eif-out-of-range", "a section goes beyond the end of the file, which was probably cut" DAMAGED },
	[EIF_GAP] = { "eif-gap", "there are bytes between sections that belong to none" NOT_OURS },
	[EIF_TRAILING_BYTES] = { "eif-trailing-bytes", "there are bytes after the last section" NOT_OURS },
	[EIF_BAD_SECTION_TYPE] = { "eif-bad-section-type", "a section is of an unknown type" NOT_OURS },
	[EIF_BAD_SECTION_FLAGS] = { "eif-bad-section-flags", "a section has flags, which are reserved" NOT_OURS },
	[EIF_SIZES_DISAGREE] = { "eif-sizes-disagree", "a section's own size and the table's disagree" NOT_OURS },
	[EIF_EMPTY_SECTION] = { "eif-empty-section", "a section is empty (only a command line may be)" NOT_OURS },
	[EIF_CMDLINE_TOO_LARGE] = { "eif-cmdline-too-large", "the command line is longer than the 2,048 bytes a kernel reads; shorten it" },
	[EIF_METADATA_TOO_LARGE] = { "eif-metadata-too-large", "the metadata section is larger than 1 MiB; build the image with less of it" },
	[EIF_SIGNATURE_TOO_LARGE] = { "eif-signature-too-large", "the signature section is larger than the 32,768 bytes the hypervisor reads; sign with a smaller certificate" },
	[EIF_TWO_KERNELS] = { "eif-two-kernels", "there is more than one kernel" NOT_OURS },
	[EIF_TWO_CMDLINES] = { "eif-two-cmdlines", "there is more than one command line" NOT_OURS },
	[EIF_TWO_METADATA] = { "eif-two-metadata", "there is more than one metadata section" NOT_OURS },
	[EIF_TWO_SIGNATURES] = { "eif-two-signatures", "there is more than one signature section" NOT_OURS },
	[EIF_WRONG_ORDER] = { "eif-wrong-order", "kernel, command line and ramdisks are not in this order, so what they measure to is ambiguous" NOT_OURS },
	[EIF_NO_KERNEL] = { "eif-no-kernel", "there is no kernel" NOT_OURS },
	[EIF_NO_CMDLINE] = { "eif-no-cmdline", "there is no command line" NOT_OURS },
	[EIF_NO_RAMDISK] = { "eif-no-ramdisk", "there is no ramdisk" NOT_OURS },
	[EIF_NO_METADATA] = { "eif-no-metadata", "there is no metadata, which version 4 requires" NOT_OURS },
	[EIF_BAD_CMDLINE] = { "eif-bad-cmdline", "the command line holds a zero byte, which hides the rest of it from the kernel; write it without" },
	[EIF_KERNEL_NOT_BZIMAGE] = { "eif-kernel-not-bzimage", "the kernel is not an x86-64 bzImage, the only kind the hypervisor boots; use arch/x86/boot/bzImage" },
	[EIF_KERNEL_NOT_IMAGE] = { "eif-kernel-not-image", "the kernel is not a raw arm64 Image, the only kind the hypervisor boots; use arch/arm64/boot/Image, not a compressed one" },
	[EIF_KERNEL_TEXT_OFFSET] = { "eif-kernel-text-offset", "the arm64 kernel's text_offset (bytes 8 to 15) is not 2 MiB (0x200000), where the hypervisor puts it; build it with that offset" },
	[EIF_BAD_CRC] = { "eif-bad-crc", "the checksum does not fit: the file was damaged or changed" DAMAGED },
};

const char *eif_result_name(enum eif_result r) { return (unsigned)r < EIF_RESULT_COUNT ? rows[r].name : "eif-unknown"; }
const char *eif_result_message(enum eif_result r) { return (unsigned)r < EIF_RESULT_COUNT ? rows[r].message : "unknown"; }

const char *eif_section_name(enum eif_section_type type)
{
	switch (type) {
	case EIF_KERNEL: return "kernel";
	case EIF_CMDLINE: return "cmdline";
	case EIF_RAMDISK: return "ramdisk";
	case EIF_SIGNATURE: return "signature";
	case EIF_METADATA: return "metadata";
	}
	return "unknown";
}
