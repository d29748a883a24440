/* tee-rex: the command table. */
#include "base/log.h"
#include "base/options.h"
#include "cli/commands.h"

#include <stdio.h>
#include <string.h>

static const struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *about;
} commands[] = {
	{ "run", run_main, "start an enclave and stay with it" },
	{ "gateway", gateway_main, "serve the public HTTP API in front of an enclave" },
	{ "status", status_main, "say what is true of instances now" },
	{ "list", list_main, "list the instances of this host" },
	{ "logs", logs_main, "print what an instance's enclave reported" },
	{ "console", console_main, "print the console of a debug enclave" },
	{ "stop", stop_main, "stop an instance in order" },
	{ "config", config_main, "check, show and explain the configuration of instances" },
	{ "upload", upload_main, "load a prover version into a running enclave" },
	{ "operator", operator_main, "ask a running gateway for its jobs and versions, or to stop" },
	{ "attest", attest_main, "fetch an attestation document with a fresh nonce and verify it" },
	{ "verify", verify_main, "verify an attestation document offline" },
	{ "prove", prove_main, "verify, encrypt an input, have it proven, check the answer" },
	{ "build", build_main, "make an enclave image from a container image" },
	{ "describe", describe_main, "say what an enclave image is, measures to and was signed by" },
	{ "sign", sign_main, "sign an enclave image, also with a key that lives elsewhere" },
	{ "extract", extract_main, "write the sections of an enclave image to files" },
	{ "eif", eif_main, "put an enclave image together from kernel, command line and ramdisks" },
	{ "image", image_main, "list the files and the configuration of a container image" },
	{ "kernel", kernel_main, "say whether a kernel runs an enclave" },
	{ "plan", plan_main, "say what reserve would do with this host, and why" },
	{ "reserve", reserve_main, "reserve huge pages and CPUs for enclaves, or change nothing" },
	{ "release", release_main, "give back what reserve took" },
	{ "doctor", doctor_main, "find what is wrong with this host, or would be at the next boot" },
	{ "size", size_main, "say how much memory an image and its jobs need, and what for" },
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void help(FILE *to)
{
	fprintf(to, "Usage: tee-rex COMMAND [OPTIONS]\n\nRuns a service inside an AWS Nitro enclave and keeps it up.\n\nCommands:\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].about);
	fprintf(to, "\ntee-rex COMMAND --help says more about each; tee-rex --version prints the version.\n");
}

static int unknown(const char *word)
{
	const char *names[COMMAND_COUNT];
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		names[i] = commands[i].name;
	const char *near = nearest_word(word, names, COMMAND_COUNT);
	if (near != NULL)
		fprintf(stderr, "tee-rex: there is no command \"%s\"; did you mean \"%s\"?\n", word, near);
	else
		fprintf(stderr, "tee-rex: there is no command \"%s\"; tee-rex --help lists them\n", word);
	return 2;
}

int main(int argc, char **argv)
{
	log_init("tee-rex");
	if (argc < 2) {
		help(stderr);
		return 2;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		help(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("tee-rex %s\n", TEEREX_VERSION);
		return 0;
	}
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].main(argc - 1, argv + 1);
	return unknown(argv[1]);
}
