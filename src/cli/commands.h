/* The commands of tee-rex: each has the shape of main() and returns the exit status.
 * 0 done (or valid, healthy), 1 failed or refused, 2 used wrongly. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

int attest_main(int argc, char **argv);
int config_main(int argc, char **argv);
int console_main(int argc, char **argv);
int build_main(int argc, char **argv);
int describe_main(int argc, char **argv);
int doctor_main(int argc, char **argv);
int eif_main(int argc, char **argv);
int extract_main(int argc, char **argv);
int gateway_main(int argc, char **argv);
int kernel_main(int argc, char **argv);
int image_main(int argc, char **argv);
int list_main(int argc, char **argv);
int logs_main(int argc, char **argv);
int operator_main(int argc, char **argv);
int plan_main(int argc, char **argv);
int prove_main(int argc, char **argv);
int release_main(int argc, char **argv);
int reserve_main(int argc, char **argv);
int run_main(int argc, char **argv);
int sign_main(int argc, char **argv);
int size_main(int argc, char **argv);
int status_main(int argc, char **argv);
int stop_main(int argc, char **argv);
int upload_main(int argc, char **argv);
int verify_main(int argc, char **argv);

#endif
