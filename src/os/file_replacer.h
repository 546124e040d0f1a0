/* SPDX-License-Identifier: PostgreSQL */
/*
 * Replaces a small file, over and over, in a thread of its own: durably, and without the caller
 * ever waiting for the disk.
 *
 *     file_replacer_put    hands over the new content; what was not written yet is superseded
 *     file_replacer_stop   waits until the newest content is written, and ends the thread
 *
 * At each moment, also after a crash, the file has one of the contents that were put, whole: the
 * content goes to `<path>.tmp`, is synced, and takes the name by a rename, which is synced too.
 *
 * The thread blocks all signals, allocates nothing, and calls nothing but the system. Where it
 * can't be started, put writes by itself.
 */
#ifndef LEDGER_OS_FILE_REPLACER_H
#define LEDGER_OS_FILE_REPLACER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define FILE_REPLACER_CONTENT_MAX 1024
#define FILE_REPLACER_PATH_MAX    256

/* Does not move while it is started. */
struct file_replacer {
    char path[FILE_REPLACER_PATH_MAX];
    char path_temporary[FILE_REPLACER_PATH_MAX];
    mode_t mode;
    pthread_t thread;
    bool threaded;

    /* Guarded by mutex. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    char content[FILE_REPLACER_CONTENT_MAX];
    size_t size;
    bool waiting; /* `content` is not yet being written. */
    bool stopping;
    int error_number; /* Of the newest attempt; 0: it succeeded, or there was none. */
};

/* `path` is shorter than FILE_REPLACER_PATH_MAX less ".tmp"; its folder stays where it is. */
void file_replacer_start(struct file_replacer *replacer, const char *path, mode_t mode);

void file_replacer_put(struct file_replacer *replacer, const char *content, size_t size);

/* errno of the newest attempt that has ended; 0 if it succeeded. */
int file_replacer_error(struct file_replacer *replacer);

/* Returns what file_replacer_error would. */
int file_replacer_stop(struct file_replacer *replacer);

/* The same once, waited for; errno, or 0. */
int file_replace(
    const char *path, const char *path_temporary, mode_t mode, const char *content, size_t size);

#endif
