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
 *       durable; and it is linked only where the kernel cancels it unless all of the first is
 *       written.
 *
 * How a pair can come apart, and what keeps (U3) and the order of callbacks. Nothing of a pair goes
 * on before the entries of both are back, so that no write that the kernel has started uses a
 * buffer that its owner has again.
 *  - The first ends short, or is interrupted: the kernel cancels the second. The rest of the first
 *    is submitted again, and the second behind it.
 *  - The first fails: the kernel cancels the second. Both complete with an error.
 *  - The first is done, and the second cancelled all the same: it is submitted again, alone.
 *  - The kernel takes the first and puts off the second: a link does not span two submissions, so
 *    the entry left is made a no-op, and the second is submitted when the first is done.
 *
 * There is one case in which the kernel does not cancel the second of a short first, and then a
 * pair is not linked: the second is submitted when the first is done, at the cost of a wake-up. A
 * write across the limit of file sizes (RLIMIT_FSIZE) is cut to what the limit allows. If the cut
 * part ends at once, the kernel asks for the rest of the cut request, of which nothing is left,
 * and takes that for success (seen on Linux 6.18: up to one in twelve such writes with O_DIRECT).
 * Other short writes leave a rest; the kernel itself goes on with it, and fails the link if that
 * fails. All writes are within the size of the file, so no other limit can cut one. Therefore:
 *  - The limit is read at the start, and a pair whose first crosses it is not linked.
 *  - If a write ends short all the same, no pair is linked any more. It can't happen unless another
 *    process lowers the limit of this one while it runs (prlimit). One pair may then have written
 *    its second too early. It is written again behind the first, so that order holds when both have
 *    completed. Only a crash or a failure in between leaves a second without its first: for the
 *    journal, whose only pairs are a prepare and its header, a header that proves a prepare which
 *    isn't whole. Recovery reports that as damage, and does not start (store/journal.h, J1): it
 *    never passes over an op that was acknowledged, and this one was not.
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
