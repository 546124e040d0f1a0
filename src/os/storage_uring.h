/* SPDX-License-Identifier: PostgreSQL */
/*
 * io/storage.h over io_uring: one ring, used by one thread.
 *
 * Submit hands a request to the kernel at once, or, where the ring is full, queues it; polls refill
 * the ring from the queue. An ordered pair goes as two linked entries: the kernel starts the second
 * when the first is durable, without waking anybody up.
 *
 * Numbered invariants:
 *  (U1) entries that the kernel has or will get ≤ URING_ENTRIES: neither side of the ring
 *       overflows.
 *  (U2) between calls, the submission side holds at most one submission (a request or a pair): one
 *       that the kernel has put off for want of memory. Each poll offers it again.
 *  (U3) the second of a pair is never in the kernel without its first being linked before it, or
 *       durable.
 *
 * How a pair can come apart, and what keeps (U3) and the order of callbacks:
 *  - The first ends short, or is interrupted: the kernel cancels the second. The rest of the first
 *    is submitted again with the second linked to it. (On a busy machine, Linux 6.18 was seen to
 *    write the second all the same. It is written again after the first; a crash in between leaves
 *    a header without its prepare, which recovery reports as damage, and never passes over. Files
 *    of the ledger have their space, so no write of it should end short.)
 *  - The first fails: the kernel cancels the second. Both complete with an error when the first
 *    does. The entry of the cancelled second may come later: it is ignored, and its request,
 *    perhaps gone by now, not looked at.
 *  - The first is done, and the second cancelled all the same: it is submitted again, alone.
 *  - The kernel takes the first and puts off the second: a link does not span two submissions, so
 *    the entry left is made a no-op, and the second is submitted when the first is done.
 *
 * A request with several buffers is one entry with an array of pieces. The array is the ring's, not
 * the request's: the kernel has made its own of what an entry points to when it takes the entry
 * (IORING_FEAT_SUBMIT_STABLE, without which the ring isn't opened), so that two arrays do, one for
 * each entry of the one submission of (U2).
 *
 * A solo write (io/storage.h) may be held instead of being given to the kernel, if the ring may
 * choose (storage_choice.h): until the next poll, which does it by plain calls, if the caller has
 * still nothing else to do; or until something else is submitted. Then it takes the usual way.
 *
 * The ring's descriptor is readable exactly while completions wait to be reaped.
 *
 * The ring has no task-run flags on purpose: with them a linked second would not start until this
 * thread enters the kernel next.
 */
#ifndef LEDGER_OS_STORAGE_URING_H
#define LEDGER_OS_STORAGE_URING_H

#include "io/storage.h"
#include "os/storage_choice.h"
#include "os/storage_files.h"

struct storage_uring;

/*
 * Opens a ring. If `chooses` is set, solo writes go the faster way; otherwise everything goes
 * through the ring. Returns NULL if io_uring is refused: report->uring_error_number and uring_text
 * then say why and who refuses it, and nothing is left open. The files stay the caller's until
 * close.
 */
struct storage_uring *
storage_uring_open(struct storage_files *files, bool chooses, struct storage_os_report *report);

/* Waits until the kernel has finished with every buffer. Callbacks never run. */
void storage_uring_close(struct storage_uring *uring);

struct storage *storage_uring_storage(struct storage_uring *uring);

/* For tests, which may say how long writes took. */
struct storage_choice *storage_uring_choice(struct storage_uring *uring);

int storage_uring_wait_fd(const struct storage_uring *uring);

#endif
