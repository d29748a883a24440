/* The checks themselves; doctor.c has the table that gives each its code, its why and its usual fix. */
#ifndef HOST_DOCTOR_CHECKS_H
#define HOST_DOCTOR_CHECKS_H

#include "host/doctor.h"

typedef void doctor_look(const struct host_view *v, struct findings *f);

/* doctor_platform.c */
doctor_look look_instance, look_option, look_driver, look_device, look_kernel, look_cores, look_vsock, look_vhost, look_clock, look_synchronised, look_disk;
/* doctor_memory.c */
doctor_look look_unreadable, look_no_pages, look_short, look_starved, look_unfinished, look_not_at_boot, look_allocator_broken, look_allocator_conflict,
	look_allocator_oversized, look_allocator_service, look_sysctl, look_pool_empty, look_pool_node, look_pool_cores;
/* doctor_units.c */
doctor_look look_image_in_tmp, look_image_missing, look_image_damaged, look_memory_too_small, look_console, look_oneshot, look_not_enabled, look_debug,
	look_builder, look_container_store, look_deletes_first, look_settings;
/* doctor_runtime.c */
doctor_look look_port, look_socat, look_nsm, look_descriptors, look_oom, look_died;

#endif
