/* hwtext.h - what the files of /proc and /sys say about a box, as far as we read them.
 *
 * Pure: text in, values out.  Whatever stands in a file, a value comes out whole and in its
 * range, or not at all. */
#ifndef SHOAL_HWTEXT_H
#define SHOAL_HWTEXT_H

#include "proto.h"

/* Without the blanks around it. */
struct span hwtext_trim(struct span s);
/* A whole number in decimal (or to base 16), nothing else. */
bool hwtext_int(struct span s, int64_t *ret);
bool hwtext_hex(struct span s, uint64_t *ret);
/* The first line of the text that begins with key, then sep: what follows, trimmed. */
bool hwtext_value(struct span text, const char *key, char sep, struct span *ret);

/* ---- /proc/cpuinfo, line by line ---- */

struct hwtext_cpu { /* all zero: nothing read yet.  Texts are empty when they are not said, or no UTF-8 */
	uint64_t processors;
	char name[128];                   /* x86 says it for each processor, for Arm it is looked up */
	char board[128];                  /* some Arm boards: what the box is called */
	uint64_t packages, package_cores; /* x86: what physical cores come from without /sys */
	uint64_t implementer, part;       /* Arm */
	uint64_t isa;                     /* bits: see hwtext_isa() */
};
void hwtext_cpu_line(struct hwtext_cpu *c, struct span line);
/* When all lines are read: physical cores, 0 when not said. */
uint64_t hwtext_cpu_cores(const struct hwtext_cpu *c);
const char *hwtext_cpu_name(const struct hwtext_cpu *c);
/* Names of the instruction sets, by rising age; returns how many. */
size_t hwtext_isa(const struct hwtext_cpu *c, struct span ret[PROTO_MAX_ISA]);

/* ---- how it fares ---- */

/* /proc/pressure: "some avg10=1.23 …", in per cent x 100. */
bool hwtext_pressure(struct span s, uint64_t *ret);
/* Thousandths of a degree; not what a broken sensor says (below -40, above 150 degrees). */
bool hwtext_temperature(struct span s, int64_t *ret);
/* Is a thermal zone of this type about the CPU, or the chip it is on? */
bool hwtext_is_cpu_zone(struct span type);
/* Is a cooling device of this type one that slows the CPU down (and no fan)? */
bool hwtext_is_cpu_brake(struct span type);

struct hwtext_supply {   /* of a uevent file in /sys/class/power_supply */
	enum power kind; /* POWER_UNKNOWN: none of the box (a mouse has one, too) */
	bool has_percent, has_online, is_online, is_discharging;
	uint64_t percent;
};
void hwtext_supply(struct span uevent, struct hwtext_supply *ret);

#endif
