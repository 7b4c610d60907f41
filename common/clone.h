/* clone.h - an own copy of a message, by its table (msg.h), without going through bytes.
 *
 * The copy is one block: the struct, then all that its spans and lists point at.  It is what
 * encoding and decoding would give, but that nothing is checked.  What the struct has beside the
 * table's fields is copied as it is: pointers there still borrow.
 * Pure. */
#ifndef SHOAL_CLONE_H
#define SHOAL_CLONE_H

#include "msg.h"

/* Bytes a block must have for a copy of m, at least t->size. */
size_t msg_clone_size(const struct msg_type *t, const void *m);
/* Copies m into block, which is aligned for any type and has msg_clone_size() bytes. */
void msg_clone_into(const struct msg_type *t, const void *m, void *block);

#endif
