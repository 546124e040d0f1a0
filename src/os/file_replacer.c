/* SPDX-License-Identifier: PostgreSQL */
/* See file_replacer.h. */
#include "os/file_replacer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"

/* ---- One replacement ------------------------------------------------------------------------- */

static int
sync_and_close(int fd)
{
    int result;
    do {
        result = fsync(fd);
    } while (result < 0 && errno == EINTR);
    const int error_number = result < 0 ? errno : 0;
    (void) close(fd);
    return error_number;
}

static int
write_all(int fd, const char *content, size_t size)
{
    while (size > 0) {
        const ssize_t written = write(fd, content, size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return errno;
        if (written == 0) return ENOSPC;
        content += written;
        size -= (size_t) written;
    }
    return 0;
}

/* Syncs the folder that contains the path, so that a rename in it is durable. */
static int
sync_folder(const char *path)
{
    char folder[FILE_REPLACER_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        (void) snprintf(folder, sizeof(folder), ".");
    } else {
        (void) snprintf(folder, sizeof(folder), "%.*s", (int) (slash - path + 1), path);
    }
    const int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? errno : sync_and_close(fd);
}

int
file_replace(
    const char *path, const char *path_temporary, mode_t mode, const char *content, size_t size)
{
    assert(size > 0 && size <= FILE_REPLACER_CONTENT_MAX);
    const int fd = open(path_temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) return errno;
    const int write_error = write_all(fd, content, size);
    const int sync_error = sync_and_close(fd);
    if (write_error != 0) return write_error;
    if (sync_error != 0) return sync_error;
    if (rename(path_temporary, path) != 0) return errno;
    return sync_folder(path);
}

/* ---- The thread ------------------------------------------------------------------------------ */

static void *
replacer_main(void *argument)
{
    struct file_replacer *replacer = argument;
    char content[FILE_REPLACER_CONTENT_MAX];
    (void) pthread_mutex_lock(&replacer->mutex);
    for (;;) {
        while (!replacer->waiting && !replacer->stopping) {
            (void) pthread_cond_wait(&replacer->changed, &replacer->mutex);
        }
        if (!replacer->waiting) break;
        const size_t size = replacer->size;
        memcpy(content, replacer->content, size);
        replacer->waiting = false;
        (void) pthread_mutex_unlock(&replacer->mutex);
        const int error_number = file_replace(
            replacer->path, replacer->path_temporary, replacer->mode, content, size);
        (void) pthread_mutex_lock(&replacer->mutex);
        replacer->error_number = error_number;
    }
    (void) pthread_mutex_unlock(&replacer->mutex);
    return NULL;
}

void
file_replacer_start(struct file_replacer *replacer, const char *path, mode_t mode)
{
    sigset_t all;
    sigset_t before;
    const size_t length = strlen(path);
    assert(length > 0 && length + sizeof(".tmp") <= FILE_REPLACER_PATH_MAX);
    *replacer = (struct file_replacer){.mode = mode};
    memcpy(replacer->path, path, length);
    memcpy(replacer->path_temporary, path, length);
    memcpy(replacer->path_temporary + length, ".tmp", sizeof(".tmp"));
    (void) pthread_mutex_init(&replacer->mutex, NULL);
    (void) pthread_cond_init(&replacer->changed, NULL);
    (void) sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return;
    replacer->threaded = pthread_create(&replacer->thread, NULL, replacer_main, replacer) == 0;
    (void) pthread_sigmask(SIG_SETMASK, &before, NULL);
}

void
file_replacer_put(struct file_replacer *replacer, const char *content, size_t size)
{
    assert(size > 0 && size <= FILE_REPLACER_CONTENT_MAX);
    assert(!replacer->stopping);
    if (!replacer->threaded) {
        replacer->error_number = file_replace(
            replacer->path, replacer->path_temporary, replacer->mode, content, size);
        return;
    }
    (void) pthread_mutex_lock(&replacer->mutex);
    memcpy(replacer->content, content, size);
    replacer->size = size;
    replacer->waiting = true;
    (void) pthread_cond_signal(&replacer->changed);
    (void) pthread_mutex_unlock(&replacer->mutex);
}

int
file_replacer_error(struct file_replacer *replacer)
{
    (void) pthread_mutex_lock(&replacer->mutex);
    const int error_number = replacer->error_number;
    (void) pthread_mutex_unlock(&replacer->mutex);
    return error_number;
}

int
file_replacer_stop(struct file_replacer *replacer)
{
    (void) pthread_mutex_lock(&replacer->mutex);
    replacer->stopping = true;
    (void) pthread_cond_signal(&replacer->changed);
    (void) pthread_mutex_unlock(&replacer->mutex);
    if (replacer->threaded) (void) pthread_join(replacer->thread, NULL);
    replacer->threaded = false;
    return replacer->error_number;
}
