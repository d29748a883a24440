/* What `tee-rex build` says at its end, for people and for programs. */
#ifndef CLI_BUILD_PRINT_H
#define CLI_BUILD_PRINT_H

#include "image/app_service.h"
#include "image/build.h"

#include <stdio.h>

struct build_result {                            /* borrowed */
	const struct rootfs *rootfs;
	const struct build_plan *plan;
	const struct build_report *report;
	uint64_t ports_left_out;
	double seconds;
};

/* The registers, as `tee-rex describe --pcr` prints them. */
void build_print_registers(FILE *to, const struct build_result *b);
/* Sizes, and what was left out. */
void build_print_remarks(FILE *to, const struct build_result *b);
void build_print_json(FILE *to, const struct build_result *b);

#endif
