/* SPDX-License-Identifier: PostgreSQL */
/*
 * Replaces a small file, over and over, in a thread of its own: durably, and without the caller
 * ever waiting for the disk.
 *
 *      file_replacer_put    hands over the new content; what wasn't written yet is superseded
 *      file_replacer_stop   waits until the newest content is written, and ends the thread
 *
 * At each moment, even after a crash, the file has one of the contents that were put, and has it
 * whole. For this, the content is written to `<path>.tmp` and synced; a rename gives it the name,
 * and the folder is synced too.
 *
 * The thread blocks all signals, allocates nothing, and calls only the system. If it can't be
 * started, put does the writing itself. If writing fails, file_replacer_error says why, and the
 * next put tries again.
 */
#ifndef LEDGER_OS_FILE_REPLACER_H
#define LEDGER_OS_FILE_REPLACER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define FILE_REPLACER_CONTENT_MAX 1024
#define FILE_REPLACER_PATH_MAX    256

/* It must not be moved while it is started. */
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
    bool waiting; /* `content` waits to be written. */
    bool stopping;
    int error_number; /* Why the newest attempt failed; 0 if it succeeded, or if there was none. */
};

/*
 * `path` must be shorter than FILE_REPLACER_PATH_MAX less ".tmp". Its folder must stay where it is.
 */
void file_replacer_start(struct file_replacer *replacer, const char *path, mode_t mode);

void file_replacer_put(struct file_replacer *replacer, const char *content, size_t size);

/* The errno of the newest attempt that has ended; 0 if it succeeded. */
int file_replacer_error(struct file_replacer *replacer);

/* Returns the same as file_replacer_error. */
int file_replacer_stop(struct file_replacer *replacer);

/* Replaces the file once, and waits. Returns an errno, or 0. */
int file_replace(
    const char *path, const char *path_temporary, mode_t mode, const char *content, size_t size);

#endif
