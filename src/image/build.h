/* From a container image's tree to an enclave image.
 *
 *     kernel, command line, metadata
 *     boot ramdisk             /init, /etc/tee-rex/init.conf (the service table), empty directories; nsm.ko where one is given
 *     application ramdisk      what the image holds, in one of the layouts of format/service_table.h
 *
 * Same inputs, same bytes, on any machine: nothing of the host, the user or the clock goes in. */
#ifndef IMAGE_BUILD_H
#define IMAGE_BUILD_H

#include "format/service_table.h"
#include "image/eif_file.h"
#include "image/kernel_check.h"
#include "image/metadata.h"
#include "image/ramdisk.h"
#include "image/rootfs.h"

#define BUILD_CMDLINE_COMMON "reboot=k panic=-1 pci=off console=ttyS0 random.trust_cpu=on rootfstype=ramfs"
/* What a command line is when none is given. */
const char *build_cmdline(enum kernel_arch arch);

struct build_plan {                              /* all borrowed */
	const char *kernel, *init, *output;
	const char *kernel_config, *module;      /* may be NULL */
	const char *cmdline;                     /* NULL: build_cmdline() */
	const char *name, *version;
	json_t *custom;                          /* may be NULL */
	int64_t build_time_s;
	enum ramdisk_packing packing;            /* of the ramdisks; of the boot ramdisk alone where the layout packs */
	const struct service_table *table;       /* table->layout is the layout */
};

struct build_report {
	struct eif_measures measures;
	char kernel_release[KERNEL_RELEASE_MAX + 1];
	enum kernel_arch arch;
	struct kernel_check kernel;
	const char *cmdline;
	uint64_t kernel_bytes, boot_bytes, application_bytes;    /* as they are in the image */
	uint64_t unpacked_bytes;                 /* of the image's files */
	uint64_t spooled_bytes;                  /* that went through a temporary file */
	uint64_t xattrs_lost;                    /* files whose attributes the layout cannot hold */
};

/* Checks what can be checked before layers are read: the kernel, the init program, and that all are for one architecture.
 * Fills report->kernel, for the degraded findings. */
enum image_code build_check(const struct build_plan *p, const struct oci_platform *platform, struct build_report *report,
                            struct err *err);
/* After build_check(). */
enum image_code build_image(struct rootfs *r, const struct build_plan *p, struct build_report *report, struct err *err);

#endif
