#include "host/doctor_checks.h"

#include <stdarg.h>
#include <stdio.h>

static const struct doctor_check checks[] = {
	/* the platform */
	{ "not-ec2", "enclaves exist on EC2 instances only; elsewhere tee-rex simulates them", "use backend qemu or process here, or an EC2 instance", look_instance },
	{ "enclave-option-off", "without the device the hypervisor starts no enclave", "stop the instance and start it with EnclaveOptions.Enabled=true, on a type that supports enclaves", look_option },
	{ "driver-missing", "nobody can create an enclave", "modprobe nitro_enclaves, and put nitro_enclaves into /etc/modules-load.d/", look_driver },
	{ "device-missing", "nobody can create an enclave", "udevadm trigger; see whether a container or a udev rule hides /dev/nitro_enclaves", look_device },
	{ "kernel-too-old", "the driver is part of Linux since 5.10", "boot a newer kernel", look_kernel },
	{ "too-few-cores", "the parent keeps CPU 0 with its sibling, and an enclave gets whole cores", "take a larger instance type", look_cores },
	{ "vsock-missing", "parent and enclave talk over vsock", "modprobe vsock", look_vsock },
	{ "vhost-vsock", "where vhost_vsock is loaded, connections to an enclave's CID go to local virtual machines unless a program asks for the host; stock tools do not",
	  "modprobe -r vhost_vsock if this instance runs no virtual machines", look_vhost },
	{ "clock-skew", "clients refuse attestation documents and keys that seem to come from the future", "run chrony against 169.254.169.123", look_clock },
	{ "clock-unsynchronised", "a clock that nobody corrects drifts until clients refuse documents", "systemctl enable --now chronyd (or systemd-timesyncd)", look_synchronised },
	{ "disk-full", "images, records and journals cannot be written; a deployment stops half-way", "make room", look_disk },
	/* memory and CPUs */
	{ "host-unreadable", "nothing can be planned", "see whether /proc and /sys are mounted", look_unreadable },
	{ "no-huge-pages", "an enclave's memory is made of huge pages", "tee-rex reserve --memory MIB (tee-rex size says how much)", look_no_pages },
	{ "pages-short", "the enclave will not start with the memory it was planned to have", "tee-rex reserve; where memory is in too many pieces, reserve at boot (tee-rex plan prints the kernel command line)", look_short },
	{ "host-starved", "the host itself runs out of memory: logins hang, services are killed", "tee-rex reserve with less --memory, or tee-rex release", look_starved },
	{ "reserve-interrupted", "pages may be taken that nobody accounts for", "run tee-rex reserve or tee-rex release again; it finishes or undoes that", look_unfinished },
	{ "reserve-not-at-boot", "after the next reboot there are no pages and no enclave", "systemctl enable tee-rex-reserve.service", look_not_at_boot },
	{ "allocator-broken", "the stock allocator fails on it, at boot, where nobody looks", "correct it, or tee-rex reserve --take-over", look_allocator_broken },
	{ "allocator-conflict", "two sets of numbers: what is reserved depends on who comes last", "tee-rex reserve (uses the file's), or tee-rex reserve --memory ... --take-over (replaces them)", look_allocator_conflict },
	{ "allocator-oversized", "the setting survives reboots, and so does a host that has no memory left", "lower memory_mib before the next boot; tee-rex plan says what fits", look_allocator_oversized },
	{ "allocator-service", "it would set its own pools at boot, beside or instead of ours", "systemctl disable --now nitro-enclaves-allocator.service", look_allocator_service },
	{ "sysctl-hugepages", "it sets the pools of all nodes anew at boot and whenever sysctl --system runs", "remove the line, and let tee-rex reserve keep the number", look_sysctl },
	{ "pool-empty", "an enclave needs at least one core of the pool", "tee-rex reserve --cpus N; nothing else tells when the driver refused a list and emptied the pool", look_pool_empty },
	{ "pool-wrong-node", "memory and CPUs of an enclave must be on one node", "tee-rex reserve puts both on one", look_pool_node },
	{ "pool-partial-core", "the driver gives whole cores only", "tee-rex reserve --cpus N", look_pool_cores },
	/* what starts enclaves */
	{ "settings-broken", "the instance does not start", "tee-rex config check NAME says where", look_settings },
	{ "image-in-tmp", "it is gone after a reboot, or when somebody cleans up", "put it below /var/lib/tee-rex and name it there", look_image_in_tmp },
	{ "image-missing", "the instance does not start", "tee-rex build -o that path, or correct enclave.image", look_image_missing },
	{ "image-damaged", "the hypervisor refuses it, or it is not what was built", "build it again; tee-rex describe says what is wrong", look_image_damaged },
	{ "memory-too-small", "the kernel inside dies while it unpacks, and nothing is seen of that", "raise enclave.memory_mib (tee-rex size says to what)", look_memory_too_small },
	{ "console-unread", "a console that nobody reads makes the kernel wait for it, up to a standstill; in debug mode a reader hides that",
	  "build with \"quiet\" or \"loglevel=1\" on the command line, or with tee-rex build, whose init silences the kernel", look_console },
	{ "oneshot-enclave", "systemd thinks it runs when it has died, and does not start it again", "run it with tee-rex run as tee-rex@NAME.service", look_oneshot },
	{ "not-enabled", "it does not come back after a reboot", "systemctl enable tee-rex@NAME.service", look_not_enabled },
	{ "debug-enclave", "its attestation documents measure NOTHING (all PCRs zero), and it behaves otherwise than in production", "remove the debug switch", look_debug },
	{ "build-needs-docker", "the stock builder needs a docker daemon and gigabytes of memory, and fails with E48 on what it cannot pull", "tee-rex build", look_builder },
	{ "docker-image-store", "the stock builder cannot read what docker keeps in containerd's image store (indexes, attestation manifests)",
	  "tee-rex build from the registry or from skopeo's output, or switch the feature off", look_container_store },
	{ "deletes-before-build", "when the new image does not come, there is no old one to go back to", "tee-rex build puts the new image in place whole or not at all: build it beside the old one, then change enclave.image", look_deletes_first },
	/* what runs */
	{ "port-9000-taken", "the heartbeat of a starting enclave arrives there, and only one program can listen", "stop it, or let it finish, before tee-rex run", look_port },
	{ "socat-bridge", "it must run as root for /dev/vsock, and when it dies nothing restarts it", "tee-rex run and its gateway speak vsock themselves", look_socat },
	{ "nsm-descriptors", "opened again for each document, they run out after some thousand", "open /dev/nsm once; tee-rex-prover does", look_nsm },
	{ "descriptors-low", "at its limit it can accept no connection and open no file", "restart it and report it; raise LimitNOFILE= meanwhile", look_descriptors },
	{ "oom-kills", "something was killed for lack of memory since boot; without looking one only sees that it is gone",
	  "dmesg -T | grep -i oom; give less to enclaves (tee-rex plan), or stop something", look_oom },
	{ "instance-died", "it did not end because somebody stopped it", "tee-rex status NAME, tee-rex logs NAME", look_died },
};

const struct doctor_check *doctor_checks(size_t *ret_n)
{
	*ret_n = sizeof checks / sizeof *checks;
	return checks;
}

void finding_add(struct findings *f, const char *what, ...)
{
	if (f->n == DOCTOR_FINDINGS_MAX) {
		f->more++;
		return;
	}
	struct finding *n = &f->at[f->n++];
	va_list ap;
	va_start(ap, what);
	vsnprintf(n->what, sizeof n->what, what, ap);
	va_end(ap);
	n->code = f->check->code;
	n->why = f->check->why;
	snprintf(n->fix, sizeof n->fix, "%s", f->check->fix);
}

void finding_fix(struct findings *f, const char *fix, ...)
{
	if (f->n == 0 || f->more > 0)
		return;
	va_list ap;
	va_start(ap, fix);
	vsnprintf(f->at[f->n - 1].fix, DOCTOR_SENTENCE, fix, ap);
	va_end(ap);
}

void doctor_run(const struct host_view *v, struct findings *ret)
{
	ret->n = ret->more = 0;
	for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
		ret->check = &checks[i];
		checks[i].look(v, ret);
	}
}
