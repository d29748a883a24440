/* The addresses of the gateways' sockets for the service manager: for each configuration with gateway.listen a drop-in
 * DIR/tee-rex-gateway@NAME.socket.d/listen.conf. A wrong configuration has none: the default of the unit stands, and the
 * gateway says what is wrong. */
#ifndef CLI_CONFIG_SOCKETS_H
#define CLI_CONFIG_SOCKETS_H

#include "base/fail.h"

/* from: the directory of configurations. */
int config_sockets(const char *from, const char *dir, struct err *err);

#endif
