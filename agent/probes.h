/* probes.h - how a box fares, from /proc and /sys: temperature, throttling, pressure, power,
 * disk.  What there is to read is found once; the descriptors stay open, since these files
 * are read every few seconds for as long as the box runs.
 * Owns its descriptors.  Loop thread only. */
#ifndef SHOAL_AGENT_PROBES_H
#define SHOAL_AGENT_PROBES_H

#include "proto.h"

struct probes;

/* root: as in sysfs.h.  disk: a directory on the file system that is watched. */
SHOAL_CHECK int probes_new(const char *root, const char *disk, struct probes **ret);
struct probes *probes_free(struct probes *p);
/* Only what can be read now is set in *ret. */
void probes_read(struct probes *p, uint64_t now_ms, struct sensors *ret);
/* Adds zones, highest clock, kind of power supply and size of the disk; lends the zones' names. */
void probes_describe(const struct probes *p, struct hardware *ret);

#endif
